"""Write the example workflows as editor files, from a short description of each.

python tools/make_workflows.py HOST      (in the pack's virtual environment; starts a server to ask for its nodes)
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import environment
from comfy_server import Server
from workflow import default, widgets

WORKFLOWS = environment.ROOT / "workflows"
HUB = "https://huggingface.co/"
MODELS = {
    "NAVA.safetensors": ("diffusion_models", HUB + "baidu/NAVA/resolve/main/NAVA.safetensors"),
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": (
        "text_encoders",
        HUB + "Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    ),
    "wan2.2_vae.safetensors": (
        "vae",
        HUB + "Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/vae/wan2.2_vae.safetensors",
    ),
    "ltx-2.3-22b-dev_audio_vae.safetensors": (
        "checkpoints",
        HUB + "baidu/NAVA/resolve/main/params/LTX2/ltx-2.3-22b-dev_audio_vae.safetensors",
    ),
}  # fmt: skip
VOICE_ENCODER = "M-vb2+vox2+cnc-ft_mix.pt"

# Constant quality: the automatic choice is one megabit a second, whatever the size, and differs from run to run.
CODEC = {"codec": "h264", "codec.encoding": "re-encode", "codec.encoding.crf": 18.0}

NEGATIVE_AUDIO = "机械的声音，沉闷的声音，回声，失真，爆音，削波，杂音，多人同时说话"

FILES_NOTE = """## Files
| file | folder |
|---|---|
| NAVA.safetensors (or NAVA_fp8.safetensors) | models/diffusion_models |
| umt5_xxl_fp8_e4m3fn_scaled.safetensors | models/text_encoders |
| wan2.2_vae.safetensors | models/vae |
| ltx-2.3-22b-dev_audio_vae.safetensors | models/checkpoints |
"""
VOICE_NOTE = f"| {VOICE_ENCODER} (from the ReDimNet releases) | models/audio_encoders |\n"


@dataclass
class Graph:
    """An editor workflow in the making. Links are (node id, output index)."""

    info: dict
    nodes: list = field(default_factory=list)
    links: list = field(default_factory=list)

    def add(self, kind: str, position: tuple, box: tuple = (320, 130), title: str | None = None, **inputs) -> int:
        """Add a node; inputs are links (tuples) or widget values. Returns its id."""
        info, node_id = self.info[kind], len(self.nodes) + 1
        specs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        order = [n for group in ("required", "optional") for n in info["input_order"].get(group, [])]
        links = {k: v for k, v in inputs.items() if isinstance(v, tuple)}
        stored = widgets(info, inputs)
        sockets = []
        for name in order:
            kind_of = specs[name][0]
            if kind_of == "COMFY_AUTOGROW_V3":
                template = specs[name][1]["template"]
                item = next(iter(next(d for d in template["input"].values() if d).values()))
                grown = sorted(k for k in links if k.startswith(name + "."))
                for socket in [*grown, f"{name}.{template['prefix']}{len(grown)}"]:
                    sockets.append({"name": socket, "type": item[0], "shape": 7, "link": None})
                continue
            socket = {"name": name, "type": "COMBO" if isinstance(kind_of, list) else kind_of, "link": None}
            if any(name == widget for widget, _ in stored):
                socket["widget"] = {"name": name}
            if name in info["input"].get("optional", {}):
                socket["shape"] = 7
            sockets.append(socket)
        for slot, socket in enumerate(sockets):
            if socket["name"] in links:
                source, output = links[socket["name"]]
                link_id = len(self.links) + 1
                socket["link"] = link_id
                origin = self.nodes[source - 1]["outputs"][output]
                origin["links"].append(link_id)
                self.links.append([link_id, source, output, node_id, slot, origin["type"]])
        values = []
        for name, spec in stored:
            if name is None:
                values.append("fixed")
            else:
                values.append(inputs[name] if name in inputs and name not in links else default(spec))
        names = info["output_name"]
        properties = {"Node name for S&R": kind}
        models = [
            {"name": v, "url": MODELS[v][1], "directory": MODELS[v][0]}
            for v in values
            if isinstance(v, str) and v in MODELS
        ]
        if models:
            properties["models"] = models
        node = {
            "id": node_id, "type": kind, "pos": list(position), "size": list(box), "flags": {}, "order": node_id - 1,
            "mode": 0, "inputs": sockets,
            "outputs": [{"name": n, "type": t, "links": []} for n, t in zip(names, info["output"], strict=True)],
            "properties": properties, "widgets_values": values,
        }  # fmt: skip
        if title:
            node["title"] = title
        self.nodes.append(node)
        return node_id

    def note(self, position: tuple, size: tuple, text: str) -> None:
        self.nodes.append(
            {
                "id": len(self.nodes) + 1, "type": "MarkdownNote", "pos": list(position), "size": list(size),
                "flags": {}, "order": len(self.nodes), "mode": 0, "inputs": [], "outputs": [],
                "title": "Read me", "properties": {}, "widgets_values": [text], "color": "#432", "bgcolor": "#653",
            }
        )  # fmt: skip

    def write(self, name: str) -> None:
        document = {
            "id": f"nava-{name}", "revision": 0, "last_node_id": len(self.nodes), "last_link_id": len(self.links),
            "nodes": self.nodes, "links": self.links, "groups": [], "config": {},
            "extra": {"ds": {"scale": 0.7, "offset": [40, 60]}}, "version": 0.4,
        }  # fmt: skip
        path = WORKFLOWS / f"{name}.json"
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print("wrote", path.relative_to(environment.ROOT))


def loaders(g: Graph, video: bool = True, audio: bool = True) -> dict[str, tuple]:
    """The loader column; links to what it gives."""
    found = {
        "model": (g.add("NavaModelLoader", (0, 0), model_name="NAVA.safetensors", weight_dtype="default"), 0),
        "clip": (
            g.add(
                "NavaTextEncoderLoader", (0, 200), clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", device="default"
            ),
            0,
        ),
    }
    if video:
        found["video_vae"] = (g.add("NavaVideoVAELoader", (0, 400), (320, 90), vae_name="wan2.2_vae.safetensors"), 0)
    if audio:
        found["audio_vae"] = (
            g.add("LTXVAudioVAELoader", (0, 560), (320, 90), ckpt_name="ltx-2.3-22b-dev_audio_vae.safetensors"),
            0,
        )
    return found


def sampling(g: Graph, model: tuple, text: int, latent: tuple, x: int, y: int = 0, seed: int = 1, **scales) -> int:
    """Guider, schedule, solver, noise and sampler from column x; returns the sampler's id."""
    guider = g.add("NavaGuider", (x, y), (300, 290), model=model, positive=(text, 0), negative=(text, 1), **scales)
    sigmas = g.add("NavaScheduler", (x, y + 350), (300, 140), model=model)
    solver = g.add("NavaSamplerSelect", (x, y + 550), (300, 80))
    noise = g.add("RandomNoise", (x, y + 690), (300, 110), noise_seed=seed)
    return g.add(
        "SamplerCustomAdvanced", (x + 350, y), (300, 520), noise=(noise, 0), guider=(guider, 0), sampler=(solver, 0),
        sigmas=(sigmas, 0), latent_image=latent,
    )  # fmt: skip


