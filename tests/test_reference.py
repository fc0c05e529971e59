"""The reference and the generated tables are those of the code; the table of recipe keys misses none; YAML is valid."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.main import get_command

from leadline import recipe, sweep
from leadline.cli import app
from leadline.evaluate import METRICS
from leadline.report.bibliography import entries
from leadline.scores import SCORES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_documents_are_up_to_date(maker: ModuleType) -> None:
    old = [path.name for path, text in maker.documents().items() if path.read_text(encoding="utf-8") != text]
    assert old == [], "run `python docs/make_reference.py`"


def test_the_reference_has_every_command_score_and_metric() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():
        section = text.split(f"### leadline {name}\n", 1)[1].split("\n### ", 1)[0]
        for parameter in command.params:
            shown = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar.replace("|", "\\|")
            assert f"`{shown}`" in section, (name, parameter.name)
    for name, score in SCORES.items():
        assert f"| `{name}` | {score.higher_is} |" in text and f"### leadline.scores.{name}\n" in text
    for name, metric in METRICS.items():
        assert f"| `{name}` | {'higher' if metric.higher_is_better else 'lower'} |" in text


def test_the_reference_names_things_as_they_are_imported() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    names = re.findall(r"^### (leadline\.[\w.]+)$", text, flags=re.MULTILINE)
    assert {"leadline.train", "leadline.open", "leadline.Run", "leadline.Recorder"} <= set(names)
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_the_page_on_training_explains_every_key_with_its_default(maker: ModuleType) -> None:
    text = (DOCS / "howto" / "train.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (?:`([^`]+)`|([^|`]+)) \| (.+) \|$", text, flags=re.MULTILINE)
    told = {key: (code or words).strip() for key, code, words, _ in rows}
    keys = {key: default for key, default, _ in maker.recipe_keys()}
    assert told == keys


def fragments() -> list[Any]:
    """Every YAML block of the documents that is not written as a file of its own (those are run)."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in re.finditer(r"^```yaml\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], id=f"{document.relative_to(ROOT)}:{line}"))
    return found


@pytest.mark.parametrize("text", fragments())
def test_yaml_in_the_documents_is_a_recipe(text: str) -> None:
    document = yaml.safe_load(text)
    if "trials" in document:
        assert len(sweep.load(document))
        return
    document.setdefault("data", {}).setdefault("train", "reviews.csv")
    recipe.load(document)


def test_every_paper_of_a_score_and_every_entry_is_in_the_paper_index() -> None:
    text = (DOCS / "papers.md").read_text(encoding="utf-8")
    missing = {score.paper for score in SCORES.values()} - set(re.findall(r"`(\w+\d{4})`", text))
    assert missing == set()
    unknown = set(re.findall(r"`([a-z]+(?:19|20)\d\d)`", text)) - set(entries())
    assert unknown == set()


def test_every_document_is_reached_from_the_index() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    linked = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link}
    assert {path.resolve() for path in DOCS.rglob("*.md")} - linked == {(DOCS / "index.md").resolve()}
