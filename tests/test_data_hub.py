"""Hub datasets: a local directory laid out like one, and what happens where no Hub is reachable."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from leadline import recipe
from leadline.data import hub
from leadline.data.load import load, load_one
from leadline.errors import InputError

CARD = """---
configs:
- config_name: reviews
  default: true
  data_files:
  - split: train
    path: data/train-*.parquet
  - split: validation
    path: data/validation-*.parquet
  - split: test
    path: data/test-*.parquet
- config_name: other
  data_files:
  - split: train
    path: data/validation-*.parquet
dataset_info:
- config_name: reviews
  features:
  - {name: sentence, dtype: string}
  - {name: label, dtype: {class_label: {names: {'0': worse, '1': better, '2': same}}}}
---
"""
LABELS = {"train": [1, 0, -1, 1, 0, 2, -1, 0], "validation": [0, 1, 2], "test": [-1, -1]}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "reviews" / "data").mkdir(parents=True)
    (tmp_path / "reviews" / "README.md").write_text(CARD)
    for split, labels in LABELS.items():
        frame = pl.DataFrame({"sentence": [f"{split} {i}" for i in range(len(labels))], "label": labels})
        frame.write_parquet(tmp_path / "reviews" / "data" / f"{split}-00000-of-00001.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parts() -> None:
    assert hub.parts("hub:glue:sst2@train") == ("glue", "sst2", "train")
    assert hub.parts("hub:stanfordnlp/imdb") == ("stanfordnlp/imdb", None, "train")
    assert hub.parts("hub:org/name@test") == ("org/name", None, "test")
    assert hub.parts("hub:./path/to/dir:config@train") == ("./path/to/dir", "config", "train")
    for broken in ("hub:", "hub:@train", "hub:name@"):
        with pytest.raises(InputError, match="write hub:<dataset>"):
            hub.parts(broken)


def test_a_dataset_with_names_and_unlabelled_rows(directory: Path) -> None:
    data = recipe.Data(
        train="hub:./reviews:reviews@train", validation="hub:./reviews@validation", text="sentence", label="label"
    )
    examples = load(data)
    assert examples.classes == ("worse", "better", "same")  # as declared, not as sorted
    train = examples.split("train").table
    assert train["_id"].to_list() == ["0", "1", "3", "4", "5", "7"]  # the numbers of the source's rows
    assert train["sentence"].to_list() == [f"train {i}" for i in (0, 1, 3, 4, 5, 7)]
    assert train["_label"].to_list() == ["better", "worse", "better", "worse", "same", "worse"]
    assert any(
        "2 of 8 rows are unlabelled (`label` is -1) and were set apart" in sentence for sentence in examples.told
    )
    assert examples.split("validation").table["_label"].to_list() == ["worse", "better", "same"]
    assert examples.sources["train"]["path"] == "hub:./reviews:reviews@train"
    assert examples.sources["train"]["rows"] == 8


def test_a_split_without_labels_names_one_that_has_them(directory: Path) -> None:
    data = recipe.Data(train="hub:./reviews", test="hub:./reviews@test", text="sentence", validation=None)
    with pytest.raises(InputError, match="every `label` of split `test` is -1.*try hub:./reviews@validation"):
        load(data)
    blind = load_one("hub:./reviews@test", data, classes=("worse", "better", "same"), labelled=False)
    assert len(blind) == 2 and "_label" not in blind.table.columns


def test_minus_one_is_an_ordinary_label_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,-1\nb,0\nc,1\n")
    assert load(recipe.Data(train=str(path), validation=None)).classes == ("-1", "0", "1")
    pl.DataFrame({"text": ["a", "b"], "label": [-1, 1]}).write_parquet(tmp_path / "a.parquet")
    assert load(recipe.Data(train=str(tmp_path / "a.parquet"), validation=None)).classes == ("-1", "1")


def test_wrong_names(directory: Path) -> None:
    with pytest.raises(InputError, match=r"no split `tset`; there are: train, validation, test\. Did you mean `test`"):
        hub.read("hub:./reviews@tset")
    with pytest.raises(InputError, match="'nothing' not found. Available: .*reviews"):
        hub.read("hub:./reviews:nothing@train")
    with pytest.raises(InputError, match="no such directory: ./review"):
        hub.read("hub:./review@train")
    assert len(hub.read("hub:./reviews:other").frame) == 3


def test_no_hub_within_reach(directory: Path) -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(InputError, match="cannot be reached.*Unset HF_HUB_OFFLINE.*hf download nyu-mll/glue"):
        hub.read("hub:nyu-mll/glue:sst2@train")


def test_scripts_are_read_through_their_parquet_revision(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    calls: list[dict[str, Any]] = []
    real = datasets.load_dataset

    def hub_with_scripts(path: str, config: str | None, **options: Any) -> Any:
        calls.append({"path": path, "config": config, **options})
        if "revision" not in options:
            raise RuntimeError("Dataset scripts are no longer supported, but found old.py")
        return real(str(directory / "reviews"), config)

    monkeypatch.setattr(datasets, "load_dataset", hub_with_scripts)
    assert len(hub.read("hub:org/old:reviews@train").frame) == 8
    assert calls == [
        {"path": "org/old", "config": "reviews"},
        {"path": "org/old", "config": "reviews", "revision": "refs/convert/parquet"},
    ]


def test_progress_bars_are_left_as_they_were(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import datasets

    before = datasets.are_progress_bars_disabled()
    hub.read("hub:./reviews")
    assert datasets.are_progress_bars_disabled() == before
    assert capfd.readouterr().err == ""
