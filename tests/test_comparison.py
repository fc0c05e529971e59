"""Runs side by side: which rows they share, which belong together, what is tested and what is refused."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from leadline import cli, evaluate, runs
from leadline.comparison import compare
from leadline.data.examples import Examples, fingerprint, with_hashes
from leadline.errors import InputError
from leadline.runs import Run
from leadline.signals import complete, outcome, write_period

CLASSES = ("no", "yes")


def near(value):
    return pytest.approx(value, abs=1e-9, rel=0)


def make(path: Path, train=range(20), test=range(200, 260), seed=0, skill=1.0, edit=None, classes=CLASSES, recipe=None,
         signals=True, split="test", flip=()) -> Run:  # fmt: skip
    """A run as training leaves it, from drawn logits: each id has its text and label everywhere, unless edited."""
    ids = [*train, *test]
    table = pl.DataFrame(
        {
            "_id": [str(i) for i in ids],
            "_split": ["train"] * len(train) + [split] * len(test),
            "text": [f"text {i}{' edited' if i == edit else ''}" for i in ids],
            "_label": [CLASSES[(i % 3 == 0) != (i in flip)] for i in ids],
        }
    )
    examples = with_hashes(Examples(table, inputs=("text",), classes=classes))
    path.mkdir(parents=True)
    examples.write(path / "examples.parquet")
    rng = np.random.default_rng([seed, 17])

    def logits(part):
        return rng.normal(size=(len(part), 2)) + skill * np.eye(2)[part.gold]

    training, asked = examples.split("train"), examples.split(split)
    for epoch in (1, 2) if signals else ():
        columns = outcome(logits(training), np.eye(2)[training.gold])
        metadata = {"task": "classification", "classes": list(classes), "period": epoch, "mode": "online"}
        write_period(path / "signals", epoch, complete(columns), metadata | fingerprint(training))
    z = logits(asked)
    found = outcome(z, np.eye(2)[asked.gold]) | {"logits": z}
    predictions = runs.predictions_table(asked.ids, asked.table["_label"].to_list(), found, classes)
    runs.write_parquet(path / "predictions" / f"{split}.parquet", predictions[::-1] if seed % 2 else predictions)
    measured = evaluate.with_intervals(asked.gold, runs.probabilities(predictions, classes), classes, repeats=20)
    (path / "results.json").write_text(json.dumps(runs.plain({split: measured})))
    if recipe is not None:
        document = {"data": {"train": "some.csv"}, "model": "tiny", "training": {"seed": seed}} | recipe
        (path / "recipe.yaml").write_text(yaml.safe_dump(document))
    return Run(path)


def right(run: Run, split="test") -> np.ndarray:
    """(N,) bool in the order of the ids."""
    table = run.predictions(split).sort("id")
    return (table["label"] == table["predicted"]).to_numpy()


def numbers(run_path: Path, error: float, seed: int) -> Run:
    """A regression's test predictions, without signals."""
    ids = [str(i) for i in range(60)]
    truth = np.linspace(0, 9, 60)
    table = pl.DataFrame({"_id": ids, "_split": ["test"] * 60, "text": ids, "_label": [repr(float(x)) for x in truth]})
    run_path.mkdir(parents=True)
    with_hashes(Examples(table, task="regression", inputs=("text",))).write(run_path / "examples.parquet")
    said = truth + error * np.random.default_rng(seed).normal(size=60)
    predictions = runs.predictions_table(ids, table["_label"].to_list(), {"prediction": said}, ())
    runs.write_parquet(run_path / "predictions" / "test.parquet", predictions)
    return Run(run_path)


# --- which rows ---


def test_agreement_stands_on_the_rows_that_all_share(tmp_path):
    a, b, c = (make(tmp_path / n, train=t, seed=s) for n, t, s in
               (("a", range(20), 0), ("b", range(5, 40), 1), ("c", [11, 7, 8, 9, 10, 50, 12], 2)))  # fmt: skip
    found = compare([a, b, c], ["aum", "confidence"])
    assert found.shared == {"train": {"n": 6, "only": {"a": 14, "b": 29, "c": 1}}}
    assert "6 training rows are in all runs; not in all: a 14, b 29, c 1" in found.notes
    joined = a.scores().join(b.scores(), on="id").join(c.scores(), on="id", suffix="_c")  # an independent join
    want = joined.select(pl.corr("aum", "aum_right", method="spearman").alias("x"))["x"][0]
    assert found.agreements[0].n == 6 and found.agreements[0].spearman[0, 1] == near(want) and abs(want) < 1
    turned = compare([c, a, b], ["aum"])  # whichever is named first
    assert turned.agreements[0].spearman[1, 2] == near(want)


