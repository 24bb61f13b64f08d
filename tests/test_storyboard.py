"""Storyboards: read, made shot after shot, taken up again."""

import os

import numpy as np
import pytest
import torch
from test_nodes import text
from test_put import latent_of
from test_workflows import opened

from nava_core.cast import Cast, Character
from nava_core.storyboard import Shot, StoryboardError, parse

BOARD = "--- 0.7 s\na red thing <S:Anna>hello<E>\n--- 0.5 s, continue\nit goes on\n--- 0.4 s\na cut"


@pytest.mark.parametrize(
    ("written", "shots"),
    [
        ("a", [Shot("a", 5.0)]),
        ("a b\n---\nc", [Shot("a b", 5.0), Shot("c", 5.0)]),
        ("--- 6 s\na\n--- 4.5, continue\nb\n\nb2\n----- continue\nc", [Shot("a", 6.0), Shot("b\n\nb2", 4.5, True), Shot("c", 5.0, True)]),
        ("--- 3秒\na\n---继续，2 秒\nb", [Shot("a", 3.0), Shot("b", 2.0, True)]),
        ("--- cut 2 s\na -- b --- c", [Shot("a -- b --- c", 2.0)]),
    ],
)  # fmt: skip
def test_storyboards(written, shots):
    assert parse(written, 5.0) == shots


def test_what_the_time_line_shows(nava):
    """As long as the clip gets (test_shots_become_one_clip), lines and voices through all shots, faults by their shot."""
    cast = Cast((Character("Anna", "a woman", "#123456"),))
    report = nava("routes").describe_board(f"{BOARD} <S:Eve>ah<E>", 5.0, ["Eve"], cast)
    assert [(round(s["seconds"] * 24), s["goes_on"]) for s in report["shots"]] == [(17, False), (12, True), (9, False)]
    assert [(line["name"], line["voice"]) for line in report["lines"]] == [("Anna", 1), ("Eve", 0)]
    assert report["characters"][0]["colour"] == "#123456" and report["problems"] == [] and report["seconds"] == 1.58
    for shots, word in (
        ("a\n---\n<S>b", "shot 2: a spoken line is never closed"),
        ("a\n--- fade\nb", "shot 2: 'fade'"),
    ):
        assert word in nava("routes").describe_board(shots, 5.0, [])["problems"][0]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "shot 1 has no prompt"),
        ("a\n--- 3 s\n\n---\nb", "shot 2 has no prompt"),
        ("--- continue\na", "nothing before it"),
        ("a\n--- fade\nb", "shot 2: 'fade' is no length"),
        ("a\n--- 0 s\nb", "shot 2: 0 s"),
        ("a\n--- 99 s\nb", "shot 2: 99 s"),
    ],
)
def test_storyboards_that_cannot_be_read(written, words):
    with pytest.raises(StoryboardError, match=words):
        parse(written, 5.0)


def alike(a, b):
    """The same frames, but for the encoder, which need not give the same bytes twice."""
    return a.shape == b.shape and np.abs(a.astype(float) - b).mean() < 1


