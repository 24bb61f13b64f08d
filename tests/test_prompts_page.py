"""docs/prompts.md: every example is a prompt that the pack reads as its writer meant it."""

import re

import pytest
import torch
from support import ROOT

from nava_core import prompt as p
from nava_core.cast import parse_characters
from nava_core.estimate import estimated_tokens

PAGE = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```prompt\n(.+)\n```$", PAGE, re.MULTILINE)


def test_there_are_ten():
    assert len(EXAMPLES) == 10 == len(re.findall(r"^### \d+\. ", PAGE, re.MULTILINE))


@pytest.fixture(scope="module")
def clip(nava, base):
    import folder_paths
    from tiny import FILES

    folder_paths.add_model_folder_path("text_encoders", str(base / "models" / "text_encoders"), is_default=True)
    return nava("load").NavaTextEncoderLoader.execute(FILES["text_encoders"], "default")[0]


@pytest.mark.parametrize("number", range(10))
def test_examples_are_read_and_encoded(nava, clip, number):
    text = EXAMPLES[number]
    prompt = p.parse(text)
    spoken = text.count("<S")
    assert not prompt.problems and not p.unmarked_speech(prompt) and len(prompt.spoken) == spoken
    tokens = p.tokenize(prompt, lambda t: [0] * estimated_tokens(t), 0)
    print(number + 1, len(text), "characters, about", tokens.full_length, "tokens")
    assert tokens.full_length <= p.TOKEN_LIMIT
    if not spoken:
        assert re.search("没有人物对白|没有人说话", text)
    cast = parse_characters("安娜\n本")
    positive = nava("text").NavaTextEncode.execute(clip, text, "", None, cast)[0]
    assert torch.isfinite(positive[0][0]).all()
