"""The report, the model card and the references of a run made by hand, and of runs that lack one thing or another."""

from __future__ import annotations

import html.parser
import json
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from leadline import evaluate, runs, signals, suspects
from leadline.data.examples import Examples, fingerprint, with_hashes
from leadline.errors import InputError
from leadline.recipe import load
from leadline.report import bibliography, card, cases, facts, made, model_card, references, words, write
from leadline.runs import Run
from leadline.scores import SCORES

HOSTILE = (
    '<script>alert("x")</script> & <img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %} <!-- --> ]]> </style></textarea>'
)
RIGHT_TO_LEFT = "\u202eשלום עולם \u2067 مرحبا \u0000\u0007\u009b unfinished override"
ABOUT: dict[str, Any] = {
    "key": "abc", "command": "leadline train recipe.yaml", "started": "2026-01-02T03:04:05+00:00",
    "device": "Test CPU <4 cores>", "cores": 4, "threads": 2, "precision": "fp32", "learning_rate": 5e-4, "git": None,
    "versions": {"python": "3.11.9", "leadline": "0.1.0", "torch": "2.13.0"},
    "model": {"type": "bert", "parameters": 940_546, "hidden_size": 128, "layers": 2, "dropout": 0.1, "max_length": 64},
}  # fmt: skip
END = {
    "event": "end", "steps": 8, "examples_seen": 160, "seconds": 135.4, "train_seconds": 120.0, "evaluate_seconds": 6.5,
    "examples_per_second": 1000.0,
    "inference_examples_per_second": 2500.0, "peak_memory_mb": 812.4,
}  # fmt: skip


# --- runs made by hand ------------------------------------------------------------------------------------------------


@dataclass
class Kit:
    """What a hand-made run has; every part can be left out."""

    n: int = 40  # training examples
    classes: Sequence[str] = ("no", "yes")
    epochs: int = 4
    texts: bool = True
    recipe: bool = True
    held_out: Sequence[str] = ("validation", "test")
    soft: bool = False
    special: dict[int, str] = field(default_factory=dict)  # row -> text


def build(path: Path, kit: Kit | None = None) -> Run:
    """Rows 0, 4, 8, … are wrong in every epoch, rows 1, 5, … forgotten in every second; the rest is learned."""
    kit = kit or Kit()
    examples = _examples(kit)
    document = {
        "data": {"train": "reviews/train.csv", "test": "reviews/test.csv"},
        "model": "tiny",
        "training": {"epochs": kit.epochs},
    }
    if not kit.classes:
        document["task"] = "regression"
    if kit.recipe:
        claimed = runs.create(load(document), examples, ABOUT, ABOUT["key"], path.name, path.parent)
        run, lock = claimed.run, claimed.lock
        lock.close()
    else:
        path.mkdir(parents=True)
        examples.write(path / "examples.parquet")
        run = Run(path)
    _write_signals(path, examples.split("train"), kit)
    if kit.recipe:
        _write_rest(run, kit)
    return Run(path)


def _examples(kit: Kit) -> Examples:
    sizes = {"train": kit.n, **dict.fromkeys(kit.held_out, 12)}
    frames = []
    for split, n in sizes.items():
        names = (
            [kit.classes[i % len(kit.classes)] for i in range(n)] if kit.classes else [float(i % 7) for i in range(n)]
        )
        columns: dict[str, Any] = {"_id": [f"{split[0]}{i}" for i in range(n)], "_split": split}
        if kit.texts:
            columns["text"] = [kit.special.get(i, f"{split} text {i}") for i in range(n)]
        frame = pl.DataFrame(columns | {"_label": names, "_length": [3 + i % 5 for i in range(n)]})
        if kit.soft:
            k, eye = len(kit.classes), np.eye(len(kit.classes))
            soft = [(0.8 * eye[i % k] + 0.2 / k).tolist() for i in range(n)]
            frame = frame.with_columns(pl.Series("_label_distribution", soft))
        frames.append(frame)
    sources = {
        name: {"path": f"reviews/{name}.csv", "sha256": "0123456789abcdef" * 4, "rows": n + 1}
        for name, n in sizes.items()
    }
    table, task = pl.concat(frames), "classification" if kit.classes else "regression"
    told = ("train is a random sample of 40 of 400 rows", "1 unlabelled row was set apart") if kit.recipe else ()
    return with_hashes(Examples(table, task, ("text",) if kit.texts else (), tuple(kit.classes), told, sources))