def save_video(g: Graph, decode: int, x: int, y: int, prefix: str, audio: bool = True) -> None:
    sound = {"audio": (decode, 1)} if audio else {}
    video = g.add("CreateVideo", (x, y), (260, 110), images=(decode, 0), fps=(decode, 2), **sound)
    g.add("SaveVideo", (x, y + 180), (400, 640), video=(video, 0), filename_prefix=prefix, **CODEC)


def text_to_av(info: dict) -> None:
    g = Graph(info)
    files = loaders(g)
    text = g.add(
        "NavaTextEncode", (370, 0), (480, 560), clip=files["clip"],
        prompt="清晨，一位三十多岁的女人站在海边的木栈道上，风吹起她的头发和浅蓝色围巾。镜头从远处缓缓推近到她的半身。"
        "她转过头来，微笑着轻声说：<S>今天的海，和那年一模一样。<E>说完她望向海面。"
        "声音：海浪有节奏地拍打沙滩，远处有海鸥的叫声，风声轻微，没有音乐。",
    )  # fmt: skip
    latent = g.add("NavaEmptyLatent", (370, 640), (340, 370), title="Size and length")
    sampler = sampling(g, files["model"], text, (latent, 0), 900)
    decode = g.add(
        "NavaDecode",
        (1610, 0),
        (260, 120),
        latent=(sampler, 0),
        video_vae=files["video_vae"],
        audio_vae=files["audio_vae"],
    )
    save_video(g, decode, 1930, 0, "video/NAVA")
    g.note(
        (0, 720), (340, 330),
        "# Text → picture and sound\nWrite what is seen, what is said and what is heard in one paragraph. Wrap spoken "
        "words in `<S>`…`<E>`. Long Chinese captions work best.\n\n" + FILES_NOTE,
    )  # fmt: skip
    g.write("nava_text_to_av")


