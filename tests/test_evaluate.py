"""run.py evaluate: lists of prompts, intervals, and a small evaluation on the real server, resumed and compared."""

import argparse
import json
import math
import subprocess
import sys

import av
import clips
import evaluate
import numpy as np
import pytest
import report
import selection
import small_set
import study
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals import difference, interval
from prompt_sets import PromptSetError, Row, read, seconds_of
from support import ROOT
from workflow import WorkflowError


@pytest.fixture
def media(tmp_path):
    import tiny

    tiny.make_inputs(tmp_path)
    return tmp_path


def test_released_jsonl(media):
    rows = [
        {"prompt": "Rain.", "image_path": "example.png", "seconds": 2},
        {"text": "A: <S>Yes.<E> B: <S>No.<E> A: <S>Why?<E>", "spk_wavs": ["anna.wav", "None", "ben.wav"]},
    ]
    (media / "list.jsonl").write_text("\n\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    first, second = read(media / "list.jsonl")
    assert first.prompt == "Rain." and first.image.name == "example.png" and first.voices == ()
    assert (first.seconds, second.seconds) == (2, None)
    assert [v and v.name for v in second.voices] == ["anna.wav", None, "ben.wav"]
    assert second.spoken == ["Yes.", "No.", "Why?"]
    assert second.tagged == "A: <S>Yes.<E> B: <S:->No.<E> A: <S>Why?<E>"


def test_seed_tts_list(media):
    (media / "meta.lst").write_text("u/1|你好你好|anna.wav|你好\nu/1|x|ben.wav|y", encoding="utf-8")
    first, second = read(media / "meta.lst")
    assert first.sound_only and first.prompt == "<S>你好<E>" and first.voices[0].name == "anna.wav"
    assert first.seconds == pytest.approx(seconds_of(media / "anna.wav") / 2)
    assert (first.name, second.name) == ("u_1", "u_1_2")


def test_verse_bench_folder(media):
    item = {
        "video_prompt": "A man at a desk.",
        "audio_prompt": ["a clock", "rain"],
        "speech_prompt": {"text": "Hello."},
    }
    folder = media / "set"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(item))
    (media / "example.png").rename(folder / "a.png")
    (row,) = read(folder)
    assert row.prompt == "A man at a desk. <S>Hello.<E> Sound: a clock, rain" and row.image.name == "a.png"
    (media / "list.json").write_text(json.dumps([item, item]))
    assert [r.name for r in read(media / "list.json")] == ["001", "002"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n{"prompt": ', "line 2: not JSON"),
        ('{"image_path": "x.png"}', "line 1: it has no prompt or text"),
        ('{"prompt": "a", "image_path": "x.png"}', "line 1, image_path: there is no file"),
        ('{"prompt": "a", "spk_wavs": ["anna.wav"]}', "1 recordings for 0 spoken lines"),
        ('{"prompt": "a", "seconds": -1}', "line 1, seconds: -1 is no length"),
        ('{"prompt": "a", "seconds": "long"}', "line 1, seconds: 'long' is no length"),
        ("a|b|c", "expected utterance"),
        ("", "it holds no prompts"),
        ("[1]", "item 001: expected an object"),
    ],
)
def test_bad_lists_are_refused(media, content, message):
    (media / "list").write_text(content)
    with pytest.raises(PromptSetError, match=message):
        read(media / "list")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_interval_holds_the_mean(values):
    prompts = [str(i) for i in range(len(values))]
    found = interval(values, prompts)
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    again = interval(values, prompts)
    assert found == again
    assert found.low >= min(values) - 1e-9 and found.high <= max(values) + 1e-9


def test_interval_covers_as_often_as_it_says():
    """Of 200 experiments of 20 prompts, about 95 % of the intervals hold the truth (percentile bootstrap: a little less)."""
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        found = interval(generator.normal(3.0, 1.0, 20).tolist(), [str(i) for i in range(20)])
        hits += found.low <= 3.0 <= found.high
    assert 175 <= hits <= 198


def test_seeds_of_a_prompt_count_once():
    few = interval([0.0, 1.0], ["a", "b"])
    many = interval([0.0] * 50 + [1.0] * 50, ["a"] * 50 + ["b"] * 50)
    assert (few.mean, few.low, few.high) == (many.mean, many.low, many.high)
    assert math.isinf(interval([1.0, 2.0], ["a", "a"]).high)


