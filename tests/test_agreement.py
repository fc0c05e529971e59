"""Which score agrees with which: correlations, the hardest in common, seeds, people; and the picture of it."""

from __future__ import annotations

import json
import re
from math import log, pi, sqrt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import stats

from leadline import evaluate, scores
from leadline.comparison import Asked, agreement, compare, humans, stability, votes
from leadline.data import tables
from leadline.errors import InputError
from leadline.evaluate import concord
from leadline.figures import agreement as pictures
from leadline.runs import Run
from leadline.scores import SCORES
from test_comparison import make
from test_figures import words_of


def near(value, tolerance=1e-9):
    return pytest.approx(value, abs=tolerance, rel=0)


def related(n: int, rho: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    return a, rho * a + sqrt(1 - rho**2) * b


# --- arrays ---


def test_concordance_is_what_scipy_and_a_sort_say():
    rng = np.random.default_rng(3)
    a, b = related(200, 0.6, 0)
    rounded, gaps = np.round(b, 0), b.copy()
    gaps[rng.choice(200, 30, replace=False)] = np.nan
    never = np.where(a > 1.2, np.inf, a)  # several infinite ones
    columns = {"a": a, "rounded": rounded, "gaps": gaps, "never": never, "same": 2 * a + 1}
    found = evaluate.concordance(columns, hardest=0.2, repeats=0)
    assert found.names == list(columns)
    for i, x in enumerate(columns.values()):
        for j, y in enumerate(columns.values()):
            both = ~(np.isnan(x) | np.isnan(y))
            assert found.n[i, j] == both.sum()
            ranks = [stats.rankdata(np.minimum(z[both], 1e9)) for z in (x, y)]
            assert found.spearman[i, j] == near(np.corrcoef(*ranks)[0, 1])
            k = round(0.2 * both.sum())
            assert found.overlap[i, j] == near(evaluate.overlap_of_hardest(x, y, k))
    tops = [set(np.argsort(-z)[:40]) for z in (a, b)]
    untied = evaluate.concordance({"a": a, "b": b}, hardest=0.2, repeats=0)
    assert untied.overlap[0, 1] == near(len(tops[0] & tops[1]) / 40)
    assert untied.jaccard[0, 1] == near(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
    assert np.isnan(found.spearman_low).all() and np.isnan(found.overlap_high[0, 1])


def test_standard_errors_are_those_of_a_bootstrap_that_ranks_every_resample_anew():
    a, b = related(60, 0.7, 1)
    x = np.stack([a, np.round(b, 0), -a])  # the second has ties
    rho, overlap = concord._standard_errors(x, 0.2, 40, np.random.default_rng(5))
    rng, drawn_rho, drawn_overlap = np.random.default_rng(5), [], []
    for _ in range(40):
        rows = rng.integers(60, size=60)
        drawn_rho.append(stats.spearmanr(x[0, rows], x[1, rows]).statistic)
        drawn_overlap.append(evaluate.overlap_of_hardest(x[0, rows], x[1, rows], 12))
    assert rho[0, 1] == near(np.std(drawn_rho, ddof=1)) == rho[1, 0]
    assert overlap[0, 1] == near(np.std(drawn_overlap, ddof=1)) and rho[0, 2] == 0
    assert rho[1, 2] == near(rho[0, 1])  # turned: the same spread
    found = evaluate.concordance({"a": a, "b": b}, repeats=100)
    low, high = (np.arctanh(bound[0, 1]) for bound in (found.spearman_low, found.spearman_high))
    assert (low + high) / 2 == near(np.arctanh(found.spearman[0, 1]))  # symmetric in Fisher's z


def test_intervals_cover_the_truth():
    """200 samples of 100 rows whose Spearman is known; and of as many the chance overlap of unrelated scores."""
    truth = 6 / pi * np.arcsin(0.6 / 2)
    covered, by_chance = 0, 0
    for seed in range(200):
        a, b = related(100, 0.6, 100 + seed)
        c = np.random.default_rng(9000 + seed).normal(size=100)
        found = evaluate.concordance({"a": a, "b": b, "c": c}, repeats=60, seed=seed)
        covered += found.spearman_low[0, 1] <= truth <= found.spearman_high[0, 1]
        by_chance += found.overlap_low[0, 2] <= 0.1 <= found.overlap_high[0, 2]
    assert 0.9 <= covered / 200 <= 0.985 and by_chance / 200 >= 0.9


def test_of_many_rows_a_sample_is_resampled_and_its_error_scaled():
    a, b = np.random.default_rng(0).normal(size=(2, 40_000))
    found = evaluate.concordance({"a": a, "b": b}, repeats=100)
    width = found.spearman_high[0, 1] - found.spearman_low[0, 1]
    assert width == pytest.approx(2 * 1.96 / sqrt(40_000), rel=0.25)  # unrelated: the error is 1 / sqrt n
    share = found.overlap_high[0, 1] - found.overlap_low[0, 1]
    assert 0.005 < share < 0.03 and found.n[0, 1] == 40_000


def test_concordance_at_its_ends():
    x = np.arange(50.0)
    found = evaluate.concordance({"x": x, "turned": -x, "flat": np.zeros(50)}, repeats=20)
    assert found.spearman[0, 1] == near(-1) == found.spearman_low[0, 1] == found.spearman_high[0, 1]
    assert found.overlap[0, 1] == 0 and 0 < found.overlap_high[0, 1] < 0.5  # none of five in common: not proof of none
    assert np.isnan(found.spearman[0, 2]) and found.overlap[0, 2] == near(0.1)  # a constant: chance only
    few = evaluate.concordance({"x": [1.0, np.nan], "y": [np.nan, 2.0]}, repeats=5)
    assert few.n[0, 1] == 0 and np.isnan(few.spearman[0, 1])
    for share in (0, 1, -0.1):
        with pytest.raises(InputError, match="hardest share"):
            evaluate.concordance({"x": x}, hardest=share)
    shuffled = np.random.default_rng(0).permutation(50)
    again = evaluate.concordance({"x": x[shuffled], "turned": -x[shuffled]}, repeats=0)
    assert again.spearman[0, 1] == near(-1) and again.overlap[0, 1] == 0


def test_kendall_may_be_of_a_sample_and_says_so():
    a, b = related(3000, 0.5, 2)
    whole = evaluate.rank_agreement({"a": a, "b": b})
    part = evaluate.rank_agreement({"a": a, "b": b}, kendall_rows=500)
    assert (whole.kendall_n, part.kendall_n) == (3000, 500)
    assert whole.kendall[0, 1] == near(stats.kendalltau(a, b).statistic)
    assert part.kendall[0, 1] != whole.kendall[0, 1] and part.kendall[0, 1] == near(whole.kendall[0, 1], 0.1)
    assert part.spearman[0, 1] == whole.spearman[0, 1] == near(stats.spearmanr(a, b).statistic)


def test_disagreement_by_hand():
    found = evaluate.disagreement([[3, 0], [2, 1], [5, 5], [1, 0], [0, 0]])
    assert found.entropy[:3] == near([0, log(3) - 2 / 3 * log(2), log(2)])
    assert found.minority[:3] == near([0, 1 / 3, 1 / 2]) and found.people.tolist() == [3, 3, 10, 1, 0]
    assert np.isnan(found.entropy[3:]).all() and np.isnan(found.minority[3:]).all()  # one cannot disagree
    three = evaluate.disagreement([[1, 1, 1]])
    assert three.entropy[0] == near(log(3)) and three.minority[0] == near(2 / 3)
    same = evaluate.disagreement([[0, 1, 1, 5], [1, 5, 0, 1], [5, 1, 1, 0], [1, 1, 5, 0]])
    assert len(set(same.entropy)) == 1  # whichever answer had how many: a tie, to the last bit
    for broken in ([[1, -1]], [[0.5, 2]], [[np.nan, 1]]):
        with pytest.raises(InputError, match="row 0"):
            evaluate.disagreement(broken)


def test_the_ceiling_of_tied_votes():
    assert evaluate.ceiling([0, 0, 1, 1]) == near(1 / sqrt(15 / 12))  # mid-ranks 1.5 and 3.5 against 1 to 4
    assert evaluate.ceiling([3, 1, 2]) == near(1) and np.isnan(evaluate.ceiling([1, 1, 1]))
    values = np.repeat([0.0, 1.0, 2.0], [70, 20, 10])
    best = stats.spearmanr(np.arange(100), values).statistic
    assert evaluate.ceiling(values) == near(best) and best < 0.9


# --- runs ---


def test_directions_are_made_alike_and_scores_without_one_stand_apart(tmp_path):
    run = make(tmp_path / "a", train=range(60))
    names = ["entropy", "confidence", "action_mean", "variability", "aum"]
    (table,) = compare([run], names).scores
    assert table.names == ["confidence", "action_mean", "aum", "entropy", "variability"]
    assert (table.turned, table.apart) == (["confidence", "aum"], ["entropy", "variability"])
    columns, _ = scores.compute(run.signals, names)
    want = stats.spearmanr(-columns["confidence"], columns["action_mean"]).statistic
    assert table.spearman[0, 1] == near(want) and want > 0.9
    assert table.spearman[0, 3] == near(stats.spearmanr(-columns["confidence"], columns["entropy"]).statistic)
    k = round(0.1 * 60)
    hard = [set(np.argsort(-x)[:k]) for x in (-columns["confidence"], columns["action_mean"])]
    assert table.overlap[0, 1] == near(len(hard[0] & hard[1]) / k)
    assert (table.spearman_low <= table.spearman + 1e-12)[~np.isnan(table.spearman_low)].all()
    (agreed,) = compare([run], names).agreements  # as they were asked for, as they are
    assert agreed.names == names
    assert agreed.spearman[1, 2] == near(-want)
    assert agreed.kendall[1, 2] == near(stats.kendalltau(columns["confidence"], columns["action_mean"]).statistic)


def test_within_classes(tmp_path):
    run = make(tmp_path / "a", train=range(90))  # every third is "yes": 30
    (table,) = compare([run], ["aum", "action_mean"], per_class=True, hardest=0.2).scores
    assert list(table.classes) == ["no", "yes"]
    columns, _ = scores.compute(run.signals, ["aum", "action_mean"])
    for k, name in enumerate(["no", "yes"]):
        rows = np.flatnonzero(run.signals.gold == k)
        part = table.classes[name]
        assert part["n"].max() == len(rows) == (60, 30)[k]
        assert part["spearman"][0, 1] == near(
            stats.spearmanr(-columns["aum"][rows], columns["action_mean"][rows]).statistic
        )
        assert part["overlap"][0, 1] == near(
            evaluate.overlap_of_hardest(-columns["aum"][rows], columns["action_mean"][rows], round(0.2 * len(rows)))
        )
    few = make(tmp_path / "b", train=range(45))  # 15 of "yes" are too few to say anything
    assert list(compare([few], ["aum", "action_mean"], per_class=True).scores[0].classes) == ["no"]
    assert compare([few], ["aum", "action_mean"]).scores[0].classes == {}


def test_left_out_scores_have_their_reason(tmp_path):
    run = make(tmp_path / "a")  # its record has no logits
    found = compare([run], list(SCORES))
    table = found.scores[0]
    assert {"el2n", "mutual_information"} <= set(table.left_out) and "logits" in table.left_out["el2n"]
    assert not set(table.names) & set(table.left_out) and set(table.names) | set(table.left_out) == set(SCORES)
    assert sum("logits" in note for note in found.notes) == 1  # those of one reason in one note


def test_stability_over_seeds_is_the_mean_over_pairs(tmp_path):
    runs = [make(tmp_path / f"a-s{s}", seed=s, train=range(50)) for s in range(3)]
    found = compare(runs, ["aum", "entropy"], hardest=0.2)
    assert [row.score for row in found.stability] == ["aum", "entropy"]
    row = found.stability[0]
    values = [scores.compute(run.signals, ["aum"])[0]["aum"] for run in runs]
    pairs = [(0, 1), (0, 2), (1, 2)]
    rho = [stats.spearmanr(values[i], values[j]).statistic for i, j in pairs]
    shared = [evaluate.overlap_of_hardest(-values[i], -values[j], 10) for i, j in pairs]
    assert (row.spearman, row.spearman_low, row.spearman_high) == near((np.mean(rho), min(rho), max(rho)))
    assert (row.overlap, row.overlap_low, row.overlap_high) == near((np.mean(shared), min(shared), max(shared)))
    assert (row.runs, row.pairs, row.n) == (3, 3, 50)
    (table,) = found.scores  # the scores with each other: the mean over the seeds, with the range
    each = [compare([run], ["aum", "entropy"]).scores[0].spearman[0, 1] for run in runs]
    assert table.runs == 3 and table.interval == "least and largest over seeds"
    assert table.spearman[0, 1] == near(np.mean(each))
    assert (table.spearman_low[0, 1], table.spearman_high[0, 1]) == near((min(each), max(each)))
    alone = make(tmp_path / "b", seed=9, train=range(50))
    two = compare([*runs, alone], ["aum"])
    assert [row.of for row in two.stability] == ["a"] and [t.of for t in two.scores] == ["a", "b"]


def test_stability_of_the_same_and_of_the_opposite():
    x = np.random.default_rng(0).normal(size=40)
    (same,) = stability.stability("a", [{"aum": x}, {"aum": x + 1}])
    assert (same.spearman, same.overlap) == near((1, 1))
    (turned,) = stability.stability("a", [{"aum": x, "action_mean": x}, {"aum": -x}])  # action_mean is not in both
    assert (turned.score, turned.spearman, turned.overlap) == ("aum", near(-1), 0)


def test_harder_is_up_for_every_score_that_says_so():
    columns = {name: np.arange(5.0) for name in SCORES}
    up = agreement.harder_up(columns)
    assert set(up) == set(SCORES)
    for name, values in up.items():
        assert values[-1] == (-4 if SCORES[name].higher_is == "easier" else 4)
    apart = [name for name in SCORES if SCORES[name].higher_is in ("ambiguous", "neither")]
    assert list(up)[-len(apart) :] == apart
    assert {name for name in SCORES if humans.label_free(name)} >= {"entropy", "mutual_information"}
    assert not any(humans.label_free(name) for name in ("variability", "confidence", "aum", "action"))


# --- people ---


def asked(path: Path, id: str | None = None, **columns) -> Asked:
    return Asked(path, id=id, **{name: [value] if isinstance(value, str) else value for name, value in columns.items()})


def read(path: Path, id="id", inputs=(), **columns) -> votes.Votes:
    return votes.read(asked(path, **columns), tables.read(path), id, inputs)


def test_votes_are_read_the_same_from_every_layout(tmp_path):
    (tmp_path / "people.csv").write_text("id,a,b,c\nx,yes,no,yes\ny,no,no,\nz,yes,,\n")
    (tmp_path / "lists.csv").write_text(
        'id,said\nx,"[""yes"", ""no"", ""yes""]"\ny,"[""no"", ""no""]"\nz,"[""yes""]"\n'
    )
    (tmp_path / "lists.jsonl").write_text(
        '{"id": "x", "said": ["yes", "no", "yes"]}\n{"id": "y", "said": ["no", "no"]}\n{"id": "z", "said": ["yes"]}\n'
    )
    (tmp_path / "counts.csv").write_text("id,no,yes\nx,1,2\ny,2,0\nz,,1\n")
    (tmp_path / "count_lists.csv").write_text('id,n\nx,"[1, 2]"\ny,"[2, 0]"\nz,"[0, 1]"\n')
    (tmp_path / "objects.jsonl").write_text(
        '{"id": "x", "n": {"no": 1, "yes": 2}}\n{"id": "y", "n": {"no": 2}}\n{"id": "z", "n": {"yes": 1}}\n'
    )
    pl.DataFrame({"id": ["x", "y", "z"], "said": [["yes", "no", "yes"], ["no", "no"], ["yes"]]}).write_parquet(
        tmp_path / "lists.parquet"
    )
    want = [[1, 2], [2, 0], [0, 1]]
    for name, columns in (
        ("people.csv", {"votes": ["a", "b", "c"]}),
        ("lists.csv", {"votes": "said"}),
        ("lists.jsonl", {"votes": "said"}),
        ("lists.parquet", {"votes": "said"}),
        ("counts.csv", {"counts": ["no", "yes"]}),
        ("count_lists.csv", {"counts": "n"}),
        ("objects.jsonl", {"counts": "n"}),
    ):
        found = read(tmp_path / name, **columns)
        assert found.counts is not None and found.counts.tolist() == want, name
        assert found.people.tolist() == [3, 2, 1] and found.ids == ["x", "y", "z"], name
        assert found.answers == (("0", "1") if name == "count_lists.csv" else ("no", "yes")), name
    graded = tmp_path / "graded.jsonl"
    graded.write_text(
        '{"id": 1, "s": [-50, 50]}\n{"id": 2, "s": [0.1, 0.1, 0.1]}\n{"id": 3, "s": [1]}\n'
        '{"id": 4, "s": [1, 2, 2]}\n{"id": 5, "s": [5, 4, 5]}\n'
    )
    spread = read(graded, graded="s").spread
    assert spread is not None and spread[:2].tolist() == [50, 0] and np.isnan(spread[2])
    assert spread[3] == spread[4] == near(sqrt(2) / 3)  # ties, to the last bit


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("id,a\nx,1\n", {"votes": "b"}, "no column `b`"),
        ("id,a\nx,yes\nx,no\n", {"votes": "a"}, r"id `x` a second time in row 1 \(line 3\)"),
        ("id,a\n,yes\n", {"votes": "a"}, "no id in row 0"),
        ("id,a,b\nx,yes,yes\ny,yes,\n", {"votes": ["a", "b"]}, "nobody could disagree"),
        ("id,a\nx,yes\ny,no\n", {"votes": "a"}, "nowhere two answers"),
        ("id,no,yes\nx,1,many\n", {"counts": ["no", "yes"]}, "no counts in"),
        ("id,no,yes\nx,1,0.5\n", {"counts": ["no", "yes"]}, "say --graded"),
        ("id,no,yes\nx,3,-1\n", {"counts": ["no", "yes"]}, "no counts of people"),
        ('id,n\nx,"[1, 2]"\ny,"[1]"\n', {"counts": "n"}, "say --votes"),
        ("id,s,t\nx,1,high\n", {"graded": ["s", "t"]}, "not all answers are numbers"),
        ("id,a\nx,1\n", {}, "one of --votes"),
        ("id,a\nx,1\n", {"votes": "a", "counts": "a"}, "one of --votes"),
    ],
)
def test_what_cannot_be_votes_is_refused(tmp_path, text, columns, words):
    path = tmp_path / "votes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read(path, **columns)


