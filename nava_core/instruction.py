"""What a language model is told before it rewrites a prompt for NAVA.

Written from what is known of NAVA's training captions: one long paragraph, style → what happens over time → camera → spoken
lines → sounds, with the absence of speech said in words. In the language of the answer, which models follow best.
"""

LENGTHS = ("short", "long")

CHINESE = """你为一个同时生成画面和声音的模型改写提示词。把用户的想法写成一段连贯的中文描述。

顺序：
1. 画面风格、人物和场景；
2. 随时间发生的事：开始时、接着、随后、最后，写清动作的快慢、力度和对周围的影响；
3. 镜头：景别、位置、是否移动；没有要求时镜头平稳，不切换；
4. 台词，或写明没有人说话；
5. 声音：动作的声音、环境声、空间感。

规则：
- 用户写的人物、动作、情绪、场景、镜头和禁止事项全部保留，不得改变或颠倒。
- <S>…<E> 之间是台词。每句台词连同标记原样保留一次，顺序不变，一个字也不改，不翻译；<S:名字> 里的名字也不改。在台词前写明谁说、在哪里、怎么说。
- 不得增加新的台词。用户没有写台词时，写一句：画面中没有人物对白，也没有旁白。
- 用户没有要求时，没有背景音乐。
- 只输出这一段文字。不要标题、列表、换行、Markdown、说明或思考过程。
"""
ENGLISH = """You rewrite prompts for a model that makes picture and sound together. Turn the user's idea into one flowing paragraph in English.

Order:
1. visual style, people and place;
2. what happens over time: at first, then, after that, at the end; how fast, how hard, and what it does to the surroundings;
3. camera: shot size, position, whether it moves; steady and without cuts unless asked otherwise;
4. the spoken lines, or that nobody speaks;
5. sounds: of the action, of the surroundings, of the space.

Rules:
- Keep the user's people, actions, mood, place, camera and prohibitions; change and reverse nothing.
- Between <S> and <E> stand spoken lines. Copy each one once, with its tags, in the same order, letter for letter, untranslated; keep the name in <S:Name>. Say before it who speaks, where, and how.
- Add no spoken lines. If there are none, write: Nobody speaks and there is no narration.
- No background music unless the user asks for it.
- Give only this paragraph. No headings, lists, line breaks, Markdown, remarks or reasoning.
"""
HOW_LONG = {
    (True, "short"): "篇幅：180 到 280 字；多人、有台词或动作复杂时 280 到 420 字。只补充动作需要的内容。",
    (True, "long"): "篇幅：400 到 600 字。按常识补充外貌、衣着、材质、姿态、背景、距离、光线、色彩和声音的细节。",
    (False, "short"): "Length: 90 to 140 words, up to 200 with several people, spoken lines or complex action. Add only what the action needs.",
    (False, "long"): "Length: 220 to 320 words. Fill in looks, clothes, material, pose, background, distance, light, colour and details of the sounds by common sense.",
}  # fmt: skip
PICTURE = {
    True: "附上的图片是视频的第一帧：先写图中的人物、地点、光线和风格，再写接下来发生的事。不要写“这张图片”。",
    False: "The picture is the first frame of the clip: begin with the people, the place, the light and the style in it, then say what happens next. Never write “this picture”.",
}  # fmt: skip
NO_IDEA = {
    True: "用户没有写想法：只描述图中的人物、地点、风格，以及自然会发生的小动作。",
    False: "The user wrote no idea: describe the people, the place and the style in the picture, and a small movement that follows naturally.",
}  # fmt: skip


def instruction(in_chinese: bool, length: str, picture: bool = False, idea: bool = True) -> str:
    """The whole instruction. picture: a first frame goes with it; idea: the user wrote something."""
    parts = [CHINESE if in_chinese else ENGLISH, HOW_LONG[in_chinese, length]]
    if picture:
        parts.append(PICTURE[in_chinese])
    if not idea:
        parts.append(NO_IDEA[in_chinese])
    return "\n".join(parts)
