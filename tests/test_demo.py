"""The demo's story: what it prints about the planted errors is what a recount finds."""

from __future__ import annotations

import csv
import re
import sys

import pytest

from leadline import cli
from leadline.runs import Run


def tell(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["leadline", "demo", *map(str, arguments)])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert not leaving.value.code
    return capsys.readouterr().out


def recount(folder, run, top):
    with open(folder / "messages_truth.csv", encoding="utf-8", newline="") as source:
        wrong = {row["id"] for row in csv.DictReader(source) if row["kind"] == "wrong"}
    ranked = run.scores(["aum_prob"]).sort("aum_prob", maintain_order=True)["id"].to_list()
    return sum(name in wrong for name in ranked[:top]), len(wrong & set(ranked))


def test_the_story_in_small(tmp_path, monkeypatch, capsys):
    out = tell(monkeypatch, capsys, "--to", tmp_path, "--model", "tiny", "--n", 300, "--epochs", 2)
    run = Run(tmp_path / "runs" / "messages-tiny-1")
    planted = recount(tmp_path, run, 1)[1]
    rows = [list(map(float, line.split())) for line in out.splitlines() if re.fullmatch(r"( +[\d.]+){5} *", line)]
    assert [row[0] for row in rows] == [planted // 4, planted // 2, planted, 2 * planted]
    for top, hits, precision, recall, _ in rows:
        assert hits == recount(tmp_path, run, int(top))[0]
        assert precision == pytest.approx(hits / top, abs=5e-4) and recall == pytest.approx(hits / planted, abs=5e-4)
    assert (run.path / "map.html").is_file() and "leadline train YOUR.csv --text" in out


@pytest.mark.long
def test_the_story_with_minilm_finds_most_planted_errors(tmp_path, monkeypatch, capsys):
    tell(monkeypatch, capsys, "--to", tmp_path)
    run = Run(tmp_path / "runs" / "messages-minilm-1")
    planted = recount(tmp_path, run, 1)[1]
    assert recount(tmp_path, run, planted)[0] / planted > 0.85
    assert all(check["passed"] for check in run.events("check")[0]["checks"])
