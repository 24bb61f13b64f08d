"""What people type and save: dashes, commas, bold names, marks of Windows tools, lines that are none."""

import copy
import json

import clips
import jobs
import prompt_sets
import pytest
from flatten import WorkflowError
from shipped import BY_KEY
from workflow import load, to_api

from nava_core.dialogue import compose, split_row
from nava_core.prompt import bind_voices, parse, tokenize
from nava_core.spans import parse_spans
from nava_core.storyboard import StoryboardError
from nava_core.storyboard import parse as parse_board
from nava_core.text_file import lines_of, read_text


@pytest.mark.parametrize(
    "text, shots",
    [
        ("—- 3 s\nRain\n—\nSnow", [("Rain", 3, False), ("Snow", 6, False)]),
        ("Rain\n– 2,5 s, continue\nSnow", [("Rain", 6, False), ("Snow", 2.5, True)]),
        ("－－－ ３秒；切\nRain\n——继续\nSnow", [("Rain", 3, False), ("Snow", 6, True)]),
        ("―― 4s\r\nRain\r\n――\r\nSnow", [("Rain", 4, False), ("Snow", 6, False)]),
        ("Rain\n— Hello, she says.\n-- so", [("Rain\n— Hello, she says.\n-- so", 6, False)]),
        ("--- 0.5 s\nRain", [("Rain", 0.5, False)]),
    ],
)
def test_rules_of_a_storyboard(text, shots):
    found = parse_board(text, 6)
    assert [(s.prompt.replace("\r", ""), s.seconds, s.goes_on) for s in found] == shots
    rows = text.split("\n")
    for shot in found:
        assert "\n".join(rows[slice(*shot.rows)]).strip() == shot.prompt, "the panel selects these rows"


def test_a_rule_that_says_something_else_is_refused():
    for text in ("Rain\n—— soon\nSnow", "Rain\n--- 2.5.1 s\nSnow"):
        with pytest.raises(StoryboardError, match="is no length and neither cut nor continue"):
            parse_board(text, 6)


@pytest.mark.parametrize(
    "row, found",
    [
        ("**Anna:** Hello there.", ("Anna", "", "Hello there.")),
        ("**Anna** (softly): “Hi”", ("Anna", "softly", "Hi")),
        ("__Anna (softly):__ Hi", ("Anna", "softly", "Hi")),
        ("*Anna*: *sighs* no", ("Anna", "", "*sighs* no")),
        ("- Anna: yes", ("Anna", "", "yes")),
        ("1. Anna： 「やあ」", ("Anna", "", "やあ")),
        ("• Anna﹕ «Oui»", ("Anna", "", "Oui")),
        ('Anna: "no" and "yes"', ("Anna", "", '"no" and "yes"')),
        ("Anna: 5 * 3 * 2", ("Anna", "", "5 * 3 * 2")),
        ("Anna-Lena: don't", ("Anna-Lena", "", "don't")),
        (": to whom it may concern", ("", "", "to whom it may concern")),
    ],
)
def test_rows_of_a_script(row, found):
    assert split_row(row) == found


def test_a_bold_name_is_no_other_speaker():
    assert "<S:Anna>Hello.<E>" in compose("A room.", "**Anna:** “Hello.”\n")


def test_spans_in_full_width():
    assert parse_spans("０－２，３〜4.5", 6) == [(0, 2), (3, 4.5)]


def test_a_choice_in_braces_is_told():
    prompt = parse("A {red|blue} face says: <S>hello<E>")
    tokens = tokenize(prompt, lambda text: [1] * len(text.split()), 1000)
    assert any("{red|blue}" in w and "sent as it is" in w for w in bind_voices(prompt, tokens, []).warnings)
    plain = parse('{"scene": "rain", "speech": "<S>hello<E>"} a|b')
    assert not bind_voices(plain, tokenize(plain, lambda text: [1], 1000), []).warnings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_files_of_other_programs(tmp_path, encoding):
    path = tmp_path / "jobs.jsonl"
    lines = [json.dumps({"prompt": f"Rain.{c}It pours."}, ensure_ascii=False) for c in "\u2028\x85\u2029\x0b"[:3]]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    assert len(jobs.read(path, "nava_text_to_av")) == len(prompt_sets.read(path)) == 3
    assert lines_of(read_text(path)) == lines


