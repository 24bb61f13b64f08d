"""The small model set that demo, serve and tests use: its files, its sizes, and what each workflow makes with it.

NAVA-mini, trained on a small world of bouncing shapes, clocks, weather and talking faces, where its files lie in
assets/mini; else the random set of tiny.py, which makes coloured noise. Tests of exactness and formats always take the
random one.
"""

import filecmp
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import tiny
from environment import ROOT
from shipped import ALL
from workflow import load, set_widgets

LOADERS = {  # node -> (input, models folder)
    "NavaModelLoader": ("model_name", "diffusion_models"),
    "NavaTextEncoderLoader": ("clip_name", "text_encoders"),
    "NavaVideoVAELoader": ("vae_name", "vae"),
    "LTXVAudioVAELoader": ("ckpt_name", "checkpoints"),
    "NavaVoiceEncoderLoader": ("encoder_name", "audio_encoders"),
}


@dataclass(frozen=True)
class Scene:
    """What a workflow makes with a set. inputs: by node kind, values for each node of that kind in turn."""

    expect: str
    inputs: dict[str, list[dict]] = field(default_factory=dict)


@dataclass(frozen=True)
class SmallSet:
    name: str
    files: dict[str, str]  # models folder -> file name
    width: int
    height: int
    seconds: float
    steps: int
    scenes: dict[str, Scene]  # by workflow
    expect: str  # where no scene says more
    inputs: dict[str, dict] = field(default_factory=dict)  # by node kind, values in every workflow
    caveat: str = ""  # what it does not reach

    def words(self, document: dict) -> str:
        """What to look and listen for in a clip that it made."""
        lead = "It was asked for" if self.caveat else "You should see and hear"
        return f"Made with {self.name}. {lead}: {self.scene(document).expect}.{self.caveat}"

    def make(self, host: Path, models: Path) -> None:
        """Put the files into a models folder, where these very ones are not there yet."""
        if self is RANDOM:
            return tiny.make(host, models)
        for folder, name in self.files.items():
            source, target = MINI_FOLDER / name, models / folder / name
            # a set trained further has files of the same sizes
            if not target.exists() or not filecmp.cmp(target, source, shallow=False):
                tiny.put(target, partial(shutil.copyfile, source))

    def apply(self, document: dict, object_info: dict) -> None:
        """Let an editor workflow run on this set: its files, size, length, steps, and the texts it knows."""
        for kind, (name, folder) in LOADERS.items():
            set_widgets(document, object_info, kind, [{name: self.files[folder]}])
        size = {"width": self.width, "height": self.height, "seconds": self.seconds}
        set_widgets(document, object_info, "NavaEmptyLatent", [size])
        set_widgets(document, object_info, "NavaFirstFrame", [{"size": "as the latent"}])
        set_widgets(document, object_info, "NavaScheduler", [{"steps": self.steps}])
        for kind, values in self.inputs.items():
            set_widgets(document, object_info, kind, [values])
        for kind, turns in self.scene(document).inputs.items():
            set_widgets(document, object_info, kind, turns)

    def scene(self, document: dict) -> Scene:
        """What one of the shipped workflows makes; the general words for any other."""
        key = document.get("extra", {}).get("nava", {}).get("workflow")
        return self.scenes.get(key, Scene(self.expect))


# Clips stay short, and videos keep their own, small size.
SHORT = {
    "NavaSoundToLatent": {"length": "as the latent"},
    "NavaPictureToLatent": {"size": "as the picture"},
    "NavaExtend": {"seconds": 1.0, "overlap": 0.3},
}

RANDOM = SmallSet(
    "the random tiny set", tiny.FILES, 320, 192, 1.0, 4, {},
    "coloured noise, and noise to hear: these weights are random. What it shows is that every part runs",
    {**SHORT, "NavaBestOf": {"candidates": 2}},
)  # fmt: skip