def voted(tmp_path: Path, run: Run, edit: int | None = None, without: tuple[int, ...] = ()) -> tuple[Path, np.ndarray]:
    """A shuffled file of votes on the run's training examples, five people each; and the counts in the run's order."""
    rng = np.random.default_rng(8)
    hard = -scores.compute(run.signals, ["aum"])[0]["aum"] + rng.normal(0, 0.5, len(run.train))
    no = rng.binomial(5, 1 / (1 + np.exp(-hard)))
    table = run.train.table.select(pl.col("_id").cast(pl.Int64).alias("number"), "text").with_columns(
        pl.Series("n", no), pl.Series("y", 5 - no)
    )
    if edit is not None:
        table = table.with_columns(
            pl.when(pl.col("number") == edit).then(pl.lit("other")).otherwise("text").alias("text")
        )
    table = table.filter(~pl.col("number").is_in(list(without))).sample(fraction=1.0, shuffle=True, seed=3)
    extra = pl.DataFrame({"number": [999], "text": ["of no run"], "n": [2], "y": [3]})
    path = tmp_path / "votes.csv"
    pl.concat([table, extra.cast(table.schema)]).write_csv(path)
    return path, np.stack([no, 5 - no], axis=1)


def test_scores_against_people_are_joined_by_id(tmp_path):
    run = make(tmp_path / "a", train=range(80))
    path, counts = voted(tmp_path, run, without=(3, 4))
    (found,) = compare([run], ["aum", "entropy"], people=asked(path, counts=["n", "y"], id="number")).humans
    rows = [i for i in range(80) if i not in (3, 4)]
    people = evaluate.disagreement(counts[rows])
    columns, _ = scores.compute(run.signals, ["aum", "entropy"])
    by = {(row.score, row.measure): row for row in found.scores}
    assert set(by) == {(score, measure) for score in ("aum", "entropy") for measure in ("entropy", "minority")}
    for measure in ("entropy", "minority"):
        want = stats.spearmanr(-columns["aum"][rows], getattr(people, measure)).statistic
        assert by["aum", measure].spearman == near(want) and by["aum", measure].n == 78 == found.n
        assert by["aum", measure].spearman_low < want < by["aum", measure].spearman_high
        assert found.ceilings[measure] == near(evaluate.ceiling(getattr(people, measure)))
    assert by["aum", "entropy"].overlap == near(evaluate.overlap_of_hardest(-columns["aum"][rows], people.entropy, 8))
    assert by["entropy", "entropy"].label_free and not by["aum", "entropy"].label_free
    assert found.people == (5, 5)
    assert "2 of 80 training examples are not in" in found.told[0] and "1 of 79 rows of it" in found.told[1]


