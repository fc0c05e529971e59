"""The recipe's `mixup`, from the base's regions to the loop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import transformers

import leadline
from leadline import recipe as recipes
from leadline import runs
from leadline.demo import write_demo
from leadline.errors import InputError
from leadline.experiment import mixed
from leadline.experiment.features import features
from leadline.learn import models
from leadline.plans.epoch import Epoch, every, units
from leadline.recipe import Model
from leadline.runs import Run, Standing
from leadline.runs.place import model_files
from tiny_models import checkpoint


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("mixup")
    truth = write_demo(root / "d.csv", n=110, n_test=30)
    data = {"train": str(truth.train), "test": str(truth.test), "id": "id", "validation": None}
    training = {"epochs": 2, "max_length": 32, "batch_size": 16}
    return leadline.train({"data": data, "model": "tiny", "training": training}, root=root / "runs", name="base")


def recipe(run: Run, **changes: Any) -> dict[str, Any]:
    assert run.recipe is not None
    document = run.recipe.to_dict()
    return {**document, "base": {"run": str(run.path), "regions": {"proportion": 0.4}}, **changes}


def train(base: Run, mixup: dict[str, Any], **changes: Any) -> Run:
    document = recipe(base, mixup={"plain_epochs": 1, **mixup}, **changes)
    return leadline.train(document, root=base.path.parent)


@pytest.mark.parametrize("where", ["sentence", "embedding", "layer", "span"])
def test_a_run_mixes_and_says_what_it_did(base: Run, where: str) -> None:
    drawn = {} if where == "span" else {"fold": True, "draw": "batch"}
    run = train(base, {"where": where, "consistency": 1.0, **drawn})
    (plan,) = run.events("plan")
    trained = run.signals.epoch(1).trained
    assert (
        f"over {int(trained.sum())} examples" in plan["says"][0]
        and f"({int((~trained).sum())} discarded)" in plan["says"][0]
    )
    cites = {"sentence": "sun2020", "embedding": "guo2019", "layer": "chen2020", "span": "yoon2021"}[where]
    references = (run.path / "references.bib").read_text(encoding="utf-8")
    assert "{zhang2018," in references and f"{{{cites}," in references
    assert run.signals.n_epochs == 2  # consistency asks for clean answers, so they are recorded
    assert np.isfinite([event["train"]["loss"] for event in run.events("epoch")]).all()
    (checked,) = run.events("check")  # hard examples are left out on purpose, so no outcome is missing
    assert "every example has an outcome" not in [check["name"] for check in checked["checks"]]


def test_clean_answers_between_layers_are_recorded_on_request_only(base: Run) -> None:
    unasked = train(base, {"where": "layer"})
    asked = train(base, {"where": "layer"}, record={"under_mixup": True})
    assert (unasked.signals.n_epochs, asked.signals.n_epochs) == (1, 2)
    # the record changes no training: the same answers to the test data
    assert unasked.predictions("test").equals(asked.predictions("test"))
    first = train(base, {"where": "embedding", "plain_epochs": 0})
    assert first.signals.n_epochs == 2  # nothing else would be recorded


def test_the_original_size_and_its_steps(base: Run) -> None:
    kept = train(base, {"pairing": ["region"]})
    whole = train(base, {"pairing": ["region"], "size": "original"})
    n = len(base.train)
    entries = [
        int(event["says"][0].split("; ")[1].split(" entries")[0])
        for run in (kept, whole)
        for event in run.events("plan")
    ]
    assert entries[0] < n - 1 <= entries[1] <= n


def test_the_layers_before_the_classifier_are_trained_saved_and_loaded(base: Run, tmp_path: Path) -> None:
    """The path trained is the path evaluated, by leadline and by plain transformers with the code that lies beside."""
    run = train(base, {"where": "sentence", "head": True})
    assert "trust_remote_code=True" in (run.path / "model" / "README.md").read_text(encoding="utf-8")
    table = run.predictions("test")
    elsewhere = shutil.copytree(run.path / "model", tmp_path / "moved")
    with models.quiet():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(elsewhere, trust_remote_code=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(elsewhere)
    assert type(model).__name__ == "BertWithMixupHeadForSequenceClassification"
    texts = dict(run.examples.split("test").table.select("_id", "text").iter_rows())
    inputs = tokenizer(
        [texts[i] for i in table["id"]], padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    with torch.no_grad():
        said = model.eval()(**inputs).logits.softmax(-1).numpy()
    names = [model.config.id2label[k] for k in said.argmax(1)]
    assert names == table["predicted"].to_list()
    network, _ = models.load(str(run.path / "model"), run.classes, max_length=32, new_head=False)
    assert {n: p.shape for n, p in network.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    for (name, mine), (_, theirs) in zip(network.named_parameters(), model.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert any("mixup.dense" in name for name, _ in network.named_parameters())


@pytest.mark.parametrize(
    ("mixup", "sentence"),
    [
        ({"plain_epochs": 2}, "2 of 2 epochs are plain"),
        ({"alpha": 0}, "alpha"),
        ({"pairing": ["region", "entropi"]}, r"`entropi` is no pairing and no score\. Did you mean `entropy`"),
        ({"pairing": ["region", "cross-region"]}, "give one"),
        ({"pairing": ["random", "aum"]}, "two orders"),
        ({"pairing": ["label", "label"]}, "twice"),
        ({"pairing": "label", "include_none": True}, "only pairing by region"),
        ({"pairing": ["cross-region", "similar"]}, "takes random or a score"),
        ({"pairing": "entropy", "permutation": True}, "independent shuffle"),
        ({"layers": [1]}, "only `where: layer`"),
        ({"where": "layer", "layers": [3]}, "no layer 3"),
        ({"where": "attention"}, "mixup.where"),
        ({"where": "pixel"}, "pixel mixes images; classification reads texts"),
        ({"pairing": []}, "nothing is named"),
        ({"lam": 0.3, "draw": "batch"}, "a fixed lambda is not drawn"),
        ({"where": "span", "alpha": 0.5}, "decides lambda by the length"),
        ({"where": "layer", "span": 0.2}, "only `where: span`"),
    ],
)
def test_a_bad_recipe_is_one_line(base: Run, mixup: dict[str, Any], sentence: str) -> None:
    before = sorted(base.path.parent.rglob("*"))
    with pytest.raises(InputError, match=sentence):
        train(base, mixup)
    assert sorted(base.path.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("mixup", "sentence"),
    [
        ({"where": "layer"}, r"GPT2ForSequenceClassification cannot be mixed at layers \[1, 2\]"),
        ({"where": "embedding"}, r"cannot be mixed at layers \[0\]"),
        ({"where": "span"}, "span needs single texts between two special tokens"),
    ],
)
def test_a_decoder_is_refused_before_anything_is_written(
    base: Run, tmp_path: Path, mixup: dict[str, Any], sentence: str
) -> None:
    model = str(checkpoint("gpt2", tmp_path / "gpt2"))
    with pytest.raises(InputError, match=sentence):
        leadline.train(recipe(base, model=model, mixup={"plain_epochs": 1, **mixup}), root=tmp_path / "runs", name="x")
    assert not list((tmp_path / "runs").glob("*"))


def test_a_model_without_a_classifier_has_no_place_for_the_head(base: Run, tmp_path: Path) -> None:
    model = str(checkpoint("gpt2", tmp_path / "gpt2"))
    with pytest.raises(InputError, match=r"mixup\.head: GPT2ForSequenceClassification has no layer `classifier`"):
        document = recipe(base, model=model, mixup={"plain_epochs": 1, "head": True})
        leadline.train(document, root=tmp_path / "runs", name="x")


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_the_head_takes_the_dropout_asked_for_and_leaves_the_classifier(tmp_path: Path, family: str) -> None:
    """The classifier of a fine-tuned model is what it was; the layers before it are drawn by the seed."""
    with models.quiet():
        first = checkpoint(family, tmp_path / "first")
        network, tokenizer = models.load(str(first), ("a", "b"), max_length=32)
        network.save_pretrained(tmp_path / "tuned")
        tokenizer.save_pretrained(tmp_path / "tuned")
    asked = Model(name=str(tmp_path / "tuned"), dropout=0.0)
    one, other = (models.load(asked, ("a", "b"), max_length=32, seed=3, mixup_head=True)[0] for _ in range(2))
    assert one.classifier.mixup.dropout.p == 0 and one.config.mixup_head
    for (name, value), (_, again) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(value, again), name
    for name, value in network.classifier.state_dict().items():
        assert torch.equal(one.classifier.classifier.state_dict()[name], value), name
    for name, value in network.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(one.state_dict()[name], value), name
    dense = one.classifier.mixup.dense.requires_grad_(False)
    assert 0.005 < float(dense.weight.std()) < 0.05 and float(dense.bias.abs().max()) == 0


def test_an_odd_batch_of_pairs_says_what_it_holds(base: Run) -> None:
    document = recipe(base, mixup={"plain_epochs": 1, "pairing": ["label"]})
    document["training"] |= {"batch_size": 15}
    says = leadline.train(document, root=base.path.parent).events("plan")[0]["says"]
    assert "a pair shares its step: steps hold 14 entries, not 15" in says


def test_regions_of_one_epoch_say_why_there_are_none(base: Run) -> None:
    document = recipe(base, mixup={"plain_epochs": 1, "pairing": ["region"]})
    document["base"]["max_epochs"] = 1
    with pytest.raises(InputError, match="regions need two recorded epochs of the base"):
        leadline.train(document, root=base.path.parent)


def test_examples_without_a_score_are_told(base: Run) -> None:
    assert base.recipe is not None
    half = leadline.train({**base.recipe.to_dict(), "select": {"random": 0.5}}, root=base.path.parent)
    document = recipe(half, select=None, mixup={"plain_epochs": 1, "pairing": ["label", "entropy"]})
    says = leadline.train(document, root=base.path.parent).events("plan")[0]["says"]
    assert any(says_it.startswith("55 examples have no `entropy` in the base") for says_it in says)


def test_a_run_without_a_record_knows_how_many_it_was_trained_on(base: Run) -> None:
    assert base.recipe is not None
    document = {**base.recipe.to_dict(), "select": {"random": 0.5}, "record": None}
    run = leadline.train(document, root=base.path.parent)
    assert run.n_trained_on == 55 < len(run.train) and not run.has_record
    assert base.n_trained_on == len(base.train) == int(base.trained_on.sum())


@pytest.mark.parametrize("mixup", [{"where": "sentence"}, {"where": "span"}, {"where": "layer", "consistency": 0.5}])
def test_a_record_of_plain_epochs_only(base: Run, mixup: dict[str, Any]) -> None:
    run = train(base, mixup, record={"under_mixup": False})
    assert run.signals.n_epochs == 1
    assert all(np.isfinite(event["train"]["loss"]) for event in run.events("epoch"))


def test_snapshots_of_plain_epochs_only(base: Run) -> None:
    snapshots = {"mode": "snapshot", "every": 0.5}
    runs = [train(base, {}, record={**snapshots, "under_mixup": asked}) for asked in ("auto", False)]
    assert [run.signals.n_epochs for run in runs] == [4, 2]
    assert runs[0].predictions("test").equals(runs[1].predictions("test"))


def test_a_record_of_nothing_is_refused(base: Run) -> None:
    with pytest.raises(InputError, match=r"under_mixup: false records plain epochs only, and mixup.plain_epochs is 0"):
        train(base, {"plain_epochs": 0}, record={"under_mixup": False})
    with pytest.raises(InputError, match=r"plain_epochs is 1: nothing would be recorded"):
        train(base, {}, record={"under_mixup": False, "mode": "snapshot", "every": 2})
    document = recipe(base, mixup={"plain_epochs": 0}, record=None)
    recipes.load(document)  # what is not recorded at all is no contradiction


def epoch_of(base: Run, **mixup: Any) -> tuple[Epoch, np.ndarray, list[str]]:
    """The first mixed epoch of a recipe, the regions (N,), what is told."""
    asked = leadline.recipe.load(recipe(base, mixup={"plain_epochs": 0, **mixup}))
    assert asked.base is not None and asked.mixup is not None
    standing = Standing(base, base.train, asked.base)
    source = mixed.Source(base.train, lambda: standing, True)
    rows = mixed.kept(asked.mixup, np.arange(len(base.train)), source)
    plan, told = mixed.plan(asked, rows, source, len(rows), every(rows))
    return plan(0), standing.category, told


def test_pairs_are_those_that_the_words_say(base: Run) -> None:
    gold = base.train.gold
    crossed, category, told = epoch_of(base, pairing=["cross-region", "label", "entropy"])
    assert crossed.partners is not None
    apart = crossed.rows != crossed.partners
    assert apart.sum() > 20 and (category[crossed.rows] != category[crossed.partners])[apart].all()
    assert (gold[crossed.rows] == gold[crossed.partners]).all() and set(category[crossed.rows]) == {"easy", "ambiguous"}

    inside, category, _ = epoch_of(base, pairing=["region"], include_none=True)
    assert inside.partners is not None and sorted(inside.rows) == sorted(inside.partners)
    assert (category[inside.rows] == category[inside.partners]).all()
    assert sorted(inside.rows) == list(np.flatnonzero(category != "hard"))

    shuffle, _, told = epoch_of(base, pairing=["random"], permutation=True)
    assert shuffle.partners is not None and sorted(shuffle.rows) == sorted(shuffle.partners)
    assert "is encoded once more" in told[-1] and len(units(shuffle)[0]) > len(shuffle) * 0.8  # no matching


@pytest.mark.parametrize(("word", "best"), [("similar", np.argmax), ("dissimilar", np.argmin)])
def test_the_most_and_the_least_similar_of_the_same_label(base: Run, word: str, best: Any) -> None:
    found, _, _ = epoch_of(base, pairing=["label", word])
    vectors = features(base)  # of the base's model
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors.T
    assert found.partners is not None and len(found) == len(base.train)
    for row, partner in zip(found.rows, found.partners, strict=True):
        others = np.flatnonzero((base.train.gold == base.train.gold[row]) & (np.arange(len(base.train)) != row))
        assert likeness[row, partner] == pytest.approx(likeness[row, others[best(likeness[row, others])]], abs=1e-6)


def test_a_probe_that_pairs_is_in_the_key(base: Run) -> None:
    """Probed again with another outcome, the recipe is another run; so are other vectors of the base's model."""
    asked = leadline.recipe.load(recipe(base, mixup={"pairing": ["label", "vog"], "plain_epochs": 1}))
    folder = base.path / "probes"
    folder.mkdir(exist_ok=True)
    keys = []
    for value in (0.0, 1.0):
        np.save(folder / "vog.npy", np.full(len(base.train), value))
        keys.append(runs.key(asked, base.examples, base))
    (folder / "vog.npy").unlink()
    assert keys[0] != keys[1]
    alike = leadline.recipe.load(recipe(base, mixup={"pairing": ["similar"], "plain_epochs": 1}))
    model = [path for path in model_files(str(base.path / "model")) if path.suffix == ".safetensors"]
    assert model and runs.key(alike, base.examples, base, lambda path: "00" if path in model else "11") != runs.key(
        alike, base.examples, base, lambda path: "11"
    )


