// The panels' words in the language of the editor: English as it stands in the code, and Chinese from here.
import { app } from "../../scripts/app.js";
import { SENTENCES as SENTENCES_OF_NODES } from "./nava_sentences.js";

export const chinese = () => String(app.extensionManager?.setting?.get("Comfy.Locale") ?? "").startsWith("zh");

// {…} stands for what differs from case to case.
const CHINESE = {
  // the prompt's panel
  "{tokens} of {limit} tokens": "{limit} 个 token 中的 {tokens} 个",
  "about {tokens} of {limit} tokens": "{limit} 个 token 中的约 {tokens} 个",
  "1 spoken line": "1 句台词",
  "{count} spoken lines": "{count} 句台词",
  "no voice": "无音色",
  "voice {number}": "音色 {number}",
  "(empty)": "（空）",
  "(beyond the limit)": "（超出上限）",
  "The prompt comes from another node.": "提示词来自另一个节点。",
  // what the server finds in a prompt
  "near “{words}”": "位置：“{words}”",
  "<E> without an <S> before it, {where}": "<E> 之前没有 <S>，{where}",
  "{tag} inside a spoken line that has no <E> yet, {where}": "台词还没有用 <E> 结束，其中又出现 {tag}，{where}",
  "{tag} names nobody, {where}: write <S> or <S:Name>": "{tag} 没有名字，{where}：请写 <S> 或 <S:名字>",
  "“{words}” is no tag: spoken lines are written <S>words<E>, in capital letters": "“{words}”不是标记：台词写成 <S>话<E>，用大写字母",
  "a spoken line is never closed with <E>, {where}": "有一句台词没有用 <E> 结束，{where}",
  "and {count} more of this kind": "以及另外 {count} 处同类问题",
  "two connected voices are named {name}: give each a name of its own": "有两个连接的音色都叫“{name}”：请给它们不同的名字",
  "{names} (voices: {known})": "{names}（音色：{known}）",
  "<S:{name}> names a voice that is not connected": "<S:{name}> 所指的音色没有连接",
  "none connected": "没有连接",
  "spoken line {number} lies beyond the model's {limit} tokens and is lost: shorten the prompt":
    "第 {number} 句台词超出模型的 {limit} 个 token，会丢失：请缩短提示词",
  "spoken line {number} is empty: write its words between <S> and <E>": "第 {number} 句台词是空的：请在 <S> 和 <E> 之间写上话",
  "“{words}” is sent as it is: nothing is chosen from words in braces": "“{words}”按原样发送：不会从花括号里的词中随机选择",
  "no spoken line uses the voice {name}": "没有台词使用音色 {name}",
  "number {number}": "第 {number} 个",
  "{tokens} tokens, the model reads the first {limit}": "共 {tokens} 个 token，模型只读前 {limit} 个",
  "the prompt has {tokens} tokens, the model reads the first {limit}": "提示词有 {tokens} 个 token，模型只读前 {limit} 个",
  "“{words}” stands in quotation marks: if somebody says it, wrap it in <S>…<E>": "“{words}”在引号里：如果是有人说的话，请用 <S>…<E> 包住",
  "row {number}, “{row}”: write it as “Name (how it is said): words”": "第 {number} 行“{row}”：请写成“名字（怎么说）：话”",
  "row {number}, “{row}”: the words may not contain < or >": "第 {number} 行“{row}”：话里不能有 < 或 >",
  "row {number}: {fault}; write it as “Name: look”": "第 {number} 行：{fault}；请写成“名字：外貌”",
  "row {number}, “{row}”: in brackets stands a colour such as {colour}": "第 {number} 行“{row}”：括号里应是颜色，例如 {colour}",
  "there is no saved cast {name}: choose another file in NAVA Cast": "没有保存过的角色表 {name}：请在“NAVA 角色表”中另选文件",
  "there are two characters named {name}": "有两个角色都叫“{name}”",
  "voice {number} has no name and there is no character left for it: name it": "第 {number} 个音色没有名字，也没有剩下的角色可给它：请给它名字",
  // the size's panel
  "aspect {width} by {height}": "宽高比 {width}：{height}",
  "{count} frames": "{count} 帧",
  "{count} audio steps": "{count} 个音频步",
  "about {memory} a pass": "每一遍约 {memory}",
  "far from the sizes that the model was trained on: expect a worse picture": "与模型训练过的尺寸相差很大：画面会变差",
  "longer than the {seconds} s that the model was trained on": "超过模型训练过的 {seconds} 秒",
  "{side} is {pixels}, NAVA needs a multiple of {step}: use {low} or {high}": "{side} 是 {pixels}，NAVA 需要 {step} 的倍数：请用 {low} 或 {high}",
  width: "宽",
  height: "高",
  // the live view
  "preview of the clip as it forms": "正在形成的片段的预览",
  "spectrogram of the sound as it forms": "正在形成的声音的频谱",
  "Step {step} of {total}": "第 {step} 步，共 {total} 步",
  "{seconds} s a step": "每步 {seconds} 秒",
  "{time} left": "还需 {time}",
  done: "完成",
  "{seconds} s": "{seconds} 秒",
  "{minutes} min {seconds} s": "{minutes} 分 {seconds} 秒",
  "Passes: {names}": "计算：{names}",
  prompt: "提示词",
  negative: "负面提示词",
  alignment: "对齐",
  timbre: "音色",
  "Show the last clip": "显示上一个片段",
  // the player
  "waveform and spectrogram: click or arrow keys to seek": "波形和频谱：点击或用方向键跳转",
  Download: "下载",
  Loop: "循环",
  "adds the next shot, which begins with this clip's last frame, and joins both": "添加从这个片段的末帧开始的下一个镜头，并把两者连接起来",
  "Use last frame for a next shot": "用末帧做下一个镜头",
  "Last frame": "末帧",
  "Extend this clip": "延长这个片段",
  "lets this clip go on: its end is held with its sound, and both become one clip": "让这个片段继续：结尾连同声音保持不变，两段成为一个片段",
  "this works for clips that SamplerCustomAdvanced samples: add NAVA Extend by hand": "只适用于由 SamplerCustomAdvanced 采样的片段：请手动添加“NAVA 延长”",
  "seconds more": "延长秒数",
  "picture held {spans} s": "画面保持 {spans} 秒",
  "sound held {spans} s": "声音保持 {spans} 秒",
  "goes on at {times} s": "在 {times} 秒处继续",
  "cut at {times} s": "在 {times} 秒处切换",
  "clip {number} of {count}": "第 {number} 个片段，共 {count} 个",
  // the curves of its sound and picture
  "Sync curves": "同步曲线",
  "measures whether what is heard happens when it is seen; made for events, so speech scores low even when it is right":
    "测量听到的是否发生在看到的时刻；用于事件，因此说话即使正确得分也低",
  "curves of motion and sound: click or arrow keys to seek": "运动和声音的曲线：点击或用方向键跳转",
  "above, amber: what is seen to happen; below, blue: sounds that begin; green: both match": "上方琥珀色：看到的事件；下方蓝色：开始的声音；绿色：两者吻合",
  "F1: of all sounds and events, the share that match within a frame, 0 to 1. Lag: by how much the sound must be moved to fit best":
    "F1：所有声音和事件中在一帧之内吻合的比例，0 到 1。延迟：声音移动多少最吻合",
  "measuring …": "正在测量……",
  "F1 {f1}: {matches} of {sounds} sounds and {events} events match": "F1 {f1}：{sounds} 个声音和 {events} 个事件中有 {matches} 对吻合",
  "sound late by {seconds} s": "声音晚 {seconds} 秒",
  "sound early by {seconds} s": "声音早 {seconds} 秒",
  "no lag": "没有延迟",
  ", unsure: other lags fit as well": "（不确定：其他延迟也同样吻合）",
  "this clip has no sound: only what is seen is shown": "这个片段没有声音：只显示看到的",
  "this clip has no picture: only what is heard is shown": "这个片段没有画面：只显示听到的",
  "the first {seconds} s are measured": "测量了前 {seconds} 秒",
  "the server does not answer": "服务器没有回答",
  "this file is no clip that can be read": "这个文件不是可以读取的片段",
  "the picture is too large to be measured": "画面太大，无法测量",
  "the clip takes too long to read": "读取片段的时间太长",
  "too many clips at once": "同时测量的片段太多",
  "the clip is no longer there": "这个片段已不存在",
  // the storyboard's time line
  "The shots come from another node.": "镜头文字来自另一个节点。",
  "shot {number}": "镜头 {number}",
  "shot {number}: {fault}": "镜头 {number}：{fault}",
  "1 shot": "1 个镜头",
  "{count} shots": "{count} 个镜头",
  "goes on": "继续",
  cut: "切换",
  "shot {number} has no prompt. Write one after its line {rule}": "镜头 {number} 没有提示词：请写在 {rule} 这一行之后",
  "shot 1 cannot continue: there is nothing before it": "镜头 1 不能继续：它前面没有镜头",
  "{word} is no length and neither cut nor continue. Write --- 5 s, continue": "{word} 不是时长，也不是“切”或“继续”。请写：--- 5 秒，继续",
  "a shot lasts more than 0 and up to {most} s": "镜头应长于 0 秒，最长 {most} 秒",
  // phrases of NavaCompose
  phrases: "常用短语",
  style: "风格",
  scene: "场景",
  camera: "镜头",
  sound: "声音",
  // cast and rewriting
  "play {name}": "播放 {name}",
  "(no voice)": "（无音色）",
  "Characters and their voices show here after a run.": "运行一次后，这里显示角色及其音色。",
  "saved as {name}": "已保存为 {name}",
  keep: "保留",
  rewrite: "重写",
  "undo rewrite": "撤销改写",
  "none of {tries} tries came out clean, this one was mended ({faults}): read it before use": "试了 {tries} 次都不合格，这一次经过修正（{faults}）：使用前请读一遍",
  "the prompt was left as it is: {reason}": "提示词保持原样：{reason}",
  "no language model is connected: the prompt was left as it is": "没有连接语言模型：提示词保持原样",
  "the language model gave no text": "语言模型没有给出文字",
  "it changed, dropped or invented spoken lines": "它改动、漏掉或编造了台词",
  "it repeated itself": "它重复了内容",
  "it was longer than the {limit} tokens that NAVA reads": "它超过 NAVA 能读的 {limit} 个 token",
  "it did not answer in {language}": "它没有用要求的语言回答",
  "it left out most of the prompt": "它漏掉了提示词的大部分内容",
  "the spoken lines could not be put back": "台词无法放回原处",
  // what nodes say of their input
  "and {count} more; ComfyUI's log has them all": "以及另外 {count} 条，全部见 ComfyUI 的日志",
  "{count} pictures came in; only the first is used. Turn each_picture on to make a clip from each.": "输入了 {count} 张图片，只用第一张。打开“每张图片”可为每张各做一个片段。",
  "several recordings came in; only the first is heard": "输入了多段录音，只听第一段",
  "the recording lasts {seconds} s; 5 to 15 s of clean speech work best": "录音只有 {seconds} 秒；5 到 15 秒清晰的说话效果最好",
  "the recording lasts {seconds} s; only the first {most} s are used": "录音长 {seconds} 秒，只用前 {most} 秒",
  "the recording is silent": "录音是静音",
  "the recording is clipped: record it more quietly": "录音削波：请用较低的音量重新录制",
  "held: {parts}": "保持：{parts}",
  "nothing is held: strength is 0": "没有保持任何部分：强度为 0",
  "{held} s of the clip are held; it will last {total} s": "保持片段的 {held} 秒；总长将为 {total} 秒",
  "{found} s of sound in a clip of {seconds} s": "{seconds} 秒的片段中有 {found} 秒声音",
  "the model was trained up to {seconds} s: use a context window node for longer ones": "模型训练到 {seconds} 秒：更长的片段请用上下文窗口节点",
  // what opens with a shipped workflow
  "Opened with {name}": "使用 {name} 打开",
  "NAVA's own model files are not here. The small files that are were chosen instead, at {size} and {steps} steps.":
    "这里没有 NAVA 的模型文件，改用小模型：{size}，{steps} 步。",
  "the random tiny set": "随机的微型模型",
  // what nodes report, and their errors
  ...SENTENCES_OF_NODES,
};

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

