"""What scenes are made of, in both languages, and which combinations are kept for testing."""

COLOURS = {
    "red": ((220, 40, 40), "红色"),
    "green": ((50, 180, 70), "绿色"),
    "blue": ((50, 90, 225), "蓝色"),
    "yellow": ((245, 210, 50), "黄色"),
    "purple": ((150, 60, 190), "紫色"),
    "white": ((240, 240, 240), "白色"),
}
SHAPES = {"ball": "球", "cube": "方块", "star": "星星"}
FLOORS = {  # colour, English, Chinese, how it sounds in English and Chinese
    "wood": ((150, 100, 55), "wooden floor", "木地板", "a dry wooden knock", "干脆的木头敲击声"),
    "metal": ((120, 125, 135), "metal floor", "金属地板", "a ringing metallic clang", "清亮的金属鸣响"),
    "glass": ((150, 215, 220), "glass floor", "玻璃地板", "a bright glass chime", "清脆的玻璃叮声"),
    "drum": ((225, 205, 170), "drum skin", "鼓面", "a deep drum beat", "低沉的鼓声"),
}
SKIES = {
    "day": ((110, 175, 240), (190, 220, 250), "a blue sky", "蓝天"),
    "sunset": ((235, 120, 70), (250, 190, 110), "an orange sunset sky", "橙色的晚霞"),
    "night": ((12, 16, 45), (35, 40, 80), "a dark night sky", "漆黑的夜空"),
}
TICKERS = {
    "pendulum": ("pendulum", "钟摆", "a sharp tick", "清脆的滴答声"),
    "metronome": ("metronome", "节拍器", "a hollow wooden click", "空洞的木质敲击声"),
    "lamp": ("lamp", "灯", "a clear electronic beep", "清楚的电子哔声"),
}
WEATHERS = {
    "rain": ("rain", "雨", "hissing rain", "沙沙的雨声"),
    "wind": ("wind", "风", "howling wind", "呼呼的风声"),
    "waves": ("waves", "海浪", "rushing waves", "哗哗的海浪声"),
}
STRENGTHS = {"light": ("light", "小"), "heavy": ("heavy", "大")}

# Never seen in training: a colour on a floor, a shape on a floor, a ticker under a sky, a face's colour under a sky.
HELD_OUT = {
    ("red", "glass"), ("green", "drum"), ("blue", "wood"), ("purple", "metal"),
    ("star", "metal"), ("cube", "drum"),
    ("pendulum", "night"), ("lamp", "sunset"), ("metronome", "day"),
    ("yellow", "night"), ("white", "sunset"),
}  # fmt: skip


def held_out(*values: str) -> bool:
    """Whether a scene with these attribute values belongs to the held-out set."""
    return any((a, b) in HELD_OUT for a in values for b in values)
