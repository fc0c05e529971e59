"""The examples of a recipe: read, check, sample, split, corrupt, identify. One call from `data:` to Examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from leadline.data import hub, split, tables
from leadline.data.check import Checked, check
from leadline.data.corruption import THRESHOLD, corrupt, threshold_samples
from leadline.data.examples import SPLITS, Examples, with_hashes
from leadline.data.write import as_text
from leadline.errors import InputError
from leadline.recipe import DATAFRAME, Data


def load(
    data: Data,
    task: str = "classification",
    frames: Mapping[str, Any] | None = None,
    confusion: np.ndarray | None = None,
) -> Examples:
    """All splits of a recipe in one table: train rows in the order of their source, then validation, then test.

    `frames`: objects with rows for the splits whose path is `recipe.DATAFRAME`, {"train": df, "test": df}.
    `confusion`: (K, K) counts of the base run's validation, rows the true class, for `corrupt: {kind: by-confusion}`.
    `_id` is the id column, else the number of the row in its source, as text. `told` says what was set apart, sampled,
    held out and corrupted; `sources` has {path as given, sha256, rows} per file (none for rows held out of train).
    Raises InputError, which tells all problems of a file at once.
    """
    _consistent(data, confusion)
    opened = {name: _open(data, name, frames or {}) for name in SPLITS}
    checked: dict[str, Checked] = {}
    for name, table in opened.items():
        if table is not None:
            classes = checked["train"].classes or None if name != "train" else None
            checked[name] = check(table, data, task, name == "train", classes)
    classes = checked["train"].classes
    told = [sentence for name in checked for sentence in checked[name].told]
    parts = {name: checked[name].frame for name in checked}
    parts["train"] = _sample(parts["train"], data, classes, told)
    if isinstance(data.validation, float):
        parts["train"], parts["validation"] = _hold_out(parts["train"], data, data.validation, classes, told)
    _tell_shared_groups(parts, data, told)
    if data.corrupt is not None and data.corrupt.kind == "threshold":
        parts, classes = _threshold_samples(parts, data, classes, told)
    elif data.corrupt is not None:
        parts = _corrupt(parts, data, classes, confusion, told)
    sources = {
        name: {"path": str(getattr(data, name)), "sha256": table.sha256, "rows": table.frame.height}
        for name, table in opened.items()
        if table is not None
    }
    stacked = _stack({name: parts[name] for name in SPLITS if name in parts}, classes)
    return with_hashes(Examples(stacked, task, tuple(data.inputs), classes, tuple(told), sources))


def load_one(
    source: Any,
    data: Data,
    task: str = "classification",
    classes: Sequence[str] = (),
    split: str = "test",
    labelled: bool = True,
) -> Examples:
    """One more file, judged by the settings of an existing run: its labels must be among `classes`.

    `labelled=False` does not read labels (the file may have none): the examples have no `_label`.
    """
    table = hub.read(source, data.label if labelled else None) if _is_hub(source) else tables.read(source)
    checked = check(table, data, task, False, tuple(classes) or None, labelled)
    path = str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else DATAFRAME
    sources = {split: {"path": path, "sha256": table.sha256, "rows": table.frame.height}}
    stacked = _stack({split: checked.frame}, checked.classes)
    names = checked.classes or tuple(classes)
    return with_hashes(Examples(stacked, task, tuple(data.inputs), names, checked.told, sources))


def _consistent(data: Data, confusion: np.ndarray | None) -> None:
    if data.corrupt is None:
        return
    if data.label_distribution is not None:
        raise InputError(
            "data.corrupt changes one label per row; with data.label_distribution there are shares instead"
        )
    if data.corrupt.kind == "by-confusion" and confusion is None:
        raise InputError("data.corrupt: by-confusion needs the validation confusions of a base run (base: {run: …})")


def _is_hub(source: Any) -> bool:
    return isinstance(source, str) and source.startswith(hub.PREFIX)


def _open(data: Data, name: str, frames: Mapping[str, Any]) -> tables.Table | None:
    source = frames.get(name, getattr(data, name))
    if source is None or isinstance(source, float):
        return None
    if isinstance(source, str) and source == DATAFRAME:
        raise InputError(f"data.{name}: these rows came as an object, not as a file; give the DataFrame again")
    return hub.read(source, data.label) if _is_hub(source) else tables.read(source, f"the rows given as {name}")


def _index(frame: pl.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """(N,) class index."""
    return frame["_label"].replace_strict(list(classes), list(range(len(classes))), return_dtype=pl.Int64).to_numpy()


def _sample(train: pl.DataFrame, data: Data, classes: tuple[str, ...], told: list[str]) -> pl.DataFrame:
    if data.sample is None:
        return train
    index = _index(train, classes) if classes else np.zeros(len(train), dtype=np.int64)
    rng = split.generator(data.seed, "sample")
    rows = split.sample(index, rng, data.sample.n, data.sample.per_class)
    wanted = f"n: {data.sample.n}" if data.sample.n is not None else f"per_class: {data.sample.per_class}"
    told.append(f"train is a random sample of {len(rows)} of {len(train)} rows ({wanted}, seed {data.seed})")
    if classes:
        left = set(index[rows].tolist())
        if len(left) < 2:
            raise InputError(
                f"data.sample ({wanted}) leaves only class `{classes[left.pop()]}`; sample more, or per_class"
            )
        lost = [name for k, name in enumerate(classes) if k not in left]
        if lost:
            told.append(f"the sample has no training row of: {', '.join(lost)}")
    return train[rows]


def _hold_out(
    train: pl.DataFrame, data: Data, fraction: float, classes: tuple[str, ...], told: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training rows and validation rows, each in source order."""
    rng = split.generator(data.seed, "split")
    strata = _index(train, classes) if classes else split.quantile_bins(train["_label"].to_numpy(), fraction)
    if data.group is None:
        rows = split.hold_out(strata, fraction, rng)
    else:
        rows = split.hold_out_groups(train[data.group].cast(pl.String).to_numpy(), strata, fraction, rng)
    how = "by label" if classes else "by quantiles of the label"
    whole = f", whole groups of `{data.group}`" if data.group is not None else ""
    told.append(
        f"validation is {len(rows)} of {len(train)} rows held out of train "
        f"(fraction {fraction}, stratified {how}{whole}, seed {data.seed})"
    )
    kept = np.ones(len(train), dtype=bool)
    kept[rows] = False
    return train.filter(kept), train[rows]