def test_an_edited_row_is_refused_and_a_relabelled_one_unless_ignored(tmp_path):
    a = make(tmp_path / "a")
    edited, relabelled = make(tmp_path / "edited", edit=7), make(tmp_path / "relabelled", flip=[5])
    with pytest.raises(InputError, match=r"1 of the run's 20 examples have other inputs there \(first id: 7\)"):
        compare([a, edited], ["aum"])
    with pytest.raises(InputError, match=r"1 of the run's 20 examples have other label there \(first id: 5\)"):
        compare([a, relabelled], ["aum"])
    assert compare([a, relabelled], ["aum"], labels="ignore").agreements[0].n == 20
    only_elsewhere = make(tmp_path / "short", train=[i for i in range(20) if i != 7], edit=7)
    assert compare([a, only_elsewhere], ["aum"]).agreements[0].n == 19  # the edited row is not among the shared


def test_without_shared_rows_or_signals_the_metrics_are_still_compared(tmp_path):
    a, b = make(tmp_path / "a"), make(tmp_path / "b", train=range(30, 45), seed=1)
    found = compare([a, b], ["aum"])
    assert found.agreements == [] and len(found.tests) == 2 and found.shared["train"]["n"] == 0
    assert any("the runs share no training row; only metrics" in note for note in found.notes)
    assert found.results["test"]["accuracy"] == [a.results["test"]["accuracy"], b.results["test"]["accuracy"]]
    c = make(tmp_path / "c", signals=False, seed=2)
    found = compare([a, c], ["aum"])
    assert found.agreements == [] and len(found.tests) == 2
    assert any("c recorded nothing" in note for note in found.notes)


# --- tests on the same rows ---


def test_two_runs_are_tested_on_the_same_rows_joined_by_id(tmp_path):
    a, b = (
        make(tmp_path / "a", skill=0.5),
        make(tmp_path / "b", seed=1, skill=2.0, test=[*range(230, 260), *range(200, 230)]),
    )
    found = compare([a, b], ["aum"])
    assert [(t.over, t.split, t.metric, t.first, t.second) for t in found.tests] == [
        ("rows", "test", "accuracy", "a", "b"),
        ("rows", "test", "macro_f1", "a", "b"),
    ]
    accuracy, f1 = (t.difference for t in found.tests)
    exact = evaluate.mcnemar(right(a), right(b))
    assert accuracy.value == near(right(b).mean() - right(a).mean()) and accuracy.n == 60
    assert (accuracy.p, accuracy.method, accuracy.detectable) == (exact.p, exact.method, exact.detectable)
    assert found.tests[0].bootstrap_p is not None and found.tests[1].bootstrap_p is None
    macro = [run.results["test"]["macro_f1"]["value"] for run in (a, b)]
    assert f1.value == near(macro[1] - macro[0]) and f1.low < f1.value < f1.high
    assert [accuracy.p_holm, f1.p_holm] == near(evaluate.holm([accuracy.p, f1.p]))


def test_against_and_all_pairs_and_metrics(tmp_path):
    three = [make(tmp_path / name, seed=i, skill=i) for i, name in enumerate("abc")]

    def pairs(**asked):
        return list(dict.fromkeys((t.first, t.second) for t in compare(three, ["aum"], **asked).tests))

    assert pairs() == [("a", "b"), ("a", "c")]
    assert pairs(against="b") == [("b", "a"), ("b", "c")]
    assert pairs(all_pairs=True) == [("a", "b"), ("a", "c"), ("b", "c")]
    found = compare(three, ["aum"], metrics=["nll", "f1"], all_pairs=True)
    assert [t.metric for t in found.tests] == ["nll", "f1[no]", "f1[yes]"] * 3
    assert [t.difference.p_holm for t in found.tests] == near(evaluate.holm([t.difference.p for t in found.tests]))
    for asked, words in (
        ({"against": "d"}, "--against d: no such run"),
        ({"metrics": ["acuracy"]}, "`accuracy`"),
        ({"labels": "other"}, "choose same or ignore"),
        ({"metrics": ["rmse"]}, "needs numbers"),
    ):
        with pytest.raises(InputError, match=words):
            compare(three, ["aum"], **asked)
    with pytest.raises(InputError, match="no score `auc`"):
        compare(three, ["auc"])


