"""Regions of the data map: known answers, ties, missing values, and the published categories."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from leadline import scores
from leadline.errors import InputError
from leadline.interop import cartography
from leadline.scores import regions
from leadline.signals import Period, Signals, complete, from_logits

# The worked example of the definitions
CONFIDENCE = np.array([0.95, 0.9, 0.85, 0.8, 0.55, 0.5, 0.45, 0.2, 0.15, 0.1])
VARIABILITY = np.array([0.02, 0.05, 0.3, 0.1, 0.4, 0.35, 0.12, 0.25, 0.33, 0.03])


def test_the_worked_example() -> None:
    found = regions.by_proportion(CONFIDENCE, VARIABILITY, 0.33)
    assert {name: set(rows.tolist()) for name, rows in found.sets.items()} == {
        "easy": {0, 1, 2},
        "hard": {7, 8, 9},
        "ambiguous": {4, 5, 8},
    }
    assert found.category.tolist() == (
        ["easy", "easy", "easy", "none", "ambiguous", "ambiguous", "none", "hard", "ambiguous", "hard"]
    )
    assert found.rule == "proportion 0.33: 3 of 10 examples each; ambiguous over easy over hard"


def test_sets_begin_with_the_most_typical() -> None:
    sets = regions.by_proportion(CONFIDENCE, VARIABILITY, 0.33).sets
    assert sets["easy"].tolist() == [0, 1, 2]
    assert sets["hard"].tolist() == [9, 8, 7]
    assert sets["ambiguous"].tolist() == [4, 5, 8]


def test_overlaps_say_what_precedence_swallowed() -> None:
    table = regions.by_proportion(CONFIDENCE, VARIABILITY, 0.33).overlaps
    assert table.rows(named=True) == [
        {"region": "easy", "in_set": 3, "also_easy": 3, "also_ambiguous": 0, "also_hard": 0, "category": 3},
        {"region": "ambiguous", "in_set": 3, "also_easy": 0, "also_ambiguous": 3, "also_hard": 1, "category": 3},
        {"region": "hard", "in_set": 3, "also_easy": 0, "also_ambiguous": 1, "also_hard": 3, "category": 2},
        {"region": "none", "in_set": 2, "also_easy": 0, "also_ambiguous": 0, "also_hard": 0, "category": 2},
    ]


def test_hard_first_keeps_every_hard_example() -> None:
    found = regions.by_proportion(CONFIDENCE, VARIABILITY, 0.33, precedence=regions.HARD_FIRST)
    assert found.category[8] == "hard" and (found.category[found.sets["hard"]] == "hard").all()
    easy_last = regions.by_proportion(CONFIDENCE, CONFIDENCE, 0.33, precedence=regions.HARD_FIRST)
    assert (easy_last.category[:3] == "ambiguous").all()  # ambiguous over easy there too
    easy_first = regions.by_proportion(CONFIDENCE, CONFIDENCE, 0.33, precedence=("easy", "hard", "ambiguous"))
    assert (easy_first.category[:3] == "easy").all()


def test_ties_go_to_the_earlier_row() -> None:
    flat = np.full(9, 0.5)
    sets = regions.by_proportion(flat, flat, 0.34).sets
    assert all(rows.tolist() == [0, 1, 2] for rows in sets.values())
    two_values = np.array([0.1, 0.9, 0.1, 0.9, 0.1, 0.9])
    sets = regions.by_proportion(two_values, two_values, 0.34).sets
    assert sets["easy"].tolist() == [1, 3] and sets["hard"].tolist() == [0, 2]


def test_rows_without_a_place_on_the_map_are_in_no_region() -> None:
    confidence, variability = CONFIDENCE.copy(), VARIABILITY.copy()
    confidence[0], variability[5] = np.nan, np.nan
    for found in (
        regions.by_proportion(confidence, variability, 1.0),
        regions.by_threshold(confidence, variability),
        regions.by_data_iq(confidence, variability),
    ):
        assert found.category[0] == found.category[5] == "none"
        assert not {0, 5} & set(np.concatenate(list(found.sets.values())).tolist())
    assert len(regions.by_proportion(confidence, variability, 0.5).sets["easy"]) == 4  # int(.5 * 8)


def test_by_threshold() -> None:
    found = regions.by_threshold(CONFIDENCE, VARIABILITY, easy=0.8, hard=0.15, ambiguous=0.33)
    assert found.sets["easy"].tolist() == [0, 1, 2, 3]  # thresholds belong to the region
    assert found.sets["hard"].tolist() == [9, 8]
    assert found.sets["ambiguous"].tolist() == [4, 5, 8]
    assert found.category.tolist() == ["easy"] * 4 + ["ambiguous"] * 2 + ["none"] * 2 + ["ambiguous", "hard"]
    with pytest.raises(InputError, match="must lie below"):
        regions.by_threshold(CONFIDENCE, VARIABILITY, easy=0.2, hard=0.3)


def test_by_data_iq() -> None:
    confidence = np.array([0.9, 0.8, 0.9, 0.5, 0.1, 0.2, 0.1, 0.75, 0.25])
    aleatoric = np.array([0.01, 0.02, 0.24, 0.20, 0.03, 0.04, 0.23, 0.05, 0.06])
    found = regions.by_data_iq(confidence, aleatoric)  # median .05 belongs to the low ones, .06 no longer
    assert found.category.tolist() == (
        ["easy", "easy", "ambiguous", "ambiguous", "hard", "hard", "ambiguous", "easy", "ambiguous"]
    )
    assert found.overlaps["category"].to_list() == [3, 4, 2, 0]
    assert found.sets["ambiguous"].tolist() == [2, 6, 3, 8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proportion": 0.0}, "above 0"),
        ({"proportion": 1.5}, "at most 1"),
        ({"precedence": ("hard", "easy")}, "each once"),
        ({"precedence": ("hard", "easy", "none")}, "each once"),
    ],
)
def test_wrong_arguments(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        regions.by_proportion(CONFIDENCE, VARIABILITY, **change)


def test_axes_of_a_classification() -> None:
    signals = from_logits(["a", "b"], np.random.default_rng(0).normal(size=(3, 2, 2)), np.array([0, 1]))
    columns, _ = scores.compute(signals)
    axes = regions.axes(columns)
    assert (axes.x_name, axes.y_name) == ("variability", "confidence")
    assert axes.x is columns["variability"] and axes.y is columns["confidence"]


def test_axes_of_a_regression_are_its_losses() -> None:
    losses = np.array([[4.0, 1.0, 9.0], [2.0, 1.0, 9.0]])
    periods = tuple(Period(complete({"loss": loss}), {}) for loss in losses)
    columns, _ = scores.compute(Signals(ids=["a", "b", "c"], gold=np.zeros(3), periods=periods))
    axes = regions.axes(columns)
    assert axes.x.tolist() == [1.0, 0.0, 0.0] and axes.y.tolist() == [-3.0, -1.0, -9.0]
    found = regions.by_proportion(axes.y, axes.x, 0.34)
    assert found.category.tolist() == ["ambiguous", "easy", "hard"]


def test_one_epoch_is_no_map() -> None:
    signals = from_logits(["a", "b"], np.random.default_rng(0).normal(size=(1, 2, 2)), np.array([0, 1]))
    with pytest.raises(InputError, match="at least two recorded epochs"):
        regions.axes(scores.compute(signals)[0])


# The published regions and categories: first 4 of 5 epochs, a third of the rows each.
PUBLISHED = {  # N, k, hard and ambiguous, easy and ambiguous, then easy / ambiguous / hard / none
    "sarcasm": (3467, 1144, 943, 0, [1144, 1144, 201, 978]),
    "disaster": (6090, 2009, 1588, 13, [1996, 2009, 421, 1664]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_regions(data_dir: Path, name: str) -> None:
    directory = data_dir / name / "roberta_base_dynamics"
    signals, _ = cartography.read(directory)
    columns, _ = scores.compute(signals.window(max_epochs=4), ["confidence", "variability"])
    found = regions.by_proportion(columns["confidence"], columns["variability"], 0.33)
    n, k, hard_too, easy_too, filed = PUBLISHED[name]
    assert len(signals) == n

    published = json.loads((directory / "three_regions_data_indices.json").read_text())
    for region, rows in found.sets.items():
        ids = [int(signals.ids[row]) for row in rows]
        assert len(ids) == k and set(ids) == set(published[region])  # the published lists are in no order

    with open(directory / "category.csv", newline="") as source:
        category = {row["idx"]: row["category"] for row in csv.DictReader(source)}
    assert list(category) == list(signals.ids)
    assert found.category.tolist() == list(category.values())

    table = {row["region"]: row for row in found.overlaps.rows(named=True)}
    assert table["ambiguous"]["also_hard"] == hard_too and table["ambiguous"]["also_easy"] == easy_too
    assert found.overlaps["category"].to_list() == filed


def test_all_five_epochs_are_not_what_was_published(data_dir: Path) -> None:
    directory = data_dir / "sarcasm" / "roberta_base_dynamics"
    signals, _ = cartography.read(directory)
    columns, _ = scores.compute(signals, ["confidence", "variability"])
    sets = regions.by_proportion(columns["confidence"], columns["variability"], 0.33).sets
    published = json.loads((directory / "three_regions_data_indices.json").read_text())
    assert {int(signals.ids[row]) for row in sets["ambiguous"]} != set(published["ambiguous"])
