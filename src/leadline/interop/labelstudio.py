"""Label Studio: a run as tasks with predictions and a labelling configuration, and people's answers back as decisions.

tasks.json is an array of {"data": …, "predictions": […]} for the import of a project whose labelling interface is
config.xml. What comes back is Label Studio's export as JSON or JSON-MIN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from leadline.errors import InputError
from leadline.interop.answers import Answer, opened
from leadline.interop.doubted import Doubted, Shown
from leadline.interop.whole import finite, harmless, new_folder, slug, write_array
from leadline.runs import Run

ID, GIVEN, LABEL, VERDICT = "leadline_id", "given", "label", "verdict"
VERDICTS = ("ambiguous", "discard")
TAKEN = {ID, GIVEN, LABEL, VERDICT, "id", "reason", "region", "rank", "doubt", "suggested", "probability",
         "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}  # fmt: skip
NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def keys(inputs: list[str]) -> dict[str, str]:
    """{input column: key in the task's data}, distinct names that Label Studio takes as variables."""
    names: dict[str, str] = {}
    for name in inputs:
        names[name] = slug(name, {*TAKEN, *names.values()}, separator="_")
    return names


def choices(classes: tuple[str, ...], path: Path) -> dict[str, str]:
    """{class: its name in the configuration}, without what XML cannot hold. InputError where two become one."""
    names = {name: NO_XML.sub("\ufffd", name) for name in classes}
    if len(set(names.values())) < len(names):
        raise InputError(f"{path}: two classes differ only in characters that XML cannot hold; rename one")
    return names


def write(found: Doubted, destination: Path) -> int:
    """Writes tasks.json and config.xml, whole or not at all; returns the number of tasks.

    Raises InputError for a regression (there are no classes to choose from) and a folder that is not empty.
    """
    run = found.run
    if len(run.classes) < 2:
        raise InputError(
            f"{run.path}: a regression has no classes to choose from; `leadline export spotlight` shows it"
        )
    names, called = keys(found.inputs), choices(run.classes, run.path)
    with new_folder(Path(destination)) as partial:
        (partial / "config.xml").write_text(config(names, called), encoding="utf-8")
        first = next(iter(names.values()))
        tasks = (task(example, names, called, first, run.name) for example in found.examples())
        return write_array(partial / "tasks.json", tasks)


def config(names: dict[str, str], called: dict[str, str]) -> str:
    """The labelling interface: every text, the label in the data, one choice among the classes and one verdict."""
    lines = ["<View>"]
    for name, key in names.items():
        lines.append(f'  <Header value={_quoted(name)} size="6"/>')
        lines.append(f'  <Text name="{key}" value="${key}" valueType="text"/>')
    first = next(iter(names.values()))
    lines.append('  <Header value="label in the data" size="6"/>')
    lines.append(f'  <Text name="{GIVEN}" value="${GIVEN}" valueType="text"/>')
    lines.append('  <Header value="Which label is right?" size="5"/>')
    lines.append(f'  <Choices name="{LABEL}" toName="{first}" choice="single" showInline="true">')
    lines += [f"    <Choice value={_quoted(name)}/>" for name in called.values()]
    lines.append("  </Choices>")
    lines.append('  <Header value="Or is there no right one?" size="5"/>')
    lines.append(f'  <Choices name="{VERDICT}" toName="{first}" choice="single" showInline="true">')
    lines += [f'    <Choice value="{name}"/>' for name in VERDICTS]
    lines += ["  </Choices>", "</View>"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return quoteattr(NO_XML.sub("\ufffd", text))


def task(example: Shown, names: dict[str, str], called: dict[str, str], first: str, version: str) -> dict[str, Any]:
    """One task: its data, and the model's answer as a prediction where it gives one."""
    data: dict[str, Any] = {
        ID: example.id, **{names[name]: text for name, text in example.texts.items()}, GIVEN: harmless(example.label),
        **finite({"suggested": called.get(example.suggested or ""), "probability": example.probability,
                  "rank": example.rank, "doubt": example.doubt, "reason": harmless(example.reason or ""),
                  "region": example.region}),
    }  # fmt: skip
    data |= {name: value for name, value in example.scores.items() if name not in data}
    if example.suggested is None:
        return {"data": data}
    result = {
        "id": "label", "from_name": LABEL, "to_name": first, "type": "choices",
        "value": {"choices": [called[example.suggested]]},
    }  # fmt: skip
    prediction = finite({"model_version": version, "score": example.probability}) | {"result": [result]}
    return {"data": data, "predictions": [prediction]}


def read(path: Path, run: Run) -> list[Answer]:
    """The annotations in an export as JSON or JSON-MIN; cancelled (skipped) ones are skips, empty ones passed over."""
    names = keys(list(run.train.inputs))
    path = path / "tasks.json" if path.is_dir() else path
    found = []
    for number, item in opened(path):
        data = item["data"] if isinstance(item.get("data"), dict) else item
        if ID not in data:
            raise InputError(
                f"{path}, item {number}: no {ID}; import the tasks that `leadline export labelstudio` wrote, and "
                "export as JSON or JSON-MIN"
            )
        texts = {name: data[key] for name, key in names.items() if isinstance(data.get(key), str)}
        for reviewer, label, verdict, skipped in _said(item, data, path, number):
            if skipped or label or verdict:
                found.append(Answer(str(data[ID]), reviewer, label, verdict, skipped, texts, number))
    return found


def _said(
    item: dict[str, Any], data: dict[str, Any], path: Path, number: int
) -> Iterator[tuple[str, str | None, str | None, bool]]:
    """(reviewer, label, verdict, skipped) of every annotation of a task."""
    if data is item:  # JSON-MIN: one annotation, the choices beside the data
        if LABEL in item or VERDICT in item:
            reviewer = str(item.get("annotator") or "unknown")
            yield reviewer, _choice(item.get(LABEL)), _choice(item.get(VERDICT)), False
        return
    for annotation in item.get("annotations") or []:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result", []), list):
            raise InputError(f"{path}, item {number}: an annotation is no object with a list of results")
        chosen = {}
        for result in annotation.get("result", []):
            if isinstance(result, dict) and isinstance(result.get("value"), dict):
                chosen[result.get("from_name")] = _choice(result["value"])
        reviewer = _reviewer(annotation.get("completed_by"))
        yield reviewer, chosen.get(LABEL), chosen.get(VERDICT), bool(annotation.get("was_cancelled"))


def _choice(value: Any) -> str | None:
    """`value` of one choice: "a", ["a"] or {"choices": ["a"]}."""
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else str(value)


def _reviewer(completed_by: Any) -> str:
    """A user as Label Studio writes it: a number, or an object with an e-mail."""
    if isinstance(completed_by, dict):
        return str(completed_by.get("email") or completed_by.get("id") or "unknown")
    return str(completed_by or "unknown")
