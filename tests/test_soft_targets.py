"""Label distributions end to end: from a file to a trained, measured, calibrated, reported run; and what is refused."""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from conftest import write_tiny
from leadline import evaluate, experiment, runs
from leadline.data.load import load, load_one
from leadline.errors import InputError
from leadline.experiment.evaluation import fitted_on, refuse_evaluated
from leadline.recipe import Data
from leadline.report import sure
from leadline.signals import softmax


def near(value, atol=1e-9):
    return pytest.approx(value, abs=atol, rel=0)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> pl.DataFrame:
    """90 texts; how people's answers are shared between dry and wet, never evenly."""
    path = write_tiny(tmp_path_factory.mktemp("people") / "tiny.csv", n=90)
    table = pl.read_csv(path, infer_schema=False)
    doubt = np.linspace(0.02, 0.4, 90)
    dry = np.where(table["label"] == "dry", 1 - doubt, doubt).round(3)
    return table.drop("label").with_columns(pl.Series("dry", dry), pl.Series("wet", (1 - dry).round(3)))


def written(people: pl.DataFrame, path: Path) -> Path:
    lists = people.select("id", "text", pl.concat_list("dry", "wet").alias("votes"))
    if path.suffix == ".csv":
        people.write_csv(path)
    elif path.suffix == ".jsonl":
        lists.write_ndjson(path)
    else:
        lists.write_parquet(path)
    return path


SMALL = ["--model", "tiny", "--epochs", 2, "--max-length", 16, "--precision", "fp32", "--id", "id"]


def test_from_a_csv_by_the_command_line(leadline, people, tmp_path):
    data = written(people, tmp_path / "people.csv")
    status, out, _ = leadline(
        "train", data, "--label-distribution", "dry,wet", "--test", data, *SMALL,
        "--set", "evaluate.scaled_predictions=true", "--root", tmp_path, "--name", "soft",
    )  # fmt: skip
    assert status == 0 and "temperature" in out and "after scaling" in out
    run = runs.open(tmp_path / "soft")
    results, y = run.results["test"], people.select("dry", "wet").to_numpy()
    table = run.predictions("test")
    p = runs.probabilities(table, ("dry", "wet"))
    assert results["kl_divergence"]["value"] == near(
        results["cross_entropy"]["value"] + (y * np.log(y)).sum(axis=1).mean()
    )
    assert results["cross_entropy"]["value"] == near(-(y * np.log(p)).sum(axis=1).mean())
    share = y[np.arange(90), p.argmax(axis=1)]
    assert results["ece_soft"]["value"] == near(evaluate.calibration_error(p.max(axis=1), share)[0])

    # the temperature: that of the validation rows and their distributions, and no other
    said = runs.probabilities(run.predictions("validation"), ("dry", "wet"))
    fitted, warning = evaluate.fit_temperature(np.log(said), run.examples.split("validation").targets)
    kept = runs.kept_temperature(run)
    assert kept is not None and (kept.value, kept.n, kept.says) == (near(fitted, 1e-6), 9, warning)
    assert "scaled_nll" not in run.results["validation"]
    scaled = table.select("scaled_prob_dry", "scaled_prob_wet").to_numpy()
    assert scaled == near(softmax(np.log(p) / kept.value)) and (scaled.argmax(axis=1) == p.argmax(axis=1)).all()
    assert table["scaled_confidence"].to_list() == near(scaled.max(axis=1))
    assert results["scaled_cross_entropy"]["value"] == near(-(y * np.log(scaled)).sum(axis=1).mean())

    # report: both diagrams, of shares
    split, found = sure.certainty(run)
    assert split == "test" and found.soft and found.after is not None
    assert (found.before["n"] * found.before["accuracy"].fill_nan(0)).sum() == near(share.sum())
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Labels are distributions" in page and "after scaling: ECE" in page and "the surest 50 %" in page

    # evaluate: the same from the model, with stable keys
    status, out, _ = leadline("evaluate", run.path, "--precision", "fp32", "--json", "--figures", tmp_path / "drawn")
    again = json.loads(out)
    assert again["results"]["scaled_ece_soft"]["value"] == near(results["scaled_ece_soft"]["value"], 1e-6)
    assert again["temperature"]["n"] == 9 and {"bins", "scheme", "before", "after"} == set(again["reliability"])
    assert set(again["selective"]) == {"n", "errors", "aurra", "accuracy_at_coverage", "coverage_at_risk", "curve"}
    assert again["selective"]["aurra"] == near(1 - again["results"]["aurc"]["value"])
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"reliability.png", "selective.png"}

    # its own validation rows in a file: a temperature that was fitted on them says nothing there
    own = run.examples.split("validation").table.with_columns(id="own " + pl.col("id"))
    own.select("id", "text", "dry", "wet").write_csv(tmp_path / "own.csv")
    asked = ["evaluate", run.path, "--data", tmp_path / "own.csv", "--precision", "fp32"]
    status, out, told = leadline(*asked, "--json")
    assert status == 0 and json.loads(out)["temperature"] is None and "temperature is left out: the texts of 9" in told
    assert json.loads(out)["notes"][0] in told
    status, _, told = leadline(*asked, "--scaled", "-o", tmp_path / "p.parquet")
    assert status == 2 and "9 of these 9 rows" in told and "--calibrate-on FILE" in told
    status, _, told = leadline(*asked, "--scaled")
    assert status == 2 and "add -o FILE" in told

    # a plain checkpoint: no temperature unless rows are given for it; columns are known by their names, not their order
    model = run.path / "model"
    asked = [model, "--data", data, "--precision", "fp32", "--label-distribution", "wet,dry"]
    status, out, _ = leadline("evaluate", *asked, "--json")
    plain = json.loads(out)
    assert plain["temperature"] is None and plain["reliability"]["after"] is None
    assert plain["results"]["cross_entropy"]["value"] == near(results["cross_entropy"]["value"], 1e-6)
    status, _, told = leadline("evaluate", *asked, "--calibrate-on", data)
    assert status == 2 and "90 of its 90 rows are among those that are evaluated" in told
    status, _, told = leadline("evaluate", *asked, "--scaled", "-o", tmp_path / "p.parquet")
    assert status == 2 and "--calibrate-on FILE" in told and not (tmp_path / "p.parquet").exists()
    other = written(people[:45].with_columns(id="x" + pl.col("id"), text="again " + pl.col("text")), tmp_path / "o.csv")
    status, out, _ = leadline("evaluate", *asked, "--calibrate-on", other, "--scaled", "-o", tmp_path / "p.parquet")
    assert status == 0 and "45 validation rows" in " ".join(out.split())
    assert "scaled_prob_wet" in pl.read_parquet(tmp_path / "p.parquet").columns


