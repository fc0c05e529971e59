"""What reviewers decided: `decisions.sqlite` in the run, one row per event, never changed.

A decision is on disk before the function that records it returns (WAL, synchronous=FULL): a process killed at any
moment has lost none. Each decision may carry a token of the client's; the same token counts once, so that a request
repeated after a crash is not counted twice. Undo is an event of its own that names the one it takes back.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leadline.errors import InputError, LeadlineError, cannot_write, nearest

FORMAT = 1
ACTIONS = ("keep", "relabel", "ambiguous", "discard", "skip")
WRONG = ("relabel", "discard")  # what says that the label was wrong
WAIT = 20.0  # seconds for another process that is writing
REVIEWER_LENGTH = 100

TABLES = """
CREATE TABLE IF NOT EXISTS decisions (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  split TEXT NOT NULL, id TEXT NOT NULL, reviewer TEXT NOT NULL, time TEXT NOT NULL,
  action TEXT NOT NULL CHECK (action IN ('keep', 'relabel', 'ambiguous', 'discard', 'skip', 'undo')),
  "from" TEXT, "to" TEXT, token TEXT UNIQUE, undoes INTEGER UNIQUE REFERENCES decisions (number)
);
CREATE TABLE IF NOT EXISTS draws (
  draw INTEGER NOT NULL, place INTEGER NOT NULL, split TEXT NOT NULL, id TEXT NOT NULL, stratum INTEGER NOT NULL,
  probability REAL NOT NULL, size INTEGER NOT NULL, seed INTEGER NOT NULL, ranked_by TEXT NOT NULL, time TEXT NOT NULL,
  PRIMARY KEY (draw, place), UNIQUE (draw, id)
);
"""
EVENT = {
    "number": pl.Int64, "split": pl.String, "id": pl.String, "reviewer": pl.String, "time": pl.String,
    "action": pl.String, "from": pl.String, "to": pl.String, "token": pl.String, "undoes": pl.Int64,
}  # fmt: skip
CURRENT = ("split", "id", "reviewer", "time", "action", "from", "to")
EVENT_COLUMNS = ", ".join(f'"{name}"' for name in EVENT)
DRAWN = {"id": pl.String, "stratum": pl.Int64, "probability": pl.Float64, "size": pl.Int64}


@dataclass(frozen=True)
class Decision:
    """One event. `label` is what the example was labelled when it was decided, `to` the class of a relabel."""

    number: int
    split: str
    id: str
    reviewer: str
    time: str  # UTC, ISO 8601
    action: str
    label: str | None
    to: str | None
    token: str | None
    undoes: int | None  # the number of the event that this one takes back


class Decisions:
    """The decisions on the examples of one split. Processes may share the file, threads the object.

    labels   the label of every example by its id, as text: what may be decided on
    classes  what may be relabelled to; empty for a regression
    Raises LeadlineError where the file cannot be opened or written, InputError where it is damaged or newer.
    """

    def __init__(self, path: Path, split: str, labels: Mapping[str, str | None], classes: Sequence[str] = ()):
        self.path, self.split, self.labels, self.classes = Path(path), split, labels, tuple(classes)
        self._lock = threading.RLock()
        self._seen = 0  # the last event that _standing knows
        self._live: dict[tuple[str, str], list[Decision]] = {}  # (id, reviewer) -> what is not undone, oldest first
        with _told(self.path):
            self._connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT:
                self._connection.close()
                raise InputError(
                    f"{self.path}: format {version} is newer than this leadline knows ({FORMAT}); upgrade leadline"
                )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            if version < FORMAT:
                self._connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")

    def close(self) -> None:
        with self._lock:  # a request may still be in the middle of one
            self._connection.close()

    def __enter__(self) -> Decisions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, id: str, action: str, reviewer: str, to: str | None = None, token: str | None = None) -> Decision:
        """Writes one decision; it is on disk when this returns. With a token that was used before nothing is written.

        Raises InputError for an unknown id, action or class, a relabel to the label it has, an unusable name, and a
        token that belongs to another decision.
        """
        self._check(id, action, to)
        reviewer = checked_reviewer(reviewer)
        with self._writing() as connection:
            before = self._by_token(connection, token)
            if before is not None:
                if (before.id, before.action, before.reviewer, before.to) != (id, action, reviewer, to):
                    raise InputError(f"decisions: the token {token} belongs to another decision; send a new one")
                return before
            return self._insert(connection, id, reviewer, action, self.labels[id], to, token, None)

    def record_many(self, decisions: Iterable[tuple[str, str, str, str | None]]) -> int:
        """Writes decisions (id, action, reviewer, to) in one transaction, and says how many: all are on disk, or none.

        Raises InputError as `record`, before anything is written.
        """
        checked = []
        for id, action, reviewer, to in decisions:
            self._check(id, action, to)
            checked.append((id, checked_reviewer(reviewer), action, self.labels[id], to, None, None))
        with self._writing() as connection:
            for values in checked:
                self._insert(connection, *values)
        return len(checked)

    def undo(self, reviewer: str, token: str | None = None) -> Decision | None:
        """Takes back the reviewer's last decision that is not taken back yet, and returns it; None where there is none.

        With a token that was used before nothing is written, and the decision undone then is returned.
        """
        reviewer = checked_reviewer(reviewer)
        with self._writing() as connection:
            before = self._by_token(connection, token)
            if before is not None and before.undoes is not None:
                return self._one(connection, "number = ?", before.undoes)
            last = self._one(
                connection,
                "split = ? AND reviewer = ? AND action != 'undo' AND NOT EXISTS "
                "(SELECT 1 FROM decisions AS later WHERE later.undoes = decisions.number)",
                self.split,
                reviewer,
            )
            if last is not None:
                self._insert(connection, last.id, reviewer, "undo", last.label, last.to, token, last.number)
            return last

    def standing(self) -> list[Decision]:
        """What holds, per id and reviewer: the last that is not undone. A skip takes no earlier decision back."""
        with self._lock:
            self._read_new()
            return [_holds(events) for events in self._live.values() if events]

    def of(self, id: str, reviewer: str) -> Decision | None:
        """What holds of one example by one reviewer."""
        with self._lock:
            self._read_new()
            events = self._live.get((id, reviewer))
            return _holds(events) if events else None

    def current(self) -> pl.DataFrame:
        """What holds as a table: split, id, reviewer, time, action, from, to; in the order of the decisions."""
        rows = sorted(self.standing(), key=lambda decision: decision.number)
        values = [(d.split, d.id, d.reviewer, d.time, d.action, d.label, d.to) for d in rows]
        return pl.DataFrame(values, schema=dict.fromkeys(CURRENT, pl.String), orient="row")

    def log(self) -> pl.DataFrame:
        """Every event of the split, undone ones and undoings too, oldest first."""
        with self._lock, _told(self.path):
            rows = self._connection.execute(
                f"SELECT {EVENT_COLUMNS} FROM decisions WHERE split = ? ORDER BY number", (self.split,)
            ).fetchall()
        return pl.DataFrame(rows, schema=EVENT, orient="row")

    def keep_draw(
        self,
        ids: Sequence[str],
        stratum: np.ndarray,
        probability: np.ndarray,
        sizes: np.ndarray,
        seed: int,
        ranked_by: str,
    ) -> int:
        """Keeps a draw in its order, ids, stratum, probability (m,), sizes of the strata (S,); returns its number."""
        unknown = [name for name in ids if name not in self.labels]
        if unknown:
            raise InputError(f"draw: {len(unknown)} ids are no examples of {self.split} (first: {unknown[0]})")
        size = np.asarray(sizes)[np.asarray(stratum)]
        columns = zip(ids, np.asarray(stratum).tolist(), np.asarray(probability).tolist(), size.tolist(), strict=True)
        with self._writing() as connection:
            number = connection.execute("SELECT COALESCE(MAX(draw), 0) + 1 FROM draws").fetchone()[0]
            connection.executemany(
                "INSERT INTO draws VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (number, place, self.split, name, s, p, n, seed, ranked_by, now())
                    for place, (name, s, p, n) in enumerate(columns)
                ],
            )
        return int(number)

    def draws(self) -> pl.DataFrame:
        """The draws that were kept: draw, n, seed, ranked_by, time."""
        with self._lock, _told(self.path):
            rows = self._connection.execute(
                "SELECT draw, COUNT(*), MIN(seed), MIN(ranked_by), MIN(time) FROM draws WHERE split = ? "
                "GROUP BY draw ORDER BY draw",
                (self.split,),
            ).fetchall()
        kinds = {"draw": pl.Int64, "n": pl.Int64, "seed": pl.Int64, "ranked_by": pl.String, "time": pl.String}
        return pl.DataFrame(rows, schema=kinds, orient="row")

    def drawn(self, draw: int) -> pl.DataFrame:
        """id, stratum, probability and size of the stratum of one draw, in its order. Raises InputError for no draw."""
        with self._lock, _told(self.path):
            rows = self._connection.execute(
                "SELECT id, stratum, probability, size FROM draws WHERE draw = ? AND split = ? ORDER BY place",
                (draw, self.split),
            ).fetchall()
        if not rows:
            known = ", ".join(map(str, self.draws()["draw"])) or "none"
            raise InputError(f"draw {draw}: there is no such draw of {self.split}; there are: {known}")
        return pl.DataFrame(rows, schema=DRAWN, orient="row")

    def _check(self, id: str, action: str, to: str | None) -> None:
        if action not in ACTIONS:
            raise InputError(f"decision: no action `{action}`.{nearest(action, ACTIONS)} Known: {', '.join(ACTIONS)}")
        if id not in self.labels:
            raise InputError(f"decision: no example `{id}` in {self.split} of this run")
        if action != "relabel":
            if to is not None:
                raise InputError(f"decision: `{action}` takes no class; only a relabel does")
            return
        if not self.classes:
            raise InputError("decision: this run has no classes to relabel to; keep, ambiguous or discard")
        if to not in self.classes:
            known = ", ".join(self.classes[:20]) + (", …" if len(self.classes) > 20 else "")
            raise InputError(f"decision: no class `{to}`.{nearest(str(to), self.classes)} The classes are {known}")
        if to == self.labels[id]:
            raise InputError(f"decision: `{id}` is labelled `{to}` already; keep says that it is right")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when it ends; nothing of it on an error."""
        with self._lock, _told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:  # a full disk has rolled back already
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _insert(
        self,
        connection: sqlite3.Connection,
        id: str,
        reviewer: str,
        action: str,
        label: str | None,
        to: str | None,
        token: str | None,
        undoes: int | None,
    ) -> Decision:
        values = (self.split, id, reviewer, now(), action, label, to, token, undoes)
        names = EVENT_COLUMNS.split(", ", 1)[1]
        number = connection.execute(f"INSERT INTO decisions ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        return Decision(int(number.lastrowid or 0), *values)

    def _by_token(self, connection: sqlite3.Connection, token: str | None) -> Decision | None:
        return self._one(connection, "token = ?", token) if token is not None else None

    def _one(self, connection: sqlite3.Connection, where: str, *values: Any) -> Decision | None:
        """The newest event for which a condition holds."""
        row = connection.execute(
            f"SELECT {EVENT_COLUMNS} FROM decisions WHERE {where} ORDER BY number DESC LIMIT 1", values
        ).fetchone()
        return Decision(*row) if row else None

    def _read_new(self) -> None:
        """Takes in what was written since the last look, by whichever process."""
        with _told(self.path):
            rows = self._connection.execute(
                f"SELECT {EVENT_COLUMNS} FROM decisions WHERE split = ? AND number > ? ORDER BY number",
                (self.split, self._seen),
            ).fetchall()
        for event in (Decision(*row) for row in rows):
            self._seen = event.number
            live = self._live.setdefault((event.id, event.reviewer), [])
            if event.undoes is None:
                live.append(event)
            else:
                live[:] = [other for other in live if other.number != event.undoes]


def _holds(events: Sequence[Decision]) -> Decision:
    decided = [event for event in events if event.action != "skip"]
    return (decided or events)[-1]


def checked_reviewer(name: str) -> str:
    """A reviewer's name without the spaces around it. Raises InputError for one that cannot stand in a file."""
    name = name.strip()
    if not name or len(name) > REVIEWER_LENGTH or not name.isprintable():
        raise InputError(f"--reviewer: a name of 1 to {REVIEWER_LENGTH} characters that can be printed is needed")
    return name


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What SQLite says, as one of our errors."""
    try:
        yield
    except sqlite3.OperationalError as error:  # a full disk, no permission, no such folder, locked for too long
        raise cannot_write(path, error) from None
    except sqlite3.IntegrityError as error:
        raise LeadlineError(f"{path}: another process wrote the same at this moment ({error}); try again") from None
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{path}: damaged, or no file of decisions ({error}); put it aside under another name, or restore a copy"
        ) from None