HELLO = "A red face under a blue sky says: <S>hello<E> The voice is clear and near."
YES = "A red face under a blue sky says: <S>yes<E> The voice is clear and near."
YELLOW_BALL = "A yellow ball falls onto a wooden floor under a blue sky and bounces. Each contact makes a dry wooden knock. Nobody speaks."
MINI_FOLDER = ROOT / "assets" / "mini"
MINI = SmallSet(
    "NAVA-mini",
    {
        "diffusion_models": "nava_mini.safetensors",
        "text_encoders": "nava_mini_umt5.safetensors",
        "vae": "nava_mini_wan2.2_vae.safetensors",
        "checkpoints": "nava_mini_ltx_audio_vae.safetensors",
        "audio_encoders": "nava_mini_redimnet.pt",
    },
    256, 160, 1.375, 20,
    {
        "nava_text_to_av": Scene(
            "a red face under a blue sky that opens its mouth and says hello",
            {
                "NavaTextEncode": [{"prompt": HELLO}],
                "RandomNoise": [{"noise_seed": 7}],
            },
        ),
        "nava_image_to_av": Scene(
            "the given picture coming alive: its yellow ball bounces, with a bright chime at each contact",
            {"NavaTextEncode": [{"prompt": "A yellow ball falls onto a glass floor under a blue sky and bounces. Each contact makes a bright glass chime. Nobody speaks."}]},
        ),
        "nava_dialogue_two_voices": Scene(
            "two faces, red on the left and blue on the right; one says hello, then the other says yes",
            {
                # the captions of that world call speakers by what is seen of them
                "NavaVoice": [{"name": "The red face on the left"}, {"name": "The blue face on the right"}],
                "NavaDialogue": [{
                    "scene": "Two faces under a blue sky.", "sounds": "",
                    "script": "The red face on the left: hello\nThe blue face on the right: yes",
                }],
            },
        ),
        "nava_idea_to_clip": Scene(
            "a red ball that falls onto a wooden floor under a blue sky and bounces, with a dry knock at each contact",
            {"NavaCompose": [{
                "style": "", "scene": "", "action": "A red ball falls onto a wooden floor under a blue sky and bounces.",
                "camera": "", "dialogue": "", "sound": "Each contact makes a dry wooden knock.",
            }]},
        ),
        "nava_cast_scene": Scene(
            "two faces, red on the left and blue on the right; one says hello, then the other says yes",
            {
                "NavaCast": [{"characters": "The red face on the left\nThe blue face on the right"}],
                "NavaDialogue": [{
                    "scene": "Two faces under a blue sky.", "sounds": "",
                    "script": "The red face on the left: hello\nThe blue face on the right: yes",
                }],
            },
        ),
        "nava_text_to_speech": Scene(
            "a near, clear voice that says hello",
            {"NavaTextEncode": [{"prompt": "A red face under a blue sky says: <S:Anna>hello<E> The voice is clear and near."}]},
        ),
        "nava_sound_effects": Scene(
            "a deep drum beat at each contact of a ball that is not seen",
            {"NavaTextEncode": [{"prompt": "A red ball bounces on a drum skin. The background is a blue sky. Sound: a deep drum beat. Nobody speaks."}]},
        ),
        "nava_silent_video": Scene(
            "a red face under a blue sky that opens its mouth",
            {"NavaTextEncode": [{"prompt": HELLO}]},
        ),
        "nava_two_shots": Scene(
            "a red face that says hello, and in a second shot, which begins where the first one ends, yes",
            {"NavaTextEncode": [
                {"prompt": HELLO},
                {"prompt": YES},
            ]},
        ),
        "nava_sound_to_picture": Scene(
            "a face that opens its mouth as the recording's syllables come",
            {"NavaTextEncode": [{"prompt": HELLO}]},
        ),
        "nava_foley": Scene(
            "the given picture of a bouncing yellow ball, with a dry knock at each contact",
            {"NavaTextEncode": [{"prompt": YELLOW_BALL}]},
        ),
        "nava_first_last_frame": Scene(
            "a clip between the two given pictures",
            {"NavaTextEncode": [{"prompt": YELLOW_BALL}]},
        ),
        "nava_extend": Scene(
            "a red face that says hello, and yes across the seam",
            {"NavaTextEncode": [
                {"prompt": HELLO},
                {"prompt": YES},
            ]},
        ),
        "nava_storyboard": Scene(
            "a red face that says hello, goes on and says yes, then a cut to the sea",
            {"NavaStoryboard": [{"shots": f"--- 1.375 s\n{HELLO}\n--- 1 s, continue\n{YES}\n--- 1.375 s\nUnder a blue sky: heavy waves. Sound: rushing waves. Nobody speaks.", "overlap": 0.3}]},
        ),
        "nava_upscale": Scene(
            "a red face that says hello, at twice the size",
            {"NavaTextEncode": [{"prompt": HELLO}]},
        ),
        "nava_best_of": Scene(
            "a yellow ball that bounces on a wooden floor, its knocks as near to its contacts as in any of eight seeds",
            {"NavaTextEncode": [{"prompt": YELLOW_BALL}]},
        ),
    },
    "what the prompt says, as far as NAVA-mini's small world reaches",
    # Faults in the words of its world (it reads 96 tokens), and gentler contrasts: the released ones burn its colours out.
    {
        "NavaTextEncode": {"negative": "blurry picture, frozen picture, noise, silence, several people talking at once, muffled sound, distortion"},
        "NavaGuider": {"video_text": 1.5, "video_align": 1.0, "audio_text": 1.0, "audio_align": 1.0, "audio_timbre": 1.5},
        **SHORT,
    },
    " Its training is half way: faces that speak, skies and the kind of sound come out, colours often; what bounces is a blob (docs/mini.md).",
)  # fmt: skip


def chosen() -> SmallSet:
    """NAVA-mini where all its files are there, else the random set."""
    return MINI if all((MINI_FOLDER / name).is_file() for name in MINI.files.values()) else RANDOM


def for_editor() -> dict:
    """Both sets, for the editor, which chooses among the files that it finds; and the texts that they may stand in for."""
    sets = [
        {
            "name": s.name, "files": s.files, "steps": s.steps,
            "size": {"width": s.width, "height": s.height, "seconds": s.seconds}, "inputs": s.inputs,
            "scenes": {key: {"inputs": scene.inputs} for key, scene in s.scenes.items()},
        }
        for s in (MINI, RANDOM)
    ]  # fmt: skip
    return {"sets": sets, "shipped": {flow.key: texts_of(load(flow.path)) for flow in ALL}}


def texts_of(part) -> list[str]:
    """Every text that the widgets of a workflow store, in both languages, once."""
    found = []
    if isinstance(part, list):
        found = [text for entry in part for text in texts_of(entry)]
    elif isinstance(part, dict):
        zh = part.get("nava_zh", {}).get("values", {})
        own = [*(part.get("widgets_values") or []), *zh.values()]
        found = [text for text in own if isinstance(text, str)]
        found += [text for entry in part.values() for text in texts_of(entry)]
    return list(dict.fromkeys(found))