def test_the_leak_of_a_cut_copy_is_seen_by_its_texts(tmp_path):
    """Without an id column the hashes of a copy that lacks the first rows are others, the texts are the same."""
    rows = pl.DataFrame({"text": [f"river number {i}" for i in range(40)], "label": ["dry", "wet"] * 20})
    data = Data(train=str(tmp_path / "all.csv"), validation=0.25)
    rows.write_csv(data.train)

    def examples(table):
        table.write_csv(tmp_path / "some.csv")
        return load_one(str(tmp_path / "some.csv"), data, "classification", ("dry", "wet"))

    part, cut = examples(rows), examples(rows[5:])
    with pytest.raises(InputError, match="the texts of 35 of its 35 rows are among"):
        refuse_evaluated(cut, part)
    with pytest.raises(InputError, match="1 of its 1 rows are among"):
        refuse_evaluated(examples(rows[:1]), part)
    others = rows.with_columns(text="another " + pl.col("text"))
    for shared, refused in ((4, False), (5, True)):  # of 40: a tenth may recur
        mixed = examples(pl.concat([others[shared:], rows[20 : 20 + shared]]))
        with pytest.raises(InputError, match=f"{shared} of its 40") if refused else nullcontext():
            refuse_evaluated(mixed, part)

    # the same of a run's own temperature and a file that holds its validation texts
    run = SimpleNamespace(examples=load(data))
    known = run.examples.split("validation").table.select("text", "label")
    assert "the texts of 10 of these 10 rows" in fitted_on(run, examples(known))
    assert "the texts of 10 of these 40 rows" in fitted_on(run, part)
    assert fitted_on(run, examples(others)) == ""
    assert fitted_on(run, examples(pl.concat([known[:4], others[4:]]))) == ""


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_one_column_of_lists_is_the_same_data(people, tmp_path, suffix):
    columns = load(Data(train=str(written(people, tmp_path / "a.csv")), id="id", label_distribution=["dry", "wet"]))
    lists = load(Data(train=str(written(people, tmp_path / f"b{suffix}")), id="id", label_distribution="votes"))
    assert lists.classes == ("0", "1") and lists.ids == columns.ids
    assert np.array_equal(lists.targets, columns.targets)
    assert lists.table["_input_hash"].equals(columns.table["_input_hash"])


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        (["0.5,0.5", "0.7,0.4"], "dry,wet", r"column `dry, wet`: shares that do not sum to 1 .* in row 1 \(line 3\)"),
        (["0.5,0.5", "1.2,-0.2"], "dry,wet", r"a negative share in row 1 \(line 3\)"),
        (["0.5,0.5", "nan,0.5"], "dry,wet", r"column `dry`: a share is not finite in row 1 \(line 3\)"),
        (["0.5,0.5", ",1"], "dry,wet", r"column `dry`: a share is missing in row 1 \(line 3\)"),
        (["0.5,0.5"], "dry,damp", r"there is no column `damp` \(data.label_distribution\)"),
        (['"[0.5, 0.5]",', '"[0.2, 0.3, 0.5]",', '"[1, 0]",'], "dry", r"another length than 2 in row 1 \(line 3\)"),
        (['"[0.5, 0.5]",', '"[0.5, null]",'], "dry", r"a share that is missing or not finite in row 1 \(line 3\)"),
        (['"[0.5, 0.5]",', "half,"], "dry", r"no list of numbers in row 1 \(line 3\)"),
    ],
)  # fmt: skip
def test_what_is_no_distribution_is_refused_by_row(leadline, tmp_path, rows, columns, told):
    path = tmp_path / "broken.csv"
    path.write_text("text,dry,wet\n" + "".join(f"text {i},{row}\n" for i, row in enumerate(rows)))
    status, out, error = leadline("train", path, "--label-distribution", columns, "--root", tmp_path / "runs")
    assert status == 2 and out == "" and not (tmp_path / "runs").exists()
    lines = [line for line in error.splitlines() if "broken.csv" in line or "column" in line]
    assert any(re.search(told, line) for line in lines), error