/** A text of the panels, with its {values}. */
export const say = (text, values = {}) => fill((chinese() && CHINESE[text]) || text, values);

// Sentences of the server with gaps: those with most fixed words first; of too few one cannot be sure.
const fixed = (text) => text.replace(/\{\w+\}/g, "").length;
const SENTENCES = Object.keys(CHINESE)
  .filter((text) => text.includes("{") && fixed(text) >= 6)
  .sort((a, b) => fixed(b) - fixed(a))
  .map((text) => ({ text, parts: text.split(/\{\w+\}/), names: [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1]) }));
// Gaps in which the server's own words stand; in all others stand numbers and the user's, which stay as they are.
const OWN_WORDS = ["where", "names", "known", "reason", "faults", "fault", "side", "what", "part", "parts", "kind", "hint", "why",
  "loudness", "f1", "align", "precision", "recall", "lag", "sharpness", "correlation"];

/** What stands in the gaps of a sentence: each fixed part where it first occurs, the last one at the end; or null. */
function match(text, { parts, names }) {
  if (!text.startsWith(parts[0]) || !text.endsWith(parts.at(-1))) return null;
  const end = text.length - parts.at(-1).length;
  const values = {};
  let from = parts[0].length;
  for (const [i, name] of names.entries()) {
    const to = i === names.length - 1 ? end : text.indexOf(parts[i + 1], from);
    if (to < from || to > end) return null;
    values[name] = text.slice(from, to);
    if (values[name].includes("\n")) return null;
    from = to + parts[i + 1].length;
  }
  return values;
}