def test_difference_is_paired():
    """A small steady gain is found under a large spread between prompts; noise is not taken for one; signs matter."""
    generator = np.random.default_rng(2)
    base = {(str(i), 1): float(x) for i, x in enumerate(generator.normal(0, 10, 12))}
    better = {k: v + 0.1 + 0.02 * float(generator.normal()) for k, v in base.items()}
    found = difference(base, better)
    assert found.p < 0.01 and 0.05 < found.low < found.mean < found.high < 0.15
    assert difference(better, base).mean == pytest.approx(-found.mean)
    noise = {k: v + float(generator.normal()) for k, v in base.items()}
    assert difference(base, noise).p > 0.05
    assert difference(base, base).p == 1.0 and difference(base, {("other", 1): 0.0}) is None


# half a second of a very small picture
SHORT = [
    "NavaScheduler.steps=1",
    "NavaEmptyLatent.seconds=0.5",
    "NavaEmptyLatent.width=64",
    "NavaEmptyLatent.height=64",
]


def options(out, **given):
    return argparse.Namespace(
        **{"out": out, "seeds": 1, "first_seed": 1, "workflow": None, "models": None, "through": [],
           "only": None, "dtype": None, "set": SHORT} | given
    )  # fmt: skip


def test_evaluation_resumes_and_compares(server, media, monkeypatch, capsys):
    """Two rows, a voice and a picture; then nothing is made twice, other settings are refused, and two runs compare."""
    monkeypatch.setattr(small_set, "chosen", lambda: small_set.RANDOM)
    rows = [
        Row("plain", "Rain falls."),
        Row("spoken", "She says <S>yes<E>", media / "example.png", (media / "anna.wav",)),
    ]
    first = options(media / "a")
    assert evaluate.make(server, rows, first) == []
    files = sorted((media / "a" / "clips").glob("*.mp4"))
    assert [f.name for f in files] == ["plain-1.mp4", "spoken-1.mp4"]
    frames, fps, waveform, rate = clips.opened(files[0])
    assert frames.shape == (13, 64, 64, 3) and fps == 24 and waveform.shape[0] == 2 and rate == 48000
    times = [f.stat().st_mtime_ns for f in files]
    capsys.readouterr()
    known = {}
    assert evaluate.make(server, rows, first, known) == []
    assert "2 clips, 0 to make" in capsys.readouterr().out and times == [f.stat().st_mtime_ns for f in files]
    with monkeypatch.context() as patch:  # another part of a study with the same settings
        patch.setattr(evaluate, "generate", None)
        assert evaluate.make(server, rows, options(media / "copied"), known) == []
    copies = sorted((media / "copied" / "clips").glob("*.mp4"))
    assert [f.read_bytes() for f in copies] == [f.read_bytes() for f in files]
    files[0].unlink()  # lost: made again, the other one not
    assert evaluate.make(server, rows, first) == [] and files[0].exists() and files[1].stat().st_mtime_ns == times[1]
    with pytest.raises(evaluate.EvaluationError, match="made with other settings"):
        evaluate.make(server, rows, options(media / "a", set=[*SHORT, "NavaScheduler.steps=2"]))

    second = options(media / "b", through=["EasyCache"], set=[*SHORT, "NavaGuider.video_align=0"])
    assert evaluate.make(server, rows, second) == []
    models = evaluate.model_folders(server.base, None)
    for out in (first.out, second.out):
        evaluate.measure_all(out / "clips", models)
        table = report.write(out, ["x, seed 1: no"])
        assert "2 clips of 2 prompts" in table and "not measured" in table and "**failed**: x" in table
    content = json.loads((first.out / "evaluation.json").read_text())
    scores = {c["row"]: c["scores"] for c in content["clips"]}
    assert scores["plain"]["sound_loudness"] is not None and "voice_own" not in scores["plain"]
    page = (first.out / "index.html").read_text()
    assert 'src="clips/plain-1.mp4"' in page and "&lt;S&gt;yes&lt;E&gt;" in page
    assert "| 2 (2) |" in report.compare(first.out, second.out)


