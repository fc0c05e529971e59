"""The command line as a person meets it: what it prints where, exit status, and one clear error for each mistake."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import polars as pl
import pytest
from scipy.stats import spearmanr

from leadline import cli
from leadline.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from conftest import write_tiny
    from leadline import experiment

    root = tmp_path_factory.mktemp("cli")
    file = write_tiny(root / "reviews.csv", n=120, seed=3)
    training = {"epochs": 3, "max_length": 24}
    data = {"train": str(file), "text": "text", "label": "label", "id": "id"}
    return experiment.train({"data": data, "model": "tiny", "training": training}, root=root / "runs")


def read(path):
    with open(path, encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def test_train_from_a_file_and_train_again(leadline, tiny_csv, tmp_path):
    arguments = ["train", tiny_csv(), "--model", "tiny", "--epochs", 2, "--id", "id", "--root", tmp_path / "runs"]
    status, out, err = leadline(*arguments)
    assert status == 0 and "macro_f1" in out and "tiny-tiny-1" in out and "report" in out
    assert "epoch 2/2  train loss" in err and "validation loss" in err
    status, out, err = leadline(*arguments, "--json")
    assert status == 0 and "finished before with the same recipe and data; not trained again" in err
    told = json.loads(out)
    assert told["run"].endswith("tiny-tiny-1") and told["results"] == Run(told["run"]).results


def test_score_prints_and_writes_what_the_library_says(leadline, run):
    status, out, _ = leadline("score", run.path, "--max-epochs", 2, "--proportion", 0.25, "--json")
    told = json.loads(out)
    scored = run.scored(max_epochs=2)
    assert status == 0 and told["n"] == len(run.train) and set(told["scores"]) == set(scored.columns())
    k = int(0.25 * told["n"])
    assert {name: len(ids) for name, ids in told["regions"].items()} == {"easy": k, "ambiguous": k, "hard": k}
    table = pl.read_parquet(run.path / "scores.parquet")
    assert table["confidence"].to_list() == scored.table["confidence"].to_list()
    easiest = table.sort("confidence", descending=True)["id"].to_list()[:k]
    assert told["regions"]["easy"] == easiest
    status, out, _ = leadline("score", run.path, "--skip-epochs", 2)
    assert status == 0 and "left out: variability: needs several epochs; this run has 1" in out
    assert leadline("score", run.path)[0] == 0


@pytest.mark.parametrize(("precedence", "beats"), [("ambiguous,easy,hard", "ambiguous"), ("hard_first", "hard")])
def test_precedence(leadline, run, precedence, beats):
    out = leadline("score", run.path, "--precedence", precedence, "--proportion", 0.5, "--json")[1]
    filed = {row["region"]: row for row in json.loads(out)["overlaps"]}
    assert filed[beats]["category"] == filed[beats]["in_set"]


def test_select_writes_ids_and_source_columns(leadline, run, tmp_path):
    keep = tmp_path / "keep.csv"
    status, out, _ = leadline("select", run.path, "--keep", "easy,ambiguous", "-o", keep)
    rows = read(keep)
    region = {row["id"]: row for row in run.scores().to_dicts()}
    assert status == 0 and f"{len(rows):,} of {len(run.train):,}" in out and set(rows[0]) == {"id", "text", "label"}
    assert {region[row["id"]]["region"] for row in rows} == {"easy", "ambiguous"}
    expected = [name for name in run.train.ids if region[name]["region"] in ("easy", "ambiguous")]
    assert [row["id"] for row in rows] == expected
    texts = dict(zip(run.train.ids, run.train.table["text"], strict=True))
    assert all(row["text"] == texts[row["id"]] for row in rows)
    leadline("select", run.path, "--score", "aum", "--keep-lowest", 0.1, "-o", tmp_path / "low.parquet")
    lowest = run.scores().sort("aum")["id"].to_list()[: int(0.1 * len(run.train))]
    assert set(pl.read_parquet(tmp_path / "low.parquet")["id"]) == set(lowest)
    leadline("select", run.path, "--random", 0.5, "-o", tmp_path / "random.jsonl")
    assert pl.read_ndjson(tmp_path / "random.jsonl").height == len(run.train) // 2
    status, _, err = leadline("select", run.path, "--keep", "easy", "--random", 0.5, "-o", tmp_path / "x.csv")
    assert status == 2 and "give one of" in err and not (tmp_path / "x.csv").exists()


def test_a_changed_copy_of_the_data_is_refused(leadline, run, tmp_path):
    rows = read(run.recipe.data.train)

    def copy(name, changed):
        path = tmp_path / name
        with open(path, "w", newline="", encoding="utf-8") as sink:
            writer = csv.DictWriter(sink, ["id", "text", "label"])
            writer.writeheader()
            writer.writerows(changed)
        return path

    trained = set(run.train.ids)
    at = next(i for i, row in enumerate(rows) if row["id"] in trained)
    other = {"dry": "wet", "wet": "dry"}[rows[at]["label"]]
    edited = [*rows[:at], {**rows[at], "text": rows[at]["text"] + "!"}, *rows[at + 1 :]]
    relabelled = [*rows[:at], {**rows[at], "label": other}, *rows[at + 1 :]]
    without = [row for i, row in enumerate(rows) if i != at]
    for name, changed, complaint in (("edited.csv", edited, "have other inputs"),
                                     ("relabelled.csv", relabelled, "have other label"),
                                     ("short.csv", without, "are not there")):  # fmt: skip
        status, _, err = leadline(
            "select", run.path, "--keep", "easy", "-o", tmp_path / "s.csv", "--data", copy(name, changed)
        )
        assert status == 2 and f"1 of the run's {len(run.train)} examples {complaint}" in err, err
        assert rows[at]["id"] in err and not (tmp_path / "s.csv").exists()
    status, _, err = leadline(
        "select", run.path, "--keep", "easy", "-o", tmp_path / "s.csv", "--data", copy("r.csv", rows[::-1])
    )
    assert status == 0, err  # an id column joins a shuffled copy rightly


def test_compare_within_a_run_and_between_runs(leadline, run, tmp_path):
    status, out, _ = leadline("compare", run.path, "--json")
    told = json.loads(out)["agreement"][0]
    assert status == 0 and told["spearman"][0][0] == pytest.approx(1) and told["n"] == len(run.train)
    from leadline import experiment

    other = experiment.train(run.path / "recipe.yaml", overrides=["training.seed=5"], root=tmp_path)
    status, out, _ = leadline("compare", run.path, other.path, "--scores", "confidence,aum", "--json")
    told = json.loads(out)
    assert status == 0 and [table["title"] for table in told["agreement"]] == ["confidence", "aum"]
    assert told["agreement"][0]["names"][0] != told["agreement"][0]["names"][1]
    joined = run.scores().join(other.scores(), on="id")  # an independent join, by id
    rho = spearmanr(joined["confidence"], joined["confidence_right"]).statistic
    assert told["agreement"][0]["spearman"][0][1] == pytest.approx(rho) and abs(rho) < 1
    assert told["results"]["validation"]["accuracy"][1] == other.results["validation"]["accuracy"]
    foreign = experiment.train(run.path / "recipe.yaml", overrides=["data.seed=9"], root=tmp_path)
    status, out, _ = leadline("compare", run.path, foreign.path, "--json")
    told = json.loads(out)
    shared = len(set(run.train.ids) & set(foreign.train.ids))  # another split: other training examples in part
    assert status == 0 and told["shared"]["train"]["n"] == told["agreement"][0]["n"] == shared < len(run.train)
    assert told["tests"] == [] and any("tested on other rows" in note for note in told["notes"])


def test_export_and_import_give_the_record_back(leadline, run, tmp_path):
    assert leadline("export", "cartography", run.path, "-o", tmp_path / "dynamics")[0] == 0
    data = run.recipe.data.train
    status, out, _ = leadline("import", "cartography", tmp_path / "dynamics", "-o", tmp_path / "back", "--data", data,
                              "--id", "id", "--classes", "dry,wet")  # fmt: skip
    assert status == 0 and "3 epochs" in out
    back = Run(tmp_path / "back")
    ours = dict(zip(run.train.ids, run.scores()["confidence"], strict=True))
    theirs = dict(zip(back.train.ids, back.scores()["confidence"], strict=True))
    assert theirs.keys() == ours.keys() and all(abs(theirs[i] - ours[i]) < 1e-6 for i in ours)
    status, _, err = leadline("import", "cartografy", tmp_path / "dynamics", "-o", tmp_path / "x")
    assert status == 2 and "Did you mean `cartography`?" in err


def test_map_and_report(leadline, run, tmp_path):
    for name in ("map.png", "map.svg", "map.html"):
        assert leadline("map", run.path, "-o", tmp_path / name)[0] == 0 and (tmp_path / name).stat().st_size > 5000
    assert leadline("report", run.path, "-o", tmp_path / "r.html")[0] == 0
    status, _, err = leadline("map", run.path, "-o", tmp_path / "map.gif")
    assert status == 2 and ".png, .svg, .pdf" in err
    status, _, err = leadline("map", run.path, "-o", tmp_path / "m.png", "--x", "confidense")
    assert status == 2 and "confidence" in err and not (tmp_path / "m.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "nowhere.csv"], "nowhere.csv: no such file"),
        (["train", "bad.csv"], "row 1 (line 3)"),
        (["train", "good.csv", "--label", "lable"], "Did you mean `label`?"),
        (["train", "good.csv", "--set", "training.epoch=3"], "`training.epoch`: unknown key. Did you mean `epochs`?"),
        (["train", "good.csv", "--set", "loss.gama=2", "--set", "trainin.seed=1"], "Did you mean `training`?"),
        (["train", "good.csv", "--set", "mixup.where=sentence"], "mixup.pairing needs `base: {run: …}`"),
        (["train", "good.csv", "--epochs", "0"], "greater than or equal to 1"),
        (["train", "good.csv", "--model", "no/such"], "model no/such: not a local directory"),
        (["train", "recipe.yaml", "--text", "text"], "--text goes into the recipe"),
        (["train", "none.yaml"], "none.yaml: no such recipe file"),
        (["train", "hub:no/such"], "hub:no/such"),
        (["score", "runs/nothing"], "runs/nothing: no such run directory"),
        (["score", "."], "not a run: it has no examples.parquet"),
        (["evaluate", "no-model"], "no-model"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_error(leadline, tiny_csv, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    tiny_csv(name="good.csv")
    (tmp_path / "bad.csv").write_text("text,label\nfine,a\n,b\nwell,a\nso so,b\n")
    (tmp_path / "recipe.yaml").write_text("data: {train: good.csv}\nmodel: tiny\n")
    status, out, err = leadline(*arguments)
    lines = [line for line in err.splitlines() if not line.startswith(("loading ", "60 examples"))]
    assert status == 2 and says in err and out == ""
    assert lines[0].startswith("leadline: ") and "Traceback" not in err
    assert not (tmp_path / "runs").exists()  # nothing half-written


def test_debug_shows_where_it_happened(leadline, tmp_path):
    from leadline.errors import InputError

    with pytest.raises(InputError):
        leadline("score", tmp_path / "nothing", "--debug")


def test_help_and_version_load_nothing_heavy():
    code = "import sys; sys.argv = ['leadline', '--help']\nfrom leadline.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'polars', 'numpy', 'matplotlib', 'transformers') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    assert all(name in answer.stdout for name in cli.COMMANDS)


def test_interrupted_is_130(leadline, monkeypatch):
    from leadline import runs

    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "open", interrupted)
    assert leadline("score", "x")[0] == 130