def image_to_av(info: dict) -> None:
    g = Graph(info)
    files = loaders(g)
    text = g.add(
        "NavaTextEncode", (370, 0), (480, 560), clip=files["clip"],
        prompt="画面中的人物看着镜头，慢慢露出笑容，举起右手打招呼，说：<S>好久不见，你还好吗？<E>镜头固定。"
        "声音：安静的室内，衣服轻微的摩擦声，没有音乐。",
    )  # fmt: skip
    picture = g.add("LoadImage", (400, 720), (300, 340), image="example.png")
    empty = g.add("NavaEmptyLatent", (0, 720), (340, 370))
    latent = g.add(
        "NavaFirstFrame", (730, 720), (300, 150), image=(picture, 0), video_vae=files["video_vae"], latent=(empty, 0),
        size="nearest trained shape",
    )  # fmt: skip
    sampler = sampling(g, files["model"], text, (latent, 0), 1050)
    decode = g.add(
        "NavaDecode",
        (1760, 0),
        (260, 120),
        latent=(sampler, 0),
        video_vae=files["video_vae"],
        audio_vae=files["audio_vae"],
    )
    save_video(g, decode, 2080, 0, "video/NAVA_image")
    g.note(
        (0, 1140), (340, 330),
        "# First picture → picture and sound\nThe clip begins with your picture. `size` takes the trained shape nearest "
        "to it; choose `as the latent` to keep width and height from Size and Length.\n\n" + FILES_NOTE,
    )  # fmt: skip
    g.write("nava_image_to_av")


def dialogue(info: dict) -> None:
    g = Graph(info)
    files = loaders(g)
    encoder = g.add("NavaVoiceEncoderLoader", (0, 720), (320, 90), encoder_name=VOICE_ENCODER)
    voices = []
    for row, name in enumerate(("Anna", "Ben")):
        audio = g.add("LoadAudio", (0, 860 + 210 * row), (320, 150), audio=f"{name.lower()}.wav")
        voices.append(
            g.add("NavaVoice", (370, 1000 + 190 * row), (290, 140), encoder=(encoder, 0), audio=(audio, 0), name=name)
        )
    script = g.add(
        "NavaDialogue", (370, 0), (480, 560),
        scene="A small kitchen at night, rain on the window. Anna, a woman in a green sweater, sits at the table; Ben, "
        "an older man, stands by the stove. Medium shot, the camera drifts slowly to the left.",
        script="Anna (quietly, without looking up): You could have called.\n"
        "Ben (tired, turning around): I did call. Nobody answered.",
        sounds="Steady rain, a kettle that begins to whistle at the end. No music.",
    )  # fmt: skip
    text = g.add(
        "NavaTextEncode", (370, 600), (480, 360), clip=files["clip"], prompt=(script, 0),
        **{f"voices.voice_{i}": (v, 0) for i, v in enumerate(voices)},
    )  # fmt: skip
    latent = g.add("NavaEmptyLatent", (880, 860), (340, 370), seconds=8.0)
    sampler = sampling(g, files["model"], text, (latent, 0), 1030)
    decode = g.add(
        "NavaDecode",
        (1740, 0),
        (260, 120),
        latent=(sampler, 0),
        video_vae=files["video_vae"],
        audio_vae=files["audio_vae"],
    )
    save_video(g, decode, 2060, 0, "video/NAVA_dialogue")
    g.note(
        (1240, 860), (400, 360),
        "# Two speakers with voices of their own\nLoad a recording of 5 to 15 s for each speaker and give it the name "
        "that the script uses. Any number of speakers; a line without a name takes the next free voice.\n\n"
        + FILES_NOTE + VOICE_NOTE,
    )  # fmt: skip
    g.write("nava_dialogue_two_voices")


