"""Write the help pages, the English locale and the list of nodes from the nodes' own schemas, the Chinese pages from their locale.

python tools/make_docs.py HOST      (in the pack's virtual environment; starts a server to ask for its nodes)
"""

import json
import re
import sys
from pathlib import Path

import environment
from comfy_server import Server

DOCS = environment.ROOT / "js" / "docs"
LOCALES = environment.ROOT / "locales"
NODE_LIST = environment.ROOT / "node_list.json"  # for ComfyUI-Manager, whose scanner sees no V3 nodes in the source

# What a page says beyond the schema: (English, Chinese).
MORE = {
    "NavaTextEncode": (
        "The panel below the text counts tokens (exactly, once the text encoder has been loaded), shows every spoken line in the "
        "colour of its voice, and says what is wrong while you type. Select words and press Ctrl+Shift+L to mark them as speech; once more takes the marks away.",
        "文字下方的面板计算 token 数（文本编码器加载过之后为准确值），用各音色的颜色显示每句台词，并在输入时指出问题。选中文字按 Ctrl+Shift+L 标为台词，再按一次取消。",
    ),
    "NavaEmptyLatent": (
        "The buttons set trained shapes. The line below says how long the clip is in every unit and what one pass of the "
        "released model takes in bf16.",
        "按钮设置训练过的形状。下面一行给出各种单位的时长，以及发布模型在 bf16 下每一遍所需的内存。",
    ),
    "NavaDialogue": (
        "Example row: `Anna (quietly): You could have called.`",
        "例：`安娜（轻声）：你可以打个电话的。`",
    ),
    "NavaRewrite": (
        "Every spoken line of your prompt stands in the result once, in its order, letter for letter, under its name: code checks that, "
        "not the language model. What a model breaks is tried again, up to three times, then mended with a warning; if that cannot be "
        "done, your prompt goes on as it was, and the node says why. Nothing is downloaded and nothing leaves the machine. More: docs/prompts.md.",
        "提示词中的每句台词都会原样出现一次，顺序、文字和名字都不变：这由程序检查，不靠语言模型。模型改坏的会重试，最多三次，"
        "之后由程序修正并给出警告；修正不了时，原来的提示词照常使用，并说明原因。不下载任何东西，内容不会离开本机。更多见 docs/prompts.md。",
    ),
    "NavaParallel": (
        "One worker process a card loads the checkpoint, once; sampler, guidance, previews and stopping stay in ComfyUI, and so do step caches and "
        "context windows. LoRAs go to the workers, before or behind this node. Every card needs room for the whole model and its part of a pass. "
        "The first run waits until the workers have loaded. Refused, with a message: torch.compile, MultiGPU, LoRAs that come and go while sampling (hooks), bypass LoRAs, and "
        "attention from other packs (NAVA Attention works). If a worker ends or hangs, the prompt fails with its name, and the next one starts "
        "new workers. Decoding runs on one card. Not measured on graphics cards yet: docs/parallel.md.",
        "每张显卡由一个工作进程加载一次检查点；采样器、引导、预览和停止仍在 ComfyUI 中，步骤缓存和上下文窗口也是。LoRA 无论在此节点之前还是之后都会交给工作进程。"
        "每张显卡都要放得下整个模型和它那部分计算。第一次运行要等工作进程加载完。会给出说明并拒绝的有：torch.compile、MultiGPU、采样中变化的 LoRA（hooks）、旁路 LoRA，"
        "以及其他节点包的注意力（“NAVA 注意力”可以用）。工作进程结束或卡住时，本次任务失败并指出是哪一个，下一次会启动新的进程。解码只用一张显卡。"
        "尚未在显卡上测量过：docs/parallel.md。",
    ),
    "NavaCast": (
        "Example row: `Anna: a woman in her thirties in a green sweater`. With Load Audio → NAVA Voice (name Anna) → voices, "
        "`<S:Anna>` speaks with that voice. Use recordings only of people who agreed to it.",
        "例：`安娜：三十多岁、穿绿色毛衣的女人`。接上“加载音频”→“NAVA 音色”（名字 安娜）→ 音色后，`<S:安娜>` 就用这个音色说话。只使用本人同意的录音。",
    ),
    "NavaJoin": (
        "For a longer scene: the last frame of a clip (Get Image from Batch) → NAVA First Frame of the next → join both.",
        "做更长的场景：一段的末帧（从批次获取图像）→ 下一段的“NAVA 首帧”→ 连接两段。",
    ),
    "NavaDecode": (
        "The two VAEs are checked before sampling begins. A saved clip can be played on Save Video, with its waveform and spectrogram; over the sound bars show what was held (picture above, sound below) "
        "and lines where the clip goes on or cuts. Sync curves measures whether what is heard happens when it is seen: events above, sounds that begin below, matches in green. Other buttons add a whole next shot that begins with the last frame, or let this clip go on.",
        "采样开始前会检查两个 VAE。保存的片段可以在“保存视频”上播放，并显示波形和频谱；声音上方的色条表示保持的部分（上为画面，下为声音），竖线表示继续或切换处。"
        "“同步曲线”测量听到的是否发生在看到的时刻：上方是事件，下方是开始的声音，绿色表示吻合。其他按钮添加从末帧开始的完整的下一个镜头，或让这个片段继续。",
    ),
    "NavaCompose": (
        "Below the fields stand phrases for style, scene, camera and sound: a click writes one where the caret is, in English or in Chinese as "
        "the fields are written.",
        "字段下方有风格、场景、镜头和声音的常用短语：点击即写到光标处，按字段所用的语言写成中文或英文。",
    ),
    "NavaBestOf": (
        "The workflow nava_best_of has it wired: eight seeds, the best clip saved, a table of all. The report goes to Preview as Text. "
        "With more than one kept, the player on Save Video has a button for each.",
        "工作流 nava_best_of 已接好：八个种子，保存最好的片段，并列出全部。报告可接“预览为文本”。保留多个时，“保存视频”的播放器上每个片段有一个按钮。",
    ),
    "NavaStoryboard": (
        "The time line below the text has a bar for each shot, as long as it lasts, with its spoken lines in their speakers' colours; a dashed line where "
        "it goes on, a solid one at a cut. Click a bar to select its text. With a cast, a changed look or voice makes anew only the shots that have it, and "
        "those that go on from them.",
        "文字下方的时间线为每个镜头画一条，长度即时长，台词用说话人的颜色；虚线表示继续，实线表示切换。点击可选中该镜头的文字。使用角色表时，"
        "改动外貌或音色只会重新生成用到它的镜头，以及接着它们的镜头。",
    ),
}
PICTURES = {
    "NavaTextEncode": "prompt.png",
    "NavaEmptyLatent": "size.png",
    "NavaDecode": "player.png",
    "NavaGuider": "live.png",
}