def test_other_test_rows_are_never_compared(tmp_path):
    a = make(tmp_path / "a")
    fewer = make(tmp_path / "fewer", test=range(200, 250), seed=1)
    moved = make(tmp_path / "moved", test=range(210, 270), seed=6)
    edited = make(tmp_path / "edited", edit=203, seed=2)
    relabelled = make(tmp_path / "relabelled", flip=[204], seed=3)
    turned = make(tmp_path / "turned", classes=CLASSES[::-1], seed=4)
    none = make(tmp_path / "none", split="validation", seed=5)
    for other, words in (
        (fewer, r"other rows \(60 and 50, of which 50 ids are shared\)"),
        (moved, r"other rows \(60 and 60, of which 50 ids are shared\)"),
        (edited, r"1 of their test rows have other inputs \(first id: 203\)"),
        (relabelled, r"1 of their test rows have other labels \(first id: 204\)"),
        (none, "no predictions for `test`"),
    ):
        found = compare([a, other], ["aum"])
        assert found.tests == [] and any(re.search(words, note) for note in found.notes), words
        assert found.results["test"]["accuracy"][0] == a.results["test"]["accuracy"]  # still side by side
    found = compare([a, turned], ["aum"], metrics=["accuracy", "nll"])  # columns are joined by name, not by position
    assert found.tests[0].difference.value == near(right(turned).mean() - right(a).mean())
    nll = [run.results["test"]["nll"]["value"] for run in (a, turned)]
    assert found.tests[1].difference.value == near(nll[1] - nll[0])


def test_validation_rows_serve_where_nobody_has_a_test_set_and_it_is_said(tmp_path):
    a, b = (make(tmp_path / name, split="validation", seed=i) for i, name in enumerate("ab"))
    found = compare([a, b], ["aum"])
    assert {t.split for t in found.tests} == {"validation"} and any("validation rows" in note for note in found.notes)


def test_regressions_are_compared(tmp_path):
    a, b = numbers(tmp_path / "a", 2.0, 0), numbers(tmp_path / "b", 0.5, 1)
    found = compare([a, b], ["aum"])
    assert [t.metric for t in found.tests] == ["rmse", "mae", "pearson"]
    rmse, mae, pearson = (t.difference for t in found.tests)
    assert rmse.value < -1 and mae.value < -0.5 and pearson.value > 0 and max(rmse.p, mae.p) < 0.01
    assert [t["higher_is_better"] for t in found.to_dict()["tests"]] == [False, False, True]
    mixed = compare([a, make(tmp_path / "c", test=range(60))], ["aum"])
    assert mixed.tests == [] and any("classes differ" in note for note in mixed.notes)


def test_soft_labels_are_read_from_the_examples(tmp_path):
    a, b = make(tmp_path / "a", signals=False), make(tmp_path / "b", seed=1, signals=False)
    for run in (a, b):
        soften(run, 0.0)
    found = compare([a, b], ["aum"], metrics=["accuracy", "brier", "cross_entropy"])
    y = np.array(Run(a.path).examples.split("test").table["_label_distribution"].to_list())
    p, q = (runs.probabilities(run.predictions(), CLASSES) for run in (a, b))
    q = q[::-1]  # written in the other order
    assert found.tests[1].difference.value == near(
        ((q - y) ** 2).sum(axis=1).mean() - ((p - y) ** 2).sum(axis=1).mean()
    )
    assert found.tests[2].difference.value == near((y * (np.log(p) - np.log(q))).sum(axis=1).mean())
    assert found.tests[0].difference.method.startswith("McNemar")
    c = make(tmp_path / "c", seed=2, signals=False)
    soften(c, 0.05)
    found = compare([Run(a.path), c], ["aum"], labels="ignore")  # of the training labels: those of a test never
    assert found.tests == [] and any("60 of their test rows have other labels" in note for note in found.notes)


def soften(run: Run, shift: float) -> None:
    """Every label becomes a distribution with 0.7 (- shift) on it, also in the file of examples."""
    examples = Run(run.path).examples
    rows = np.eye(2)[examples.gold] * (0.4 - 2 * shift) + 0.3 + shift
    table = examples.table.with_columns(pl.Series("_label_distribution", rows.tolist()))
    with_hashes(replace(examples, table=table)).write(run.path / "examples.parquet")


