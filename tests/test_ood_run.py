"""leadline ood, end to end: a run, a plain checkpoint, the recipe's key, the report, the files of published code."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from conftest import write_tiny
from leadline import experiment, ood, runs
from leadline.errors import InputError, MissingExtra
from leadline.experiment import language
from leadline.experiment.ood import DEFAULT
from leadline.learn import models, other_detectors
from leadline.ood import DETECTORS, IN, Evidence
from tiny_models import checkpoint


def write_other(path: Path, n: int = 25, column: str = "text") -> Path:
    """n texts of other words."""
    dice = random.Random(7)
    words = "quantum field boson lepton ? ! spin charge 7 matrix".split()
    with open(path, "w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink)
        writer.writerow([column, "more"])
        writer.writerows([" ".join(dice.choice(words) for _ in range(dice.randint(3, 12))), 1] for _ in range(n))
    return path


@dataclass
class Place:
    folder: Path
    run: Path
    other: Path
    near: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished run with evaluate.ood, and the files that it was compared with."""
    folder = tmp_path_factory.mktemp("ood")
    train, test = write_tiny(folder / "train.csv", 80), write_tiny(folder / "test.csv", 40, seed=1)
    near, other = write_tiny(folder / "near.csv", 30, seed=2), write_other(folder / "other.csv", column="body")
    recipe = {
        "data": {"train": str(train), "test": str(test), "id": "id", "validation": None},
        "model": "tiny",
        "training": {"epochs": 2, "batch_size": 16, "max_length": 32, "precision": "fp32"},
        "evaluate": {"ood": [f"far+background:physics={other}#body", f"near:{near}"], "features": "pooled"},
    }
    run = experiment.train(recipe, name="one", root=folder)
    return Place(folder, run.path, other, near)


def test_the_recipe_measures_after_training(place: Place) -> None:
    run = runs.open(place.run)
    assert list(run.results) == ["test", "ood+physics", "ood+near"]
    found = run.results["ood+physics"]
    assert set(found) == {f"{m}[{d}]" for m in ood.MEASURES for d in DEFAULT} | {"prevalence"}
    assert found["prevalence"]["value"] == pytest.approx(25 / 65) and found["auroc[knn]"]["n"] == 65
    table = pl.read_parquet(place.run / "ood" / "scores.parquet")
    assert (
        table.columns == ["set", "kinds", *DEFAULT]
        and table["set"].to_list() == [IN] * 40 + ["physics"] * 25 + ["near"] * 30
    )
    inside, outside = (table.filter(pl.col("set") == name)["msp"].to_numpy() for name in (IN, "physics"))
    labels = np.r_[np.zeros(40), np.ones(25)]
    assert found["auroc[msp]"]["value"] == pytest.approx(roc_auc_score(labels, np.r_[inside, outside]), abs=1e-9)
    confidence = run.predictions("test")["confidence"].to_numpy()
    np.testing.assert_allclose(inside, -confidence, atol=1e-6)  # the same pass as the test split's


def test_the_command_says_what_the_recipe_said(place: Place, leadline: Callable[..., Any]) -> None:
    sets = [f"far+background:physics={place.other}#body", f"near:{place.near}"]
    status, out, _ = leadline("ood", place.run, "--against", *sets, "--precision", "fp32", "--json")
    assert status == 0
    found = json.loads(out)
    kept = runs.open(place.run).results
    assert found["sets"]["physics"]["kinds"] == ["far", "background"] and found["id"]["n"] == 40
    for name in ("physics", "near"):
        for detector, measures in found["sets"][name]["detectors"].items():
            for measure, figure in measures.items():
                assert figure["value"] == pytest.approx(
                    kept[f"ood+{name}"][f"{measure}[{detector}]"]["value"], abs=1e-6
                )
    assert found["sets"]["near"]["prevalence"] == pytest.approx(30 / 70)


