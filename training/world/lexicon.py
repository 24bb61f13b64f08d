"""The words of the small world."""

LEXICON = {
    "en": ["hello", "yes", "no", "water", "seven", "music"],
    "zh": ["你好", "再见", "谢谢", "不要", "音乐", "下雨"],
}
# What references say: other words than the lexicon.
SENTENCES = {
    "en": [
        "the quick brown fox jumps over the lazy dog",
        "please bring me a cup of tea and open the window",
        "we walked along the river until it was dark",
    ],
    "zh": ["今天天气很好我们一起去公园散步", "请把窗户打开外面的空气很新鲜", "小猫在树下睡觉太阳慢慢落下去了"],
}