# --- seeds ---


def test_runs_of_one_name_are_grouped_and_tested_over_seeds(tmp_path):
    a = [make(tmp_path / f"a-s{s}", seed=s, skill=0.5) for s in range(3)]
    b = [make(tmp_path / f"b-s{s}", seed=10 + s, skill=1.5) for s in (2, 0, 1)]
    found = compare([*a, *b], ["aum"], metrics=["accuracy"])
    assert [(g.name, g.runs, g.seeds) for g in found.groups] == [
        ("a", [0, 1, 2], [0, 1, 2]),
        ("b", [3, 4, 5], [2, 0, 1]),
    ]
    rows, seeds = found.tests
    first, second = ([right(run).mean() for run in group] for group in (a, [b[1], b[2], b[0]]))
    want = evaluate.sign_flips(first, second)
    assert (rows.over, seeds.over) == ("rows", "seeds") and rows.difference.method.startswith("paired bootstrap")
    assert rows.difference.value == near(np.mean(second) - np.mean(first)) == seeds.difference.value
    assert (seeds.difference.p, seeds.difference.low, seeds.difference.n) == (near(want.p), near(want.low), 3)
    assert seeds.difference.lowest_p == 0.25 and np.isnan(seeds.difference.detectable)
    assert any("with 3 seeds no p below 0.25 is possible: so few can show nothing" in note for note in found.notes)
    mean = found.means["test"]["accuracy"]
    assert (mean[0]["value"], mean[0]["low"], mean[0]["high"]) == near(evaluate.mean_interval(first))
    assert [m["n"] for m in mean] == [3, 3]
    assert {t.first for t in compare([*a, *b], ["aum"], against="b-s1").tests} == {"b"}  # a run stands for its group


def test_groups_by_recipe_failed_runs_and_seeds_that_do_not_pair(tmp_path):
    a = [make(tmp_path / f"a{s}", seed=s, recipe={}) for s in range(3)]
    again = make(tmp_path / "again", seed=1, recipe={})  # a seed that the group has
    b = [make(tmp_path / f"b-s{s}", seed=s, skill=2.0) for s in (7, 8, 9)]
    (b[2].path / "predictions" / "test.parquet").unlink()  # failed before its end
    found = compare([*a, again, *b], ["aum"], metrics=["accuracy"])
    assert [g.name for g in found.groups] == ["a0 and 2 more seeds", "again", "b"]
    assert any("left out of the tests: b-s9" in note for note in found.notes)
    seeds = [t for t in found.tests if t.over == "seeds"]
    assert [t.difference.method for t in seeds] == ["relabelled seeds, exact"] and seeds[0].difference.n == 2
    want = evaluate.relabelling([right(r).mean() for r in a], [right(r).mean() for r in b[:2]])
    assert seeds[0].difference.p == near(want.p)
    other = make(tmp_path / "other", seed=5, recipe={"model": "minilm"})
    assert len(compare([*a, other], ["aum"]).groups) == 2  # another recipe


def test_runs_that_only_seem_to_be_seeds_are_not_averaged(tmp_path):
    def run(name, seed, **recipe):
        return make(tmp_path / name, seed=seed, recipe={"training": {"seed": seed, "epochs": 3}} | recipe)

    paths = {seed: str(tmp_path / f"base-s{seed}") for seed in (1, 2)}
    same = [run(f"x-s{s}", s, base={"run": paths[s]}, data={"train": "a.csv", "seed": s},
                model=f"{paths[s]}/model") for s in (1, 2)]  # fmt: skip
    found = compare(same, ["aum"])
    assert [(g.name, g.seeds) for g in found.groups] == [("x", [1, 2])] and not any(
        "differ in" in n for n in found.notes
    )
    y = [run("y-s1", 1), run("y-s2", 2), run("y-s3", 3, loss={"label_smoothing": 0.1}), run("y-s4", 14, model="minilm")]
    y += [run("y-s5", 15, model="minilm")]
    found = compare(y, ["aum"], metrics=["accuracy"])
    assert [(g.name, g.runs, g.seeds) for g in found.groups] == [
        ("y (1)", [0, 1], [1, 2]), ("y-s3", [2], [3]), ("y (3)", [3, 4], [14, 15])]  # fmt: skip
    odd = [note for note in found.notes if "is not taken for another seed" in note]
    assert odd == [
        "y-s3 is not taken for another seed of y-s1: they differ in loss.label_smoothing",
        "y-s4 is not taken for another seed of y-s1: they differ in model",
    ]