def test_the_features_of_the_recipe_are_what_its_distances_read(place: Place) -> None:
    kept = pl.read_parquet(place.run / "ood" / "scores.parquet").filter(pl.col("set") == IN)["knn"].to_numpy()
    asked = {"against": f"{place.other}#body", "detectors": "knn", "precision": "fp32"}
    for features, same in ((None, True), ("pooled", True), ([2], True), ("cls", False)):
        found = experiment.detect(place.run, features=features, **asked).scores["knn"][IN]
        assert np.allclose(found, kept, atol=1e-5) == same


def test_a_layer_that_is_not_there_stops_before_training(place: Place, leadline: Callable[..., Any]) -> None:
    data = {"train": str(place.folder / "train.csv"), "test": str(place.folder / "test.csv"), "validation": None}
    for features, says in (([9], "there is no layer 9; the model has 2"), ([], "features")):
        recipe = {"data": data, "model": "tiny", "evaluate": {"ood": [str(place.near)], "features": features}}
        with pytest.raises(InputError, match=says):
            experiment.train(recipe, name="never", root=place.folder)
    assert not (place.folder / "never").exists()
    status, _, err = leadline("ood", place.run, "--against", place.near, "--features", "")
    assert status == 2 and "--features" in err
    for features, says in (([], "of no layer"), ("first", "features first")):
        with pytest.raises(InputError, match=says):
            experiment.detect(place.run, str(place.near), features=features)


def test_the_table_has_every_set_and_the_mean_of_each_kind(place: Place, leadline: Callable[..., Any]) -> None:
    sets = ["--against", f"near:{place.near}", "--against", f"far+semantic:physics={place.other}#body"]
    status, out, _ = leadline("ood", place.run, *sets, "--detectors", "msp,knn")
    assert status == 0 and "far + semantic" in out and "mean AUROC over the sets of each kind" in out
    assert all(word in out for word in ("auroc", "aupr_out", "aupr_in", "fpr95_id_positive", "knn", "semantic (1)"))
    assert "energy" not in out
    means = out.partition("mean AUROC")[2]
    assert re.search(r"msp\W+0\.\d+ \[0\.\d+, [01]\.\d+\]", means)


def test_files_under_the_names_of_published_code(place: Place, leadline: Callable[..., Any], tmp_path: Path) -> None:
    arguments = [
        "--against",
        f"trec={place.other}#body",
        "--id",
        f"sst2={place.folder / 'test.csv'}",
        "--npy",
        tmp_path,
    ]
    status, out, _ = leadline("ood", place.run, *arguments, "--detectors", "msp", "--json")
    assert status == 0
    inside = ood.read_model_out(tmp_path / "output" / "tiny" / "tiny_sst2_msp.npy")
    outside = ood.read_model_out(tmp_path / "output" / "msp" / "sst2_trec_msp.npy")
    assert inside.shape == (40,) and outside.shape == (25,) and ((inside >= 0.5) & (inside <= 1)).all()
    told = json.loads(out)["sets"]["trec"]["detectors"]["msp"]["auroc"]["value"]
    independent = roc_auc_score(np.r_[np.zeros(40), np.ones(25)], -np.r_[inside, outside])
    assert ood.compute_auroc(-inside, -outside) == pytest.approx(independent, abs=1e-9)
    assert told == pytest.approx(independent, abs=1e-3)  # files are float32: what differed less is tied there


def test_a_plain_checkpoint_needs_texts_of_its_own_kind(place: Place) -> None:
    model, test = place.run / "model", str(place.folder / "test.csv")
    with pytest.raises(InputError, match="--id FILE"):
        experiment.detect(model, f"{place.other}#body")
    alone = experiment.detect(model, f"{place.other}#body", id=test)
    assert set(alone.scores) == {"msp", "max_logit", "energy", "entropy", "odin"}
    assert all("--fit FILE" in why for why in alone.left_out.values()) and len(alone.left_out) == 4
    train = str(place.folder / "train.csv")
    kept = {"id": test, "fit": train, "features": "pooled", "precision": "fp32"}  # that of the run
    fitted = experiment.detect(model, f"{place.other}#body", **kept)
    assert set(fitted.scores) == set(DEFAULT) and not fitted.left_out
    whole = experiment.detect(place.run, f"{place.other}#body")
    for name, values in whole.scores.items():
        for part in (IN, "other"):
            np.testing.assert_allclose(fitted.scores[name][part], values[part], rtol=1e-3, atol=1e-4)