def test_another_encoding_is_told(tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes('{"prompt": "Grüße"}'.encode("latin-1"))
    for read in (lambda: jobs.read(path, "nava_text_to_av"), lambda: prompt_sets.read(path)):
        with pytest.raises(ValueError, match=r"jobs\.jsonl is not UTF-8 text: save it as UTF-8"):
            read()


def test_models_in_folders_of_their_own(tmp_path):
    """A model file that is replaced makes other jobs, wherever it lies and however its name is written."""
    flow = json.loads(BY_KEY["nava_text_to_av"].open_path.read_text(encoding="utf-8"))
    loader = next(n for n in flow["nodes"] if n["type"] == "NavaModelLoader")
    for number, name in enumerate(("m.safetensors", "nava/m.safetensors", "nava\\deep\\m.GGUF", "[a]/m.safetensors")):
        file = tmp_path / "models" / "diffusion_models" / name.replace("\\", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        loader["widgets_values"][0] = name
        (tmp_path / f"{number}.json").write_text(json.dumps(flow))
        (tmp_path / "jobs.jsonl").write_text(json.dumps({"prompt": "Rain.", "workflow": f"{number}.json"}))
        marks = set()
        for content in (b"one", b"two"):
            file.write_bytes(content)
            jobs.model_identity.cache_clear()
            marks.add(jobs.models_of(jobs.read(tmp_path / "jobs.jsonl", "x")[0], (), [tmp_path / "models"]))
        assert len(marks) == 2, name
        assert clips.model_file(name, [tmp_path / "models"]) == file


def node(number, kind, inputs=(), outputs=(), values=(), mode=0):
    return {
        "id": number,
        "type": kind,
        "mode": mode,
        "inputs": list(inputs),
        "outputs": list(outputs),
        "widgets_values": list(values),
    }


def test_nodes_that_exist_in_the_editor_alone(object_info, capsys):
    document = load(BY_KEY["nava_text_to_av"].open_path)
    wanted = to_api(copy.deepcopy(document), object_info)
    document["nodes"] += [
        node(900, "Label (rgthree)"),
        node(901, "Fast Groups Bypasser (rgthree)", [], [{"name": "x", "type": "*", "links": []}]),
    ]
    loader = next(n for n in document["nodes"] if n["type"] == "NavaModelLoader")
    links = list(loader["outputs"][0]["links"])
    first = max(link[0] for link in document["links"]) + 1
    for link in document["links"]:
        if link[0] in links:
            link[1], link[2] = 903, 0
    document["links"] += [[first, loader["id"], 0, 902, 0, "MODEL"], [first + 1, loader["id"], 0, 904, 0, "MODEL"]]
    loader["outputs"][0]["links"] = [first, first + 1]
    document["nodes"] += [
        node(902, "SetNode", [{"name": "MODEL", "type": "MODEL", "link": first}], [{"name": "*", "type": "*", "links": None}], ["m"]),
        node(903, "GetNode", (), [{"name": "MODEL", "type": "MODEL", "links": links}], ["m"]),
        node(904, "SomebodysSaver", [{"name": "model", "type": "MODEL", "link": first + 1}]),
    ]  # fmt: skip
    assert to_api(copy.deepcopy(document), object_info) == wanted
    said = capsys.readouterr().err
    assert all(name in said for name in ("Label (rgthree)", "Fast Groups Bypasser", "SomebodysSaver"))
    document["nodes"][-2]["widgets_values"] = ["other"]
    with pytest.raises(WorkflowError, match=r"GetNode 903 asks for .*other.*no Set node has that name"):
        to_api(copy.deepcopy(document), object_info)
    document["nodes"][-2]["type"] = "SomebodysModel"
    with pytest.raises(WorkflowError, match=r"no node SomebodysModel, which .* needs for model: install the pack"):
        to_api(document, object_info)