def test_a_file_of_another_number_of_classes_is_refused(people, tmp_path):
    data = Data(train=str(written(people, tmp_path / "a.jsonl")), test=str(tmp_path / "t.jsonl"),
                label_distribution="votes")  # fmt: skip
    pl.DataFrame({"text": ["a"], "votes": [[0.2, 0.3, 0.5]]}).write_ndjson(tmp_path / "t.jsonl")
    with pytest.raises(InputError, match="3 shares a row, the training data have 2 classes"):
        load(data)


def test_scaled_predictions_without_validation_data_stop_before_training(people, tmp_path):
    for settings, told in [
        ({"data": {"validation": None}}, "set data.validation"),
        ({"evaluate": {"calibration": False}}, "needs evaluate.calibration"),
        ({"task": "regression"}, "regression has none"),
    ]:
        recipe = {"data": {"train": "x.csv"}, "evaluate": {"scaled_predictions": True}}
        recipe |= {k: {**recipe.get(k, {}), **v} if isinstance(v, dict) else v for k, v in settings.items()}
        with pytest.raises(InputError, match=told):
            experiment.train(recipe, root=tmp_path)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((1.4, 1.1, 1.8), "too sure of itself."),
        ((0.7, 0.5, 0.9), "less sure than it could be."),
        ((1.1, 0.8, 1.5), "1 is in the interval: they do not tell"),
        ((0.9, 0.7, 1.2), "1 is in the interval: they do not tell"),
        ((0.05, float("nan"), float("nan")), "best. Beware: at its bound."),
    ],
)
def test_what_a_temperature_says_is_what_its_interval_allows(monkeypatch, found, words):
    says = "at its bound" if found[1] != found[1] else None
    monkeypatch.setattr(runs, "kept_temperature", lambda run: evaluate.Temperature(*found, 50, says))
    assert words in sure.temperature(None)


def test_without_validation_data_there_is_no_temperature(people, tmp_path):
    run = experiment.train(data=people, test=people, label_distribution=["dry", "wet"], model="tiny", epochs=1,
                           max_length=16, overrides=["data.validation=null"], root=tmp_path)  # fmt: skip
    assert not [name for name in run.results["test"] if name == "temperature" or name.startswith("scaled_")]
    assert runs.kept_temperature(run) is None and sure.certainty(run)[1].after is None
    assert "No temperature was fitted" in (run.path / "model" / "README.md").read_text(encoding="utf-8")