def test_a_row_that_fails_does_not_stop_the_others(server, media, monkeypatch):
    monkeypatch.setattr(small_set, "chosen", lambda: small_set.RANDOM)
    rows = [Row("bad", "She says <S>yes"), Row("good", "Rain.")]
    (failure,) = evaluate.make(server, rows, options(media / "out"))
    assert "bad, seed 1" in failure and "NavaTextEncode" in failure
    assert [f.name for f in (media / "out" / "clips").glob("*.mp4")] == ["good-1.mp4"]
    assert not (media / "out" / "clips" / "bad-1.json").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"set": ["NavaGuider.nothing=1"]}, "NavaGuider has no input nothing"),
        ({"set": ["Nothing.x=1"]}, "no node Nothing"),
        ({"set": ["NavaGuider"]}, "write Node.input=value"),
        ({"through": ["Nothing"]}, "the server has no such node"),
        ({"through": ["LoadImage"]}, "does not take and give a MODEL"),
        ({"workflow": "nava_two_shots"}, "one NavaTextEncode and one RandomNoise"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_sampling(server, tmp_path, given, message):
    with pytest.raises(WorkflowError, match=message):
        evaluate.make(server, [Row("a", "Rain.")], options(tmp_path, **given))


def test_shards_make_up_the_whole():
    rows = [Row(str(i), "x") for i in range(7)]
    parts = [evaluate.shard(rows, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(r.name for p in parts for r in p) == [r.name for r in rows]
    for bad in ("0/3", "4/3", "x", "1"):
        with pytest.raises(evaluate.EvaluationError, match="--shard"):
            evaluate.shard(rows, bad)


def test_study_sets_what_it_says_and_finds_what_differs(tmp_path):
    """Thirteen folders of made-up notes: only the variant that is worse on every prompt is marked."""
    parts = evaluate.variants(options(tmp_path, set=["A.b=1"]))
    by_name = {p.out.name: p for p in parts}
    assert by_name["align_0"].set == ["A.b=1", "NavaGuider.video_align=0", "NavaGuider.audio_align=0"]
    assert [p.out.name for p in evaluate.variants(options(tmp_path, only="steps_4, align_0"))] == [
        "base",
        "steps_4",
        "align_0",
    ]
    with pytest.raises(study.StudyError, match=r"there is no steps_5; a study has base, align_0"):
        study.variants("align_0,steps_5")
    assert by_name["easycache"].through == ["EasyCache"] and by_name["base"].set == ["A.b=1"] and len(parts) == 13
    for part in parts:
        (part.out / "clips").mkdir(parents=True)
        for row in range(8):
            f1 = 0.5 + 0.04 * row - (0.3 if part.out.name == "align_0" else 0)
            note = {"row": str(row), "seed": 1, "file": f"{row}.mp4", "seconds_taken": 1.0, "scores": {"sync_f1": f1}}
            (part.out / "clips" / f"{row}.json").write_text(json.dumps(note))
            (part.out / "clips" / f"{row}.mp4").touch()
    lines = {line.split(" | ")[0].strip("| "): line for line in study.table(tmp_path).splitlines() if "|" in line}
    assert "0.340 (" in lines["both alignment scales 0"] and "↓" in lines["both alignment scales 0"]
    assert "0.640 (" in lines["as the workflow says"]
    assert not any("↓" in line or "↑" in line for name, line in lines.items() if name != "both alignment scales 0")
    assert study.table(tmp_path, "align_0").count("\n|") == 4


def test_a_number_is_the_same_with_and_without_its_point():
    prompt = {"1": {"class_type": "A", "inputs": {"x": 2.0, "n": 3, "on": True}}}
    for setting in ("A.x=1", "A.n=4", "A.on=false"):
        clips.change(prompt, setting)
    assert json.dumps(prompt["1"]["inputs"]) == '{"x": 1.0, "n": 4, "on": false}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "takes a prompt list, or --compare"), (["nowhere.jsonl"], "there is no such file or folder")],
)
def test_command_says_what_it_needs(arguments, message):
    done = subprocess.run(
        [sys.executable, "run.py", "evaluate", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and message in done.stderr


def test_choosing_helps_where_meters_agree(tmp_path):
    """Made-up notes: where correlation follows F1 the best by F1 has more of it than the mean, where it does not, it has not."""
    generator = np.random.default_rng(3)
    for name, agree in (("agreeing", 0.5), ("apart", 0.0)):
        (tmp_path / name / "clips").mkdir(parents=True)
        for row in range(12):
            for seed in range(8):
                f1 = float(generator.integers(0, 5)) / 4
                scores = {"sync_f1": f1, "sync_correlation": agree * f1 + 0.2 * float(generator.normal()), "sound_clipped": 0.0,
                          "sound_dc": 0.0, "sound_silence": 0.0, "picture_stillness": 0.0}  # fmt: skip
                note = {
                    "row": str(row),
                    "seed": seed,
                    "file": f"{row}-{seed}.mp4",
                    "seconds_taken": 1.0,
                    "scores": scores,
                }
                (tmp_path / name / "clips" / f"{row}-{seed}.json").write_text(json.dumps(note))
                (tmp_path / name / "clips" / f"{row}-{seed}.mp4").touch()

    def rows(name):
        cells = [line.strip("| ").split(" | ") for line in selection.table(tmp_path / name).splitlines()[4:]]
        return {(c[0], c[1]): (float(c[4]), float(c[6])) for c in cells}

    found = rows("agreeing")
    assert found["F1", "correlation"][0] > 0.1 and found["F1", "correlation"][1] < 0.01
    assert found["NavaBestOf's score", "correlation"] == found["F1", "correlation"]  # nothing else differs here
    by_itself = rows("apart")
    assert abs(by_itself["F1", "correlation"][0]) < 0.1 and by_itself["F1", "correlation"][1] > 0.05
    assert by_itself["F1", "F1"][0] > 0.3
    with pytest.raises(report.ReportError, match="holds no measured clips"):
        selection.table(tmp_path)


def write_clip(path, times, delay=0.0, fps=24, seconds=2.0, rate=48000):
    """An mp4 of a lamp that lights at `times`, with a click at each of them, `delay` seconds late."""
    count, samples = round(fps * seconds), round(rate * seconds)
    sound = np.zeros((2, samples), dtype=np.float32)
    burst = np.random.default_rng(0).normal(0, 0.2, 2400) * np.exp(-np.arange(2400) / 400)
    for time in times:
        at = round((time + delay) * rate)
        sound[:, at : at + 2400] += burst[: samples - at].astype(np.float32)
    with av.open(str(path), "w") as media:
        video, audio = media.add_stream("libx264", rate=fps), media.add_stream("aac", rate=rate, layout="stereo")
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        for k in range(count):
            frame = np.full((96, 128, 3), 40, dtype=np.uint8)
            if any(0 <= k / fps - time < 0.2 for time in times):
                frame[30:60, 40:80] = 230
            media.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        media.mux(video.encode(None))
        whole = av.AudioFrame.from_ndarray(sound, format="fltp", layout="stereo")
        whole.sample_rate = rate
        media.mux([*audio.encode(whole), *audio.encode(None)])


def test_files_are_measured_and_compared(tmp_path):
    """Clips in time against the same ones with sound 0.2 s late, through files, notes, report and comparison."""
    for name, delay in (("late", 0.2), ("exact", 0.0)):
        folder = tmp_path / name / "clips"
        folder.mkdir(parents=True)
        for i in range(6):
            write_clip(folder / f"r{i}-1.mp4", [0.5, 1.0 + 0.05 * i, 1.6], delay)
            note = {"row": f"r{i}", "seed": 1, "prompt": "a <lamp>", "fingerprint": "x", "image": None, "voices": [],
                    "file": f"r{i}-1.mp4", "seconds_taken": 1.0}  # fmt: skip
            (folder / f"r{i}-1.json").write_text(json.dumps(note))
        evaluate.measure_all(folder, [])
        report.write(tmp_path / name, [])
    content = json.loads((tmp_path / "exact" / "evaluation.json").read_text())
    assert content["scores"]["sync_f1"]["mean"] > 0.9 and abs(content["scores"]["sync_lag"]["mean"]) < 0.05
    late = json.loads((tmp_path / "late" / "evaluation.json").read_text())["scores"]
    assert late["sync_f1"]["mean"] < 0.4 and late["sync_lag"]["mean"] == pytest.approx(0.2, abs=0.05)
    compared = report.compare(tmp_path / "late", tmp_path / "exact")
    line = next(x for x in compared.splitlines() if "two-way F1" in x)
    assert line.endswith("| better |") and "| 6 (6) |" in line
    page = (tmp_path / "exact" / "index.html").read_text()
    assert page.count("<video") == 6 and "a &lt;lamp&gt;" in page
    assert "6 clips of 6 prompts" in (tmp_path / "exact" / "evaluation.md").read_text()
