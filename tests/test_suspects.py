"""Suspects: who is named first, what is suggested, and the sentence beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leadline import scores, suspects
from leadline.errors import InputError
from leadline.scores import SCORES
from leadline.signals import Period, Signals, complete, from_logits

CLASSES = ["ham", "junk", "spam"]
P = {  # three epochs each, gold in front
    "good": (0, [(0.70, 0.20, 0.10), (0.90, 0.06, 0.04), (0.95, 0.03, 0.02)]),
    "wrong": (0, [(0.12, 0.10, 0.78), (0.05, 0.03, 0.92), (0.01, 0.02, 0.97)]),
    "doubtful": (1, [(0.60, 0.30, 0.10), (0.30, 0.62, 0.08), (0.55, 0.40, 0.05)]),
    "memorised": (2, [(0.10, 0.80, 0.10), (0.05, 0.55, 0.40), (0.02, 0.10, 0.88)]),
}


@pytest.fixture
def signals() -> Signals:
    p = np.array([rows for _, rows in P.values()]).transpose(1, 0, 2)  # (E, N, K)
    return from_logits(list(P), np.log(p), np.array([gold for gold, _ in P.values()]), classes=CLASSES)


def test_the_whole_table(signals: Signals) -> None:
    table = suspects.rank(signals, scores.compute(signals)[0])
    assert table.columns == ["id", "label", "suggested", "probability", "score", "rank", "reason"]
    assert table["id"].to_list() == ["wrong", "doubtful", "memorised", "good"]
    assert table["label"].to_list() == ["ham", "junk", "spam", "ham"]
    assert table["suggested"].to_list() == ["spam", "ham", "junk", "junk"]
    np.testing.assert_allclose(table["probability"], [0.89, 1.45 / 3, 1.45 / 3, 0.29 / 3], atol=1e-6)
    margin_of_wrong = (0.12 - 0.78 + 0.05 - 0.92 + 0.01 - 0.97) / 3
    assert table["score"][0] == pytest.approx(margin_of_wrong, rel=1e-6)
    assert table["rank"].to_list() == [1, 2, 3, 4]
    assert table["reason"].to_list() == [
        "gold probability never above 0.12 in 3 epochs; the model says `spam` (0.89)",
        "gold probability between 0.30 and 0.62 in 3 epochs; the model says `ham` (0.48)",
        "gold probability between 0.10 and 0.88 in 3 epochs; the model says `junk` (0.48)",
        "gold probability between 0.70 and 0.95 in 3 epochs; the model keeps the label, next comes `junk` (0.10)",
    ]


@pytest.mark.parametrize(
    "by", [name for name, s in SCORES.items() if s.higher_is in ("harder", "easier") and s.probe is None]
)
def test_every_usable_score_ranks_the_wrong_label_before_the_good_one(signals: Signals, by: str) -> None:
    order = suspects.rank(signals, scores.compute(signals)[0], by)["id"].to_list()
    if by in ("first_learned", "learned_for_good"):
        assert "wrong" not in order and order[-1] == "good"  # undefined for what is never learned
    elif by == "loss_drop":
        assert order[0] == "wrong" and order.index("memorised") > order.index("good")  # learned late: the largest drop
    else:
        assert order.index("wrong") < order.index("good")


def test_suggestions_do_not_depend_on_the_score(signals: Signals) -> None:
    columns, _ = scores.compute(signals)
    by_id = [
        suspects.rank(signals, columns, by).sort("id").drop("score", "rank") for by in ("aum", "forgetting", "action")
    ]
    assert by_id[0].equals(by_id[1]) and by_id[0].equals(by_id[2])


def test_ties_stay_in_the_order_of_the_rows_and_nan_is_no_suspect(signals: Signals) -> None:
    columns = {"aum": np.array([1.0, np.nan, 1.0, 0.5])}
    table = suspects.rank(signals, columns)
    assert table["id"].to_list() == ["memorised", "good", "doubtful"] and table["rank"].to_list() == [1, 2, 3]


def test_without_logits_nothing_is_suggested(signals: Signals) -> None:
    periods = tuple(Period({n: a for n, a in p.columns.items() if n != "logits"}, p.metadata) for p in signals.periods)
    bare = replace(signals, periods=periods)
    table = suspects.rank(bare, scores.compute(bare)[0])
    assert table["id"].to_list() == ["wrong", "doubtful", "memorised", "good"]
    assert table["suggested"].null_count() == 4 and table["probability"].null_count() == 4
    assert table["reason"][0] == "gold probability never above 0.12 in 3 epochs"


def test_two_classes_and_one_epoch() -> None:
    z = np.log([[[0.2, 0.8], [0.6, 0.4]]])
    signals = from_logits([5, 6], z, np.array([0, 0]))  # type: ignore[list-item]  # ids become text
    table = suspects.rank(signals, scores.compute(signals)[0])
    assert table["id"].to_list() == ["5", "6"] and table["label"].to_list() == ["0", "0"]
    assert table["suggested"].to_list() == ["1", "1"]
    assert table["reason"].to_list() == [
        "gold probability 0.20 in 1 epoch; the model says `1` (0.80)",
        "gold probability 0.60 in 1 epoch; the model keeps the label, next comes `1` (0.40)",
    ]


def test_a_regression_is_ranked_by_its_loss() -> None:
    losses = np.array([[0.5, 4.0], [0.1, 2.0]])
    periods = tuple(Period(complete({"loss": loss}), {}) for loss in losses)
    signals = Signals(ids=["a", "b"], gold=np.array([1.5, 2.0]), periods=periods)
    columns, _ = scores.compute(signals)
    table = suspects.rank(signals, columns, by="action_mean")
    assert table["id"].to_list() == ["b", "a"] and table["label"].to_list() == ["2.0", "1.5"]
    assert table["reason"][0] == "mean loss 3 in 2 epochs" and table["suggested"].null_count() == 2
    assert suspects.usual(columns) == "action_mean" and suspects.rank(signals, columns).equals(table)
    with pytest.raises(InputError, match="no score `aum`; rank by one of action"):
        suspects.rank(signals, columns, "aum")


def test_a_score_that_knows_nothing_of_labels_is_refused(signals: Signals) -> None:
    for by in ("entropy", "variability"):
        with pytest.raises(InputError, match=f"`{by}` does not say which labels are doubtful"):
            suspects.rank(signals, scores.compute(signals)[0], by)


def test_the_first_few_are_those_of_the_whole_table_and_blocks_change_nothing(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, _ = scores.compute(signals)
    whole = suspects.rank(signals, columns)
    assert suspects.rank(signals, columns, most=2).equals(whole.head(2))
    assert suspects.rank(signals, columns, most=0).schema == whole.schema
    monkeypatch.setattr(suspects.ranking, "BLOCK", 3)
    assert suspects.rank(signals, columns).equals(whole)
