"""Argilla, Label Studio, Spotlight: what is written for them, and people's answers that come back as decisions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from leadline import runs, scores
from leadline.data import vectors
from leadline.data.examples import Examples, fingerprint, with_hashes
from leadline.errors import InputError
from leadline.interop import answers, argilla, labelstudio, spotlight, whole
from leadline.interop.doubted import doubted
from leadline.runs import Run
from leadline.signals import complete, outcome, write_period
from leadline.suspects.decisions import Decisions

CLASSES = ("no", "yes", 'a <b>"bold"</b> & co')
HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    '{"not": "a field"}, ]] $text {{given}}',
    "\u202eright to left \u0645\u0631\u062d\u0628\u0627\u202c",
    "nul \0 and bell \a and \ufffe",
    "x" * 1_000_000,
    "line\nbreak\r\ttab   spaces ",
    "'; DROP TABLE decisions; --",
]


def make(path: Path, n: int = 12, inputs=("text",), classes=CLASSES, logits=True, texts=True, epochs=2, ids=()) -> Run:
    """A run of n examples whose first inputs are hostile; the label is doubted where the row is divisible by 4."""
    rng = np.random.default_rng(0)
    gold = np.arange(n) % len(classes)
    columns: dict[str, Any] = {"_id": [*ids, *(f"id {i}" for i in range(len(ids), n))], "_split": ["train"] * n}
    for name in inputs if texts else ():
        columns[name] = [HOSTILE[i] if i < len(HOSTILE) else "" if i == 9 else f"{name} of {i}" for i in range(n)]
    columns["_label"] = [classes[k] for k in gold]
    examples = Examples(pl.DataFrame(columns), inputs=tuple(inputs) if texts else (), classes=tuple(classes))
    examples = with_hashes(examples)
    path.mkdir(parents=True)
    examples.write(path / "examples.parquet")
    for epoch in range(1, epochs + 1):
        z = rng.normal(0, 0.3, size=(n, len(classes)))
        doubtful = np.arange(n) % 4 == 0
        z[np.arange(n), np.where(doubtful, (gold + 1) % len(classes), gold)] += 3
        found = complete(outcome(z, gold), **({"logits": z.astype(np.float32)} if logits else {}))
        metadata = {"task": "classification", "classes": list(classes), "period": epoch, "mode": "online"}
        write_period(path / "signals", epoch, found, metadata | fingerprint(examples))
    return Run(path)


def decided(run: Run) -> dict[tuple[str, str], tuple[str, str | None]]:
    """{(id, reviewer): (action, to)} that stands."""
    labels = dict(zip(run.train.ids, run.train.table["_label"].to_list(), strict=True))
    with Decisions(run.path / "decisions.sqlite", "train", labels, run.classes) as found:
        return {(d.id, d.reviewer): (d.action, d.to) for d in found.standing()}


# --- what is shown ---


def test_examples_come_in_the_order_of_doubt_with_what_the_model_says(tmp_path):
    run = make(tmp_path / "a")
    found = doubted(run)
    shown = list(found.examples())
    margin = scores.aum_prob(run.signals)
    assert [example.id for example in shown] == [run.train.ids[i] for i in np.argsort(margin, kind="stable")]
    assert found.ranked_by == "aum_prob" and [example.rank for example in shown] == list(range(1, 13))
    p = scores.mean_probability(run.signals)
    for example in shown:
        row = run.train.ids.index(example.id)
        assert example.suggested == CLASSES[p[row].argmax()]  # the label itself where the model agrees
        assert example.probability == pytest.approx(p[row].max(), abs=1e-6)  # gold log-probabilities are float32
        assert example.doubt == pytest.approx(margin[row]) and example.label == CLASSES[row % 3]
        assert example.texts == {"text": run.train.table["text"][row].replace("\0", "\ufffd")}
    assert {e.suggested == e.label for e in shown[:3]} == {False} and shown[-1].suggested == shown[-1].label


def test_the_order_may_be_a_score_or_a_file_of_suspects(tmp_path):
    run = make(tmp_path / "a")
    by_loss = doubted(run, "action_mean", top=5)
    loss = scores.action_mean(run.signals)
    assert by_loss.table["id"].to_list() == [run.train.ids[i] for i in np.argsort(-loss, kind="stable")[:5]]
    listed = doubted(run).table.reverse().with_columns(pl.int_range(1, 13).alias("rank")).head(4)
    runs.write_suspects(run, listed.select("id", "label", "suggested", "probability", "score", "rank", "reason"))
    found = doubted(run)  # the run's own suspects.csv
    assert found.ranked_by == "suspects.csv" and found.table["id"].to_list() == listed["id"].to_list()
    assert found.told == ["8 examples have no rank in suspects.csv and are left out"]
    assert doubted(run, "aum").table.height == 12
    other = make(tmp_path / "b", n=4)
    with pytest.raises(InputError, match="4 of 4 ids|ids are no training examples"):
        make_foreign(run, other)
    with pytest.raises(InputError, match="no score `nonsense`"):
        doubted(run, "nonsense")
    (tmp_path / "x.csv").write_text("id,label\nid 1,no\n")
    with pytest.raises(InputError, match="is it a file of suspects"):
        doubted(run, suspects=tmp_path / "x.csv")


def make_foreign(run: Run, other: Run) -> None:
    """A file of suspects whose ids the run does not have."""
    table = doubted(other).table.with_columns(pl.lit("foreign").alias("id"))
    path = run.path / "foreign.csv"
    table.select("id", "label", "suggested", "probability", "score", "rank", "reason").write_csv(path)
    doubted(run, suspects=path)


def test_a_run_without_logits_or_texts_is_shown_with_what_it_has(tmp_path):
    bare = make(tmp_path / "a", logits=False, texts=False)
    shown = list(doubted(bare).examples())
    assert shown[0].texts == {"text": f"(no text stored) id {shown[0].id}"}
    assert shown[0].vector is None and "el2n" not in shown[0].scores and "aum" in shown[0].scores
    for tool, name in ((argilla, "records.json"), (labelstudio, "tasks.json")):
        assert tool.write(doubted(bare), tmp_path / tool.__name__) == 12
        assert len(json.loads((tmp_path / tool.__name__ / name).read_text())) == 12


# --- Argilla ---


def test_argilla_gets_records_and_settings_that_fit_each_other(tmp_path):
    run = make(tmp_path / "My run: 1", inputs=("Premise text", "count"))
    x = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
    runs.write_features(run, "train", x, vectors.SOURCE, of_model=False)
    found = doubted(run)
    assert argilla.write(found, tmp_path / "out") == 12
    settings = json.loads((tmp_path / "out" / ".argilla" / "settings.json").read_text())
    dataset = json.loads((tmp_path / "out" / ".argilla" / "dataset.json").read_text())
    records = json.loads((tmp_path / "out" / "records.json").read_text())
    assert re.fullmatch(r"(?!-|_)[a-zA-Z0-9-_ ]+", dataset["name"])
    names = [item["name"] for key in ("fields", "questions", "metadata", "vectors") for item in settings[key]]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[a-z0-9_-]*[a-z0-9][a-z0-9_-]*", n) for n in names)
    assert "count" not in names  # an attribute of the SDK's containers
    fields = {item["name"]: item["title"] for item in settings["fields"]}
    assert list(fields.values())[:2] == ["Premise text", "count"]
    options = [option["value"] for option in settings["questions"][0]["settings"]["options"]]
    assert options == list(CLASSES)
    metadata = {item["name"] for item in settings["metadata"]}
    for record, example in zip(records, found.examples(), strict=True):
        assert set(record["fields"]) == set(fields) and all(isinstance(v, str) for v in record["fields"].values())
        assert "\0" not in json.dumps(record["fields"], ensure_ascii=False)
        assert set(record["metadata"]) <= metadata and record["id"] == example.id
        assert record["suggestions"]["label"]["value"] in options
        assert record["suggestions"]["label"]["agent"] == "leadline/my-run-1"
        assert 0 <= record["suggestions"]["label"]["score"] <= 1
        row = run.train.ids.index(example.id)
        assert record["vectors"]["sentence"] == pytest.approx(x[row].tolist(), rel=1e-4)
        assert record["metadata"]["confidence"] == pytest.approx(scores.confidence(run.signals)[row])
    assert settings["vectors"][0]["dimensions"] == 5


def responses(records: list[dict[str, Any]], *said: tuple[str, str, dict[str, str]]) -> list[dict[str, Any]]:
    """Records as `records.to_json` gives them back: (id, user, {question: value, status})."""
    by_id = {record["id"]: record for record in records}
    for name, user, values in said:
        for question in ("label", "verdict"):
            if question in values:
                answer = {"value": values[question], "user_id": user}
                answer |= {"status": values["status"]} if "status" in values else {}
                by_id[name]["responses"].setdefault(question, []).append(answer)
    return records


def test_argillas_answers_become_decisions_once(tmp_path, leadline):
    run = make(tmp_path / "a")
    assert leadline("export", "argilla", run.path, "-o", tmp_path / "out")[0] == 0
    records = json.loads((tmp_path / "out" / "records.json").read_text())
    responses(
        records,
        ("id 0", "anna", {"label": "yes"}),
        ("id 0", "ben", {"label": "no", "status": "submitted"}),
        ("id 3", "anna", {"label": "no", "verdict": "ambiguous"}),
        ("id 4", "anna", {"verdict": "discard"}),
        ("id 5", "anna", {"label": CLASSES[2], "status": "submitted"}),
        ("id 6", "anna", {"label": "yes", "status": "draft"}),
        ("id 7", "anna", {"label": "no", "status": "discarded"}),
    )
    back = tmp_path / "records.json"
    back.write_text(json.dumps(records))
    status, out, err = leadline("import", "argilla", back, "--run", run.path)
    assert status == 0, err
    assert "recorded 6 decisions of 2 reviewers" in out and "leadline clean" in out
    want = {
        ("id 0", "anna"): ("relabel", "yes"), ("id 0", "ben"): ("keep", None), ("id 3", "anna"): ("ambiguous", None),
        ("id 4", "anna"): ("discard", None), ("id 5", "anna"): ("keep", None), ("id 7", "anna"): ("skip", None),
    }  # fmt: skip
    assert decided(run) == want
    told = json.loads(leadline("import", "argilla", back, "--run", run.path, "--json")[1])
    assert (told["n"], told["unchanged"]) == (0, 6) and decided(run) == want  # a second time changes nothing
    flat = [{"id": "id 8", "label.responses": ["yes", "no"], "label.responses.users": ["anna", "ben"],
             "label.responses.status": ["submitted", "draft"]}]  # fmt: skip
    back.write_text("\n".join(json.dumps(item) for item in flat))
    assert leadline("import", "argilla", back, "--run", run.path)[0] == 0
    assert decided(run)["id 8", "anna"] == ("relabel", "yes") and ("id 8", "ben") not in decided(run)


def test_answers_on_other_data_are_refused_before_anything_is_recorded(tmp_path):
    run = make(tmp_path / "a")
    argilla.write(doubted(run), tmp_path / "out")
    fresh = (tmp_path / "out" / "records.json").read_text()

    def imported(change) -> None:
        records = responses(json.loads(fresh), ("id 8", "anna", {"label": "yes"}), ("id 9", "anna", {"label": "no"}))
        change({record["id"]: record for record in records})
        path = tmp_path / "back.json"
        path.write_text(json.dumps(records))
        answers.record(run, argilla.read(path, run), path)

    for change, words in (
        (lambda r: r["id 9"]["fields"].update(text="another text"), "id `id 9` has another text in column `text`"),
        (lambda r: r["id 9"].update(id="id 99"), "no training example has the id `id 99`"),
        (lambda r: r["id 9"]["responses"]["label"][0].update(value="maybe"), "the label `maybe` is no class"),
        (lambda r: r["id 9"]["responses"].update(verdict=[{"value": "x", "user_id": "anna"}]), "the verdict `x`"),
        (lambda r: r["id 9"]["responses"]["label"][0].update(user_id=None), "no text with a user_id"),
    ):
        with pytest.raises(InputError, match=words):
            imported(change)
        assert decided(run) == {}
    with pytest.raises(InputError, match="nobody has answered"):
        answers.record(run, argilla.read(tmp_path / "out", run), tmp_path)
    for text, words in (("{", "neither a JSON array"), ("[1]", "item 1: a JSON object"), ("[" * 9999, "neither")):
        (tmp_path / "broken.json").write_text(text)
        with pytest.raises(InputError, match=words):
            argilla.read(tmp_path / "broken.json", run)
    imported(lambda r: None)
    assert decided(run)["id 8", "anna"] == ("relabel", "yes")


# --- Label Studio ---


ODD = ["a b/\u00e9", 'q"uote, and comma', "new\nline", "\u2028", "<b>&amp;</b>", "\U0001f600", "0", "00", " pad ", "-"]


def test_odd_ids_pairs_and_empty_texts_come_back_as_they_went(tmp_path):
    run = make(tmp_path / "run", n=10, inputs=("label", "Other text"), ids=ODD)
    found = doubted(run)
    argilla.write(found, tmp_path / "argilla")
    labelstudio.write(found, tmp_path / "studio")
    assert pl.read_parquet(spotlight.write(run, tmp_path, found)[0])["id"].to_list() == ODD
    for room, name, file in ((argilla, "argilla", "records.json"), (labelstudio, "studio", "tasks.json")):
        items = json.loads((tmp_path / name / file).read_text(encoding="utf-8"))
        for item in items:
            item["responses"] = {"label": [{"value": "yes", "user_id": name, "status": "submitted"}]}
            chosen = {"from_name": "label", "type": "choices", "value": {"choices": ["yes"]}}
            item["annotations"] = [{"completed_by": {"email": name}, "result": [chosen]}]
        (tmp_path / file).write_text(json.dumps(items), encoding="utf-8")
        assert answers.record(run, room.read(tmp_path / file, run), tmp_path / file).n == len(ODD)
        assert {id for id, reviewer in decided(run) if reviewer == name} == set(ODD)


@pytest.mark.parametrize("tool", [argilla, labelstudio])
def test_ids_with_nul_are_made_harmless_and_found_again(tmp_path, tool):
    run = make(tmp_path / "run", ids=["a\0b", *(f"e{i}" for i in range(11))])
    tool.write(doubted(run), tmp_path / "out")
    path = tmp_path / "out" / ("records.json" if tool is argilla else "tasks.json")
    items = json.loads(path.read_text())
    assert "\\u0000" not in path.read_text()
    if tool is argilla:
        (one,) = (item for item in items if item["id"] == "a\ufffdb")
        one["responses"] = {"verdict": [{"value": "discard", "user_id": "ann", "status": "submitted"}]}
    else:
        (one,) = (item for item in items if item["data"]["leadline_id"] == "a\ufffdb")
        annotated(one, "ann", verdict="discard")
    path.write_text(json.dumps(items))
    answers.record(run, tool.read(path, run), path)
    assert [(id, what[0]) for (id, _), what in decided(run).items()] == [("a\0b", "discard")]


def test_label_studio_gets_tasks_that_fit_the_configuration(tmp_path):
    run = make(tmp_path / "a", inputs=("Premise text", "id"))
    found = doubted(run)
    assert labelstudio.write(found, tmp_path / "out") == 12
    config = ElementTree.fromstring((tmp_path / "out" / "config.xml").read_text(encoding="utf-8"))
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    variables = [tag.get("value", "").removeprefix("$") for tag in config.iter("Text")]
    assert variables == ["premise_text", "id_2", "given"]
    choice = {c.get("name"): [x.get("value") for x in c.iter("Choice")] for c in config.iter("Choices")}
    assert choice == {"label": list(CLASSES), "verdict": ["ambiguous", "discard"]}
    controls = {c.get("name"): c.get("toName") for c in config.iter("Choices")}
    for task, example in zip(tasks, found.examples(), strict=True):
        assert set(variables) <= set(task["data"]) and task["data"]["leadline_id"] == example.id
        (prediction,) = task["predictions"]
        (result,) = prediction["result"]
        assert result["to_name"] == controls[result["from_name"]] and result["type"] == "choices"
        assert result["value"]["choices"] == [example.suggested] and prediction["score"] == example.probability
        assert prediction["model_version"] == "a" and task["data"]["rank"] == example.rank


def annotated(task: dict[str, Any], user: Any, label: str | None = None, verdict: str | None = None, **more) -> None:
    chosen = [("label", label), ("verdict", verdict)]
    result = [
        {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": [value]}}
        for name, value in chosen
        if value
    ]
    task.setdefault("annotations", []).append({"completed_by": user, "result": result, "was_cancelled": False} | more)


def test_label_studios_answers_become_decisions(tmp_path, leadline):
    classes = ("no", "yes \a bell")  # a character that XML cannot hold
    run = make(tmp_path / "a", classes=classes)
    assert leadline("export", "labelstudio", run.path, "-o", tmp_path / "out", "--top", "9")[0] == 0
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert len(tasks) == 9
    by = {task["data"]["leadline_id"]: task for task in tasks}
    ids = list(by)
    given = {name: task["data"]["given"] for name, task in by.items()}
    other = next(name for name in ids if given[name] == "no")
    annotated(by[other], 3, label="yes \ufffd bell")
    annotated(by[ids[1]], {"id": 4, "email": "ben@x.org"}, verdict="discard")
    annotated(by[ids[2]], 3, label="no", was_cancelled=True)
    annotated(by[ids[3]], 3)  # nothing chosen
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    status, out, err = leadline("import", "labelstudio", path, "--run", run.path)
    assert status == 0, err
    want = {(ids[1], "ben@x.org"): ("discard", None), (ids[2], "3"): ("skip", None)}
    assert decided(run) == {(other, "3"): ("relabel", classes[1])} | want and "recorded 3" in out
    small = [{"id": 1, **by[ids[4]]["data"], "label": given[ids[4]], "annotator": 3, "annotation_id": 7},
             {"id": 2, **by[ids[5]]["data"], "verdict": {"choices": ["ambiguous"]}, "annotator": 3},
             {"id": 3, **by[ids[6]]["data"]}]  # fmt: skip
    path.write_text(json.dumps(small))  # JSON-MIN
    answers.record(run, labelstudio.read(path, run), path)
    found = decided(run)
    assert (found[ids[4], "3"], found[ids[5], "3"]) == (("keep", None), ("ambiguous", None)) and len(found) == 5
    path.write_text(json.dumps([{"data": {"text": "x"}}]))
    with pytest.raises(InputError, match="no leadline_id; import the tasks"):
        labelstudio.read(path, run)


def test_classes_that_xml_would_make_one_are_refused(tmp_path):
    run = make(tmp_path / "a", classes=("a\a", "a\b"))
    with pytest.raises(InputError, match="differ only in characters"):
        labelstudio.write(doubted(run), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.partial"))


# --- Spotlight ---


def test_spotlight_gets_every_example_once_with_scores_and_vectors(tmp_path, monkeypatch):
    monkeypatch.setattr(spotlight, "BLOCK", 5)  # several row groups
    run = make(tmp_path / "a", inputs=("text", "label"))
    x = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    runs.write_features(run, "train", x, vectors.SOURCE, of_model=False)
    path, n = spotlight.write(run, tmp_path / "folder", doubted(run, top=3))
    assert (path, n) == (tmp_path / "folder" / "spotlight.parquet", 12)
    assert pq.ParquetFile(path).metadata.num_row_groups == 3
    table = pl.read_parquet(path)
    assert table["id"].to_list() == run.train.ids and table["text"].to_list() == run.train.table["text"].to_list()
    assert table["label"].to_list() == [CLASSES[i % 3] for i in range(12)] and "label_text" in table.columns
    assert np.array(table["vector"].to_list(), dtype=np.float32).tolist() == x.tolist()
    np.testing.assert_allclose(table["aum"], scores.aum(run.signals))
    never = scores.forgetting(run.signals) == np.inf
    assert never.any() and table["forgetting"].is_null().to_numpy().tolist() == never.tolist()
    p = scores.mean_probability(run.signals)
    assert table["predicted"].to_list() == [CLASSES[k] for k in p.argmax(axis=1)]
    assert table["rank"].drop_nulls().sort().to_list() == [1, 2, 3]
    with monkeypatch.context() as broken:
        broken.setattr(spotlight, "_answers", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        before = path.read_bytes()
        with pytest.raises(Exception, match="disk full"):
            spotlight.write(run, path)
        assert path.read_bytes() == before and not list(path.parent.glob("*.partial"))


def test_pandas_reads_the_vectors_as_arrays_of_one_length(tmp_path):
    import pandas as pd

    run = make(tmp_path / "a")
    runs.write_features(run, "train", np.ones((12, 4), dtype=np.float32), vectors.SOURCE, of_model=False)
    path, _ = spotlight.write(run, tmp_path / "a.parquet")
    table = pd.read_parquet(path)
    assert {len(v) for v in table["vector"]} == {4} and table["vector"][0].dtype == np.float32
    assert table["aum"].dtype == np.float64


def test_spotlight_shows_test_rows_and_regressions_too(tmp_path, leadline, tiny_csv):
    train, test = tiny_csv(n=60), tiny_csv(n=20, seed=1, name="test.csv")
    status, _, err = leadline("train", train, "--model", "tiny", "--epochs", "1", "--test", test, "--id", "id",
                              "--name", "tiny", "--root", tmp_path / "runs")  # fmt: skip
    assert status == 0, err
    run = Run(tmp_path / "runs" / "tiny")
    status, out, err = leadline("export", "spotlight", run.path, "-o", tmp_path / "x.parquet")
    assert status == 0 and "x.parquet" in out, err
    table = pl.read_parquet(tmp_path / "x.parquet")
    assert table["split"].value_counts().sort("split").rows() == [("test", 20), ("train", 54), ("validation", 6)]
    said = run.predictions("test").sort("id")
    tested = table.filter(pl.col("split") == "test").sort("id")
    assert tested["predicted"].to_list() == said["predicted"].to_list()
    assert tested["predicted_probability"].to_list() == said["confidence"].to_list()
    assert tested["aum"].null_count() == 20 and table["aum"].null_count() == 26 and tested["text"].null_count() == 0


# --- all of them ---


def test_a_regression_has_no_classes_to_choose_from(tmp_path, leadline):
    table = pl.DataFrame({"_id": ["a", "b"], "_split": ["train"] * 2, "text": ["x", "y"], "_label": ["1.0", "2.0"]})
    examples = with_hashes(Examples(table, task="regression", inputs=("text",)))
    (tmp_path / "r").mkdir()
    examples.write(tmp_path / "r" / "examples.parquet")
    metadata = {"task": "regression", "classes": [], "period": 1, "mode": "online"} | fingerprint(examples)
    write_period(tmp_path / "r" / "signals", 1, complete({"loss": np.array([0.1, 0.4])}), metadata)
    for format in ("argilla", "labelstudio"):
        status, _, err = leadline("export", format, tmp_path / "r", "-o", tmp_path / format)
        assert status == 2 and "a regression has no classes" in err and not (tmp_path / format).exists()
    assert leadline("export", "spotlight", tmp_path / "r", "-o", tmp_path / "s")[0] == 0
    found = pl.read_parquet(tmp_path / "s" / "spotlight.parquet")
    assert found["action"].to_list() == pytest.approx([0.1, 0.4]) and found["label"].to_list() == ["1.0", "2.0"]


def test_the_commands_refuse_what_does_not_go_together(tmp_path, leadline):
    run = make(tmp_path / "a").path
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for arguments, words in (
        (["export", "argila", run, "-o", "x"], "Did you mean `argilla`?"),
        (["export", "argilla", run, "-o", tmp_path / "full"], "not empty"),
        (["export", "argilla", run, "-o", "x", "--score", "aum", "--suspects", "s.csv"], "not both"),
        (["export", "argilla", run, "-o", "x", "--score", "entropy"], "which labels are doubtful"),
        (["export", "spotlight", run, "-o", "x", "--top", "5"], "no --top"),
        (["export", "cartography", run, "-o", "x", "--top", "5"], "no --score, --suspects, --top"),
        (["import", "argilla", "x.json"], "--run"),
        (["import", "argilla", "x.json", "--run", run], "no such file"),
        (["import", "cartography", "x"], "-o"),
        (["import", "spotlight", "x"], "Known: cartography, argilla, labelstudio"),
    ):
        status, out, err = leadline(*arguments)
        assert (status, out) == (2, "") and words in err, arguments


def test_names_are_made_fit_and_distinct():
    assert whole.slug("Premise text", ()) == "premise-text" and whole.slug("Premise text", (), "_") == "premise_text"
    assert (
        whole.slug("a", {"a", "a-2"}) == "a-3" and whole.slug("ÄÖ", ()) == "text" and whole.slug("1st", ()) == "c-1st"
    )
    assert argilla.field_names(["Text", "text", "label"]) == {"Text": "text", "text": "text-2", "label": "label-2"}
    assert labelstudio.keys(["a b", "id"]) == {"a b": "a_b", "id": "id_2"}
    assert whole.finite({"a": 1.0, "b": float("nan"), "c": float("inf"), "d": None, "e": "x"}) == {"a": 1.0, "e": "x"}


def test_many_records_are_written_one_by_one(tmp_path):
    """The array is written as the items come: none is asked for before the last one is on its way to the disk."""
    path, sizes = tmp_path / "a.json", []

    def items():
        for i in range(2000):
            if i % 500 == 0:
                sizes.append(path.stat().st_size)
            yield {"i": i, "text": "y" * 100}

    assert whole.write_array(path, items()) == 2000
    assert sizes == sorted(sizes) and sizes[-1] > 100_000  # most of it was written before it was asked for
    assert [item["i"] for item in json.loads(path.read_text())] == list(range(2000))
    assert whole.write_array(tmp_path / "b.json", []) == 0 and json.loads((tmp_path / "b.json").read_text()) == []