def test_people_who_saw_another_text_are_refused(tmp_path):
    run = make(tmp_path / "a", train=range(40))
    path, _ = voted(tmp_path, run, edit=7)
    with pytest.raises(InputError, match=r"1 of 40 examples have other inputs there \(first id: 7\)"):
        compare([run], ["aum"], people=asked(path, counts=["n", "y"], id="number"))
    pl.read_csv(path).drop("text").write_csv(path)  # nothing to compare: joined by id, and it is said
    (found,) = compare([run], ["aum"], people=Asked(path, counts=["n", "y"], id="number")).humans
    assert any("by id alone" in sentence for sentence in found.told)
    with pytest.raises(InputError, match="joined by their number"):  # a file without ids and texts
        compare([run], ["aum"], people=Asked(path, counts=["n", "y"]))
    pl.read_csv(path).head(9).write_csv(path)
    with pytest.raises(InputError, match="9 training examples of a have answers of at least two people"):
        compare([run], ["aum"], people=Asked(path, counts=["n", "y"], id="number"))
    pl.read_csv(path).with_columns(number="x" + pl.col("number").cast(pl.String)).write_csv(path)
    with pytest.raises(InputError, match="no row has the id of a training example of a .*--humans-id"):
        compare([run], ["aum"], people=Asked(path, counts=["n", "y"], id="number"))


