"""People's answers from other tools become decisions of the run, as if they had been given in `leadline review`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from leadline.errors import InputError, all_at_once
from leadline.interop.whole import harmless
from leadline.runs import Run
from leadline.suspects.decisions import Decisions, checked_reviewer


class Answer(NamedTuple):
    """What one person said of one example."""

    id: str
    reviewer: str
    label: str | None
    verdict: str | None  # ambiguous or discard
    skipped: bool
    texts: Mapping[str, str]  # input column -> text, as far as the file shows it
    number: int  # of the item in the file, from 1


@dataclass(frozen=True)
class Recorded:
    """What an import did: decisions recorded per action, and answers that were decisions already."""

    actions: dict[str, int]
    unchanged: int
    reviewers: tuple[str, ...]

    @property
    def n(self) -> int:
        return sum(self.actions.values())


def opened(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, object) of a JSON array or of JSON lines. InputError for whatever is neither."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); export it as JSON") from None
    try:
        items = (
            json.loads(text) if text.lstrip()[:1] == "[" else [json.loads(x) for x in text.splitlines() if x.strip()]
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: neither a JSON array nor JSON lines ({error})") from None
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise InputError(f"{path}, item {number}: a JSON object is needed, not {type(item).__name__}")
        yield number, item


def record(run: Run, answers: Sequence[Answer], path: Path, names: Mapping[str, str] | None = None) -> Recorded:
    """Answers as decisions on the training examples of a run: keep, relabel, ambiguous, discard, skip.

    names   {label in the file: class} where the other tool could not write a class as it is
    An answer that stands already as this reviewer's decision is not recorded again, so a file may be imported twice.
    Raises InputError, before anything is recorded, that tells all answers on other examples or texts and of no class.
    """
    ids, labels = run.train.ids, run.train.table["_label"].cast(pl.String).to_list()
    given = dict(zip(ids, labels, strict=True))
    as_written = {harmless(name): name for name in ids} | {name: name for name in ids}
    answers = [answer._replace(id=as_written.get(answer.id, answer.id)) for answer in answers]
    known = {**{harmless(name): name for name in run.classes}, **(names or {})}
    problems = [f"item {a.number}: {why}" for a in answers if (why := _wrong(a, given, known))]
    problems = problems or _other_texts(run, answers)
    if problems:
        raise all_at_once(f"{path}: not answers on the examples of {run.path}", problems)
    if not answers:
        raise InputError(f"{path}: nobody has answered anything yet")
    fresh: list[tuple[str, str, str, str | None]] = []
    with Decisions(run.path / "decisions.sqlite", "train", given, run.classes) as decisions:
        stands = {(one.id, one.reviewer): (one.action, one.to) for one in decisions.standing()}
        for answer in answers:
            action, to = _decision(answer, str(given[answer.id]), known)
            reviewer = checked_reviewer(answer.reviewer)
            before = stands.get((answer.id, reviewer))
            if before is not None and (action == "skip" or before == (action, to)):
                continue
            stands[answer.id, reviewer] = (action, to)
            fresh.append((answer.id, action, reviewer, to))
        decisions.record_many(fresh)  # all of a file, or nothing
    actions = Counter(action for _, action, _, _ in fresh)
    return Recorded(
        dict(actions), len(answers) - len(fresh), tuple(dict.fromkeys(answer.reviewer for answer in answers))
    )


def _decision(answer: Answer, given: str, known: Mapping[str, str]) -> tuple[str, str | None]:
    if answer.skipped:
        return "skip", None
    if answer.verdict:
        return answer.verdict, None
    label = known[str(answer.label)]
    return ("keep", None) if label == given else ("relabel", label)


def _wrong(answer: Answer, given: Mapping[str, str], known: Mapping[str, str]) -> str | None:
    if answer.id not in given:
        return f"no training example has the id `{answer.id}`"
    if answer.verdict and answer.verdict not in ("ambiguous", "discard"):
        return f"the verdict `{answer.verdict}` is none of ambiguous, discard"
    if not answer.skipped and not answer.verdict and answer.label not in known:
        return f"the label `{answer.label}` is no class of this run"
    return None


def _other_texts(run: Run, answers: Sequence[Answer]) -> list[str]:
    """Answers on texts that are not those of the run."""
    place = {name: row for row, name in enumerate(run.train.ids)}
    columns = {name: run.train.table[name].cast(pl.String) for name in run.train.inputs}
    return [
        f"item {answer.number}: id `{answer.id}` has another text in column `{name}` of the run"
        for answer in answers
        for name, text in answer.texts.items()
        if harmless(columns[name][place[answer.id]] or "") != text
    ]
