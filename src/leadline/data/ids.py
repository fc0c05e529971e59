"""Ids of many examples: a sequence of text that is held as one column, not as a Python object per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import polars as pl


class Ids(Sequence[str]):
    """The ids of N examples in their order. Equal to any sequence of the same text; rows by number, slice or array."""

    def __init__(self, column: pl.Series):
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, rows: int) -> str: ...
    @overload
    def __getitem__(self, rows: slice | np.ndarray) -> Ids: ...
    def __getitem__(self, rows: int | slice | np.ndarray) -> str | Ids:
        if isinstance(rows, slice | np.ndarray):
            return Ids(self.column[rows])
        return self.column[int(rows)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.column)

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, Ids):
            return self.column.equals(other.column)
        if not isinstance(other, Sequence) or isinstance(other, str) or len(self) != len(other):
            return False
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self.column.head(3)))
        return f"Ids([{first}{', …' if len(self) > 3 else ''}], n={len(self):,})"
