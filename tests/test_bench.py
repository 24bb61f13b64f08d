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
