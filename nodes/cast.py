"""The characters of a film: names, looks, voices and colours, and the files that they are kept in."""

import logging
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..nava_core.cast import Cast, CastError, load_cast, parse_characters, save_cast
from ..nava_core.files import WriteError
from .load import naming
from .voice import NavaVoiceType

NavaCastType = io.Custom("NAVA_CAST")
NO_FILE = "none"


def folder() -> Path:
    """Where casts are kept: in the user's folder, beside settings and workflows."""
    return Path(folder_paths.get_user_directory()) / "nava_casts"


def cast_files() -> list[str]:
    return sorted(p.name for p in folder().glob("*.safetensors"))


def read_cast(characters: str, file: str, voices=()) -> Cast:
    """A file's characters, changed and joined by those that are written."""
    try:
        written = parse_characters(characters, voices)
        if file == NO_FILE:
            return written
        with naming("NavaCast, file"):
            return load_cast(folder() / file).with_others(written)
    except CastError as error:
        raise CastError(f"NavaCast, characters: {error}.") from None


class NavaCast(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="NavaCast",
            display_name="NAVA Cast",
            category="NAVA/conditioning",
            description="Characters that keep their look and their voice from shot to shot. Each look is written into the prompt "
            "where its name first occurs, and <S:Name> speaks with its voice. A cast can be saved, and taken into other workflows.",
            search_aliases=["character", "consistent character", "voices", "actors"],
            is_output_node=True,  # so that it can be saved alone
            inputs=[
                io.String.Input("characters", multiline=True, default="", tooltip="One character per row: Name: look. The look is a phrase, such as: a woman in her thirties in a green sweater. A colour for the editor may stand behind the name: Anna (#e0a030): look."),
                io.Combo.Input("file", options=[NO_FILE, *cast_files()], default=NO_FILE, tooltip="A saved cast (user/nava_casts). The characters written above are added to it, or take the place of those of their name."),
                io.String.Input("save_as", default="", tooltip="A name to save the cast under. Nothing is overwritten: a changed cast gets a number behind its name. Empty: not saved."),
                io.Boolean.Input("keep_recordings", default=False, tooltip="Also save the recordings themselves (up to 30 s each), not only what the model needs of each voice (192 numbers). Whoever has such a file can hear them."),
                io.Autogrow.Input(
                    "voices",
                    optional=True,
                    template=io.Autogrow.TemplatePrefix(
                        NavaVoiceType.Input("voice", optional=True, tooltip="A voice from NAVA Voice."), prefix="voice_", min=0, max=100
                    ),
                    tooltip="Voices of the characters: by their names, those without a name in the order of the rows.",
                ),
            ],
            outputs=[NavaCastType.Output("cast", display_name="cast", tooltip="For NAVA Prompt, NAVA Dialogue, NAVA Compose and NAVA Storyboard.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, file, voices=None):  # the host hands over what has grown, too
        if file != NO_FILE and file not in cast_files():
            return f"NavaCast, file: there is no cast {file!r} in user/nava_casts. Put it there, press R, and choose it again."
        return True

    @classmethod
    def fingerprint_inputs(cls, file=NO_FILE, **_):
        path = folder() / str(file)
        return path.stat().st_mtime_ns if file in cast_files() else 0

    @classmethod
    def execute(cls, characters, file, save_as, keep_recordings, voices: io.Autogrow.Type = None) -> io.NodeOutput:
        connected = [v for v in (voices or {}).values() if v is not None]
        cast = read_cast(characters, file, connected)
        source_of = {id(v.embedding): number for number, v in enumerate(connected)}
        if not cast.characters:
            raise CastError(
                "NavaCast, characters: nobody is in it. Write a row such as “Anna: a woman in a green sweater”."
            )
        people = []
        for c in cast.characters:
            source = (
                source_of.get(id(c.voice.embedding)) if c.voice else None
            )  # so that the editor can play the recording
            people.append(
                {"name": c.name, "look": c.look, "colour": c.colour, "voice": c.voice is not None, "source": source}
            )
        shown = {"characters": people}
        if save_as.strip():
            try:
                shown["saved"] = save_cast(cast, folder(), save_as.strip(), keep_recordings).name
            except (CastError, WriteError) as error:
                raise CastError(f"NavaCast, save_as: {error}.") from None
            logging.info("NavaCast: saved as %s", shown["saved"])
        return io.NodeOutput(cast, ui={"nava_cast": [shown]})