def text_to_speech(info: dict) -> None:
    g = Graph(info)
    files = loaders(g, video=False)
    encoder = g.add("NavaVoiceEncoderLoader", (0, 720), (320, 90), encoder_name=VOICE_ENCODER)
    audio = g.add("LoadAudio", (0, 860), (320, 150), audio="anna.wav")
    voice = g.add("NavaVoice", (370, 1060), (290, 140), encoder=(encoder, 0), audio=(audio, 0), name="Anna")
    text = g.add(
        "NavaTextEncode", (370, 0), (480, 560), clip=files["clip"], negative=NEGATIVE_AUDIO,
        prompt="A woman speaks calmly and clearly, close to the microphone, in a quiet room: "
        "<S:Anna>The last train leaves at ten past eleven. Please be on time.<E> No music, no background noise.",
        **{"voices.voice_0": (voice, 0)},
    )  # fmt: skip
    latent = g.add("NavaEmptyLatent", (370, 640), (340, 370), mode="audio", seconds=5.0)
    sampler = sampling(g, files["model"], text, (latent, 0), 900)
    decode = g.add("NavaDecode", (1610, 0), (260, 120), latent=(sampler, 0), audio_vae=files["audio_vae"])
    g.add("SaveAudio", (1930, 0), (320, 140), audio=(decode, 1), filename_prefix="audio/NAVA_speech")
    g.note(
        (740, 900), (340, 320),
        "# Text → speech\nOnly sound is made, by the model that is already in memory. The voice is optional: without "
        "it the words around `<S>`…`<E>` decide who speaks.\n\n" + FILES_NOTE + VOICE_NOTE,
    )  # fmt: skip
    g.write("nava_text_to_speech")


def sound_effects(info: dict) -> None:
    g = Graph(info)
    files = loaders(g, video=False)
    text = g.add(
        "NavaTextEncode", (370, 0), (480, 560), clip=files["clip"], negative=NEGATIVE_AUDIO,
        prompt="A heavy wooden door creaks open, two slow steps on stone, then a glass falls and shatters; the sound "
        "echoes briefly in a large empty hall. Nobody speaks. No music.",
    )  # fmt: skip
    latent = g.add("NavaEmptyLatent", (370, 640), (340, 370), mode="audio", seconds=4.0)
    sampler = sampling(g, files["model"], text, (latent, 0), 900)
    decode = g.add("NavaDecode", (1610, 0), (260, 120), latent=(sampler, 0), audio_vae=files["audio_vae"])
    g.add("SaveAudio", (1930, 0), (320, 140), audio=(decode, 1), filename_prefix="audio/NAVA_effect")
    g.note(
        (0, 720),
        (340, 300),
        "# Text → sound effects\nDescribe what is heard, in order; say that nobody speaks.\n\n" + FILES_NOTE,
    )
    g.write("nava_sound_effects")


