"""The parts of a scene -> a prompt in the order that NAVA was trained on."""

from comfy_api.latest import io

from ..nava_core.compose import assemble
from ..nava_core.prompt import PromptError
from .cast import NavaCastType


class NavaCompose(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaCompose",
            display_name="NAVA Compose",
            category="NAVA/conditioning",
            description="Writes the prompt from its parts, in the order that NAVA was trained on: style, scene, action, camera, "
            "dialogue, sound. Any part may stay empty; Chinese works best.",
            search_aliases=["prompt builder", "template", "style", "camera", "shot"],
            inputs=[
                io.String.Input("style", default="", tooltip="How it looks: photorealistic film, hand-drawn animation, documentary …"),
                io.String.Input("scene", multiline=True, default="", tooltip="Who is where: people, looks, place, light."),
                io.String.Input("action", multiline=True, default="", tooltip="What happens, in its order: at first, then, at the end; how fast, how hard."),
                io.String.Input("camera", default="", tooltip="Shot size, position, movement: medium close-up, fixed; slow push-in …"),
                io.String.Input("dialogue", multiline=True, default="", tooltip="One spoken line per row: Name (how it is said): words. Or text with <S>…<E>, from NAVA Dialogue. Empty: the prompt says that nobody speaks."),
                io.String.Input("sound", multiline=True, default="", tooltip="Sounds of the action and of the place, music if there is any."),
                io.Boolean.Input("voices_by_name", default=True, tooltip="On: the voice of the same name speaks each line. Off: voices are taken in the order they are connected."),
                io.Boolean.Input("say_silence", default=True, tooltip="Say that nobody speaks when nobody does, and that there is no music when none is named."),
                NavaCastType.Input("cast", optional=True, tooltip="From NAVA Cast: everybody's look is written where they are first mentioned."),
            ],
            outputs=[io.String.Output("prompt", display_name="prompt", tooltip="For NAVA Prompt, or for NAVA Rewrite.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, style, scene, action, camera, dialogue, sound, voices_by_name, say_silence, cast=None
    ) -> io.NodeOutput:
        try:
            text = assemble(style, scene, action, camera, dialogue, sound, voices_by_name, say_silence)
        except PromptError as error:
            raise PromptError(f"NavaCompose: {error}.") from None
        return io.NodeOutput(text if cast is None else cast.with_looks(text))