@pytest.fixture
def board(nava, files, tmp_path, monkeypatch):
    """board(shots) runs the node in a folder of its own: (frames, sound, seconds, shots that were sampled)."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path / "output"))
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    positive, negative = text(nava, files)
    guider = nava("guide").NavaGuider.execute(files["model"], positive, negative, 1.0, 0.0, 1.0, 0.0, 1.0)[0]
    anna = nava("voice").Voice("Anna", torch.full((192,), 0.1))
    module = nava("storyboard")

    def run(shots=BOARD, stop_at=None, seed=1, latent=None, cast=None):
        sampled, original = [], module.sample_shot
        run.voices = []

        def watch(guider, sampler, sigmas, start, seed, file, *rest):
            if len(sampled) + 1 == stop_at:
                raise KeyboardInterrupt
            sampled.append(file.name)
            run.voices.append(guider.original_conds["positive"][0].get("nava_voices"))
            original(guider, sampler, sigmas, start, seed, file, *rest)

        monkeypatch.setattr(module, "sample_shot", watch)
        try:
            video, seconds = module.NavaStoryboard.execute(
                guider, nava("sample").NavaSamplerSelect.execute("unipc")[0],
                nava("sample").NavaScheduler.execute(files["model"], 2, 5.0, 1.0)[0], latent or latent_of(nava),
                files["clip"], files["video_vae"], files["audio_vae"], shots, 0.3, seed, "story", {} if cast else {"voice_0": anna}, cast,
            ).args  # fmt: skip
        finally:
            monkeypatch.setattr(module, "sample_shot", original)
            run.sampled = sampled
        frames, sound, _ = opened(video.get_stream_source())
        return frames, sound, seconds, sampled

    run.folder = tmp_path / "output" / "nava_shots" / "story"
    return run


def test_shots_become_one_clip_and_are_made_once(board, nava):
    frames, sound, seconds, sampled = board()
    # 17 frames, 12 more (0.5 s are 3 groups), a cut of 9
    assert len(frames) == 17 + 12 + 9 and seconds == pytest.approx(38 / 24) and len(sampled) == 3
    assert abs(sound.shape[-1] / 48000 - seconds) < 0.05
    first, second = (nava("storyboard").read(board.folder / name) for name in sampled[:2])
    for a, b, count in zip(first["samples"].unbind(), second["samples"].unbind(), (5, 17), strict=True):
        assert torch.equal(b[:, :, :count], a[:, :, :count]), "all of so short a shot is repeated, bit for bit"
    again = board()
    assert again[3] == [] and alike(again[0], frames)
    changed = board(BOARD.replace("a cut", "another cut"))
    assert [n[:8] for n in changed[3]] == ["shot_003"]
    changed = board(BOARD.replace("red", "blue"))
    assert [n[:8] for n in changed[3]] == ["shot_001", "shot_002"], "what goes on depends on what came before"
    assert len(list(board.folder.iterdir())) == 6, "nothing that was made is lost"


def test_a_storyboard_is_taken_up_again(board):
    whole, *_ = board()
    for file in board.folder.iterdir():
        file.unlink()
    with pytest.raises(KeyboardInterrupt):
        board(stop_at=3)
    left = sorted(os.listdir(board.folder))
    assert [n[:8] for n in left] == ["shot_001", "shot_002"] and all(n.endswith(".safetensors") for n in left)
    frames, _, _, sampled = board()
    assert [n[:8] for n in sampled] == ["shot_003"] and alike(frames, whole)


def test_a_cast_keeps_looks_and_voices(board, nava):
    """Written into each shot that mentions them; a change makes anew what it touches, and what goes on from that."""

    def people(look="a woman in a green sweater", level=0.2, other="a man"):
        anna, eve = (nava("voice").Voice(n, torch.full((192,), v)) for n, v in (("Anna", level), ("Eve", 0.3)))
        return Cast((Character("Anna", look, voice=anna), Character("Ben", other), Character("Eve", voice=eve)))

    shots = "--- 0.4 s\n<S:Eve>a<E>\n--- 0.4 s\nAnna says <S:anna>b<E>\n--- 0.4 s\nAnna: <S:Anna>c<E><S:Ben>d<E>"
    *_, sampled = board(shots, cast=people())
    assert len(sampled) == 3
    assert [[round(float(row[0]), 3) for row in rows] for rows in board.voices] == [[0.3], [0.2], [0.2, 0]]
    for changed, numbers in (
        (people(), ""),
        (people(look="old"), "23"),
        (people(level=0.1), "23"),
        (people(other="a boy"), "3"),
    ):
        *_, sampled = board(shots, cast=changed)
        assert "".join(name[7] for name in sampled) == numbers
    with pytest.raises(ValueError, match=r"shot 2: .*Nobody.*Anna, Ben"):
        board("a\n---\n<S:Nobody>x<E>", cast=people())


def test_what_is_wrong_is_said_before_the_first_shot(board, nava):
    for shots, words in (
        ("a\n--- fade\nb", "NavaStoryboard, shots: shot 2: 'fade'"),
        ("a\n---\n<S>never closed", "NavaStoryboard, shots: shot 2: .*never closed"),
        ("a\n---\n<S:Nobody>x<E>", "NavaStoryboard, shots: shot 2: .*Nobody"),
    ):
        with pytest.raises(ValueError, match=words):
            board(shots)
        assert board.sampled == []
    with pytest.raises(ValueError, match="NavaStoryboard, latent: give one clip with picture and sound"):
        board(latent=latent_of(nava, "video"))
    for name in ("../other", "/tmp", "scenes/con", " "):
        with pytest.raises(ValueError, match=r"NavaStoryboard, name: .* cannot be a file name"):
            nava("storyboard").folder_of(name)
    assert nava("storyboard").folder_of("scenes/one").is_dir()


def test_a_full_or_forbidden_disk_is_said(board, small_disk, monkeypatch):
    """Of the clip, of a shot; a folder that may not be written to before the first shot. No half file stays, finished shots do."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(small_disk.folder))
    with pytest.raises(RuntimeError, match=r"NavaStoryboard: .*\.mp4 cannot be written: .*Free some space"):
        board("--- 0.4 s\na")
    assert len(board.sampled) == 1 and not list(small_disk.folder.iterdir())
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(small_disk.folder))
    with pytest.raises(RuntimeError, match=r"NavaStoryboard: .*shot_001.* cannot be written: .*Free some space"):
        board("--- 0.4 s\na")
    assert not [p for p in small_disk.folder.rglob("*") if p.is_file()]
    small_disk.forbid_writing()
    with pytest.raises(RuntimeError, match=r"NavaStoryboard: .*story cannot be written: .*may be written to"):
        board("--- 0.4 s\na")
    assert board.sampled == []