# --- the picture ---


def table_of(m: int, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(m, 200))
    x[m // 2 :] += 3 * x[0]  # two groups
    found = evaluate.concordance({f"score_{i}": row for i, row in enumerate(x)}, repeats=0)
    return found.names, found.spearman, found.overlap


def test_the_heat_map_writes_every_pair_twice_and_clusters():
    names, rho, overlap = table_of(8)
    rho[2, 5] = rho[5, 2] = np.nan
    figure = pictures.heat_map(names, rho, overlap, 0.1, "run, n = 200", apart=["score_6"], turned=["score_1"])
    words = words_of(figure)
    for name in names:
        assert name in words
    assert "- score_1" in words and "- score_2" not in words
    drawn = [text.get_text() for text in figure.axes[0].texts]
    assert len(drawn) == 8 * 7 - 1  # one correlation is undefined
    order, split = pictures.arranged(names, rho, ["score_6"])
    assert order[-1] == 6 and split == 7 and sorted(order) == list(range(8))
    like = [i for i in order if i in (0, 4, 5, 7)]  # they share a part: side by side
    at = [order.index(i) for i in like]
    assert max(at) - min(at) == 3


def test_values_are_short_and_have_their_sign():
    assert [pictures._written(x) for x in (0.934, -0.12, 1.0, -1.0, 0.0, -0.001, 0.999)] == [
        ".93", "-.12", "1.0", "-1.0", ".00", ".00", "1.0"]  # fmt: skip


def test_a_heat_map_of_thirty_can_be_written(tmp_path):
    from leadline.figures import style

    figure = pictures.heat_map(*table_of(30), 0.1, "x")
    assert style.save(figure, tmp_path / "a.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="at least two scores"):
        pictures.heat_map(["a"], np.ones((1, 1)), np.ones((1, 1)), 0.1, "x")


# --- the command ---


def test_the_command_prints_tables_draws_and_answers_in_json(leadline, tmp_path):
    runs = [make(tmp_path / f"a-s{s}", seed=s, train=range(60)).path for s in range(2)]
    path, _ = voted(tmp_path, Run(runs[0]))
    people = ["--humans", path, "--counts", "n,y", "--humans-id", "number"]
    picture = tmp_path / "agreement.svg"
    status, out, err = leadline("compare", runs[0], "--figure", picture, *people, "--per-class")
    assert (status, err.strip()) == (0, f"written  {picture}") and "<svg" in picture.read_text()
    for words in ("agreement of scores: a-s0 (n = 60)", "- confidence", "* entropy", "within class no (n = 40)",
                  "the pairs that agree least", "Kendall", "* variability", "5 people",
                  "scores that do not know the given label",
                  "largest Spearman possible"):  # fmt: skip
        assert words in out, words
    status, out, _ = leadline("compare", *runs, "--scores", "all", "--json", *people)
    told = json.loads(out)
    assert status == 0 and [len(told[key]) for key in ("scores", "humans")] == [1, 2]
    assert told["stability"][0]["pairs"] == 1 and told["scores"][0]["runs"] == 2
    assert {row["measure"] for row in told["humans"][0]["scores"]} == {"entropy", "minority"}
    m = len(told["scores"][0]["names"])
    assert np.array(told["scores"][0]["spearman"], dtype=float).shape == (m, m) and m > 15
    status, out, _ = leadline("compare", *runs)
    assert status == 0 and "stability over seeds: a, 2 seeds, 1 pairs" in out and "mean of 2 seeds" in out
    wide = leadline("compare", runs[0], "--scores", "all")[1]
    rows = [line for line in wide.splitlines() if re.match(r"\s*\d+ \S", line)]
    assert len(rows) == m and max(map(len, rows)) < 30 + 8 * m  # numbered columns: a row in one line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hardest", "0"], "hardest share"),
        (["--votes", "a,b"], "Name it by --humans FILE"),
        (["--humans", "votes.csv"], "one of --votes"),
        (["--humans", "no.csv", "--votes", "a"], "no such file"),
        (["--figure", "a.gif"], "Known: .png, .svg, .pdf"),
        (["--scores", "aum,nonsense"], "no score `nonsense`"),
    ],
)
def test_what_the_command_refuses(leadline, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    run = make(tmp_path / "a", train=range(30))
    (tmp_path / "votes.csv").write_text("id,a\n0,yes\n")
    status, out, err = leadline("compare", run.path, *arguments)
    assert (status, out) == (2, "") and words in err


# --- real votes ---


@pytest.mark.long
def test_hard_tweets_are_those_on_which_people_disagree(leadline, data_dir, tmp_path, monkeypatch):
    """500 of Davidson et al.'s tweets, at least three people each; a tiny model trained here."""
    import gzip

    monkeypatch.chdir(tmp_path)
    source = data_dir / "davidson_hate_offensive" / "labeled_data.csv.gz"
    with gzip.open(source, "rb") as text:
        table = pl.read_csv(text.read()).sample(500, seed=0)
    table.write_csv("tweets.csv")
    assert leadline("train", "tweets.csv", "--text", "tweet", "--label", "class", "--id", "id", "--model", "tiny",
                    "--epochs", "4", "--name", "tweets")[0] == 0  # fmt: skip
    status, out, err = leadline("compare", "runs/tweets", "--scores", "all", "--json", "--humans", source,
                                "--counts", "hate_speech,offensive_language,neither")  # fmt: skip
    assert status == 0, err
    (found,) = json.loads(out)["humans"]
    assert found["n"] == len(Run("runs/tweets").train) and found["people"][0] >= 3
    by = {row["score"]: row for row in found["scores"] if row["measure"] == "entropy"}
    assert by["entropy"]["label_free"] and by["action_mean"]["spearman_low"] > 0  # hard for the model, hard for people


@pytest.mark.long
def test_real_votes_are_read_as_their_authors_count_them(data_dir):
    """Facts of the data sets' own descriptions: rows, unanimous rows, numbers of people."""
    tweets = read(data_dir / "davidson_hate_offensive" / "labeled_data.csv.gz",
                  counts=["hate_speech", "offensive_language", "neither"])  # fmt: skip
    assert tweets.counts is not None and len(tweets.ids) == 24_783
    assert (tweets.counts.max(axis=1) == tweets.people).sum() == 17_482
    assert (tweets.people.min(), tweets.people.max()) == (3, 9)
    found = evaluate.disagreement(tweets.counts)
    assert ((found.entropy == 0) == (tweets.counts.max(axis=1) == tweets.people)).all()
    pairs = read(data_dir / "snli_annotators" / "dev.jsonl", id="pairID", votes="annotator_labels")
    assert pairs.counts is not None and pairs.answers == ("contradiction", "entailment", "neutral")
    assert len(pairs.ids) == 1289 and (pairs.counts.max(axis=1) == pairs.people).sum() == 685
    films = read(data_dir / "sst2" / "sst_dev_five_annotators.csv", id="text_id",
                 counts=["votes_positive", "votes_negative", "votes_neutral", "votes_mixed"])  # fmt: skip
    assert len(films.ids) == 1101 and (films.people == 5).all()
    graded = read(data_dir / "nli_variation" / "sentence_pairs.jsonl", graded="labels")
    assert graded.spread is not None and len(graded.ids) == 496 and not np.isnan(graded.spread).any()
    assert 15 <= graded.people.min() and graded.people.max() <= 45
