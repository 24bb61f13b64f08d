"""ComfyUI-NAVA: picture and sound made together, as ordinary ComfyUI nodes."""

WEB_DIRECTORY = "./js"


async def comfy_entrypoint():
    """Called by ComfyUI; the nodes are imported here so that the folder can be imported without a host."""
    from .nodes import NavaExtension

    return NavaExtension()