def test_an_empty_region_is_named(base: Run) -> None:
    ids = base.path.parent / "hard.txt"
    order = base.scores().sort("confidence")["id"].to_list()
    ids.write_text("\n".join(order[-20:]), encoding="utf-8")
    document = recipe(base, mixup={"plain_epochs": 1}, select={"ids": str(ids)})
    document["base"]["regions"] = {"proportion": 0.2}
    with pytest.raises(InputError, match=r"no `ambiguous` example among the 20 that are trained on \(easy 20"):
        leadline.train(document, root=base.path.parent)


def test_regions_need_a_base_and_the_same_data(base: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mixup.pairing needs `base: \{run: …\}`"):
        leadline.train(recipe(base, base=None, mixup={"plain_epochs": 1}), root=tmp_path)
    other = write_demo(tmp_path / "other.csv", n=50, n_test=10)
    document = recipe(base, mixup={"plain_epochs": 1})
    document["data"] |= {"train": str(other.train), "test": None}
    document["evaluate"] = {"splits": []}
    with pytest.raises(InputError, match="base"):
        leadline.train(document, root=tmp_path)


def test_curriculum_and_regression_are_refused(base: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give one"):
        leadline.train(recipe(base, mixup={"plain_epochs": 1}, curriculum={"order": "random"}), root=tmp_path)
    table = pl.DataFrame({"text": [f"text {i}" for i in range(20)], "label": [i / 7 for i in range(20)]})
    table.write_csv(tmp_path / "r.csv")
    document = {
        "task": "regression",
        "data": {"train": str(tmp_path / "r.csv")},
        "model": "tiny",
        "mixup": {"pairing": "label"},
    }
    with pytest.raises(InputError, match="regression has none"):
        leadline.train(document, root=tmp_path)
