"""What a record needs of somebody's data set: its rows by name, and the number of each row in every batch.

The number travels beside the data, never inside it: neither the data set nor its collator sees a new column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from torch.utils.data import Dataset, IterableDataset

from leadline.data.examples import Examples
from leadline.errors import InputError, nearest
from leadline.learn.recorder import Recorder

ROWS = "_leadline_rows"  # in a batch: (B,) int64 on the host, so that no device has to be asked for them
LABELS = ("labels", "label", "label_ids")  # what transformers' collators take for labels


@dataclass(frozen=True)
class Fetched:
    """What a data set gave for the rows asked for."""

    rows: Sequence[int]
    data: Any


class Numbered(Dataset):
    """A data set that says with every fetch which rows it was asked for."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, rows: Sequence[int]) -> Fetched:
        many = getattr(self.dataset, "__getitems__", None)
        return Fetched(rows, many(rows) if many else [self.dataset[row] for row in rows])

    def __getitem__(self, row: int) -> Any:
        return self.dataset[row]

    def __getattr__(self, name: str) -> Any:  # set_epoch and the like
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


@dataclass(frozen=True)
class Collate:
    """Somebody's collator, called with what it always got; the rows join the finished batch."""

    collator: Callable[[Any], Any]

    def __call__(self, fetched: Fetched) -> Any:
        batch = self.collator(fetched.data)
        if not isinstance(batch, Mapping):
            raise InputError(f"record: the data collator gives a {type(batch).__name__}; a mapping of inputs is needed")
        try:
            batch[ROWS] = np.asarray(fetched.rows, dtype=np.int64)  # type: ignore[index]
        except TypeError:  # a mapping that cannot be written to
            batch = {**batch, ROWS: np.asarray(fetched.rows, dtype=np.int64)}
        return batch


@dataclass(frozen=True)
class Rows:
    """Who the N training examples are.

    ids, texts  N each; texts may be None
    labels      N class indices
    classes     K names, in the order of the logits
    """

    ids: Sequence[Any]
    labels: Sequence[int]
    classes: Sequence[str]
    texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def recorder(self, to: Path) -> Recorder:
        """A record that begins. Raises InputError where `to` holds a run already."""
        return Recorder(self.ids, self.labels, self.classes, to=to, texts=self.texts)

    def recorder_going_on(self, to: Path) -> Recorder:
        """A record that goes on where a training is resumed. Raises InputError where `to` is not a record of it."""
        if not (to / "examples.parquet").is_file():
            raise InputError(
                f"{to}: the training resumes, but the record of its first epochs is not here; give the `to` of then"
            )
        kept = Examples.read(to / "examples.parquet")
        names = [str(name) for name in self.classes]
        same = (
            kept.ids == [str(value) for value in self.ids]
            and list(kept.classes) == names
            and kept.table["_label"].to_list() == [names[k] for k in self.labels]
        )
        if not same:
            raise InputError(f"{to}: holds the record of other data; choose another directory")
        return Recorder.of(kept, to / "signals", {"mode": "online"})


def read(
    dataset: Any,
    model: Any,
    ids: str | Sequence[Any] | None = None,
    labels: str | Sequence[Any] | None = None,
    texts: str | Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Rows:
    """The rows of a training set for a model with K classes; a str names a column of the data set.

    Raises InputError for a data set without length, a task other than single-label classification, a column that is
    not there, labels that are no classes.
    """
    endless = isinstance(dataset, IterableDataset | datasets.IterableDataset) or not hasattr(dataset, "__len__")
    if dataset is None or endless:
        raise InputError(
            "record: a training set with a length and numbered rows is needed; of a stream nobody knows which row is "
            "which (load it without streaming=True)"
        )
    n = len(dataset)
    if not n:
        raise InputError("record: the training set is empty")
    config = getattr(model, "config", None)
    task = getattr(config, "problem_type", None)
    if task in ("regression", "multi_label_classification") or getattr(config, "num_labels", 2) == 1:
        what = task or "one output, a regression"
        raise InputError(f"record: single-label classification is recorded; the model's task is {what}")
    name = labels if isinstance(labels, str) else None
    if labels is None:
        name = _label_column(dataset)
    found = column(dataset, name) if name is not None else list(labels or ())
    known = list(classes) if classes is not None else _classes(dataset, name, config, found)
    numbers = numbers_of(found, known)
    named = column(dataset, ids) if isinstance(ids, str) else list(range(n)) if ids is None else ids
    shown = column(dataset, texts) if isinstance(texts, str) else texts
    for what, values in {"ids": named, "labels": numbers, "texts": shown}.items():
        if values is not None and len(values) != n:
            raise InputError(f"record: {n} training rows, but {len(values)} {what}")
    return Rows(named, numbers, known, shown)


def column(dataset: Any, name: str) -> list[Any]:
    """All values of one column, in the order of the rows."""
    if isinstance(dataset, datasets.Dataset):
        if name not in dataset.column_names:
            raise _no_column(name, dataset.column_names)
        return list(dataset.with_format(None)[name])
    keys = _keys(dataset)
    if name not in keys:
        raise _no_column(name, keys)
    return [_plain(dataset[row][name]) for row in range(len(dataset))]


def _no_column(name: str, known: Sequence[str]) -> InputError:
    return InputError(
        f"record: the training set has no column `{name}`.{nearest(name, known)} It has: {', '.join(known)}"
    )


def _keys(dataset: Any) -> list[str]:
    first = dataset[0]
    if not isinstance(first, Mapping):
        raise InputError(
            f"record: the items of the training set are {type(first).__name__}, not mappings; give labels=[…] (and "
            "ids=[…]) of all rows"
        )
    return [str(key) for key in first]


def _label_column(dataset: Any) -> str:
    known = dataset.column_names if isinstance(dataset, datasets.Dataset) else _keys(dataset)
    for name in LABELS:
        if name in known:
            return name
    raise InputError(
        f"record: no label column ({', '.join(LABELS)}) among {', '.join(known)}; name it with labels=, or give the "
        "labels of all rows"
    )


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _classes(dataset: Any, name: str | None, config: Any, labels: Sequence[Any]) -> list[str]:
    """The names in the order of the logits: the data set's own where they are as many, else the model's."""
    k = getattr(config, "num_labels", None)
    declared = None
    if name is not None and isinstance(dataset, datasets.Dataset):
        declared = getattr(dataset.features[name], "names", None)
    if declared is not None and k in (None, len(declared)):
        return list(declared)
    if k is not None:
        return [str(config.id2label[i]) for i in range(k)]
    if all(isinstance(v, int) for v in map(_plain, labels)):
        return [str(i) for i in range(max(2, max(map(_plain, labels)) + 1))]
    raise InputError("record: the classes are not known; give classes=[…] in the order of the logits")


def numbers_of(labels: Sequence[Any], classes: Sequence[str]) -> list[int]:
    """(N,) class indices."""
    place = {name: i for i, name in enumerate(classes)}
    numbers: list[int] = []
    for row, label in enumerate(map(_plain, labels)):
        number = place.get(label, -1) if isinstance(label, str) else label
        if isinstance(number, float | list) or number is None:
            raise InputError(f"record: single-label classification is recorded; the label of row {row} is {label!r}")
        if not 0 <= number < len(classes):
            raise InputError(
                f"record: row {row} has the label {label!r}, which is none of the {len(classes)} classes "
                f"({', '.join(classes[:10])})"
            )
        numbers.append(int(number))
    return numbers