def english(info: dict) -> dict:
    """A locale entry of one node, from the server's description of it."""
    inputs = {}
    for group in ("required", "optional"):
        for name, spec in info["input"].get(group, {}).items():
            inputs[name] = {"name": name, "tooltip": (spec[1] if len(spec) > 1 else {}).get("tooltip", "")}
    outputs = {str(i): {"name": name} for i, name in enumerate(info["output_name"])}
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": inputs,
        "outputs": outputs,
    }


def page(node: str, entry: dict, heading: str, more: str) -> str:
    lines = [f"# {entry['display_name']}", "", entry["description"], ""]
    if more:
        lines += [more, ""]
    if node in PICTURES:
        lines += [f"![{entry['display_name']}]({PICTURES[node]})", ""]
    lines += [f"| {heading} | |", "|---|---|"]
    for key, value in entry["inputs"].items():
        name = f"{value['name']} (`{key}`)" if value["name"] != key else f"`{key}`"
        tip = value["tooltip"].replace("|", "\\|")
        lines.append(f"| {name} | {tip} |")
    return as_code("\n".join(lines)) + "\n"


def as_code(text: str) -> str:
    """Tags as code, else the editor's font would draw the end of <S:-> as an arrow; what else looks like HTML stays text."""
    return re.sub(r"(`[^`]*`)|(<S(?::[^<>|]*)?>|<E>)|<", lambda m: m[1] or (f"`{m[2]}`" if m[2] else "&lt;"), text)


def main(host: Path) -> None:
    base = environment.base_folder(environment.Environment(Path(sys.executable), host, False))
    with Server(host, base) as server:
        nodes = {k: v for k, v in server.get("/object_info").items() if k.startswith("Nava")}
    en = {k: english(v) for k, v in nodes.items()}
    zh = json.loads((LOCALES / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    (LOCALES / "en" / "nodeDefs.json").write_text(json.dumps(en, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    described = {k: v["description"] for k, v in en.items()}
    NODE_LIST.write_text(json.dumps(described, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for node, entry in en.items():
        more = MORE.get(node, ("", ""))
        (DOCS / node).mkdir(parents=True, exist_ok=True)
        (DOCS / f"{node}.md").write_text(page(node, entry, "input", more[0]), encoding="utf-8")
        (DOCS / node / "zh.md").write_text(page(node, zh[node], "输入", more[1]), encoding="utf-8")
    print(f"wrote the pages of {len(en)} nodes")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