def test_what_the_detectors_read_is_what_the_model_computes(place: Place) -> None:
    """Logits from what the decision layer reads; vectors of layers and tokens against a pass with hidden states."""
    import torch
    import transformers

    run = runs.open(place.run)
    part = run.examples.split("test")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(place.run / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place.run / "model")
    read = {}
    for where in (None, "pooled", "cls", [0, 2]):
        reader = experiment.ood.Reader(model, tokenizer, run.classes, 32, torch.device("cpu"), where)
        read[str(where)] = reader.read(part)
        weight, bias = reader.head()
        again = read[str(where)]["penultimate"] @ np.asarray(weight).T + bias
        np.testing.assert_allclose(again, read[str(where)]["logits"], atol=1e-5)
    assert model.config.output_hidden_states is False
    np.testing.assert_array_equal(read["None"]["features"], read["None"]["penultimate"])
    for i in (0, 17, 39):
        with torch.no_grad():
            states = model(**tokenizer(part.table["text"][i], return_tensors="pt"), output_hidden_states=True)
        layers = [state[0].numpy() for state in states.hidden_states]
        np.testing.assert_allclose(read["cls"]["features"][i], layers[-1][0], atol=1e-5)
        np.testing.assert_allclose(read["pooled"]["features"][i], layers[-1].mean(0), atol=1e-5)
        both = np.r_[layers[0].mean(0), layers[2].mean(0)]
        np.testing.assert_allclose(read["[0, 2]"]["features"][i], both, atol=1e-5)
    with pytest.raises(InputError, match="no layer 9"):
        experiment.detect(place.run, str(place.near), features=[9])