def _tell_shared_groups(parts: Mapping[str, pl.DataFrame], data: Data, told: list[str]) -> None:
    """Files given apart are not split by us: groups that they share are told, not moved."""
    named = {
        name: set(frame[data.group].cast(pl.String)) for name, frame in parts.items() if data.group in frame.columns
    }
    for other in ("validation", "test"):
        shared = named.get("train", set()) & named.get(other, set())
        if shared:
            told.append(f"{len(shared)} groups (`{data.group}`) lie in both train and {other}: these files share them")


def _corrupt(
    parts: Mapping[str, pl.DataFrame],
    data: Data,
    classes: tuple[str, ...],
    confusion: np.ndarray | None,
    told: list[str],
) -> dict[str, pl.DataFrame]:
    """Wrong labels in train and validation; the truth of every row in `_true_label`."""
    assert data.corrupt is not None and data.corrupt.rate is not None
    result, counts = {}, []
    for name, frame in parts.items():
        old = _index(frame, classes)
        new = old
        if name != "test":
            rng = split.generator(data.seed, f"corrupt-{name}")
            new = corrupt(old, len(classes), data.corrupt.rate, data.corrupt.kind, rng, confusion)
            counts.append(f"{int((new != old).sum())} of {len(frame)} {name} rows")
        labels = pl.Series("_label", np.array(classes, dtype=object)[new].tolist(), dtype=pl.String)
        result[name] = frame.with_columns(frame["_label"].alias("_true_label"), labels)
    told.append(
        f"labels were corrupted on purpose in {' and '.join(counts)} "
        f"({data.corrupt.kind}, rate {data.corrupt.rate}, seed {data.seed}); the truth is in _true_label"
    )
    return result


def _threshold_samples(
    parts: Mapping[str, pl.DataFrame], data: Data, classes: tuple[str, ...], told: list[str]
) -> tuple[dict[str, pl.DataFrame], tuple[str, ...]]:
    """A part of the training rows gets a class of its own (Pleiss et al. 2020); the truth is in `_true_label`."""
    assert data.corrupt is not None
    if THRESHOLD in classes:
        raise InputError(f"data.corrupt: threshold: the data have a class `{THRESHOLD}` already")
    train = parts["train"]
    rows = threshold_samples(
        len(train), len(classes), split.generator(data.seed, "corrupt-train"), data.corrupt.part, data.corrupt.rate
    )
    chosen = np.zeros(len(train), dtype=bool)
    chosen[rows] = True
    result = {name: frame.with_columns(frame["_label"].alias("_true_label")) for name, frame in parts.items()}
    label = pl.when(pl.Series(chosen)).then(pl.lit(THRESHOLD)).otherwise(pl.col("_label")).alias("_label")
    result["train"] = result["train"].with_columns(label)
    told.append(
        f"{len(rows)} of {len(train)} train rows are threshold samples, of the class `{THRESHOLD}` "
        f"(part {data.corrupt.part}, seed {data.seed}); the truth is in _true_label"
    )
    return result, (*classes, THRESHOLD)


def _stack(parts: Mapping[str, pl.DataFrame], classes: tuple[str, ...]) -> pl.DataFrame:
    """One table: `_id`, `_split`, the source columns, then ours. A column that has several types becomes text."""
    frames = [frame.with_columns(pl.lit(name).alias("_split")) for name, frame in parts.items()]
    if any("_label_distribution" in frame.columns for frame in frames):
        frames = [_with_distribution(frame, classes) for frame in frames]
    for name in {name for frame in frames for name in frame.columns}:
        kinds = [frame[name].dtype for frame in frames if name in frame.columns]
        if any(kind != kinds[0] for kind in kinds) and not all(kind.is_numeric() for kind in kinds):
            frames = [frame.with_columns(as_text(frame[name])) if name in frame.columns else frame for frame in frames]
    table = pl.concat(frames, how="diagonal_relaxed").rechunk()
    if "_weight" in table.columns:
        table = table.with_columns(pl.col("_weight").fill_null(1.0))
    source = [name for name in table.columns if not name.startswith("_")]
    ours = [name for name in ("_label", "_label_distribution", "_weight", "_true_label") if name in table.columns]
    return table.select("_id", "_split", *source, *ours)


def _with_distribution(frame: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
    """Rows with one label beside rows with distributions: all their share lies on the label."""
    if "_label_distribution" in frame.columns:
        return frame
    shares = np.eye(len(classes))[_index(frame, classes)]  # (N, K)
    return frame.with_columns(pl.Series("_label_distribution", shares).cast(pl.List(pl.Float64)))
