"""The workflows that the pack ships, and the blueprints made of them: short names, and file names. Standard library only.

The template browser shows and searches nothing but file names, so they say in words what a workflow makes.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / "workflows"


@dataclass(frozen=True)
class Shipped:
    key: str
    file: str

    @property
    def path(self) -> Path:
        """Everything within one subgraph."""
        return WORKFLOWS / f"{self.file}.json"

    @property
    def open_path(self) -> Path:
        """Every node loose."""
        return WORKFLOWS / "open" / f"{self.key}.json"


ALL = (
    Shipped("nava_text_to_av", "NAVA Text to picture and sound (speech, lip sync)"),
    Shipped("nava_image_to_av", "NAVA First picture to picture and sound (speech, lip sync)"),
    Shipped("nava_dialogue_two_voices", "NAVA Dialogue in two recorded voices (speech, lip sync)"),
    Shipped("nava_text_to_speech", "NAVA Text to speech in a recorded voice"),
    Shipped("nava_sound_effects", "NAVA Text to sound effects"),
    Shipped("nava_silent_video", "NAVA Text to silent video"),
    Shipped("nava_idea_to_clip", "NAVA Idea to picture and sound (with or without a language model)"),
    Shipped("nava_cast_scene", "NAVA Scene with a cast that keeps its voices (speech, lip sync)"),
    Shipped("nava_two_shots", "NAVA Two shots joined to one scene (speech, lip sync)"),
    Shipped("nava_sound_to_picture", "NAVA Recording to picture (speech, lip sync, audio driven)"),
    Shipped("nava_foley", "NAVA Silent video to sound (foley, video to audio)"),
    Shipped("nava_first_last_frame", "NAVA First and last picture to picture and sound (keyframes, loop)"),
    Shipped("nava_extend", "NAVA Extend a clip with its sound (longer, continue)"),
    Shipped("nava_storyboard", "NAVA Storyboard of many shots (long video, voices)"),
    Shipped("nava_upscale", "NAVA Twice the size with the sound held (upscale)"),
    Shipped("nava_best_of", "NAVA Best of many seeds (picture and sound that agree)"),
)
BY_KEY = {s.key: s for s in ALL}


@dataclass(frozen=True)
class Blueprint:
    """A workflow's subgraph alone, which the editor's node search offers under its file's name."""

    file: str
    description: str
    aliases: tuple[str, ...]

    @property
    def path(self) -> Path:
        return ROOT / "subgraphs" / f"{self.file}.json"


BLUEPRINTS = {
    "nava_text_to_av": Blueprint(
        "NAVA prompt to clip",
        "A text becomes a clip: picture and stereo sound made together, with speech that fits the lips. Connect Save Video.",
        ("text to video", "video with sound", "speech", "lip sync", "文字生成音画"),
    ),
    "nava_text_to_speech": Blueprint(
        "NAVA speech",
        "A line is spoken in the voice of a recording of 5 to 15 s; sound only. Connect Load Audio and Save Audio.",
        ("text to speech", "TTS", "voice cloning", "文字生成语音"),
    ),
}