def test_the_first_token_is_a_real_one_wherever_a_tokenizer_pads(place: Place, tmp_path: Path) -> None:
    import torch

    part = runs.open(place.run).examples.split("test")
    network, tokenizer = models.load(str(checkpoint("gpt2", tmp_path / "gpt2")), ["a", "b"], max_length=32)
    vectors = []
    for side in ("right", "left"):
        tokenizer.padding_side = side
        reader = experiment.ood.Reader(network.eval(), tokenizer, ("a", "b"), 32, torch.device("cpu"), "cls")
        vectors.append(reader.read(part)["features"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_perplexity_tells_other_words_and_is_kept_in_the_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"against": f"{place.other}#body", "detectors": ["perplexity", "density"]}
    found = experiment.detect(place.run, **asked)
    assert found.results["other"]["perplexity"]["auroc"]["value"] > 0.95
    assert "small language model trained here on 80 texts" in found.told[0]
    assert (place.run / "density" / "small" / "about.json").is_file()
    loud = place.folder / "loud.csv"  # the classifier is uncased
    head, *lines = place.other.read_text(encoding="utf-8").splitlines()
    loud.write_text("\n".join([head, *(line.upper() for line in lines)]), encoding="utf-8")
    shouted = experiment.detect(place.run, f"{loud}#body", detectors=["perplexity"])
    np.testing.assert_array_equal(shouted.scores["perplexity"]["loud"], found.scores["perplexity"]["other"])

    def never(*_: Any) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(language.density, "train", never)
    again = experiment.detect(place.run, **asked)
    np.testing.assert_array_equal(again.scores["perplexity"][IN], found.scores["perplexity"][IN])
    with pytest.raises(AssertionError, match="trained again"):  # other texts, another model
        experiment.detect(place.run, **asked, fit=str(place.near))
    lm = str(place.run / "density" / "small")
    as_it_is = experiment.detect(place.run, f"{place.other}#body", lm=lm, detectors=["perplexity"])
    np.testing.assert_array_equal(as_it_is.scores["perplexity"][IN], found.scores["perplexity"][IN])


def test_a_fine_tuned_language_model_is_kept_for_as_long_as_it_is_the_same(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, heard = checkpoint("gpt2", tmp_path / "lm"), list[str]()
    asked: dict[str, Any] = {"against": f"{place.other}#body", "detectors": ["perplexity"], "lm": str(lm)}
    as_it_is = experiment.detect(place.run, **asked)
    asked |= {"fine_tune": True, "precision": "fp32", "tell": lambda event: heard.append(str(event.get("says")))}
    tuned = experiment.detect(place.run, **asked)
    assert "fine-tuned on 80 texts" in tuned.told[0] and any("epoch 1 of 1" in says for says in heard)
    assert tuned.scores["perplexity"][IN].mean() < 0.99 * as_it_is.scores["perplexity"][IN].mean()

    def never(*_: Any) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(language.density, "train", never)
    again = experiment.detect(place.run, **asked)
    np.testing.assert_array_equal(again.scores["perplexity"][IN], tuned.scores["perplexity"][IN])
    with pytest.raises(AssertionError, match="trained again"):
        experiment.detect(place.run, **{**asked, "precision": "bf16"})
    with open(lm / "config.json", "a") as sink:  # another file, the same name
        sink.write("\n")
    with pytest.raises(AssertionError, match="trained again"):
        experiment.detect(place.run, **asked)


def test_a_language_model_says_what_it_cuts_and_what_it_cannot_score(tmp_path: Path) -> None:
    lm = language.Language(str(checkpoint("gpt2", tmp_path / "lm")), False, None, 8)
    columns, told = lm.measure(["rain", "sand river " * 20, "dust " * 30])
    assert set(columns) == {"nll", "tokens"} and columns["tokens"].tolist()[1:] == [7, 7]
    assert told[1].startswith("2 of 3 texts are cut for perplexity and density: at most 8 tokens")
    longer = language.Language(str(tmp_path / "lm"), False, None, 256)
    assert (
        "at most 64 tokens of a text count (the language model reads no more)" in longer.measure(["dust " * 90])[1][1]
    )
    assert len(lm.measure(["rain"])[1]) == 1
    with pytest.raises(InputError, match="1 of 2 texts have no token"):
        lm.measure(["", "rain"])


def test_perplexity_without_training_texts_is_left_out(place: Place) -> None:
    test = str(place.folder / "test.csv")
    found = experiment.detect(place.run / "model", f"{place.other}#body", id=test, detectors=["msp", "perplexity"])
    assert set(found.scores) == {"msp"} and "--fit FILE" in found.left_out["perplexity"] and not found.told
    with pytest.raises(InputError, match="no detector can be computed: density: .*--fit FILE"):
        experiment.detect(place.run / "model", f"{place.other}#body", id=test, detectors="density")


def test_too_few_training_texts_take_the_distances_alone(place: Place, tmp_path: Path) -> None:
    pl.DataFrame({"text": ["rain in the north", "sand in the north"], "label": ["wet", "dry"]}).write_csv(
        tmp_path / "two.csv"
    )
    test = str(place.folder / "test.csv")
    found = experiment.detect(place.run / "model", f"{place.other}#body", id=test, fit=str(tmp_path / "two.csv"))
    assert set(found.left_out) == {"mahalanobis", "relative_mahalanobis", "vim"} and {"msp", "knn"} <= set(found.scores)
    assert "training texts" in found.left_out["vim"] and np.isfinite(found.results["other"]["knn"]["auroc"]["value"])


# --- texts on two sides -----------------------------------------------------------------------------------------------


def test_training_texts_are_not_texts_in_distribution(place: Place, tmp_path: Path) -> None:
    train, test = str(place.folder / "train.csv"), str(place.folder / "test.csv")
    for model, fit in ((place.run, None), (place.run / "model", train)):
        with pytest.raises(InputError, match="80 of its 80 texts are training texts"):
            experiment.detect(model, f"{place.other}#body", id=train, fit=fit)
    with pytest.raises(InputError, match="40 of its 40 texts are training texts"):
        experiment.detect(place.run / "model", f"{place.other}#body", id=test, fit=test)
    some = pl.concat([pl.read_csv(test), pl.read_csv(train)[:5]])
    some.write_csv(tmp_path / "some.csv")
    found = experiment.detect(place.run, str(place.folder / "test.csv"), id=str(tmp_path / "some.csv"), detectors="msp")
    assert found.told[0] == "5 of 45 texts in distribution are training texts, too: the model knows them"
    assert found.told[1].startswith(f"40 of 40 texts of {place.folder.name}")
    assert experiment.detect(place.run, f"{place.other}#body", detectors="msp").told == []


def test_rows_that_were_not_trained_on_are_no_training_texts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.open(place.run)
    assert run.recipe is not None and run.trained_on.all() and run.trained_on.shape == (80,)
    monkeypatch.setattr(runs.Run, "trained_on", property(lambda self: np.arange(80) < 30))
    sets = ood.parse(str(place.near))
    found = experiment.texts.gather(run, run.recipe, run.classes, sets, None, None, None)
    assert found.train is not None and found.train.ids == run.train.ids[:30]
    job: Any = SimpleNamespace(
        recipe=run.recipe, examples=run.examples, chosen=SimpleNamespace(rows=np.array([3, 4, 70]))
    )
    after = experiment.ood._texts_of(job, sets)
    assert after.train is not None and after.train.ids == [run.train.ids[i] for i in (3, 4, 70)]


def test_a_run_is_whole_where_no_detector_can_be_computed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run, heard = runs.open(place.run), list[Any]()

    def fails(*_: Any) -> None:
        raise InputError("no detector can be computed: knn: because")

    monkeypatch.setattr(experiment.ood, "compared", fails)
    job: Any = SimpleNamespace(
        recipe=run.recipe, examples=run.examples, chosen=SimpleNamespace(rows=np.arange(80)), model=None,
        tokenizer=None, accelerator=SimpleNamespace(device="cpu"),
    )  # fmt: skip
    experiment.ood.after_training(job, place.run, heard.append)
    assert heard == [{"event": "note", "says": "evaluate.ood: no detector can be computed: knn: because"}]


def test_a_model_of_pairs_reads_pairs(place: Place) -> None:
    with pytest.raises(InputError, match=r"other: 2 text column.*body, more.*reads 1 \(text\).*FILE#COLUMN"):
        experiment.detect(place.run, f"{place.other}#body,more", detectors="msp")
    single = runs.open(place.run).examples
    with pytest.raises(InputError, match=r"near: 1 text column.*reads 2 \(premise, hypothesis\).*FILE#ONE,TWO"):
        experiment.texts.same_inputs({"near": single}, ["premise", "hypothesis"])


# --- at once, not after everything was read ---------------------------------------------------------------------------


def test_what_can_be_known_at_once_is_told_before_texts_are_read(
    place: Place, leadline: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("texts were read")

    monkeypatch.setattr(experiment.ood, "gather", never)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytorch_ood" else find(name))
    (tmp_path / "file").write_text("")
    for given, says in (
        (["--npy", tmp_path / "file" / "below"], "is a file"),
        (["--detectors", "msp,pytorch-ood:gen"], "leadline[ood]"),
        (["--lm", tmp_path / "none"], "no causal language model"),
    ):
        status, out, err = leadline("ood", place.run, "--against", place.near, *given)
        assert status in (1, 2) and out == "" and says in err and "Traceback" not in err
    monkeypatch.setattr(experiment.ood, "trained", lambda model: (None, None, None, ()))
    with pytest.raises(InputError, match="a regression has no softmax"):
        experiment.check_npy(place.run, tmp_path)


def test_what_was_computed_is_printed_though_files_cannot_be_written(
    place: Place, leadline: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "output").write_text("in the way")
    for more in ([], ["--json"]):
        asked = ["--against", place.near, "--detectors", "msp", "--npy", tmp_path, *more]
        status, out, err = leadline("ood", place.run, *asked)
        assert status == 1 and "cannot be written" in err and "msp" in out


def test_a_regression_has_distances_only(tmp_path: Path) -> None:
    with open(write_tiny(tmp_path / "t.csv", 40)) as source:
        rows = list(csv.DictReader(source))
    pl.DataFrame({"text": [r["text"] for r in rows], "label": [float(len(r["text"])) for r in rows]}).write_csv(
        tmp_path / "numbers.csv"
    )
    recipe = {"task": "regression", "data": {"train": str(tmp_path / "numbers.csv"), "validation": 0.3},
              "model": "tiny", "training": {"epochs": 1, "max_length": 32}}  # fmt: skip
    run = experiment.train(recipe, name="numbers", root=tmp_path)
    found = experiment.detect(run, str(write_other(tmp_path / "other.csv")))
    assert set(found.scores) == {"knn"} and "regression" in found.left_out["msp"] and not found.msp


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name files with --against"),
        (["--against", "no.csv"], "no.csv"),
        (["--against", "OTHER"], "column `text`"),
        (["--against", "OTHER#bady"], "bady"),
        (["--against", "NEAR", "--detectors", "mps"], "Did you mean `msp`"),
        (["--against", "NEAR", "--text", "nothing"], "column `nothing`"),
        (["--against", "NEAR", "--fine-tune"], "--lm"),
        (["--against", "NEAR", "--features", "first"], "--features first"),
        (["--against", "NEAR", "--lm", "nobody/nothing-of-that-name"], "no causal language model"),
        (["--against", "NEAR", "--id", "far:OTHER#body"], "--id far:"),
        (["--against", "NEAR", "--fit", "far:OTHER#body"], "--fit far:"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(
    place: Place, leadline: Callable[..., Any], arguments: list[str], says: str
) -> None:
    files = {"OTHER": str(place.other), "NEAR": str(place.near)}
    given = [a.replace("OTHER", files["OTHER"]).replace("NEAR", files["NEAR"]) for a in arguments]
    status, out, err = leadline("ood", place.run, *given)
    assert status == 2 and out == "" and says in err and "Traceback" not in err


def test_a_recipe_with_a_wrong_set_stops_before_training(place: Place) -> None:
    data = {"train": str(place.folder / "train.csv"), "validation": None}
    for held, sets, says in (
        ({"test": str(place.folder / "test.csv")}, ["no/such.csv"], "such.csv"),
        ({"test": str(place.folder / "test.csv")}, [str(place.other)], "column `text`"),
        ({}, [str(place.near)], "texts in distribution"),
    ):
        recipe = {"data": data | held, "model": "tiny", "evaluate": {"ood": sets}}
        with pytest.raises(InputError, match=says):
            experiment.train(recipe, name="never", root=place.folder)
    assert not (place.folder / "never").exists()


def test_another_file_makes_another_run(place: Place, tmp_path: Path) -> None:
    """A run is known by the content of its sets, not by where they lie."""
    recipe, run = runs.open(place.run).recipe, runs.open(place.run)
    assert recipe is not None
    moved = tmp_path / "moved.csv"
    moved.write_bytes(place.near.read_bytes())

    def key(file: Path) -> str:
        changed = recipe.evaluate.model_copy(update={"ood": [f"near:near={file}"]})
        return runs.key(recipe.model_copy(update={"evaluate": changed}), run.examples)

    assert key(place.near) == key(moved)
    before = key(moved)
    moved.write_text(moved.read_text() + "t999,rain in the morning,wet\n")
    assert key(moved) != before


def test_the_report_has_a_table_and_a_picture(place: Place) -> None:
    page = (place.run / "report.html").read_text()
    assert '<section id="ood">' in page and "Histograms of msp" in page
    assert page.count("<code>relative_mahalanobis</code>") == 2 and "far and background" in page
    assert "Types of Out-of-Distribution Texts" not in page and "Deep Nearest Neighbors" in page  # what was used


def test_rows_are_drawn_when_there_are_too_many(place: Place) -> None:
    found = experiment.detect(place.run, f"{place.other}#body", max_rows=10, detectors="msp")
    assert (found.n, found.rows("other")) == (10, 10)
    whole = experiment.detect(place.run, f"{place.other}#body", detectors="msp")
    assert set(found.scores["msp"][IN].round(5)) <= set(whole.scores["msp"][IN].round(5))


# --- pytorch-ood ------------------------------------------------------------------------------------------------------


@pytest.fixture
def library() -> Any:
    if importlib.util.find_spec("pytorch_ood") is None:
        pytest.skip("pytorch-ood is not installed (pip install --no-deps pytorch-ood)")
    return other_detectors.library()


@pytest.fixture
def evidence() -> Evidence:
    rng = np.random.default_rng(0)
    h, x, y = rng.normal(size=(30, 6)), rng.normal(size=(90, 6)), rng.integers(3, size=90)
    x += np.eye(3, 6)[y] * 3
    w, b = np.eye(3, 6) + rng.normal(0, 0.1, (3, 6)), rng.normal(size=3)
    return Evidence(logits=h @ w.T + b, features=h, penultimate=h, train_features=x, train_penultimate=x,
                    train_labels=y, weight=w, bias=b)  # fmt: skip


def test_definitions_agree_with_pytorch_ood(library: Any, evidence: Evidence) -> None:
    """What differs is said: its Mahalanobis distances are divided by M (and 2) and have a ridge of 1e-6."""
    import torch

    z, h, x = (
        torch.tensor(getattr(evidence, n), dtype=torch.float32) for n in ("logits", "features", "train_features")
    )
    y = torch.tensor(evidence.train_labels)
    theirs = {
        "msp": library.MaxSoftmax.score(z), "max_logit": library.MaxLogit.score(z),
        "energy": library.EnergyBased.score(z),
        "entropy": library.Entropy.score(z), "knn": library.KNN(None, k=50).fit_features(x, y).predict_features(h),
        "mahalanobis": 2 * len(x) * library.Mahalanobis(None).fit_features(x, y).predict_features(h),
        "relative_mahalanobis": len(x) * library.RMD(None).fit_features(x, y).predict_features(h),
        "vim": library.ViM(None, 3, *(torch.tensor(a) for a in (evidence.weight, evidence.bias)))
        .fit_features(x, y).predict_features(h),
    }  # fmt: skip
    for name, scores in theirs.items():
        np.testing.assert_allclose(DETECTORS[name](evidence), scores.numpy(), rtol=2e-4, atol=2e-5, err_msg=name)


def test_a_torchvision_that_does_not_fit_is_not_needed(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # importing it fails
    other_detectors._forget()
    assert other_detectors.library().MaxLogit.__module__ == "pytorch_ood.detector.maxlogit"
    assert "pytorch_ood" not in sys.modules


def test_its_other_detectors_run_under_their_own_names(library: Any, evidence: Evidence) -> None:
    found, left_out = other_detectors.strangeness(evidence, other_detectors.NAMES)
    assert set(found) == set(other_detectors.NAMES) and not left_out
    for scores in found.values():
        assert scores.shape == (30,) and scores.dtype == np.float64 and np.isfinite(scores).all()
    p = np.exp(evidence.logits - np.logaddexp.reduce(evidence.logits, axis=1)[:, None])  # type: ignore[operator, arg-type]
    np.testing.assert_allclose(found["pytorch-ood:gen"], ((p * (1 - p)) ** 0.1).mean(axis=1), rtol=1e-5)
    _, left_out = other_detectors.strangeness(Evidence(logits=evidence.logits), other_detectors.NAMES)
    assert set(left_out) == set(other_detectors.NAMES) - {"pytorch-ood:gen"}


def test_a_class_without_training_texts_takes_no_other_detector_down(library: Any, evidence: Evidence) -> None:
    """The last class is answered, and no training text has it."""
    assert evidence.train_labels is not None and evidence.logits is not None
    k = evidence.logits.shape[1]
    inside = evidence.train_labels < k - 1
    columns = {name: getattr(evidence, name)[inside] for name in vars(evidence) if name.startswith("train_")}
    logits = evidence.logits.copy()
    logits[0, k - 1] = logits.max() + 1
    found, left_out = other_detectors.strangeness(replace(evidence, logits=logits, **columns), other_detectors.NAMES)
    assert "pytorch-ood:she" in left_out and "training texts of every class" in left_out["pytorch-ood:she"]
    assert "pytorch-ood:gen" in found


def test_without_the_library_the_extra_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytorch_ood" else find(name))
    with pytest.raises(MissingExtra, match=r"leadline\[ood\]"):
        other_detectors.library()
    everything = experiment.detect(place.run, f"{place.other}#body", detectors="all")
    assert set(everything.scores) == set(DETECTORS) and set(everything.left_out) == set(other_detectors.NAMES)