def _logits(n: int, k: int, epoch: int) -> np.ndarray:
    """(N, K)"""
    gold, z = np.arange(n) % k, np.zeros((n, k))
    strength = np.where(
        np.arange(n) % 4 == 0, -2.0, np.where((np.arange(n) % 4 == 1) & (epoch % 2 == 1), -1.0, 1.0 + epoch)
    )
    z[np.arange(n), gold] = strength + 0.01 * np.arange(n) / n
    return z


def _write_signals(path: Path, train: Examples, kit: Kit) -> None:
    for epoch in range(kit.epochs):
        if kit.classes:
            z = _logits(kit.n, len(kit.classes), epoch)
            columns = signals.complete(signals.outcome(z, train.targets), logits=z.astype(np.float32))
        else:
            columns = signals.complete({"loss": (np.arange(kit.n) % 5 + 1.0) / (epoch + 1)})
        signals.write_period(path / "signals", epoch + 1, columns, {"mode": "online", **fingerprint(train)})


def _write_rest(run: Run, kit: Kit) -> None:
    results = {}
    for split in kit.held_out:
        part = run.examples.split(split)
        if kit.classes:
            z = _logits(len(part), len(kit.classes), 3)
            outcome = {"logits": z, "gold_logprob": signals.outcome(z, part.gold)["gold_logprob"]}
            answer = signals.softmax(z)
        else:
            outcome = {"prediction": part.gold + 0.5}
            answer = outcome["prediction"]
        table = runs.predictions_table(part.ids, part.table["_label"].to_list(), outcome, part.classes)
        runs.write_parquet(run.path / "predictions" / f"{split}.parquet", table)
        results[split] = evaluate.with_intervals(part.targets, answer, part.classes, repeats=50)
    runs.write_results(run.path, results)
    checks = [{"name": "loss falls", "passed": True, "says": "mean loss 0.9 in the first epoch, 0.5 in the last"}]
    events: list[dict[str, Any]] = [
        {
            "event": "epoch",
            "epoch": e + 1,
            "train": {"loss": 0.9 - 0.1 * e, "accuracy": 0.6},
            "validation": {"loss": 0.8, "macro_f1": 0.7},
        }
        for e in range(kit.epochs)
    ]
    lines = [json.dumps(event) for event in [*events, {"event": "check", "checks": checks}, END]]
    (run.path / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if kit.classes:
        run = Run(run.path)
        columns = {name: SCORES[name].function(run.signals) for name in ("aum", "action_mean")}
        runs.write_suspects(run, suspects.rank(run.signals, columns))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return build(tmp_path_factory.mktemp("report") / "reviews-tiny-1")


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return write(run).read_text(encoding="utf-8")


# --- reading a page ---------------------------------------------------------------------------------------------------

VOID = {"meta", "link", "img", "br", "hr", "input", "area", "base", "col", "embed", "source", "track", "wbr"}


class Page(html.parser.HTMLParser):
    """Checks nesting, collects ids, attributes that load something, and the text outside <style>."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}:
                self.loads.append(value or "")
            elif name.startswith("on"):
                self.handlers.append(name)
            elif name == "style":
                self.styles.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        (self.styles if "style" in self.open else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def loads_nothing(text: str) -> Page:
    """A well-formed page without scripts that fetches nothing: what every report must be."""
    found = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(found.tags)
    assert not found.handlers
    assert all(load.startswith(("#", "data:image/")) for load in found.loads), found.loads
    for style in found.styles:
        assert "@import" not in style
        assert all(target.strip("'\" ").startswith(("#", "data:")) for target in re.findall(r"url\(([^)]*)\)", style))
    assert len(found.ids) == len(set(found.ids)), "an id occurs twice"
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    return found


# --- the page ---------------------------------------------------------------------------------------------------------


def test_page_is_well_formed_complete_and_loads_nothing(page: str) -> None:
    found = loads_nothing(page)
    assert found.tags.count("h1") == 1
    assert "svg" in found.tags
    for title in (
        "The data map",
        "How well it does",
        "How it was learned",
        "Examples to look at",
        "How it was made",
        "How to go on",
    ):
        assert title in found.text


def test_every_value_of_the_results_appears_with_its_interval_and_n(run: Run, page: str) -> None:
    text = Page(page).text
    figures = [figure for split in run.results.values() for figure in split.values()]
    assert len(figures) > 20
    for figure in figures:
        assert words.estimate(figure) in text
    assert "test, n = 12" in text and "validation, n = 12" in text


def test_headline_says_what_was_trained_on_what(run: Run) -> None:
    f1, accuracy = (run.results["test"][name] for name in ("macro_f1", "accuracy"))
    assert facts.headline(facts.read(run)) == (
        "The model tiny (940,546 parameters) was trained on 40 texts for 4 epochs to tell apart 2 classes: no and yes. "
        "Set apart were 12 texts for validation and 12 texts for the test. "
        f"On the 12 texts of the test data it reaches: macro-F1 {words.number(f1['value'])} "
        f"(95 % interval {words.number(f1['low'])} to {words.number(f1['high'])}) and accuracy 0.500 "
        f"(95 % interval {words.number(accuracy['low'])} to {words.number(accuracy['high'])}). "
        "Always answering no would reach accuracy 0.500."
    )


def test_facts_of_the_hand_made_run(run: Run) -> None:
    view = facts.read(run)
    assert facts.checks(view) == [
        {"name": "loss falls", "passed": True, "says": "mean loss 0.9 in the first epoch, 0.5 in the last"}
    ]
    regions = {row["name"]: row for row in facts.regions(view)}
    assert sum(row["n"] for row in regions.values()) == 40
    assert {row["region"]: row["in_set"] for row in facts.overlaps(view)}["hard"] == 13  # int(0.33 x 40)
    # rows 0, 4, 8, … have a gold logit 2 below the other in every epoch
    assert {case.id for case in cases.hardest(view, 10)} == {f"t{i}" for i in range(0, 40, 4)}
    assert {case.id for case in cases.ambiguous(view, 10)} == {f"t{i}" for i in range(1, 40, 4)}
    first = cases.hardest(view)[0]
    assert first.id == "t0" and first.texts == [("text", "train text 0")]
    assert dict(first.notes) | {"right": "0 of 4", "label": "no", "predicted": "yes"} == dict(first.notes)
    assert first.course is not None and np.allclose(first.course, 1 / (1 + math.exp(2)), atol=1e-6)
    swinging = dict(cases.ambiguous(view)[0].notes)  # right in epochs 1 and 3, wrong in 2 and 4
    assert (swinging["label"], swinging["predicted"], swinging["right"]) == ("yes", "no", "2 of 4")
    listed, n = cases.suspects(view)
    assert n == 40 and len(listed) == 20 and dict(listed[0].notes)["suggested"] == "yes"


def test_confusions_are_counted(run: Run) -> None:
    split, predictions = facts.answers(run) or ("", pl.DataFrame())
    matrix = facts.confusion_matrix(run, predictions)
    # of 12 test rows 0, 4, 8 are labelled `no` and predicted `yes`; 1, 5, 9 (forgotten in epoch 4) the other way round
    assert split == "test" and matrix.tolist() == [[3, 3], [3, 3]]
    odd = pl.DataFrame({"label": ["no", "no", "no", "yes", "yes"], "predicted": ["no", "yes", "yes", "yes", "no"]})
    matrix = facts.confusion_matrix(run, odd)
    assert matrix.tolist() == [[1, 2], [1, 1]], "rows are labels"
    assert facts.confusions(matrix, run.classes) == [
        {"label": "no", "predicted": "yes", "n": 2, "share": "67 %"},
        {"label": "yes", "predicted": "no", "n": 1, "share": "50 %"},
    ]


def test_how_it_was_made(run: Run) -> None:
    settings = dict(made.settings(run))
    flat = dict(made.flat(run.recipe.to_dict()))  # type: ignore[union-attr]
    assert set(settings) == set(flat), "every key of the recipe is told"
    assert settings["training.learning_rate"] == "0.0005 (not set, so leadline's choice)"
    assert settings["training.precision"] == "auto (fp32)"
    model = dict(made.model(run))
    assert model["dropout"] == "0.1" and model["hidden size"] == "128" and model["parameters"].startswith("940,546")
    assert dict(made.times(run)) == {
        "whole run": "2 min 15 s", "training": "2 min 0 s", "evaluation": "6.50 s",
        "optimiser steps": "8", "examples seen": "160", "training speed": "1,000 examples/s",
        "inference speed": "2,500 examples/s", "peak memory": "812 MB",
    }  # fmt: skip
    assert made.told(run)[:2] == ["train is a random sample of 40 of 400 rows", "1 unlabelled row was set apart"]
    assert [row["examples"] for row in made.splits(run)] == ["40", "12", "12"]
    assert made.balance(run)["rows"][0] == {"name": "no", "cells": ["20 (50 %)", "6 (50 %)", "6 (50 %)"]}


def test_lengths_say_how_many_inputs_fill_the_limit(run: Run) -> None:
    assert made.told(run)[-1] == "Inputs have 5 tokens (median), the longest 7."
    short = Run(run.path)
    short.__dict__["_document"] = {**run._document, "run": {**ABOUT, "model": {"max_length": 7}}}
    n = sum(3 + i % 5 >= 7 for size in (40, 12, 12) for i in range(size))
    assert f"; {n} (" in made.told(short)[-1] and made.told(short)[-1].endswith(
        "fill the limit of 7 or were cut there."
    )


def test_next_commands_quote_the_path(run: Run, tmp_path: Path) -> None:
    odd = build(tmp_path / "my run; rm -rf", Kit(n=12))
    commands = [command for command, _ in made.next_commands(facts.read(odd))]
    assert f"leadline map '{odd.path}' -o map.html" in commands
    assert [command.split()[1] for command, _ in made.next_commands(facts.read(run))] == [
        "map",
        "select",
        "audit",
        "review",
        "score",
        "compare",
        "export",
    ]


def test_write_is_whole_and_repeatable(run: Run, page: str, tmp_path: Path) -> None:
    elsewhere = write(Run(run.path), tmp_path / "other.html")
    assert elsewhere.read_text(encoding="utf-8") == page
    assert not list(run.path.glob("*.partial")) and not list(tmp_path.glob("*.partial"))
    with pytest.raises(InputError, match="create it first"):
        write(run, tmp_path / "nowhere" / "report.html")


def test_no_sideways_scrolling_on_a_phone_and_nothing_is_fetched(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium to look at the page with")
    sync_api = pytest.importorskip("playwright.sync_api")
    special = {0: HOSTILE, 4: RIGHT_TO_LEFT, 8: "x" * 1000}
    odd = write(build(tmp_path / ("run" * 40), Kit(classes=("a" * 200, "<u>no</u>"), special=special)))
    fetched: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for path, width in ((odd, 380), (odd, 1280)):
            tab = browser.new_page(viewport={"width": width, "height": 800})
            tab.on("request", lambda request: fetched.append(request.url))
            tab.goto(path.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") == width
        browser.close()
    assert {url for url in fetched if not url.startswith("data:")} == {odd.as_uri()}


# --- hostile and missing ----------------------------------------------------------------------------------------------


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    special = {0: HOSTILE, 4: RIGHT_TO_LEFT, 8: "long " * 200_000, 12: "x" * 1_000_000}
    odd = build(tmp_path / "<b>run & co", Kit(classes=("<u>no</u>", 'yes"> $5 & $6 | {{ x }}'), special=special))
    text = write(odd).read_text(encoding="utf-8")
    found = loads_nothing(text)
    assert '<script>alert("x")</script> & <img src=x onerror=alert(1)> {{ 7 * 7 }}' in found.text
    assert "<u>no</u>" in found.text and 'yes"> $5 & $6 | {{ x }}' in found.text
    assert not {"u", "img", "textarea"} & set(found.tags)
    assert not set("\x00\x07\x9b") & set(text)
    assert "(1,000,000 characters)" in found.text and len(text) < 1_500_000


CASES = {
    "minimal": Kit(recipe=False, texts=False, held_out=()),
    "texts without recipe": Kit(recipe=False, held_out=()),
    "regression": Kit(classes=()),
    "regression without anything": Kit(classes=(), recipe=False, texts=False, held_out=()),
    "no test": Kit(held_out=("validation",)),
    "nothing held out": Kit(held_out=()),
    "one epoch": Kit(epochs=1),
    "soft labels": Kit(soft=True),
    "100 classes": Kit(n=300, classes=[f"class {k}" for k in range(100)]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_missing_is_left_out(name: str, tmp_path: Path) -> None:
    kit = CASES[name]
    odd = build(tmp_path / "odd", kit)
    found = loads_nothing(write(odd).read_text(encoding="utf-8"))
    assert ("How well it does" in found.text) == (kit.recipe and bool(kit.held_out))
    assert ("There is no data map" in found.text) == (kit.epochs == 1)
    assert "nan" not in found.text.lower().split() and "None" not in found.text.split()
    for figure in [figure for split in odd.results.values() for figure in split.values()]:
        assert words.estimate(figure) in found.text
    yaml.safe_load(model_card(odd).split("---\n")[1])


def test_a_record_by_somebody_else_says_so(tmp_path: Path) -> None:
    view = facts.read(build(tmp_path / "r", CASES["minimal"]))
    assert facts.headline(view) == (
        "This record says how 40 examples were learned over 4 epochs; 2 classes: no and yes. "
        "It has no recipe: how the model was trained is not told."
    )
    assert [check["name"] for check in facts.checks(view)] == ["loss falls", "outcomes"]
    assert cases.hardest(view)[0].texts == []
    assert cases.suspects(view)[1] == 40, "without suspects.csv: by the usual score"


def test_a_run_without_signals_still_reports_its_metrics(tmp_path: Path) -> None:
    odd = build(tmp_path / "r")
    for period in (odd.path / "signals").glob("*.arrow"):
        period.unlink()
    found = loads_nothing(write(Run(odd.path)).read_text(encoding="utf-8"))
    assert "There is no data map: nothing was recorded" in found.text and "macro_f1" in found.text
    assert "was trained on 40 texts for 4 epochs" in found.text, "the epochs are told in metrics.jsonl too"
    assert "guo2017" in references(Run(odd.path)) and "swayamdipta2020" not in references(Run(odd.path))


def test_a_failed_check_and_an_unfinished_run_are_told_first(tmp_path: Path) -> None:
    odd = build(tmp_path / "r", Kit(n=12))
    failed = {"event": "check", "checks": [{"name": "loss falls", "passed": False, "says": "0.7, then 0.9"}]}
    best = {"event": "best", "epoch": 2, "value": 0.7}
    (odd.path / "metrics.jsonl").write_text(json.dumps(failed) + "\n" + json.dumps(best) + "\n", encoding="utf-8")
    text = Page(write(Run(odd.path)).read_text(encoding="utf-8")).text
    assert "The training check failed: loss falls." in text and "✗ failed loss falls: 0.7, then 0.9" in text
    assert "The run did not finish: 4 of 4 planned epochs are there." in text
    assert "the weights of epoch 2 were kept" in text


def test_periods_within_an_epoch_are_not_epochs(tmp_path: Path) -> None:
    odd = build(tmp_path / "r", Kit(n=12))
    (odd.path / "metrics.jsonl").write_text(
        '{"event": "epoch", "epoch": 1}\n{"event": "epoch", "epoch": 2}\n' + json.dumps(END)
    )
    view = facts.read(Run(odd.path))
    assert view.n_epochs == 4 and "was trained on 12 texts for 2 epochs" in facts.headline(view)


def test_a_model_that_always_says_the_same_is_told_in_the_headline(tmp_path: Path) -> None:
    odd = build(tmp_path / "r", Kit(n=12))
    table = odd.predictions("test").with_columns(predicted=pl.lit("no"))
    runs.write_parquet(odd.path / "predictions" / "test.parquet", table)
    assert facts.headline(facts.read(Run(odd.path))).endswith("The model gives one answer, no, to every one of them.")


def test_missing_outcomes_are_counted(tmp_path: Path) -> None:
    odd = build(tmp_path / "r", Kit(n=12, recipe=False, held_out=()))
    for path in (odd.path / "signals").glob("*.arrow"):
        columns = {name: np.array(array) for name, array in signals.read_period(path).columns.items()}
        for name in (*signals.OUTCOME[:4], "logits"):
            columns[name][3] = np.nan
        columns["correct"][3], columns["recorded"][3] = -1, False
        signals.write_period(path.parent, int(path.stem[-3:]), columns, {})
    view = facts.read(Run(odd.path))
    assert facts.checks(view)[-1] == {
        "name": "outcomes",
        "passed": False,
        "says": "1 of 12 examples have no outcome in any epoch",
    }
    loads_nothing(write(Run(odd.path)).read_text(encoding="utf-8"))


def test_labels_made_wrong_on_purpose_show_the_truth(tmp_path: Path) -> None:
    odd = build(tmp_path / "r", Kit(n=12))
    truth = odd.examples.table["_label"].to_list()
    truth[0] = "yes"
    table = odd.examples.table.with_columns(pl.Series("_true_label", truth))
    Examples(table, "classification", ("text",), odd.classes, sources=odd.examples.sources).write(
        odd.path / "examples.parquet"
    )
    view = facts.read(Run(odd.path))
    assert dict(cases.hardest(view)[0].notes)["true label"] == "yes"
    assert "1 label of 36 were made wrong on purpose" in made.told(view.run)[0]


def test_twenty_thousand_examples_make_a_page_of_moderate_size(tmp_path: Path) -> None:
    odd = build(tmp_path / "r", Kit(n=20_000, recipe=False, held_out=(), epochs=2))
    text = write(odd).read_text(encoding="utf-8")
    loads_nothing(text)
    assert "20,000 texts" in Page(text).text and len(text) < 3_000_000


def test_a_real_record(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "sarcasm"
    table = pl.read_csv(folder / "train.csv")
    logs = [
        pl.read_ndjson(folder / "roberta_base_dynamics" / f"dynamics_epoch_{e}.jsonl").sort("guid") for e in range(5)
    ]
    label = logs[0]["gold"].cast(pl.String)
    frame = pl.DataFrame({"_id": logs[0]["guid"].cast(pl.String), "_split": "train", "_label": label})
    texts = table.sort("idx")["text"] if "text" in table.columns else pl.Series([""] * len(frame))
    examples = with_hashes(Examples(frame.with_columns(texts.alias("text")), inputs=("text",), classes=("0", "1")))
    path = tmp_path / "sarcasm"
    path.mkdir()
    examples.write(path / "examples.parquet")
    for e, log in enumerate(logs):
        z = np.array(log[f"logits_epoch_{e}"].to_list())
        signals.write_period(path / "signals", e + 1, signals.complete(signals.outcome(z, examples.gold), logits=z), {})
    view = facts.read(Run(path))
    # k = int(0.33 x 3467), the size of the published sets
    assert len(examples) == 3467 and [row["in_set"] for row in facts.overlaps(view)][:3] == [1144, 1144, 1144]
    found = loads_nothing(write(Run(path)).read_text(encoding="utf-8"))
    assert "3,467 texts" in found.text and "Suspected of a wrong label: the first 20 of 3,467" in found.text


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.60749, "0.607"), (1.0, "1.000"), (0.0, "0.000"), (-0.0321, "−0.032"), (12.345, "12.35"), (123.45, "123.5"),
        (1204.4, "1,204"), (0.00005, "5e-05"), (-0.0006, "−0.0006"), (float("nan"), "–"), (None, "–"),
        (float("inf"), "∞"), (1204, "1,204"),
    ],
)  # fmt: skip
def test_numbers_for_people(value: float | None, said: str) -> None:
    assert words.number(value) == said


def test_words() -> None:
    assert words.estimate({"value": 0.6069, "low": 0.581, "high": 0.6329, "n": 3}) == "0.607 (0.581 to 0.633)"
    assert words.estimate({"value": 0.5, "low": math.nan, "high": math.nan}) == "0.500"
    assert [words.duration(s) for s in (0.844, 25.2, 125, 12_000)] == ["0.84 s", "25 s", "2 min 5 s", "3 h 20 min"]
    assert words.listing(["a"]) == "a" and words.listing(["a", "b", "c"]) == "a, b and c"
    assert words.listing([str(i) for i in range(100)]) == "0, 1, 2, 3, 4 and 95 more"
    assert words.excerpt("a\n\tb\x00c") == "a b\ufffdc" and words.excerpt("x" * 300) == "x" * 300
    assert words.excerpt("x" * 301) == "x" * 300 + "… (301 characters)"
    assert words.share(1, 300) == "0.3 %" and words.share(1, 3) == "33 %" and words.share(0, 3) == "0 %"


# --- references -------------------------------------------------------------------------------------------------------


def test_every_score_has_a_reference_with_the_fields_of_its_kind() -> None:
    entries = bibliography.entries()
    papers = {score.paper for score in SCORES.values() if score.paper}
    named = {*papers, *bibliography.METRICS.values(), *(key for keys in bibliography.MODELS.values() for key in keys)}
    assert named <= set(entries)
    assert set(bibliography.METRICS) <= set(evaluate.METRICS)
    venue = {"inproceedings": "booktitle", "article": "journal", "misc": "howpublished", "techreport": "institution"}
    for key, entry in entries.items():
        kind = entry.bibtex[1 : entry.bibtex.index("{")]
        assert {"author", "title", "year", venue[kind]} <= set(entry.fields), key
        assert key.endswith(entry.fields["year"]), key
        assert entry.bibtex.count("{") == entry.bibtex.count("}"), key
        assert not set("{}\\") & set(str(entry)), key


def test_references_are_those_of_the_run(run: Run) -> None:
    text = references(run, ["aum", "forgetting"])
    found = re.findall(r"^@\w+\{(\w+),$", text, flags=re.MULTILINE)
    assert found[:3] == ["swayamdipta2020", "pleiss2020", "toneva2019"]
    assert {"guo2017", "brier1950", "gorodkin2004", "efron1979"} <= set(found), "of the metrics"
    assert {"loshchilov2019", "wolf2020", "devlin2019"} <= set(found), "of the training"
    assert not {"lin2017", "cui2019", "szegedy2016", "wang2020", "paul2021"} & set(found)
    assert len(references(run)) > len(text)
    assert str(bibliography.entries()["pleiss2020"]) == (
        "Geoff Pleiss, Tianyi Zhang, Ethan Elenberg and Kilian Q. Weinberger. Identifying Mislabeled Data using the "
        "Area Under the Margin Ranking. Advances in Neural Information Processing Systems 33, 2020."
    )


# --- model card -------------------------------------------------------------------------------------------------------


def test_model_card_front_matter_is_what_the_hub_reads(run: Run) -> None:
    from huggingface_hub import ModelCard

    read = ModelCard(model_card(run)).data
    assert (read.library_name, read.pipeline_tag) == ("transformers", "text-classification")
    found = {(result.dataset_split, result.metric_name): result.metric_value for result in read.eval_results}
    assert found["test", "accuracy"] == 0.5
    assert found["test", "macro-F1"] == round(run.results["test"]["macro_f1"]["value"], 4)
    assert {result.dataset_name for result in read.eval_results} == {"reviews"}
    assert read.base_model is None, "tiny is built from the training texts"


def test_model_card_says_what_to_beware_of(run: Run) -> None:
    text = model_card(run)
    for heading in (
        "Intended use",
        "How to load it",
        "Training data",
        "Evaluation",
        "Limitations",
        "How it was made",
        "References",
    ):
        assert f"## {heading}" in text
    assert "AutoModelForSequenceClassification.from_pretrained(path)" in text and "max_length=64" in text
    assert "Measured on 12 examples of the test data" in text
    assert "fewer than 50 training examples: no (20) and yes (20)" in text
    assert f"ECE {words.estimate(run.results['test']['ece'])}" in text
    assert card.calibration(run).endswith("No temperature was fitted.") and "accuracy 0.500" in card.calibration(run)
    assert "| no | 20 (50 %) | 6 (50 %) | 6 (50 %) |" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    compile(code[1], "card", "exec")


def test_model_card_of_hostile_names_stays_a_card(tmp_path: Path) -> None:
    odd = build(tmp_path / "r", Kit(n=12, classes=("a|b", "<script>\n# x\n---")))
    text = model_card(odd)
    assert "| a\\|b | 6 (50 %)" in text and "\\<script\\> \\# x ---" in text
    assert not re.search(r"^# x", text, re.MULTILINE) and text.count("\n---\n") == 1


def test_base_model_is_named_only_when_the_hub_has_it() -> None:
    def base(name: str) -> str | None:
        named = object.__new__(Run)
        named.path = Path("r")
        named.__dict__["recipe"] = load({"data": {"train": "hub:glue:sst2@train"}, "model": name})
        return card._base_model(named)

    assert base("roberta-base") == "roberta-base" and base("microsoft/deberta-v3-small") == "microsoft/deberta-v3-small"
    assert (
        base("minilm") == card.MINILM
        and base("tiny") is None
        and base("./models/mine") is None
        and base("/a/b") is None
    )
