"""Argilla 2: a run as a dataset to review, and people's answers back as decisions.

The folder is what `rg.Dataset.from_disk(DIR)` reads: .argilla/settings.json (fields, questions, metadata, vectors),
.argilla/dataset.json, and records.json, an array of records in the order of doubt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leadline.errors import InputError
from leadline.interop.answers import Answer, opened
from leadline.interop.doubted import Doubted, Shown
from leadline.interop.whole import finite, harmless, new_folder, slug, write_array
from leadline.runs import Run

LABEL, VERDICT, GIVEN, VECTOR = "label", "verdict", "given", "sentence"
VERDICTS = {"ambiguous": "ambiguous: nobody can say", "discard": "discard: this row should not be in the data"}
TAKEN = {  # names of ours, and attributes that the SDK's containers have
    LABEL, VERDICT, GIVEN, VECTOR, "reason", "region", "rank", "doubt", "add", "count", "create", "delete", "index",
    "serialize", "update",
}  # fmt: skip
GUIDELINES = (
    "Is the label right? Choose the right one under `label` (the same as given keeps it). "
    "If nobody can say, or the row should not be in the data, say so under `verdict`. "
    "What the model thinks is suggested; the order is from the most doubtful on."
)


def field_names(inputs: list[str]) -> dict[str, str]:
    """{input column: name of the field}: lower-case, distinct, none that Argilla or we use ourselves."""
    names: dict[str, str] = {}
    for name in inputs:
        names[name] = slug(name, {*TAKEN, *names.values()})
    return names


def write(found: Doubted, destination: Path) -> int:
    """Writes the folder, whole or not at all; returns the number of records.

    Raises InputError for a regression (there are no classes to choose from) and a folder that is not empty.
    """
    run = found.run
    if len(run.classes) < 2:
        raise InputError(
            f"{run.path}: a regression has no classes to choose from; `leadline export spotlight` shows it"
        )
    names, agent = field_names(found.inputs), f"leadline/{slug(run.name, ())}"  # the server takes few characters
    with new_folder(Path(destination)) as partial:
        (partial / ".argilla").mkdir()
        for name, document in (("settings", settings(found, names)), ("dataset", dataset(run))):
            text = json.dumps(document, indent=1, allow_nan=False)
            (partial / ".argilla" / f"{name}.json").write_text(text + "\n", encoding="ascii")
        return write_array(partial / "records.json", (record(example, names, agent) for example in found.examples()))


def settings(found: Doubted, names: dict[str, str]) -> dict[str, Any]:
    """Fields, questions, metadata and vectors of the dataset."""
    texts = [_field(names[name], name) for name in found.inputs]
    classes = [{"value": harmless(name), "text": harmless(name)} for name in found.run.classes]
    verdicts = [{"value": value, "text": text} for value, text in VERDICTS.items()]
    scores = [_property(name, "float") for name in ("doubt", *_metadata_scores(found, names))]
    vectors = [] if found.vectors is None else [{"name": VECTOR, "title": "sentence vector",
                                                 "dimensions": int(found.vectors.shape[1])}]  # fmt: skip
    return {
        "guidelines": GUIDELINES,
        "fields": [*texts, _field(GIVEN, "label in the data"), _field("reason", "why it is doubted", required=False)],
        "questions": [
            _question(LABEL, "Which label is right?", classes, required=True),
            _question(VERDICT, "Or is there no right one?", verdicts, required=False),
        ],
        "metadata": [_property("region", "terms"), _property("rank", "integer"), *scores],
        "vectors": vectors,
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
    }


def dataset(run: Run) -> dict[str, Any]:
    return {"name": slug(run.name, ()), "status": "draft", "guidelines": GUIDELINES, "allow_extra_metadata": True}


def record(example: Shown, names: dict[str, str], agent: str) -> dict[str, Any]:
    """One record as Argilla writes its own: what is not there is left out."""
    texts = {names[name]: text for name, text in example.texts.items()}
    suggestions = {}
    if example.suggested is not None:
        suggestions[LABEL] = finite(
            {"value": harmless(example.suggested), "score": example.probability, "agent": agent}
        )
    metadata = {"region": example.region, "rank": example.rank, "doubt": example.doubt, **example.scores}
    return {
        "id": example.id,
        "fields": {**texts, GIVEN: harmless(example.label), "reason": harmless(example.reason or "")},
        "metadata": finite(metadata),
        "suggestions": suggestions,
        "responses": {},
        "vectors": {} if example.vector is None else {VECTOR: example.vector},
    }


def _metadata_scores(found: Doubted, names: dict[str, str]) -> list[str]:
    return [name for name in found.scores if name not in names.values()]


def _field(name: str, title: str, required: bool = True) -> dict[str, Any]:
    kind = {"type": "text", "use_markdown": False}
    return {"name": name, "title": harmless(title), "required": required, "settings": kind}


def _question(name: str, title: str, options: list[dict[str, str]], required: bool) -> dict[str, Any]:
    kind = {"type": "label_selection", "options": options, "visible_options": None}
    return {"name": name, "title": title, "description": None, "required": required, "settings": kind}


def _property(name: str, kind: str) -> dict[str, Any]:
    limits: dict[str, Any] = {"values": None} if kind == "terms" else {"min": None, "max": None}
    shown = {"title": name.replace("_", " "), "visible_for_annotators": True}
    return {"name": name, "type": kind, "settings": {"type": kind, **limits}, **shown}


def read(path: Path, run: Run) -> list[Answer]:
    """The responses in records.json (a file, or the folder of `Dataset.to_disk`), or the flat list of `to_list`.

    A response that Argilla calls discarded is a skip; drafts without a label are passed over. Without a status, which
    `to_json` leaves out, a response counts as submitted.
    """
    names = field_names(list(run.train.inputs))
    path = path / "records.json" if path.is_dir() else path
    found = []
    for number, item in opened(path):
        texts = _texts(item, names)
        for reviewer, said in _said(item, path, number).items():
            skipped = said.get("status") == "discarded"
            if said.get("status") == "draft" or not (skipped or said.get(LABEL) or said.get(VERDICT)):
                continue
            found.append(
                Answer(str(item.get("id")), reviewer, said.get(LABEL), said.get(VERDICT), skipped, texts, number)
            )
    return found


def _texts(item: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    """{input column: text} of what the record shows of it."""
    fields = item.get("fields")
    shown = fields if isinstance(fields, dict) else item
    return {name: shown[key] for name, key in names.items() if isinstance(shown.get(key), str)}


def _said(item: dict[str, Any], path: Path, number: int) -> dict[str, dict[str, Any]]:
    """{reviewer: {question: answer, status: …}} of one record, nested or flat."""
    found: dict[str, dict[str, Any]] = {}
    for question, value, reviewer, status in [*_nested(item), *_flat(item)]:
        if not isinstance(value, str) or not reviewer:
            raise InputError(f"{path}, record {number}: a response to `{question}` is no text with a user_id")
        found.setdefault(reviewer, {})[question] = value
        if status:
            found[reviewer]["status"] = status
    return found


def _nested(item: dict[str, Any]) -> Iterator[tuple[str, Any, str, str | None]]:
    responses = item.get("responses")
    for question in (LABEL, VERDICT):
        for response in (responses.get(question) or []) if isinstance(responses, dict) else []:
            if isinstance(response, dict):
                yield question, response.get("value"), str(response.get("user_id") or ""), response.get("status")


def _flat(item: dict[str, Any]) -> Iterator[tuple[str, Any, str, str | None]]:
    for question in (LABEL, VERDICT):
        values = item.get(f"{question}.responses") or []
        users = item.get(f"{question}.responses.users") or [""] * len(values)
        states = item.get(f"{question}.responses.status") or [None] * len(values)
        for value, user, status in zip(values, users, states, strict=False):
            yield question, value, str(user or ""), status
