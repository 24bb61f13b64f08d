"""The bench keeps what it has when it is cut short."""

import json
import sys

import pytest


def test_a_bench_cut_short_has_written_what_it_had(tmp_path, monkeypatch):
    import bench

    from nava_core import NavaConfig

    small = NavaConfig(dim=64, num_heads=1, num_double_layers=1, num_single_layers=1, ffn_dim=64, text_dim=32)
    monkeypatch.setattr(bench, "SIZES", (("one", small, (2, 4, 4), 4), ("two", small, (3, 4, 4), 8)))
    monkeypatch.setattr(bench, "matrix_rate", lambda *_: 1e9)
    monkeypatch.setattr(sys, "argv", ["bench", "--out", str(tmp_path)])

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "against_plain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [row["name"] for row in report["speed"]] == ["one", "two"] and report["complete"] is False
    assert "one" in (tmp_path / "bench.svg").read_text(encoding="utf-8")


def test_the_bench_for_cards_runs_through(nava, monkeypatch):
    """On the CPU, on a small model: every row that does not need a card is made, and what takes too long is named."""
    import time

    import card
    import card_bench
    import card_rows
    import torch

    from nava_core import NavaConfig

    small = NavaConfig(
        dim=128,
        num_heads=1,
        num_double_layers=1,
        num_single_layers=1,
        ffn_dim=256,
        freq_dim=32,
        text_dim=32,
        text_len=16,
    )
    inside = card.inside_comfyui(cpu=True)
    monkeypatch.setattr(card_rows, "matrix_rate", lambda *_: 1e9)
    here = card.Card("cpu", time.monotonic() + 300, torch.float32)
    kept = []
    report = card_bench.measure(
        inside,
        here,
        small,
        {"small": (2, 4, 4), "large": (3, 4, 4)},
        keep=lambda r: kept.append(len(r["speed"])),
        attention=(1, 1, 256, 16),
        size=(2, 4, 4),
    )
    assert not report["left_out"] and report["complete"]
    made = [row["name"] for row in report["speed"]]
    cases = {f"{n}, {k}" for n in ("small", "large") for k in ("bf16", "fp8", "fp8_fast", "int8")}
    assert {f"{case}, pytorch" for case in cases} <= set(made)
    assert {row["name"] for row in report["steps"]} == cases
    errors = {row["name"]: row["picture"] for row in report["errors"]}
    assert errors["bf16, pytorch"] == 0  # on the CPU it is float32
    assert 0 < errors["int8, pytorch"] < errors["fp8_fast, pytorch"] < 0.1
    assert all(row["ms_per_pass"] > 0 for row in report["speed"]) and kept[-1] == len(made)
    late = card_bench.measure(inside, card.Card("cpu", 0.0, torch.float32), small, {"small": (2, 4, 4)})
    assert late["left_out"] == ["ceilings", "attention back ends", "float32", "bf16", "fp8", "int8", "fp8_fast"]
    assert late["complete"] is False
