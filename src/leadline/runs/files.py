"""What is written beside the record: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline import signals
from leadline.data.hub import PREFIX
from leadline.data.write import write_table
from leadline.errors import InputError, cannot_write
from leadline.evaluate import Temperature, scaled
from leadline.recipe import DATAFRAME
from leadline.runs.run import Run


@contextlib.contextmanager
def whole(path: Path, shared: bool = False) -> Iterator[Path]:
    """Where to write: under another name, which becomes `path` at the end; on an error nothing is left.

    shared  several processes may write this file at once, each its own copy; the last one stays
    """
    partial = path.with_name(path.name + (f".{os.getpid()}" if shared else "") + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except (OSError, pl.exceptions.PolarsError) as error:  # polars tells a full disk in its own way
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str, shared: bool = False) -> None:
    with whole(path, shared) as partial:
        partial.write_text(text, encoding="utf-8")


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    with whole(path) as partial:
        table.write_parquet(partial)


def write_results(path: Path, results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    write_text(path / "results.json", json.dumps(plain(results), indent=1) + "\n")


def add_results(run: Run, more: Mapping[str, Mapping[str, Any]]) -> None:
    """results.json with further keys, or with new values of keys that it has: `test+typos=0.05` beside `test`."""
    write_results(run.path, {**run.results, **more})


def plain(value: Any) -> Any:
    """As JSON has it: no NaN or infinity (null), no numbers of numpy's."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def sha256(path: Path) -> str:
    """Of a file's bytes, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_sources(run: Run, outputs: Iterable[Path], *more: str | None) -> None:
    """Raises InputError where one of the files to be written is a source of the run, or one of `more`.

    By its name, and by its content: a run may be used from another directory than the one it was trained in.
    """
    known = list(run.examples.sources.values())
    names = [name for name in [*(source.get("path") for source in known), *more] if name]
    sources = [Path(name) for name in names if name != DATAFRAME and not name.startswith(PREFIX)]
    contents = {source.get("sha256") for source in known}
    for output in outputs:
        same = any(output.resolve() == source.resolve() for source in sources)
        if output.is_file():
            same = same or any(source.exists() and output.samefile(source) for source in sources)
            same = same or sha256(output) in contents
        if same:
            raise InputError(f"-o {output}: is a source of this run, which is never written to; choose another name")


def write_suspects(run: Run, suspects: pl.DataFrame, path: Path | None = None, split: str = "train") -> None:
    """suspects.csv: id, label, suggested, probability, score, rank, reason, then the source columns."""
    examples = run.train if split == "train" else run.examples.split(split)
    table = suspects.join(with_ids(examples.table, suspects.columns), on="id", how="left", maintain_order="left")
    if path is not None:
        refuse_sources(run, [path])
    write_table(path or run.path / "suspects.csv", table)


def with_ids(table: pl.DataFrame, taken: Sequence[str] = ("id",)) -> pl.DataFrame:
    """`id` and the source columns of a table of examples; a column whose name is taken becomes `source_<name>`."""
    sources = [name for name in table.columns if not name.startswith("_")]
    columns, used = [pl.col("_id").alias("id")], {*taken, *sources, "id"}
    for name in sources:
        if name == "id" and (table[name].cast(pl.String) == table["_id"]).all():
            continue
        alias = name
        while alias in taken or (alias != name and alias in used):
            alias = f"source_{alias}"
        used.add(alias)
        columns.append(pl.col(name).alias(alias))
    return table.select(columns)


def predictions_table(
    ids: Sequence[str],
    labels: Sequence[Any],
    outcome: Mapping[str, np.ndarray],
    classes: Sequence[str],
    temperature: float | None = None,
) -> pl.DataFrame:
    """id, label, predicted, confidence, gold_probability and prob_<class>; of a regression id, label, predicted.

    With a temperature also scaled_confidence and scaled_prob_<class>: what the model says at it.
    """
    if not classes:
        return pl.DataFrame({"id": list(ids), "label": labels, "predicted": outcome["prediction"].astype(float)})
    p = signals.softmax(outcome["logits"])  # (N, K)
    best = p.argmax(axis=1)
    columns: dict[str, Any] = {
        "id": list(ids),
        "label": list(labels),
        "predicted": [classes[k] for k in best],
        "confidence": p.max(axis=1),
        "gold_probability": np.exp(outcome["gold_logprob"].astype(np.float64)),
    }
    columns |= {f"prob_{name}": p[:, k] for k, name in enumerate(classes)}
    if temperature is not None:
        cooled = scaled(p, temperature)
        columns |= {"scaled_confidence": cooled.max(axis=1)}
        columns |= {f"scaled_prob_{name}": cooled[:, k] for k, name in enumerate(classes)}
    return pl.DataFrame(columns)


def kept_temperature(run: Run) -> Temperature | None:
    """The temperature in results.json, with what was said when it was fitted; None where there is none."""
    found = next((figures["temperature"] for figures in run.results.values() if "temperature" in figures), None)
    if found is None or found.get("value") is None:
        return None
    says = next((event.get("says") for event in reversed(run.events("temperature"))), None)
    low, high = (np.nan if found.get(key) is None else found[key] for key in ("low", "high"))
    return Temperature(found["value"], low, high, int(found.get("n", 0)), says)


def probabilities(predictions: pl.DataFrame, classes: Iterable[str]) -> np.ndarray:
    """(N, K) from a predictions table."""
    return predictions.select([f"prob_{name}" for name in classes]).to_numpy()