def silent_video(info: dict) -> None:
    g = Graph(info)
    files = loaders(g, audio=False)
    text = g.add(
        "NavaTextEncode", (370, 0), (480, 560), clip=files["clip"],
        prompt="A paper boat drifts down a narrow brook between ferns, sunlight flickers on the water, the camera "
        "follows it low above the surface.",
    )  # fmt: skip
    latent = g.add("NavaEmptyLatent", (370, 640), (340, 370), mode="video", seconds=5.0)
    sampler = sampling(g, files["model"], text, (latent, 0), 900)
    decode = g.add("NavaDecode", (1610, 0), (260, 120), latent=(sampler, 0), video_vae=files["video_vae"])
    save_video(g, decode, 1930, 0, "video/NAVA_silent", audio=False)
    g.note(
        (0, 720),
        (340, 300),
        "# Text → silent video\nPicture only: one guidance pass less, no audio VAE.\n\n" + FILES_NOTE,
    )
    g.write("nava_silent_video")


def two_shots(info: dict) -> None:
    g = Graph(info)
    files = loaders(g)
    empty = g.add("NavaEmptyLatent", (0, 720), (340, 370), seconds=5.0)
    clip, vaes = files["clip"], {k: files[k] for k in ("video_vae", "audio_vae")}
    first_text = g.add(
        "NavaTextEncode", (370, 0), (480, 560), clip=clip, title="First shot",
        prompt="A young man walks along an empty night street towards the camera, wet asphalt, neon signs. He stops "
        "and looks up. Sounds: his steps, distant traffic, a light rain. Nobody speaks. No music.",
    )  # fmt: skip
    first = sampling(g, files["model"], first_text, (empty, 0), 900, seed=1)
    decode_1 = g.add("NavaDecode", (1610, 0), (260, 120), latent=(first, 0), **vaes)
    last = g.add(
        "ImageFromBatch", (1930, 0), (280, 120), image=(decode_1, 0), batch_index=4095, length=1, title="Last frame"
    )
    second_text = g.add(
        "NavaTextEncode", (370, 1000), (480, 560), clip=clip, title="Second shot",
        prompt="The young man looks up at the sky and says with a smile: <S>Finally.<E> Thunder rolls, the rain grows "
        "heavy, he spreads his arms and laughs. No music.",
    )  # fmt: skip
    start = g.add(
        "NavaFirstFrame", (1930, 180), (300, 150), image=(last, 0), video_vae=files["video_vae"], latent=(empty, 0)
    )
    second = sampling(g, files["model"], second_text, (start, 0), 900, 1000, seed=2)
    decode_2 = g.add("NavaDecode", (1610, 1000), (260, 120), latent=(second, 0), **vaes)
    joined = g.add(
        "NavaJoin", (1930, 1000), (300, 200), images_1=(decode_1, 0), audio_1=(decode_1, 1), images_2=(decode_2, 0),
        audio_2=(decode_2, 1), fps=(decode_1, 2),
    )  # fmt: skip
    video = g.add("CreateVideo", (2280, 1000), (260, 110), images=(joined, 0), audio=(joined, 1), fps=(decode_1, 2))
    g.add("SaveVideo", (2280, 1180), (400, 640), video=(video, 0), filename_prefix="video/NAVA_two_shots", **CODEC)
    g.note(
        (0, 1140), (340, 330),
        "# Two shots, one scene\nThe last frame of the first shot is the first frame of the second. NAVA Join Clips "
        "drops the repeated frame and crossfades the sound. Add more shots in the same way.\n\n" + FILES_NOTE,
    )  # fmt: skip
    g.write("nava_two_shots")


def main(host: Path) -> None:
    base = environment.base_folder(environment.Environment(Path(sys.executable), host, False))
    with Server(host, base) as server:
        info = server.get("/object_info")
    for make in (text_to_av, image_to_av, dialogue, text_to_speech, sound_effects, silent_video, two_shots):
        make(info)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
