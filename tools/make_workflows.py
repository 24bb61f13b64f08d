"""Write the example workflows as editor files, from a short description of each.

python tools/make_workflows.py HOST      (in the pack's virtual environment; starts a server to ask for its nodes)

Each is written twice: workflows/TITLE.json as the host's own templates are, everything within one subgraph whose
widgets are the few that matter, and workflows/open/NAME.json with every node loose. What the Chinese editor shows
instead lies in the nodes' property nava_zh, which js/nava_workflows.js puts in.

Some are written a third time, as subgraphs/TITLE.json: the subgraph alone, without what is around it. ComfyUI serves these as blueprints,
and its node search offers them as if they were nodes.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import environment
import small_set
from comfy_server import Server
from editor_graph import GAP, Graph, document, note
from shipped import BLUEPRINTS, BY_KEY
from workflow import widgets
from wrap import wrap

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
LANGUAGE_MODEL = "qwen_3_4b.safetensors"  # the file that Z-Image and Klein users have
VOICE_ENCODER = "M-vb2+vox2+cnc-ft_mix.pt"
SIZES = {
    "NAVA.safetensors": "25.2 GB", "umt5_xxl_fp8_e4m3fn_scaled.safetensors": "6.7 GB", "wan2.2_vae.safetensors": "1.4 GB",
    "ltx-2.3-22b-dev_audio_vae.safetensors": "348 MB", VOICE_ENCODER: "17 MB",
}  # fmt: skip

FILES = {"model_name", "clip_name", "vae_name", "ckpt_name", "encoder_name"}  # widgets that choose one

# Constant quality: the automatic choice is one megabit a second, whatever the size, and differs from run to run.
CODEC = {"codec": "h264", "codec.encoding": "re-encode", "codec.encoding.crf": 18.0}

NEGATIVE_AUDIO = "机械的声音，沉闷的声音，回声，失真，爆音，削波，杂音，多人同时说话"


@dataclass(frozen=True)
class Words:
    """What a workflow says of itself, in one language."""

    title: str
    tip: str


@dataclass(frozen=True)
class Workflow:
    key: str
    en: Words
    zh: Words
    build: object  # Graph -> None


def link(file: str) -> str:
    url = MODELS[file][1] if file in MODELS else "https://github.com/IDRnD/ReDimNet/releases"
    return f"[{file}]({url}) {SIZES[file]}"


def emphasized(text: str) -> str:
    """Code as bold: Vue nodes draw code in a colour that cannot be read on a note. What looks like HTML stays text."""
    return re.sub("`([^`]*)`", lambda code: f"**{code[1].replace('<', chr(92) + '<')}**", text)


def notes(g: Graph, words: Words, chinese: bool) -> str:
    """The note: what to write, the files that this graph loads and where they go, memory."""
    used = [v for n in g.nodes for v in n["widgets_values"] if isinstance(v, str) and v in SIZES]
    lines = [
        emphasized(words.tip),
        "",
        "**模型文件**，放在 📂 ComfyUI/models" if chinese else "**Model files**, in 📂 ComfyUI/models",
        "",
    ]
    for file in dict.fromkeys(used):
        folder = MODELS[file][0] if file in MODELS else "audio_encoders"
        lines.append(f"- 📂 {folder}: {link(file)}")
        if file == "NAVA.safetensors":
            other = "[NAVA_fp8.safetensors](https://huggingface.co/baidu/NAVA) 6.9 GB"
            lines[-1] += f"{'，或' if chinese else ' or'} {other}"
    if any(n["type"] == "NavaVideoVAELoader" for n in g.nodes):
        lines += [
            "",
            "**显存**（计算值，1280×704，6 秒）：24 GB 可用 bf16，12 GB 可用 fp8 文件，8 GB 时部分权重逐步载入。"
            if chinese
            else "**Memory** (computed, 1280×704, 6 s): 24 GB holds bf16, 12 GB the fp8 file; with 8 GB a part is streamed.",
        ]
    return "\n".join(lines)


def loaders(g: Graph, video: bool = True, audio: bool = True, voice: bool = False) -> dict[str, tuple]:
    """The column of model files; links to what they give."""
    g.column("Model files")
    found = {
        "model": (g.add("NavaModelLoader", model_name="NAVA.safetensors", weight_dtype="default"), 0),
        "clip": (
            g.add("NavaTextEncoderLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", device="default"),
            0,
        ),
    }
    if video:
        found["video_vae"] = (g.add("NavaVideoVAELoader", vae_name="wan2.2_vae.safetensors"), 0)
    if audio:
        found["audio_vae"] = (g.add("LTXVAudioVAELoader", ckpt_name="ltx-2.3-22b-dev_audio_vae.safetensors"), 0)
    if voice:
        found["voice_encoder"] = (g.add("NavaVoiceEncoderLoader", encoder_name=VOICE_ENCODER), 0)
    return found


def promote_files(g: Graph, files: dict[str, tuple]) -> None:
    labels = {
        "model": ("model_name", "model", "模型"), "clip": ("clip_name", "text encoder", "文本编码器"),
        "video_vae": ("vae_name", "video VAE", "视频 VAE"), "audio_vae": ("ckpt_name", "audio VAE", "音频 VAE"),
        "voice_encoder": ("encoder_name", "voice encoder", "音色编码器"),
    }  # fmt: skip
    for name, (node, _) in files.items():
        g.promote(node, *labels[name])


def promote_size(g: Graph, latent: int, picture: bool = True) -> None:
    if picture:
        g.promote(latent, "width", "width", "宽")
        g.promote(latent, "height", "height", "高")
    g.promote(latent, "seconds", "seconds", "秒数")


def text(g: Graph, clip: tuple, english: str, chinese: str, title: str | None = None, **more) -> int:
    node = g.add("NavaTextEncode", title, clip=clip, prompt=english, **more)
    g.translate(node, prompt=chinese)
    return node


def guidance(g: Graph, files: dict[str, tuple], prompt: int, shared: tuple = ()) -> tuple[int, tuple]:
    """Guider, schedule and solver; (guider, (schedule, solver)). shared: those of a shot before."""
    model, heard = files["model"], {k: files[k] for k in ("audio_vae",) if k in files}
    guider = g.add("NavaGuider", model=model, positive=(prompt, 0), negative=(prompt, 1), **heard)
    return guider, shared or (g.add("NavaScheduler", model=model), g.add("NavaSamplerSelect"))


def sampling(
    g: Graph, files: dict[str, tuple], prompt: int, latent: tuple, seed: int = 1, shared: tuple = ()
) -> tuple[int, int, tuple]:
    """As `guidance`, with noise and sampler; (sampler, noise, (schedule, solver))."""
    guider, (sigmas, solver) = guidance(g, files, prompt, shared)
    noise = g.add("RandomNoise", noise_seed=seed)
    sampler = g.add(
        "SamplerCustomAdvanced", noise=(noise, 0), guider=(guider, 0), sampler=(solver, 0), sigmas=(sigmas, 0),
        latent_image=latent,
    )  # fmt: skip
    return sampler, noise, (sigmas, solver)


def promote_sampling(g: Graph, noise: int, steps: int) -> None:
    g.promote(steps, "steps", "steps", "步数")
    g.promote(noise, "noise_seed", "seed", "种子")


def save_video(g: Graph, source: int, fps: tuple, prefix: str, audio: bool = True, first: int = 0) -> None:
    """first: the output of `source` that is the pictures; the next one is the sound."""
    sound = {"audio": (source, first + 1)} if audio else {}
    video = g.add("CreateVideo", images=(source, first), fps=fps, **sound)
    g.column("Save")
    g.add("SaveVideo", outside="result", video=(video, 0), filename_prefix=prefix, **CODEC)


def clip(g: Graph, files: dict[str, tuple], sampler: int, prefix: str) -> None:
    """Decode what a sampler made, picture and sound, and save it."""
    decode = g.add("NavaDecode", latent=(sampler, 0), video_vae=files["video_vae"], audio_vae=files["audio_vae"])
    save_video(g, decode, (decode, 2), prefix)


def save_audio(g: Graph, decode: int, prefix: str) -> None:
    g.column("Save")
    g.add("SaveAudioAdvanced", outside="result", audio=(decode, 1), filename_prefix=prefix, format="flac")


BEACH = (
    "Early morning. A woman in her thirties stands on a wooden walkway by the sea, the wind moves her hair and her light "
    "blue scarf. The camera moves slowly from afar to a medium shot. She turns her head, smiles and says softly: <S>The "
    "sea today is just as it was that year.<E> Then she looks out at the water. Sound: waves break on the beach in a "
    "steady rhythm, gulls cry far away, a light wind. No music.",
    "清晨，一位三十多岁的女人站在海边的木栈道上，风吹起她的头发和浅蓝色围巾。镜头从远处缓缓推近到她的半身。"
    "她转过头来，微笑着轻声说：<S>今天的海，和那年一模一样。<E>说完她望向海面。"
    "声音：海浪有节奏地拍打沙滩，远处有海鸥的叫声，风声轻微，没有音乐。",
)


def text_to_av(g: Graph) -> None:
    files = loaders(g)
    g.column("Prompt")
    prompt = text(g, files["clip"], *BEACH)
    g.column("Size and length")
    latent = g.add("NavaEmptyLatent")
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA")
    g.promote(prompt, "prompt", "prompt", "提示词")
    promote_size(g, latent)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


CARPENTER = (
    "Medium shot, a carpenter in a grey apron stands at a wooden bench in a bright workshop. He drives a nail into a plank "
    "with four slow, separate blows of his hammer, puts the hammer down on the bench, and lets a marble fall onto the plank; "
    "it bounces twice. The camera stands still. Nobody speaks. Sound: each blow is a hard metallic knock just when the hammer meets the "
    "nail, then the dull thud of the hammer, then the light clicks of the marble. No music.",
    "中景，一位穿灰色围裙的木匠站在明亮工作间的木台前。他用锤子缓慢地、一下一下地把钉子敲进木板，共四下，然后把锤子放在台上，"
    "再让一颗玻璃珠落到木板上，弹跳两次。镜头静止，没有人说话。声音：锤子碰到钉子时正好发出坚硬的金属敲击声，"
    "接着是放下锤子的闷响，最后是玻璃珠轻脆的声音，没有音乐。",
)


def best_of(g: Graph) -> None:
    files = loaders(g)
    g.column("Prompt")
    prompt = text(g, files["clip"], *CARPENTER)
    g.column("Size and length")
    latent = g.add("NavaEmptyLatent")
    g.column("Sampling")
    guider, (steps, solver) = guidance(g, files, prompt)
    g.column("Many seeds, the best kept")
    best = g.add(
        "NavaBestOf", guider=(guider, 0), sampler=(solver, 0), sigmas=(steps, 0), latent_image=(latent, 0),
        video_vae=files["video_vae"], audio_vae=files["audio_vae"], noise_seed=1,
    )  # fmt: skip
    save_video(g, best, (best, 3), "video/NAVA_best", first=1)
    g.add("PreviewAny", "All seeds, the best first", "所有种子，最好的在前", outside="table", source=(best, 5))
    g.promote(prompt, "prompt", "prompt", "提示词")
    promote_size(g, latent)
    g.promote(best, "candidates", "how many", "数量")
    g.promote(best, "keep", "keep", "保留")
    g.promote(best, "good_enough", "good enough", "足够好")
    g.promote(steps, "steps", "steps", "步数")
    g.promote(best, "noise_seed", "first seed", "第一个种子")
    promote_files(g, files)


def image_to_av(g: Graph) -> None:
    files = loaders(g)
    g.column("First picture")
    picture = g.add("LoadImage", "first picture", "首帧图片", outside="input", image="example.png")
    g.column("Prompt")
    prompt = text(
        g, files["clip"],
        "The person in the picture looks at the camera, slowly begins to smile, raises the right hand and waves, and says: "
        "<S>It has been a long time. How are you?<E> The camera does not move. Sound: a quiet room, a faint rustle of "
        "clothes. No music.",
        "画面中的人物看着镜头，慢慢露出笑容，举起右手打招呼，说：<S>好久不见，你还好吗？<E>镜头固定。"
        "声音：安静的室内，衣服轻微的摩擦声，没有音乐。",
    )  # fmt: skip
    g.column("Size and length")
    empty = g.add("NavaEmptyLatent")
    latent = g.add(
        "NavaFirstFrame",
        image=(picture, 0),
        video_vae=files["video_vae"],
        latent=(empty, 0),
        size="nearest trained shape",
    )
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA_image")
    g.promote(prompt, "prompt", "prompt", "提示词")
    g.promote(latent, "size", "size", "尺寸")
    promote_size(g, empty)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def dialogue(g: Graph) -> None:
    files = loaders(g, voice=True)
    g.column("Voices")
    voices = []
    for name, zh in (("Anna", "安娜"), ("Ben", "本")):
        audio = g.add("LoadAudio", f"voice of {name}", f"{zh}的声音", outside="input", audio=f"{name.lower()}.wav")
        voices.append(g.add("NavaVoice", encoder=files["voice_encoder"], audio=(audio, 0), name=name))
        g.translate(voices[-1], name=zh)
    g.column("Script")
    script = g.add(
        "NavaDialogue",
        scene="A small kitchen at night, rain on the window. Anna, a woman in a green sweater, sits at the table; Ben, "
        "an older man, stands by the stove. Medium shot, the camera drifts slowly to the left.",
        script="Anna (quietly, without looking up): You could have called.\n"
        "Ben (tired, turning around): I did call. Nobody answered.",
        sounds="Steady rain, a kettle that begins to whistle at the end. No music.",
    )
    g.translate(
        script,
        scene="夜晚的小厨房，雨打在窗上。穿绿色毛衣的女人安娜坐在桌边，年长的男人本站在炉子旁。中景，镜头缓缓向左移动。",
        script="安娜（低声，没有抬头）：你可以打个电话的。\n本（疲惫，转过身来）：我打了。没有人接。",
        sounds="持续的雨声，最后水壶开始鸣响，没有音乐。",
    )
    g.column("Prompt")
    prompt = g.add(
        "NavaTextEncode", clip=files["clip"], prompt=(script, 0),
        **{f"voices.voice_{i}": (v, 0) for i, v in enumerate(voices)},
    )  # fmt: skip
    g.column("Size and length")
    latent = g.add("NavaEmptyLatent", seconds=8.0)
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA_dialogue")
    for widget, label, zh in (("scene", "scene", "场景"), ("script", "script", "台词"), ("sounds", "sounds", "声音")):
        g.promote(script, widget, label, zh)
    for number, voice in enumerate(voices, 1):
        g.promote(voice, "name", f"voice {number}", f"音色 {number}")
    promote_size(g, latent)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def idea_to_clip(g: Graph) -> None:
    files = loaders(g)
    g.column("Language model")
    writer = g.add(
        "CLIPLoader",
        "language model (optional)",
        "语言模型（可选）",
        outside="input",
        clip_name=LANGUAGE_MODEL,
        type="flux2",
    )
    g.mute(writer)
    g.column("Idea")
    idea = g.add(
        "NavaCompose",
        style="Photorealistic film, warm morning light",
        scene="A small workshop full of clocks; an old clockmaker with round glasses sits at his bench by the window.",
        action="At first he bends over a pocket watch. Then he tightens a tiny screw, the wheels begin to turn, and at the end "
        "he leans back and smiles.",
        camera="Medium close-up from the side, a slow push-in",
        dialogue="The clockmaker (softly, to himself): There you are.",
        sound="Dozens of clocks ticking, a fine metallic click, then the steady beat of the watch, near and clear",
        voices_by_name=False,
    )
    g.translate(
        idea,
        style="写实电影风格，温暖的晨光",
        scene="一间摆满钟表的小作坊，戴圆框眼镜的老钟表匠坐在窗边的工作台前。",
        action="开始时他俯身看着一块怀表。接着他拧紧一颗极小的螺丝，齿轮开始转动，最后他向后靠去，露出微笑。",
        camera="侧面中近景，镜头缓缓推近",
        dialogue="老钟表匠（轻声自语）：好了。",
        sound="许多钟的滴答声，一声细小的金属轻响，随后是怀表平稳的走动声，近而清晰",
    )
    g.column("Rewriting", below=True)
    prompt_text = g.add("NavaRewrite", prompt=(idea, 0), clip=(writer, 0), text_encoder=files["clip"])
    g.column("Prompt")
    g.y = g.groups[-1]["bounding"][1] = 0
    prompt = g.add("NavaTextEncode", clip=files["clip"], prompt=(prompt_text, 0))
    g.column("Size and length")
    latent = g.add("NavaEmptyLatent")
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA_idea")
    for widget, zh in (
        ("style", "风格"),
        ("scene", "场景"),
        ("action", "动作"),
        ("camera", "镜头"),
        ("dialogue", "台词"),
        ("sound", "声音"),
    ):
        g.promote(idea, widget, widget, zh)
    g.promote(prompt_text, "length", "length of the prompt", "提示词篇幅")
    g.promote(prompt_text, "language", "language of the prompt", "提示词语言")
    promote_size(g, latent)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def cast_scene(g: Graph) -> None:
    files = loaders(g, voice=True)
    g.column("Voices")
    voices = []
    for name, zh in (("Anna", "安娜"), ("Ben", "本")):
        audio = g.add("LoadAudio", f"voice of {name}", f"{zh}的声音", outside="input", audio=f"{name.lower()}.wav")
        voices.append(g.add("NavaVoice", encoder=files["voice_encoder"], audio=(audio, 0)))
    g.column("Cast")
    cast = g.add(
        "NavaCast",
        characters="Anna: a woman in her thirties in a green sweater\nBen: an older man with a grey beard",
        **{f"voices.voice_{i}": (v, 0) for i, v in enumerate(voices)},
    )
    g.translate(cast, characters="安娜：穿绿色毛衣、三十多岁的女人\n本：留灰白胡子的年长男人")
    g.column("Script", below=True)
    script = g.add(
        "NavaDialogue",
        scene="A railway platform at dusk, a train waits with lit windows. Anna stands at the open door; Ben puts down her "
        "suitcase. Medium shot, fixed, both in the picture.",
        script="Ben (gently): You will write to me?\nAnna (smiling, close to tears): Every week.",
        sounds="Steam, a distant announcement, the doors begin to close. No music.",
        cast=(cast, 0),
    )
    g.translate(
        script,
        scene="黄昏的站台，一列亮着灯的火车停在旁边。安娜站在打开的车门口，本放下她的箱子。中景，镜头固定，两人都在画面里。",
        script="本（温和地）：你会给我写信吗？\n安娜（微笑，快要落泪）：每个星期都写。",
        sounds="蒸汽声，远处的广播声，车门开始关闭，没有音乐。",
    )
    g.column("Prompt")
    g.y = g.groups[-1]["bounding"][1] = 0
    prompt = g.add("NavaTextEncode", clip=files["clip"], prompt=(script, 0), cast=(cast, 0))
    g.column("Size and length")
    latent = g.add("NavaEmptyLatent", seconds=6.0)
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA_cast")
    g.promote(cast, "characters", "characters", "角色")
    for widget, label, zh in (("scene", "scene", "场景"), ("script", "script", "台词"), ("sounds", "sounds", "声音")):
        g.promote(script, widget, label, zh)
    promote_size(g, latent)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def text_to_speech(g: Graph) -> None:
    files = loaders(g, video=False, voice=True)
    g.column("Voice")
    audio = g.add("LoadAudio", "voice", "声音", outside="input", audio="anna.wav")
    voice = g.add("NavaVoice", encoder=files["voice_encoder"], audio=(audio, 0), name="Anna")
    g.column("Prompt")
    prompt = text(
        g, files["clip"],
        "A woman speaks calmly and clearly, close to the microphone, in a quiet room: <S:Anna>The last train leaves at ten "
        "past eleven. Please be on time.<E> No music, no background noise.",
        "安静的房间里，一位女人靠近话筒，平静而清楚地说：<S:Anna>末班车十一点十分开，请准时到。<E>没有音乐，没有背景噪声。",
        negative=NEGATIVE_AUDIO, **{"voices.voice_0": (voice, 0)},
    )  # fmt: skip
    g.column("Length")
    latent = g.add("NavaEmptyLatent", mode="audio", seconds=5.0)
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    decode = g.add("NavaDecode", latent=(sampler, 0), audio_vae=files["audio_vae"])
    save_audio(g, decode, "audio/NAVA_speech")
    g.promote(prompt, "prompt", "prompt", "提示词")
    g.promote(voice, "name", "voice name", "音色名称")
    promote_size(g, latent, picture=False)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def sound_effects(g: Graph) -> None:
    files = loaders(g, video=False)
    g.column("Prompt")
    prompt = text(
        g, files["clip"],
        "A heavy wooden door creaks open, two slow steps on stone, then a glass falls and shatters; the sound echoes "
        "briefly in a large empty hall. Nobody speaks. No music.",
        "一扇沉重的木门吱呀一声打开，石地上传来两声缓慢的脚步，接着一只玻璃杯掉下来摔碎，声音在空旷的大厅里短暂回响。"
        "没有人说话，没有音乐。",
        negative=NEGATIVE_AUDIO,
    )  # fmt: skip
    g.column("Length")
    latent = g.add("NavaEmptyLatent", mode="audio", seconds=4.0)
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    decode = g.add("NavaDecode", latent=(sampler, 0), audio_vae=files["audio_vae"])
    save_audio(g, decode, "audio/NAVA_effect")
    g.promote(prompt, "prompt", "prompt", "提示词")
    promote_size(g, latent, picture=False)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def silent_video(g: Graph) -> None:
    files = loaders(g, audio=False)
    g.column("Prompt")
    prompt = text(
        g, files["clip"],
        "A paper boat drifts down a narrow brook between ferns, sunlight flickers on the water, the camera follows it low "
        "above the surface.",
        "一只纸船沿着蕨类植物间的小溪漂流而下，阳光在水面上闪烁，镜头贴近水面跟随着它。",
    )  # fmt: skip
    g.column("Size and length")
    latent = g.add("NavaEmptyLatent", mode="video", seconds=5.0)
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (latent, 0))
    g.column("Decoding")
    decode = g.add("NavaDecode", latent=(sampler, 0), video_vae=files["video_vae"])
    save_video(g, decode, (decode, 2), "video/NAVA_silent", audio=False)
    g.promote(prompt, "prompt", "prompt", "提示词")
    promote_size(g, latent)
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def two_shots(g: Graph) -> None:
    files = loaders(g)
    vaes = {k: files[k] for k in ("video_vae", "audio_vae")}
    g.column("Size and length", below=True)
    empty = g.add("NavaEmptyLatent", seconds=5.0)
    g.column("First shot")
    g.groups[-1]["bounding"][1] = 0
    first_text = text(
        g, files["clip"],
        "A young man walks along an empty night street towards the camera, wet asphalt, neon signs. He stops and looks up. "
        "Sounds: his steps, distant traffic, a light rain. Nobody speaks. No music.",
        "夜晚空旷的街道上，一个年轻人朝镜头走来，柏油路面潮湿，霓虹灯闪烁。他停下脚步，抬头望向天空。"
        "声音：他的脚步声，远处的车声，细雨声。没有人说话，没有音乐。",
    )  # fmt: skip
    g.column("Second shot", below=True)
    second_text = text(
        g, files["clip"],
        "The young man looks up at the sky and says with a smile: <S>Finally.<E> Thunder rolls, the rain grows heavy, he "
        "spreads his arms and laughs. No music.",
        "年轻人抬头望着天空，微笑着说：<S>终于来了。<E>雷声滚滚，雨越下越大，他张开双臂大笑起来。没有音乐。",
    )  # fmt: skip
    g.column("Sampling the first shot")
    g.y = g.groups[-1]["bounding"][1] = 0
    first, first_noise, shared = sampling(g, files, first_text, (empty, 0), seed=1)
    g.column("Its last frame")
    decode_1 = g.add("NavaDecode", latent=(first, 0), **vaes)
    last = g.add("ImageFromBatch", "Last frame", "最后一帧", image=(decode_1, 0), batch_index=-1, length=1)
    start = g.add("NavaFirstFrame", image=(last, 0), video_vae=files["video_vae"], latent=(empty, 0))
    g.column("Sampling the second shot")
    second, second_noise, _ = sampling(g, files, second_text, (start, 0), seed=2, shared=shared)
    g.column("Joining")
    decode_2 = g.add("NavaDecode", latent=(second, 0), **vaes)
    joined = g.add(
        "NavaJoin", images_1=(decode_1, 0), audio_1=(decode_1, 1), images_2=(decode_2, 0), audio_2=(decode_2, 1),
        fps=(decode_1, 2),
    )  # fmt: skip
    save_video(g, joined, (decode_1, 2), "video/NAVA_two_shots")
    g.promote(first_text, "prompt", "first shot", "第一个镜头")
    g.promote(second_text, "prompt", "second shot", "第二个镜头")
    promote_size(g, empty)
    g.promote(shared[0], "steps", "steps", "步数")
    g.promote(first_noise, "noise_seed", "first seed", "第一个种子")
    g.promote(second_noise, "noise_seed", "second seed", "第二个种子")
    promote_files(g, files)


def sound_to_picture(g: Graph) -> None:
    files = loaders(g)
    g.column("Recording and picture")
    picture = g.add("LoadImage", "first picture", "首帧图片", outside="input", image="example.png")
    audio = g.add("LoadAudio", "recording", "录音", outside="input", audio="anna.wav")
    g.column("Prompt")
    prompt = text(
        g, files["clip"],
        "The person in the picture looks into the camera and speaks, the lips move with every word, now and then a small "
        "nod. The camera does not move. Sound: a clear voice close to the microphone in a quiet room. No music.",
        "画面中的人物看着镜头说话，嘴唇随每个字开合，不时轻轻点头。镜头固定。声音：安静的房间里靠近话筒的清晰人声，没有音乐。",
    )  # fmt: skip
    g.column("Size and length")
    empty = g.add("NavaEmptyLatent")
    first = g.add(
        "NavaFirstFrame",
        image=(picture, 0),
        video_vae=files["video_vae"],
        latent=(empty, 0),
        size="nearest trained shape",
    )
    put = g.add("NavaSoundToLatent", audio=(audio, 0), audio_vae=files["audio_vae"], latent=(first, 0))
    held = g.add("NavaHold", latent=(put, 0))
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (held, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA_lips")
    g.promote(prompt, "prompt", "prompt", "提示词")
    g.promote(first, "size", "size", "尺寸")
    g.promote(put, "length", "length", "时长")
    g.promote(put, "start", "start", "起点")
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def foley(g: Graph) -> None:
    files = loaders(g)
    g.column("Video")
    video = g.add("LoadVideo", "silent clip", "无声视频", outside="input", file="example.mp4")
    put = g.add("NavaPictureToLatent", video=(video, 0), video_vae=files["video_vae"])
    held = g.add("NavaHold", latent=(put, 0), keep="picture")
    g.column("Prompt")
    prompt = text(
        g, files["clip"],
        "A yellow ball falls onto a wooden floor and bounces. Each contact makes a dry wooden knock. Nobody speaks. No music.",
        "一只黄色的球落在木地板上弹跳，每次接触都发出干脆的木头敲击声。没有人说话，没有音乐。",
    )  # fmt: skip
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (held, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA_foley")
    g.promote(prompt, "prompt", "prompt", "提示词")
    g.promote(put, "size", "size", "尺寸")
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def first_last_frame(g: Graph) -> None:
    files = loaders(g)
    g.column("First and last picture")
    first = g.add("LoadImage", "first picture", "首帧图片", outside="input", image="example.png")
    last = g.add("LoadImage", "last picture", "末帧图片", outside="input", image="example_last.png")
    g.column("Prompt")
    prompt = text(
        g, files["clip"],
        "Evening by the lake. The sun moves slowly down behind the hills, its light turns from yellow to red. The camera "
        "does not move. Sound: small waves on the shore, a light wind. Nobody speaks. No music.",
        "傍晚的湖边，太阳慢慢落到山后，光线由黄变红。镜头固定。声音：岸边的小浪，轻微的风声。没有人说话，没有音乐。",
    )  # fmt: skip
    g.column("Size and length")
    empty = g.add("NavaEmptyLatent")
    begin = g.add(
        "NavaFirstFrame",
        image=(first, 0),
        video_vae=files["video_vae"],
        latent=(empty, 0),
        size="nearest trained shape",
    )
    end = g.add("NavaGuide", latent=(begin, 0), images=(last, 0), video_vae=files["video_vae"])
    g.column("Sampling")
    sampler, noise, (steps, _) = sampling(g, files, prompt, (end, 0))
    g.column("Decoding")
    clip(g, files, sampler, "video/NAVA_first_last")
    g.promote(prompt, "prompt", "prompt", "提示词")
    g.promote(begin, "size", "size", "尺寸")
    promote_size(g, empty)
    g.promote(end, "strength", "hold of the last", "末帧强度")
    promote_sampling(g, noise, steps)
    promote_files(g, files)


def extend(g: Graph) -> None:
    files = loaders(g)
    vaes = {k: files[k] for k in ("video_vae", "audio_vae")}
    g.column("Size and length", below=True)
    empty = g.add("NavaEmptyLatent", seconds=5.0)
    g.column("Prompts")
    g.groups[-1]["bounding"][1] = 0
    first_text = text(
        g, files["clip"],
        "An old sailor sits on the deck of a small boat and plays the accordion, gulls circle above him, the boat rocks on "
        "the waves. Sound: a slow waltz on the accordion, waves against the hull, gulls. Nobody speaks.",
        "一位老水手坐在小船的甲板上拉手风琴，海鸥在他头顶盘旋，小船随波摇晃。声音：手风琴的慢华尔兹，浪拍船身，海鸥的叫声。没有人说话。",
    )  # fmt: skip
    next_text = text(
        g, files["clip"],
        "The old sailor goes on playing, looks up into the sky and begins to laugh; the waves grow higher. Sound: the waltz "
        "goes on, faster, waves against the hull, his laughter.",
        "老水手继续拉琴，抬头望向天空，笑了起来；浪越来越高。声音：华尔兹继续，越来越快，浪拍船身，他的笑声。",
    )  # fmt: skip
    g.column("Sampling the clip")
    first, noise_1, shared = sampling(g, files, first_text, (empty, 0), seed=1)
    g.column("Going on")
    longer = g.add("NavaExtend", latent=(first, 0))
    second, noise_2, _ = sampling(g, files, next_text, (longer, 0), seed=2, shared=shared)
    g.column("Decoding both as one")
    decode = g.add("NavaDecode", latent=(second, 0), **vaes, before=(longer, 1))
    save_video(g, decode, (decode, 2), "video/NAVA_extend")
    g.promote(first_text, "prompt", "prompt", "提示词")
    g.promote(next_text, "prompt", "how it goes on", "如何继续")
    promote_size(g, empty)
    g.promote(longer, "seconds", "seconds more", "延长秒数")
    g.promote(longer, "overlap", "overlap", "重叠")
    g.promote(shared[0], "steps", "steps", "步数")
    g.promote(noise_1, "noise_seed", "first seed", "第一个种子")
    g.promote(noise_2, "noise_seed", "second seed", "第二个种子")
    promote_files(g, files)


def upscale(g: Graph) -> None:
    files = loaders(g)
    g.column("Prompt")
    prompt = text(g, files["clip"], *BEACH)
    g.column("Size and length")
    latent = g.add("NavaEmptyLatent", width=640, height=352)
    g.column("Sampling at half the size")
    first, noise_1, (steps, solver) = sampling(g, files, prompt, (latent, 0))
    guided = next(n["id"] for n in g.nodes if n["type"] == "NavaGuider")
    g.column("Twice the size")
    parts = g.add("LTXVSeparateAVLatent", av_latent=(first, 0))
    large = g.add("LatentUpscaleBy", samples=(parts, 0), upscale_method="bicubic", scale_by=2.0)
    both = g.add("LTXVConcatAVLatent", video_latent=(large, 0), audio_latent=(parts, 1))
    held = g.add("NavaHold", latent=(both, 0))
    g.column("Sampling the picture again")
    rest = g.add("NavaScheduler", model=files["model"], steps=20, denoise=0.4)
    noise_2 = g.add("RandomNoise", noise_seed=2)
    second = g.add(
        "SamplerCustomAdvanced", noise=(noise_2, 0), guider=(guided, 0), sampler=(solver, 0), sigmas=(rest, 0),
        latent_image=(held, 0),
    )  # fmt: skip
    g.column("Decoding")
    clip(g, files, second, "video/NAVA_upscale")
    g.promote(prompt, "prompt", "prompt", "提示词")
    promote_size(g, latent)
    g.promote(steps, "steps", "steps", "步数")
    g.promote(rest, "steps", "steps again", "再次采样步数")
    g.promote(rest, "denoise", "how much anew", "重绘程度")
    g.promote(noise_1, "noise_seed", "seed", "种子")
    promote_files(g, files)


def storyboard(g: Graph) -> None:
    files = loaders(g, voice=True)
    g.column("Voice")
    audio = g.add("LoadAudio", "voice of Anna", "安娜的声音", outside="input", audio="anna.wav")
    voice = g.add("NavaVoice", encoder=files["voice_encoder"], audio=(audio, 0))
    g.column("Cast", below=True)
    cast = g.add("NavaCast", characters="Anna: a woman in her twenties in a red coat", **{"voices.voice_0": (voice, 0)})
    g.translate(cast, characters="安娜：穿红色大衣、二十多岁的女人")
    g.column("What all shots have")
    g.groups[-1]["bounding"][1] = 0
    prompt = g.add("NavaTextEncode", clip=files["clip"], prompt="Each shot's own prompt takes this place.")
    latent = g.add("NavaEmptyLatent", seconds=5.0)
    g.column("Sampling")
    guider, (sigmas, solver) = guidance(g, files, prompt)
    g.column("Shots")
    board = g.add(
        "NavaStoryboard", guider=(guider, 0), sampler=(solver, 0), sigmas=(sigmas, 0), latent=(latent, 0),
        clip=files["clip"], video_vae=files["video_vae"], audio_vae=files["audio_vae"],
        shots="--- 5 s\nNight. Anna waits alone on a station platform and looks at the clock. She says "
        "quietly: <S:Anna>Five minutes more.<E> Sound: wind, a distant announcement. No music.\n"
        "--- 4 s, continue\nThe lights of a train come out of the dark, Anna turns her head, the wind of the train moves her coat. Sound: the train rolls in, "
        "brakes squeal. Nobody speaks.\n"
        "--- 5 s\nInside the train Anna sits at the window, lights pass over her face. She smiles and says: <S:Anna>At "
        "last.<E> Sound: wheels on the rails. No music.",
        cast=(cast, 0),
    )  # fmt: skip
    g.translate(
        board,
        shots="--- 5 秒\n夜晚，安娜独自在站台上等候，看着时钟。她轻声说：<S:安娜>还有五分钟。<E>声音：风声，远处的广播声，没有音乐。\n"
        "--- 4 秒，继续\n列车的灯光从黑暗中出现，安娜转过头，列车带起的风吹动她的大衣。声音：列车进站，刹车声。没有人说话。\n"
        "--- 5 秒\n车厢里，安娜坐在窗边，灯光掠过她的脸。她微笑着说：<S:安娜>终于来了。<E>声音：车轮驶过铁轨，没有音乐。",
    )
    g.column("Save")
    g.add("SaveVideo", outside="result", video=(board, 0), filename_prefix="video/NAVA_storyboard")
    g.promote(cast, "characters", "characters", "角色")
    g.promote(board, "shots", "shots", "镜头")
    promote_size(g, latent)
    g.promote(board, "overlap", "overlap", "重叠")
    g.promote(sigmas, "steps", "steps", "步数")
    g.promote(board, "seed", "seed", "种子")
    g.promote(board, "name", "name", "名称")
    promote_files(g, files)


ALL = [
    Workflow(
        "nava_text_to_av",
        Words("Text to picture and sound", "Write what is seen, what is said and what is heard, in one paragraph. Put spoken words between `<S>` and `<E>`. The model knows long Chinese captions best: the note below has this prompt in Chinese."),
        Words("文字生成音画", "用一段话写出画面、台词和声音。台词放在 `<S>` 和 `<E>` 之间。模型最熟悉较长的中文描述。"),
        text_to_av,
    ),
    Workflow(
        "nava_image_to_av",
        Words("First picture to picture and sound", "The clip begins with your picture. *size* takes the trained shape nearest to it; `as the latent` keeps width and height. Chinese prompts work better: see the folded note."),
        Words("首帧图片生成音画", "视频从你的图片开始。*尺寸* 取最接近的训练尺寸；选 `as the latent` 则用宽和高。"),
        image_to_av,
    ),
    Workflow(
        "nava_dialogue_two_voices",
        Words("Dialogue in two voices", "Give 5 to 15 s of each speaker, and each voice the name that the script calls. Script rows: `Name (how): words`."),
        Words("双人对话", "每位说话人给一段 5 到 15 秒的录音，音色的名称与台词中的名字一致。台词每行：`名字（语气）：话`。"),
        dialogue,
    ),
    Workflow(
        "nava_text_to_speech",
        Words("Text to speech", "Only sound is made. `<S:Anna>` takes the voice named Anna; without a voice the words around the line decide who speaks."),
        Words("文字生成语音", "只生成声音。`<S:Anna>` 使用名为 Anna 的音色；没有音色时由台词周围的描述决定。"),
        text_to_speech,
    ),
    Workflow(
        "nava_sound_effects",
        Words("Text to sound effects", "Describe what is heard, in its order, and say that nobody speaks."),
        Words("文字生成音效", "按先后顺序描述听到的声音，并写明没有人说话。"),
        sound_effects,
    ),
    Workflow(
        "nava_silent_video",
        Words("Text to silent video", "Picture only: a guidance pass less than with sound, and no audio VAE."),
        Words("文字生成无声视频", "只生成画面：比音画少一次引导计算，也不需要音频 VAE。"),
        silent_video,
    ),
    Workflow(
        "nava_idea_to_clip",
        Words("Idea to picture and sound", "Write the parts of a scene; they are put in the order that the model was trained on. It runs like this. With a language model it is also written out: unmute *language model* (any that ComfyUI can write with; for Qwen3-4B type flux2)."),
        Words("想法生成音画", "分别写出场景的各部分，会按模型训练时的顺序组合，直接就能运行。有语言模型时还会扩写：取消 *语言模型* 的静音（ComfyUI 能用来写字的都行；Qwen3-4B 选类型 flux2）。"),
        idea_to_clip,
    ),
    Workflow(
        "nava_cast_scene",
        Words("Scene with a cast", "Rows `Name: look`; voices go to them in order. Everybody's look is written where the name first occurs, and `<S:Name>` speaks with their voice. Open the subgraph to save the cast (*save_as*) and use it for the next shot."),
        Words("角色表场景", "每行 `名字：外貌`；录音按顺序对应。外貌写在名字第一次出现的地方，`<S:名字>` 用其音色说话。打开子图可保存角色表（*另存为*），供下一个镜头使用。"),
        cast_scene,
    ),
    Workflow(
        "nava_two_shots",
        Words("Two shots, one scene", "The last frame of the first shot is the first frame of the second; the repeated frame is dropped and the sound crossfaded."),
        Words("两个镜头一个场景", "第一个镜头的最后一帧是第二个镜头的首帧；重复的一帧会去掉，声音交叉淡化。"),
        two_shots,
    ),
    Workflow(
        "nava_sound_to_picture",
        Words("Recording to picture", "The clip gets as long as the recording, which stays as it is; the picture is made to it. Say in the prompt what is heard, too."),
        Words("录音生成画面", "片段与录音一样长，录音保持不变，画面配合它生成。提示词里也要写出听到的声音。"),
        sound_to_picture,
    ),
    Workflow(
        "nava_foley",
        Words("Silent video to sound", "The frames stay as they are; their sound is made. Say what is seen and what is heard."),
        Words("无声视频生成声音", "画面保持不变，为它生成声音。写出看到的和听到的。"),
        foley,
    ),
    Workflow(
        "nava_first_last_frame",
        Words("First and last picture", "The clip begins with the first and ends with the last picture; give the same one twice for a loop. *Hold of the last* below 1 lets the model fit it in."),
        Words("首尾图片", "片段从第一张图片开始，以最后一张结束；两张相同就能循环。*末帧强度* 小于 1 时模型可以让它融入。"),
        first_last_frame,
    ),
    Workflow(
        "nava_extend",
        Words("A clip and how it goes on", "The end of the first clip is held, with its sound, and the next seconds are made after it; both are decoded as one clip."),
        Words("片段及其延续", "第一个片段的结尾连同声音保持不变，其后生成新的几秒；两者作为一个片段解码。"),
        extend,
    ),
    Workflow(
        "nava_storyboard",
        Words("Storyboard of shots", "One prompt a shot, between lines of `---`, which may say `--- 4 s, continue`. Everybody of *characters* keeps look and voice in every shot. Finished shots lie in output/nava_shots: queue again after an interruption or a change, and only what is missing is made."),
        Words("分镜长片", "每个镜头一段提示词，之间用 `---` 一行隔开，可写 `--- 4 秒，继续`。*角色* 中的每个人在所有镜头里保持外貌和音色。完成的镜头在 output/nava_shots：中断或修改后再次运行，只生成缺少的部分。"),
        storyboard,
    ),
    Workflow(
        "nava_upscale",
        Words("Twice the size", "Made at half the size first; then the picture is doubled and its end of sampling made anew, while the sound stays as it is."),
        Words("两倍尺寸", "先以一半尺寸生成；再把画面放大一倍，重新采样末段，声音保持不变。"),
        upscale,
    ),
    Workflow(
        "nava_best_of",
        Words("Best of many seeds", "Makes *how many* clips, one seed after the other, and saves the best: sounds that begin when something is seen to happen, no silence or clipping, a picture that moves and does not flicker. It stops when one reaches *good enough*; *keep* saves the next best, too. The table has all seeds. For speech open the subgraph and set *sync_weight* to 0: it says little there."),
        Words("多个种子取最好", "按种子依次生成 *数量* 个片段，保存最好的一个：声音与画面事件同时发生，没有静音或削波，画面在动且不闪烁。达到 *足够好* 时提前停止；*保留* 大于 1 时也保存次好的。表格列出所有种子。生成台词时请打开子图，把 *同步权重* 设为 0：它对台词意义不大。"),
        best_of,
    ),
]  # fmt: skip

# At 100 % within 1280×720: beside the editor's side bar, below its tabs and the Graph button, above its lower edge.
OFFSET = (80, 120)
COLUMN, HEIGHT = 340, 540
# Where there are more texts than fit so, with Vue nodes: (scale, height of the subgraph's node), and wider lines for them.
SMALLER = {
    "nava_idea_to_clip": (0.67, 864),
    "nava_cast_scene": (0.78, 751),
    "nava_dialogue_two_voices": (0.78, 751),
    "nava_storyboard": (0.8, 730),
    "nava_two_shots": (0.86, 660),
    "nava_extend": (0.86, 660),
    "nava_best_of": (0.78, 751),
    # what is given, and the note below it
    "nava_image_to_av": (0.86, 660),
    "nava_foley": (0.86, 660),
    "nava_first_last_frame": (0.86, 660),
    "nava_sound_to_picture": (0.86, 660),
}
TEXTS = 500
PICTURE = 210  # the width of one of two pictures
LOWEST = 590  # where a folded note can stand
TABLE = 110  # the height of what shows a text
NOTE = 300  # what a note needs, so that nothing of it is cut
FOLDED = 30  # of the folded note, so that it does not count when the editor fits the view


def other_language(g: Graph) -> tuple[str, str]:
    """(all prompts in Chinese, in English), as the folded note shows them."""
    chinese, english = [], []
    for node in g.nodes:
        if node["type"] == "NavaVoice":  # a name is no prompt
            continue
        for name, value in node["properties"].get("nava_zh", {}).get("values", {}).items():
            names = [widget for widget, _ in widgets(g.info[node["type"]], node["widgets_values"])]
            chinese.append(value)
            english.append(node["widgets_values"][names.index(name)])
    return tuple("\n\n".join(t.replace("<", "\\<") for t in texts) for texts in (chinese, english))


def shipped(g: Graph, flow: Workflow) -> dict:
    instance, outer, links, definition = wrap(g, flow.key, flow.en.title, flow.zh.title)
    inputs = [n for n in outer if g.outside[n["id"]] == "input"]
    result = next(n for n in outer if g.outside[n["id"]] == "result")
    tables = [n for n in outer if g.outside[n["id"]] == "table"]
    pictures = [n for n in inputs if n["type"] in ("LoadImage", "LoadVideo")]
    if pictures and len(inputs) == 2:
        pictures = inputs  # side by side
    column, middle, width = (COLUMN, 400, COLUMN + 20) if len(pictures) < 2 else (2 * PICTURE + 20, 370, COLUMN - 20)
    y = 0
    for node in inputs:
        if node not in pictures:
            node["pos"], node["size"], y = [0, y], [column, 160], y + 200
        elif len(pictures) == 1:
            node["pos"], node["size"], y = [0, y], [column, 350], y + 390
        else:  # side by side: two would not fit below each other with what they show
            node["pos"], node["size"] = [pictures.index(node) * (PICTURE + 20), 0], [PICTURE, 330]
            y = 370
    scale, height = SMALLER.get(flow.key, (1.0, HEIGHT))
    middle = TEXTS if flow.key in SMALLER and len(pictures) < 2 else middle
    instance["pos"], instance["size"] = [column + GAP, 0], [middle, height]
    right = column + GAP + middle + GAP
    about, folded = (0, y), (0, LOWEST)
    room = min(HEIGHT - 70, LOWEST - FOLDED - 10 - y) - len(tables) * (TABLE + 2 * GAP)
    for table in tables:
        table["pos"], table["size"] = [0, y + room + 2 * GAP], [column, TABLE]
    if room < NOTE:  # the result's player needs its own column
        room, folded = NOTE, (right, HEIGHT + 30)
    result["pos"] = [right, 0]
    result["size"] = [width, HEIGHT if result["type"] == "SaveVideo" else 200]
    chinese, english = other_language(g)
    number = instance["id"] + 1
    about_size = (column, room)
    texts = [
        note(number, "About this workflow", notes(g, flow.en, False), about, about_size, "说明", notes(g, flow.zh, True)),
        note(number + 1, "In Chinese", chinese, folded, (COLUMN, FOLDED), "英文", english, folded=True),
    ]  # fmt: skip
    nodes = [*inputs, instance, result, *tables, *texts]
    offset = tuple(round(at / scale) for at in OFFSET)
    made = document(flow.key, nodes, links, [], offset, scale, definitions={"subgraphs": [definition]})
    made["extra"]["linearData"] = app_mode(inputs, instance, result)
    return made


def app_mode(inputs: list[dict], instance: dict, result: dict) -> dict:
    """What the editor's app mode lays out: the user's own files, texts, size, seed; not the model files. And the result."""
    media = [[n["id"], n["inputs"][0]["name"]] for n in inputs]
    shown = [[instance["id"], s["name"]] for s in instance["inputs"] if "widget" in s and s["name"] not in FILES]
    return {"inputs": [*media, *shown], "outputs": [result["id"]]}


def opened(g: Graph, flow: Workflow) -> dict:
    number = len(g.nodes) + 1
    bottom = max(b["bounding"][1] + b["bounding"][3] for b in g.groups if b["bounding"][0] == 0)
    chinese, english = other_language(g)
    texts = [
        note(number, "About this workflow", notes(g, flow.en, False), (0, bottom + 70), (380, 420), "说明", notes(g, flow.zh, True)),
        note(number + 1, "In Chinese", chinese, (0, bottom + 540), (380, 300), "英文", english, folded=True),
    ]  # fmt: skip
    nodes = [*g.nodes, *texts]
    return document(flow.key, nodes, g.links, g.groups, (60, 120), 0.7)


def blueprint(g: Graph, flow: Workflow) -> dict:
    """The subgraph alone: what fed it and what took its result are sockets that wait for links.

    Its name is the file's, whatever is said here: so the frontend has it.
    """
    kept = BLUEPRINTS[flow.key]
    instance, _, _, definition = wrap(g, f"{flow.key}/blueprint", kept.file, flow.zh.title)
    instance["properties"]["nava_blueprint"] = flow.key
    for socket in instance["inputs"]:
        socket["link"] = None
    for socket in instance["outputs"]:
        socket["links"] = []
    definition |= {"category": "NAVA", "description": kept.description}
    made = document(flow.key, [instance], [], [], (60, 120), definitions={"subgraphs": [definition]})
    made["extra"] = {"ds": made["extra"]["ds"], "BlueprintSearchAliases": list(kept.aliases)}
    return made


def write(path: Path, content: dict | list) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print("wrote", path.relative_to(environment.ROOT))


def make(info: dict) -> None:
    for flow in ALL:
        g = Graph(info, MODELS)
        flow.build(g)
        write(BY_KEY[flow.key].open_path, opened(g, flow))
        write(BY_KEY[flow.key].path, shipped(g, flow))
        if flow.key in BLUEPRINTS:
            write(BLUEPRINTS[flow.key].path, blueprint(g, flow))
    sets = environment.ROOT / "js" / "small_sets.json"
    write(sets, small_set.for_editor())


def main(host: Path) -> None:
    base = environment.base_folder(environment.Environment(Path(sys.executable), host, False))
    with Server(host, base) as server:
        make(server.get("/object_info"))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