def test_a_run_without_texts_is_joined_by_id_and_label_and_it_is_said(tmp_path):
    a, b = make(tmp_path / "a"), make(tmp_path / "b", seed=1, signals=False)
    examples = replace(b.examples, table=b.examples.table.drop("text"), inputs=())
    with_hashes(examples).write(b.path / "examples.parquet")
    found = compare([a, Run(b.path)], ["aum"])
    assert (
        "joined by id and label alone, as there are no texts in b" in found.notes and found.shared["train"]["n"] == 20
    )
    assert not any("no texts" in note for note in compare([a, make(tmp_path / "c", seed=2)], ["aum"]).notes)


def test_one_run_against_several_seeds_and_one_name_in_two_directories(tmp_path):
    alone = make(tmp_path / "x" / "a-s0")
    several = [make(tmp_path / "y" / f"a-s{s}", seed=s, skill=2.0) for s in (1, 2)]
    found = compare([alone, *several], ["aum"], metrics=["accuracy"])
    assert [g.name for g in found.groups] == ["a-s0", "a"] and found.means["test"]["accuracy"][0] is None
    (test,) = found.tests  # no seeds to compare with
    assert (test.over, test.difference.method[:16]) == ("rows", "paired bootstrap")
    both = np.mean([right(run).mean() for run in several])
    assert test.difference.value == near(both - right(alone).mean())
    assert not any("are few" in note for note in found.notes)
    few = [make(tmp_path / name, test=range(200, 230), seed=i) for i, name in enumerate("pq")]
    assert any("30 test rows are few" in note for note in compare(few, ["aum"]).notes)


def test_seeds_of_one_recipe_alone_are_compared_as_runs(tmp_path):
    a = [make(tmp_path / f"a-s{s}", seed=s) for s in range(3)]
    found = compare(a, ["aum"], metrics=["accuracy"])
    assert [g.name for g in found.groups] == ["a"] and found.means["test"]["accuracy"][0]["n"] == 3
    assert [(t.first, t.second) for t in found.tests] == [("a-s0", "a-s1"), ("a-s0", "a-s2")]


# --- as a person and a program meet it ---


def called(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["leadline", "compare", *map(str, arguments)])
    status = 0
    try:
        cli.main()
    except SystemExit as leaving:
        status = leaving.code or 0
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command(tmp_path, monkeypatch, capsys):
    for s in range(2):
        make(tmp_path / f"a-s{s}", seed=s)
        make(tmp_path / f"b-s{s}", seed=5 + s, skill=3.0)
    paths = sorted(tmp_path.iterdir())
    status, out, err = called(monkeypatch, capsys, *paths, "--scores", "aum", "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert list(told) == ("runs agreement results notes shared groups means tests scores stability humans".split())
    assert told["groups"][1] == {"name": "b", "runs": ["b-s0", "b-s1"], "seeds": [0, 1]}
    assert list(told["tests"][0]) == (
        "over split metric first second value low high p n method lowest_p p_holm detectable".split()
        + ["higher_is_better", "bootstrap_p"]
    )
    assert json.loads(called(monkeypatch, capsys, *paths, "--scores", "aum", "--json")[1]) == told  # repeatable
    status, out, _ = called(monkeypatch, capsys, *paths, "--scores", "aum", "--metrics", "accuracy,nll")
    assert status == 0 and "test: b minus a" in out and "sign flips over seeds, exact" in out and "< 0.001" in out
    assert "mean over seeds" in out and "with 2 seeds no p below 0.5 is possible" in out
    status, _, err = called(monkeypatch, capsys, *paths, "--against", "c")
    assert status == 2 and "--against c: no such run here" in err


def test_one_run_alone_has_nothing_to_test(tmp_path):
    found = compare([make(tmp_path / "a")], ["aum", "confidence"])
    assert found.tests == [] and found.agreements[0].names == ["aum", "confidence"] and found.groups == []
    with pytest.raises(InputError, match="at least one run"):
        compare([], ["aum"])
    with pytest.raises(InputError, match="one run only"):
        compare([Run(tmp_path / "a")], ["aum"], against="b")
