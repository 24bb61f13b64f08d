"""A scene and a script -> a prompt with its speech tags."""

from comfy_api.latest import io

from ..nava_core.dialogue import compose
from ..nava_core.prompt import PromptError
from .cast import NavaCastType


class NavaDialogue(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaDialogue",
            display_name="NAVA Dialogue",
            category="NAVA/conditioning",
            description="Writes the prompt from a scene, a script and the sounds, so that no tag has to be typed.",
            search_aliases=["script", "speech", "lines"],
            inputs=[
                io.String.Input("scene", multiline=True, default="", tooltip="Who is where, what happens, how the camera moves."),
                io.String.Input("script", multiline=True, default="", tooltip="One spoken line per row: Name (how it is said): words. The name and the manner may be left out, the colon may not."),
                io.String.Input("sounds", multiline=True, default="", tooltip="Ambience, effects and music around the voices."),
                io.Boolean.Input("voices_by_name", default=True, tooltip="On: the NAVA Voice of the same name speaks each line. Off: voices are taken in the order they are connected."),
                NavaCastType.Input("cast", optional=True, tooltip="From NAVA Cast: everybody's look is written where they are first mentioned."),
            ],
            outputs=[io.String.Output("prompt", display_name="prompt", tooltip="For the prompt of NAVA Prompt.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, scene, script, sounds, voices_by_name, cast=None) -> io.NodeOutput:
        try:
            text = compose(scene, script, sounds, voices_by_name)
        except PromptError as error:
            raise PromptError(f"NavaDialogue, script: {error}.") from None
        return io.NodeOutput(text if cast is None else cast.with_looks(text))
