"""Why an example is suspected: its nearest neighbours with their labels, its duplicates, its curve over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from leadline.data.neighbours import METRICS, nearest
from leadline.errors import InputError
from leadline.scores import gold_probability, mean_probability
from leadline.signals import Signals
from leadline.suspects.duplicates import Duplicates

NEIGHBOURS = 10
NAMED = 3  # duplicates named in a column of a table
LISTED = 50  # duplicates of an explanation


@dataclass(frozen=True)
class Duplicate:
    """Another example with the same text, or nearly."""

    id: str
    label: str
    distance: float  # 0 for the same text, NaN without vectors
    exact: bool


@dataclass(frozen=True)
class Explanation:
    """What there is to be seen of one example."""

    id: str
    label: str
    ids: Sequence[str]  # (k,) of its neighbours, the nearest first; none without vectors
    labels: Sequence[str]  # (k,)
    distances: np.ndarray  # (k,) cosine, in [0, 2]
    curve: np.ndarray  # (E,) probability of the label in each recorded epoch, NaN where not observed
    probabilities: dict[str, float]  # class -> mean over the epochs; nothing without logits
    duplicates: Sequence[Duplicate] = field(default_factory=tuple)  # other labels first, then the closest

    def share(self, label: str) -> float:
        """Share of the neighbours with this label, in [0, 1]; NaN without neighbours."""
        return sum(name == label for name in self.labels) / len(self.labels) if self.labels else float("nan")


def explain(
    signals: Signals, row: int, x: np.ndarray | None = None, k: int = NEIGHBOURS, found: Duplicates | None = None
) -> Explanation:
    """One example of the record, for a page: a product of one vector with all is the most that is computed.

    x      (N, H) vectors in the order of the record, from `runs.vectors`; None: no neighbours
    found  from `find_duplicates`; None: no duplicates
    """
    if not 0 <= row < len(signals):
        raise InputError(f"explain: row {row} of {len(signals)} examples; rows are numbered from 0")
    near, far = np.zeros((1, 0), dtype=np.int64), np.zeros((1, 0))
    if x is not None and k > 0 and len(x) > 1:
        _fits(x, len(signals))
        near, far = nearest(x, min(k, len(x) - 1), rows=np.array([row]))
    part = signals.rows(np.array([row]))
    probabilities = {}
    if "logits" in part.names and signals.classes:
        probabilities = dict(zip(signals.classes, mean_probability(part)[0].tolist(), strict=True))
    return Explanation(
        id=str(signals.ids[row]),
        label=label_of(signals, row),
        ids=[str(signals.ids[j]) for j in near[0]],
        labels=[label_of(signals, j) for j in near[0]],
        distances=far[0],
        curve=gold_probability(part)[:, 0],
        probabilities=probabilities,
        duplicates=_duplicates(signals, row, x, found) if found is not None else (),
    )


def label_of(signals: Signals, row: int) -> str:
    gold = signals.gold[row]
    return signals.classes[gold] if signals.classes else str(gold.item())


def _duplicates(signals: Signals, row: int, x: np.ndarray | None, found: Duplicates) -> list[Duplicate]:
    others = found.members(row)
    others = others[others != row]
    exact = found.same[others] == found.same[row]
    distance = np.where(exact, 0.0, np.nan)
    if x is not None and found.near is not None and len(others):
        space = METRICS[found.near.metric](x[np.append(others, row)])
        far = space.measure(np.arange(len(others)), np.full(len(others), len(others)))
        distance = np.where(exact, 0.0, far)
    agrees = signals.gold[others] == signals.gold[row]
    order = np.lexsort((others, distance, ~exact, agrees))[:LISTED]
    return [
        Duplicate(str(signals.ids[j]), label_of(signals, j), float(distance[i]), bool(exact[i]))
        for i in order
        for j in [others[i]]
    ]


def explained(
    suspects: pl.DataFrame,
    ids: Sequence[str],
    labels: Sequence[str] | np.ndarray,
    x: np.ndarray | None = None,
    k: int = NEIGHBOURS,
    found: Duplicates | None = None,
) -> pl.DataFrame:
    """The table of suspects with three more columns: neighbours, neighbours_suggested, duplicate_of.

    suspects              has `id` and `suggested`, as `rank` makes it; a head of the table is quickest
    ids, labels           (N,) of the split the suspects are of, in the order of x; labels as text, or as numbers
    neighbours            "7 of 10 spam": the label most of the k nearest have (of equals the suggested one, then in
                          the order of the alphabet); of numbers "mean 2.5 of 10"; null without vectors
    neighbours_suggested  share of the k nearest with the suggested label, in [0, 1]
    duplicate_of          ids of duplicates that have another label, the same text first; null where there are none
    """
    rows = _rows(suspects, ids)
    texts = [str(label) for label in labels]
    wanted = suspects["suggested"].to_list() if "suggested" in suspects.columns else [None] * len(rows)
    says: list[str | None] = [None] * len(rows)
    share: list[float | None] = [None] * len(rows)
    if x is not None and k > 0 and len(x) > 1 and len(rows):
        _fits(x, len(texts))
        near, _ = nearest(x, min(k, len(x) - 1), rows=rows)  # (M, k)
        numbers = np.asarray(labels) if isinstance(labels, np.ndarray) and labels.dtype.kind == "f" else None
        for i, around in enumerate(near):
            if numbers is not None:
                says[i] = f"mean {np.nanmean(numbers[around]):.3g} of {len(around)}"
                continue
            their = [texts[j] for j in around]
            says[i] = _most(their, wanted[i])
            share[i] = their.count(wanted[i]) / len(their) if wanted[i] is not None else None
    doubles = [_named(found, row, ids, texts) for row in rows] if found is not None else [None] * len(rows)
    return suspects.with_columns(
        pl.Series("neighbours", says, dtype=pl.String),
        pl.Series("neighbours_suggested", share, dtype=pl.Float64),
        pl.Series("duplicate_of", doubles, dtype=pl.String),
    )


def _rows(suspects: pl.DataFrame, ids: Sequence[str]) -> np.ndarray:
    """(M,) the row of each suspect."""
    place = pl.DataFrame({"id": pl.Series([str(name) for name in ids], dtype=pl.String), "row": np.arange(len(ids))})
    rows = suspects.select(pl.col("id").cast(pl.String)).join(place, on="id", how="left", maintain_order="left")["row"]
    if rows.null_count():
        first = suspects["id"][int(rows.is_null().arg_max() or 0)]
        raise InputError(
            f"explain: {rows.null_count()} of {suspects.height} suspects are not among the {len(ids)} examples "
            f"(first id: {first}); give the ids and vectors of the split that was audited"
        )
    return rows.to_numpy()


def _most(labels: Sequence[str], suggested: str | None) -> str:
    """ "7 of 10 spam" """
    best = min(set(labels), key=lambda name: (-labels.count(name), name != suggested, name))
    return f"{labels.count(best)} of {len(labels)} {best}"


def _named(found: Duplicates, row: int, ids: Sequence[str], labels: Sequence[str]) -> str | None:
    """ "a12, b7 and 4 more" """
    others = np.array([j for j in found.members(row) if labels[j] != labels[row]], dtype=np.int64)
    if not len(others):
        return None
    others = others[np.argsort(found.same[others] != found.same[row], kind="stable")]
    names = ", ".join(str(ids[j]) for j in others[:NAMED])
    return names if len(others) <= NAMED else f"{names} and {len(others) - NAMED} more"


def _fits(x: np.ndarray, n: int) -> None:
    if len(x) != n:
        raise InputError(f"explain: {len(x)} vectors for {n} examples; give one each, in their order")