/** What the server said, in English, in the language of the editor; as it is where there are no words for it. */
export function told(text) {
  if (!chinese() || text.length > 2000) return text;
  if (Object.hasOwn(CHINESE, text)) return CHINESE[text];
  for (const sentence of SENTENCES) {
    const values = match(text, sentence);
    if (!values) continue;
    for (const name of OWN_WORDS.filter((n) => n in values)) values[name] = values[name].split("; ").map(told).join("；");
    return fill(CHINESE[sentence.text], values);
  }
  return text;
}

function toldLine(text) {
  if (text.startsWith("| seed |")) return text.replace(/[a-z]+/g, (word) => CHINESE[word] ?? word);
  const bare = text.replace(/\.$/, "");
  for (const [said, end] of [[bare, bare === text ? "" : "。"], [text, ""]]) {
    const whole = told(said);
    if (whole !== said) return whole + end;
    const parts = said.split("; ");
    const each = parts.map(told);
    if (each.some((part, i) => part !== parts[i])) return each.join("；") + end;
  }
  return text;
}

/** The same for several sentences or lines. */
export function toldAll(text) {
  if (!chinese() || text.length > 20000) return text;
  const whole = text.includes("\n") ? told(text) : text;
  return whole === text ? text.split("\n").map(toldLine).join("\n") : whole;
}

/** The error of a node, "Node, input: what is wrong. What to do.", with the names that the editor shows. */
export function toldError(text, node) {
  const [place, kind, input] = text.match(/^(Nava\w+|NAVA)(?:(?:, ([\w ]{1,40}))?: |, )/) ?? [""];
  const fault = text.slice(place.length).trimEnd();
  const said = toldAll(fault);
  if (said === fault || !place) return said === fault ? text : said;
  const slot = input && node?.comfyClass === kind && node.inputs?.find((s) => s.name === input);
  const names = [window.LiteGraph.registered_node_types[kind]?.title ?? kind, input && ((slot && (slot.label ?? slot.localized_name)) || CHINESE[input] || input)];
  return `${names.filter(Boolean).join("，")}：${said}`;
}
