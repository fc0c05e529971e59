"""Every bench runs at toy size and writes what it measured; the figures themselves are committed in bench/results/."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
TOY = {"five_sets.py": ["--toy", "--seeds", "2"], "precision.py": ["--toy"], "scores.py": ["--toy"],
       "map_1m.py": ["--toy"], "sweep_1000.py": ["--toy"], "recording_trainer.py": ["--toy"],
       "throughput.py": ["--toy"], "recording.py": ["--toy", "--pairs", "3"], "kill.py": ["--toy", "--kills", "1"],
       "accumulation.py": ["--toy"], "near_duplicates.py": ["--toy"], "how_many.py": ["--toy"],
       "probes.py": ["--toy"], "review.py": ["--toy"], "agreement.py": ["--toy"],
       "audit.py": ["--toy"], "learn_from_it.py": ["--toy", "--seeds", "2"], "cleaning.py": ["--toy"],
       "real_errors.py": ["--toy"], "action_score.py": ["--toy"], "humans.py": ["--toy"],
       "how_many_trained.py": ["--toy"], "ood.py": ["--toy", "--seeds", "2"],
       "mixup_speed.py": ["--toy"], "ablation.py": ["--toy"], "low_data.py": ["--toy", "--seeds", "2"]}  # fmt: skip
TAKE_LONG = {"audit.py", "learn_from_it.py", "cleaning.py", "action_score.py", "humans.py", "how_many_trained.py",
             "ood.py", "ablation.py", "low_data.py", "kill.py", "throughput.py", "accumulation.py"}  # fmt: skip


@pytest.mark.parametrize("script", [pytest.param(s, marks=[pytest.mark.long] * (s in TAKE_LONG)) for s in TOY])
def test_a_bench_at_toy_size(script, tmp_path):
    out = tmp_path / "result.json"
    arguments = [
        *TOY[script],
        "--out",
        str(out),
        *(["--runs", str(tmp_path / "runs")] if script == "five_sets.py" else []),
    ]
    answer = subprocess.run(
        [sys.executable, str(BENCH / script), *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    result = json.loads(out.read_text())
    assert {"cpu", "cores", "versions"} <= set(result["machine"])
    if script == "five_sets.py":
        assert [run["seed"] for run in result["results"][0]["runs"]] == [0, 1] and result["results"][0]["n_test"] == 100
    elif script == "scores.py":
        assert result["streamed"]["runs"][0]["n"] == 2000 and result["streamed"]["runs"][0]["private_bytes"] > 1e6
    elif script == "sweep_1000.py":
        ways = list(result["ways"].values())
        assert [way["trials"] for way in ways] == [20, 20, 20] == [way["distinct_names"] for way in ways]
    elif script == "map_1m.py":
        assert all(found["bytes"] > 10_000 for found in result["rounds"][0].values()) and result["n"] == 1500
    elif script == "recording_trainer.py":
        assert result["pairs"] == 3 == len(result["processor"]["by_block"]["pairs"]) and result["seconds_on"] > 0
        assert result["examples_in_epoch"] == 4 * 2 * 20 * 4 and result["signal_bytes"] > 640 * 20
    elif script == "throughput.py":
        assert set(result["ratios"]["tiny"]) == {r["way"] for r in result["results"]} >= {"leadline", "Trainer"}
    elif script == "recording.py":
        assert result["wall"]["n"] == 3 and 60 < result["bytes_per_example_epoch"] < 200
    elif script == "kill.py":
        assert result["kills"] == 1 == result["equal"]
    elif script == "accumulation.py":
        assert max(result["worst"].values()) < 1e-5 and all(r["every_example_once"] for r in result["results"])
    elif script == "audit.py":
        found = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "result").glob("*.json")}
        assert set(found) == {"toy-uniform-10-s0", "toy-uniform-10-snapshot-s0"} and "results" not in result
        assert "Every score, 1 trials" in answer.stdout and "by kind of flip" not in answer.stdout
        whole = found["toy-uniform-10-s0"]
        assert {"aum", "confidence @1", "self_confidence (prequential)", "self_confidence (folds)", "combined"} <= set(
            whole["measures"]
        )
        same = [f"cleanlab normalized_margin ({q})" for q in ("run", "folds")]
        assert all(whole["measures"][s] == whole["measures"][s.removeprefix("cleanlab ")] for s in same)
    elif script == "learn_from_it.py":
        assert [row["trial"] for row in result["results"][0]["rows"]] == ["plain", "easy-first", "random-pacing"]
    elif script == "action_score.py":
        rows = {row["score"]: row for row in result["results"][0]["agreement"]}
        assert rows["action_mean"]["spearman"] == [pytest.approx(1)] and -1 <= rows["vog_raw"]["spearman"][0] < 0.999
        assert set(result["results"][0]["finding"][0]) >= {"action_mean", "vog", "aum"}
    elif script == "how_many_trained.py":
        entry = result["results"][0]
        assert entry["truth"] == 20 and 0.5 < entry["reviews"][0]["held"] <= 1 and entry["bound"]["high"] > 0
    elif script == "humans.py":
        entry = result["results"][0]
        assert (
            entry["n"] == 80 and max(abs(row["spearman"]) for row in entry["runs"][0]) <= entry["ceilings"]["entropy"]
        )
    elif script == "real_errors.py":
        found = result["trained"]["toy"]
        assert found["wrong"] == 10 and {"aum", "self_confidence (prequential)", "self_confidence (run)"} <= set(
            found["runs"][0]
        )
        assert found["reviews"][0]["truth"] == 10 == found["reviews"][0]["low"]  # all 70 rows are in the draw
    elif script == "cleaning.py":
        reviews = result["results"][0]["reviews"]
        assert {r["reviewed"] for r in reviews.values()} == {16} and len(reviews) == 2
    elif script == "probes.py":
        assert max(result["largest_relative_difference"].values()) < 1e-4 and set(result["ratio"]) >= {"vog"}
        assert result["memory"][0]["n"] == 20 and result["n"] == 12
    elif script == "how_many.py":
        assert {r["method"] for r in result["reviewed"]} >= {"leadline", "normal", "gamma, mid-p"}
        assert all(0 <= r["coverage"] <= 1 and r["datasets"] == 30 for r in result["reviewed"]) and result["planted"]
    elif script == "near_duplicates.py":
        assert result["pairs"]["odd"] == 0 < result["pairs"]["ours"] == result["pairs"]["theirs"]
        assert result["rounds"]["leadline"][0]["limit"] > 0
    elif script == "review.py":
        assert len(result["decision_ms"]) == 5 and min(result["first_page_ms"]) > 0 < result["start_seconds"]
    elif script == "agreement.py":
        assert set(result["table"]["seconds"]) >= {"leadline", "pandas", "scipy"} and result["table"]["n"] == 400
        assert [(row["format"], row["n"]) for row in result["exports"]] == [("argilla", 100)]
    elif script == "ood.py":
        arms = {(row["arm"], row["seed"]) for row in result["rows"]}
        trained = {(arm, seed) for arm in ("plain", "mixup-random", "mixup-label") for seed in (0, 1)}
        assert arms == trained | {("text", 0)}
        perplexity = [row for row in result["rows"] if (row["detector"], row["set"]) == ("perplexity", "questions")]
        assert len(perplexity) == 1 and perplexity[0]["auroc"]["low"] > 0.5
        assert {row["seeds"] for row in result["mixup"]} == {2}
    elif script == "mixup_speed.py":
        assert len(result["steps"]) == 6 and "sentence; lengths equal" in result["steps"]
        assert set(result["training"]) == {"reference", "auto", "fp32"}
    elif script == "ablation.py":
        arms = {arm["name"]: arm for arm in result["results"][0]["arms"]}
        assert list(arms) == ["full", "easy+ambiguous", "mix-region-label-entropy"]
        assert arms["full"]["discarded"] == 0 < arms["mix-region-label-entropy"]["discarded"]
        assert "text" not in json.dumps(result["results"][0]["changed"])
    elif script == "low_data.py":
        full, kept, original, same_steps = result["results"][0]["arms"]
        assert result["results"][0]["n"] == full["trained_on"] == 40 > kept["trained_on"] == original["trained_on"]
        assert kept["steps"] < original["steps"] and same_steps["steps"] == full["steps"] and kept["seeds"] == [0, 1]
    elif script == "precision.py":
        assert set(result["spearman_bf16_fp32"]) >= {"confidence", "aum", "el2n"} and result["n"] == 300


def test_every_bench_is_smoke_tested():
    ours = {path.name for path in BENCH.glob("*.py")} - {
        "common.py",
        "render.py",
        "simulated.py",
        "audit_measures.py",
        "audit_tables.py",
        "audit_peers.py",
    }
    assert ours <= {*TOY, "map_100k.py"}, "add the new bench to TOY, or to its own test"


@pytest.mark.long
def test_private_memory_of_scoring_grows_by_the_row_and_little(tmp_path):
    out = tmp_path / "result.json"
    sizes = ["--sizes", "200000", "1000000"]
    command = [sys.executable, str(BENCH / "scores.py"), "--toy", *sizes, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    small, large = json.loads(out.read_text())["streamed"]["runs"]
    assert (large["private_bytes"] - small["private_bytes"]) / 800_000 < 300  # bytes; the signals alone are 145
