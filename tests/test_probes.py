"""Probes: known answers, equality with plain autograd, and what a run says where it lacks the weights."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sklearn.neighbors import NearestNeighbors

import tiny_models
from conftest import write_tiny
from leadline import experiment, recipe, runs, scores, signals, suspects
from leadline.errors import InputError
from leadline.learn import models as learned
from leadline.learn.kept_weights import kept_epochs, put_weights
from leadline.learn.probes import depth, grand, grand_full, vog
from leadline.learn.probes.first_token import first_token_only
from leadline.learn.probes.subject import Entrance, Subject, asked
from leadline.learn.tasks.classification import Classification
from leadline.learn.tasks.regression import Regression
from leadline.report.maps import write_map
from leadline.runs import Run
from leadline.scores import SCORES
from same_run import differences

CLASSES = ("dry", "wet", "neither")
CLOSE = {"rtol": 1e-5, "atol": 1e-9}

# --- the worked example of the definitions: four examples, three checkpoints, two numbers an input --------------------

Z_LAST = torch.tensor([[3.6, -0.2, -1.4], [1.1, 0.6, -0.7], [2.7, -1.1, 0.4], [-0.6, 1.8, 0.3]], dtype=torch.float64)
GOLD = torch.tensor([0, 0, 1, 1])
H = torch.tensor([[1.0, 0.5], [0.2, -0.4], [-0.6, 0.8], [0.3, 1.1]], dtype=torch.float64)
S = np.array(  # (N, K, D)
    [
        [[0.1, -0.2], [0.12, -0.18], [0.11, -0.21]],
        [[0.3, 0.1], [-0.25, 0.4], [0.35, -0.05]],
        [[-0.15, 0.05], [-0.2, 0.3], [-0.05, 0.45]],
        [[0.05, 0.02], [0.25, -0.1], [0.28, -0.12]],
    ]
)
ONE_TOKEN = np.arange(1, 5)  # each of the four has one


def test_grand_of_the_worked_example() -> None:
    error = Z_LAST.softmax(1) - torch.eye(3, dtype=torch.float64)[GOLD]
    without = grand.last_layer(error, H, bias=False)
    np.testing.assert_allclose(without, [0.040550, 0.251254, 1.327397, 0.343327], atol=1e-6)
    np.testing.assert_allclose(grand.last_layer(error, H), [0.054404, 0.615444, 1.877223, 0.456668], atol=1e-6)


def test_vog_of_the_worked_example() -> None:
    s = S.transpose(1, 0, 2)  # (K, P, D)
    raw = vog.deviation(s, ONE_TOKEN)
    np.testing.assert_allclose(raw, [0.010319, 0.229454, 0.113676, 0.081957], atol=1e-6)
    np.testing.assert_allclose(vog.within_classes(raw, GOLD.numpy()), [-1, 1, 1, -1], atol=1e-6)
    early = vog.deviation(s[:2], ONE_TOKEN)
    np.testing.assert_allclose(early, [0.01, 0.2125, 0.075, 0.08], atol=1e-6)
    assert not np.allclose(raw, [0.000111, 0.054444, 0.015556, 0.007122], atol=1e-4)  # the mean of variances
    assert not np.allclose(early, [0.080688, 0.239015, 0.146373, 0.128450], atol=1e-4)  # of the published code


def test_the_tokens_of_an_example_are_averaged_after_its_dimensions() -> None:
    s = S.transpose(1, 0, 2)
    each = vog.deviation(s, ONE_TOKEN)
    np.testing.assert_allclose(vog.deviation(s, np.array([1, 4])), [each[0], each[1:].mean()], rtol=1e-12)


def test_thirds_hold_two_checkpoints_at_least() -> None:
    found = {k: vog.thirds(k) for k in (2, 3, 5, 9, 15)}
    assert found[2] == {"early": slice(0, 2), "late": slice(0, 2)} and found[3]["late"] == slice(1, 3)
    assert found[5]["early"] == slice(0, 2) and found[9] == {"early": slice(0, 3), "late": slice(6, 9)}
    assert found[15]["late"] == slice(10, 15)


def test_a_class_without_deviation_is_zero() -> None:
    values = np.array([5.0, 1.0, 1.0, 2.0, 4.0, 9.0])
    expected = [0.0, 0.0, 0.0, -3 / np.sqrt(26 / 3), -1 / np.sqrt(26 / 3), 4 / np.sqrt(26 / 3)]
    np.testing.assert_allclose(vog.within_classes(values, np.array([0, 1, 1, 2, 2, 2])), expected)


def test_equal_values_have_no_deviation_whatever_their_sum_rounds_to() -> None:
    values = np.array([0.1, 0.1, 0.1, 1.0, 3.0])  # numpy: the mean of the three is above 0.1, their deviation above 0
    assert vog.within_classes(values, np.array([0, 0, 0, 1, 1])).tolist() == [0, 0, 0, -1, 1]


def test_prediction_depth_of_the_worked_example() -> None:
    said = np.array([[2, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 0], [2, 2, 2, 2]])
    assert depth.depth(said, np.array([0, 1, 0, 2])).tolist() == [1, 1, 3, 0]
    assert depth.depth(said, np.array([1, 1, 1, 1])).tolist() == [4, 1, 4, 4]  # the last vote disagrees: L


def test_votes_and_their_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([[2, 2, 0], [1, 0, 3], [3, 3, 3], [0, 2, 2]])
    expected = [2, 0, 3, 2]
    assert depth.vote(labels, 4).tolist() == expected
    monkeypatch.setattr(depth, "BLOCK", 5)  # one row at a time
    assert depth.vote(labels, 4).tolist() == expected


# --- models: against plain autograd, one example at a time, without padding -------------------------------------------

FAMILIES = ("bert", "roberta", "distilbert", "gpt2")
OTHERS = ("modernbert", "qwen2", "deberta-v2")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tiny_models.checkpoint(name, tmp_path_factory.mktemp(name)) for name in tiny_models.FAMILIES}


def make(
    path: Path, n: int = 12, longest: int = 14, kind: str = "one", classes: Sequence[str] = CLASSES, seed: int = 0
) -> Subject:
    """Sentences of unequal length under a random model. kind: one text, a pair, or soft targets."""
    model, tokenizer = learned.load(str(path), classes, seed=3)
    with torch.no_grad():  # a head of 0.02 is sure of nothing, and one without bias is a special case
        for p in learned.head(model).parameters():
            p.normal_(0, 0.5)
    columns = ["a", "b"] if kind == "pair" else ["a"]
    task = (Classification if classes else Regression)(tiny_models.encoder(model, tokenizer, columns))
    texts = [tiny_models.sentences(n, seed + i, longest) for i in range(len(columns))]
    encoded = task.encode([dict(zip(columns, row, strict=True)) for row in zip(*texts, strict=True)])
    rng = np.random.default_rng(seed)
    targets: np.ndarray = rng.integers(0, max(1, len(classes)), n) if classes else rng.normal(size=n)
    if kind == "soft":
        targets = rng.dirichlet(np.ones(len(classes)), n)
    return Subject(model, task, encoded, targets, torch.device("cpu"))


def losses_one_by_one(subject: Subject) -> Any:
    """The definition: the loss of each example alone, as torch has it, with gradients for every parameter."""
    subject.model.eval()
    for row in range(len(subject)):
        batch = subject.batch(np.array([row]))
        z = subject.model(**batch.inputs).logits
        if z.shape[1] == 1:
            yield torch.nn.functional.mse_loss(z[:, 0], batch.targets)
        else:
            yield torch.nn.functional.cross_entropy(z, batch.targets)


def norm(gradients: Sequence[torch.Tensor | None]) -> float:
    return float(torch.stack([g.double().square().sum() for g in gradients if g is not None]).sum().sqrt())


def definition(subject: Subject, parameters: Sequence[torch.nn.Parameter]) -> list[float]:
    return [norm(torch.autograd.grad(loss, parameters, allow_unused=True)) for loss in losses_one_by_one(subject)]


@pytest.mark.parametrize("kind", ["one", "pair", "soft"])
@pytest.mark.parametrize("family", FAMILIES)
def test_grand_is_the_gradient_of_the_last_layer(saved: dict[str, Path], family: str, kind: str) -> None:
    subject = make(saved[family], kind=kind)
    layer = learned.decision_layer(subject.model)
    assert (layer.bias is None) == (family == "gpt2")
    expected = definition(subject, list(layer.parameters()))
    found = grand.grand(subject, tokens=60)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert len(set(found.round(6))) == len(found), "twelve examples, twelve numbers"


@pytest.mark.parametrize("family", OTHERS)
def test_grand_of_other_families(saved: dict[str, Path], family: str) -> None:
    subject = make(saved[family], n=6)
    expected = definition(subject, list(learned.decision_layer(subject.model).parameters()))
    np.testing.assert_allclose(grand.grand(subject), expected, **CLOSE)


@pytest.mark.parametrize("kind", ["one", "pair", "soft"])
@pytest.mark.parametrize("family", FAMILIES)
def test_grand_full_is_the_gradient_of_all_parameters(saved: dict[str, Path], family: str, kind: str) -> None:
    subject = make(saved[family], kind=kind, longest=14 if kind == "pair" else 40)  # both ways of a linear layer
    expected = definition(subject, list(subject.model.parameters()))
    found, reason = grand_full.grand_full(subject, tokens=120)
    assert reason is None
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert (found > grand.grand(subject)).all(), "the last layer is a part of all"


@pytest.mark.parametrize("family", OTHERS)
def test_a_model_with_other_layers_is_asked_one_by_one(saved: dict[str, Path], family: str) -> None:
    subject = make(saved[family], n=5)
    found, reason = grand_full.grand_full(subject)
    np.testing.assert_allclose(found, definition(subject, list(subject.model.parameters())), **CLOSE)
    if family == "qwen2":
        assert reason == "it has layers of other kinds (Qwen2RMSNorm)"
    if family == "deberta-v2":
        assert reason is not None  # it reads an embedding's weights without calling it


def albert(path: Path) -> Path:
    """Two layers that are one: every parameter of the body is used twice."""
    tokenizer = tiny_models.wordpiece()
    config = transformers.AlbertConfig(
        vocab_size=len(tokenizer), embedding_size=16, max_position_embeddings=64, **tiny_models.SIZES
    )
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim >= 2:
                p.mul_(5)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_layer_that_is_used_twice_has_one_gradient(tmp_path: Path) -> None:
    subject = make(albert(tmp_path / "albert"))
    found, reason = grand_full.grand_full(subject)
    assert reason is None
    np.testing.assert_allclose(found, definition(subject, list(subject.model.parameters())), **CLOSE)
    check_vog(subject)


def test_parameters_that_two_layers_share_are_seen(saved: dict[str, Path]) -> None:
    subject = make(saved["bert"], n=4)
    layers = subject.model.bert.encoder.layer
    layers[1].output.dense.weight = layers[0].output.dense.weight
    found, reason = grand_full.grand_full(subject)
    assert reason == "some of its layers share their parameters"
    np.testing.assert_allclose(found, definition(subject, list(subject.model.parameters())), **CLOSE)


def test_a_regression_has_the_gradient_of_its_squared_error(saved: dict[str, Path]) -> None:
    subject = make(saved["bert"], classes=())
    layer = list(learned.decision_layer(subject.model).parameters())
    np.testing.assert_allclose(grand.grand(subject), definition(subject, layer), **CLOSE)
    everything = definition(subject, list(subject.model.parameters()))
    np.testing.assert_allclose(grand_full.grand_full(subject)[0], everything, **CLOSE)
    check_vog(subject)


def test_a_probe_leaves_the_model_as_it_was(saved: dict[str, Path], tmp_path: Path) -> None:
    subject = make(saved["bert"], n=4)
    subject.model.train()
    subject.model.bert.pooler.requires_grad_(False)
    before = {name: (p.detach().clone(), p.requires_grad) for name, p in subject.model.named_parameters()}
    grand.grand(subject), grand_full.grand_full(subject), vog.vog(subject, lambda t: None, 2)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in subject.model.modules())
    depth.prediction_depth(subject, subject.targets, 3, tmp_path, k=2)
    assert subject.model.training
    for name, p in subject.model.named_parameters():
        assert torch.equal(p, before[name][0]) and p.requires_grad == before[name][1] and p.grad is None, name


# VoG


def checkpoints(subject: Subject, count: int = 3) -> tuple[Callable[[int], None], list[dict[str, torch.Tensor]]]:
    """Weights that wander; and what puts them into the model."""
    torch.manual_seed(1)
    states = [{name: tensor.clone() for name, tensor in subject.model.state_dict().items()}]
    for _ in range(count - 1):
        moved = {n: t + 0.05 * torch.randn_like(t) if t.is_floating_point() else t for n, t in states[-1].items()}
        states.append(moved)
    return lambda t: subject.model.load_state_dict(states[t]), states


def naive_vog(subject: Subject, put: Callable[[int], None], count: int) -> np.ndarray:
    """The definition, one example and one checkpoint at a time."""
    s: list[list[np.ndarray]] = [[] for _ in range(len(subject))]
    for t in range(count):
        put(t)
        subject.model.eval()
        for row in range(len(subject)):
            batch = subject.batch(np.array([row]))
            output = subject.model(**batch.inputs, output_hidden_states=True)
            z, y = output.logits[0], batch.targets[0]
            scalar = z[0] if len(z) == 1 else z[y] if batch.targets.ndim == 1 else (z * y).sum()
            s[row].append(torch.autograd.grad(scalar, output.hidden_states[0])[0][0].double().numpy())  # (T, D)
    return np.array([np.stack(of_row).std(axis=0).mean(axis=1).mean() for of_row in s])


def check_vog(subject: Subject, tokens: int = 70) -> None:
    put, states = checkpoints(subject)
    expected = naive_vog(subject, put, len(states))
    found = vog.vog(subject, put, len(states), tokens=tokens)
    np.testing.assert_allclose(found["all"], expected, **CLOSE)
    np.testing.assert_allclose(found["early"], naive_vog(subject, put, 2), **CLOSE)
    late = naive_vog(subject, lambda t: put(t + 1), 2)
    np.testing.assert_allclose(found["late"], late, **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_vog_is_that_of_single_examples(saved: dict[str, Path], family: str) -> None:
    check_vog(make(saved[family]))


@pytest.mark.parametrize("kind", ["pair", "soft"])
def test_vog_of_pairs_and_of_label_distributions(saved: dict[str, Path], kind: str) -> None:
    check_vog(make(saved["bert"], kind=kind))


@pytest.mark.parametrize("family", OTHERS)
def test_vog_of_other_families(saved: dict[str, Path], family: str) -> None:
    check_vog(make(saved[family], n=6))


def test_vog_does_not_depend_on_its_blocks(saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    subject = make(saved["bert"], n=20)
    put, states = checkpoints(subject)
    whole = vog.vog(subject, put, 3)
    room = 30  # tokens
    monkeypatch.setattr(vog, "BUDGET", room * 4 * 3 * 32)
    blocks = list(vog._blocks(subject, 3))
    assert sorted(np.concatenate(blocks).tolist()) == list(range(20)) and len(blocks) > 5
    assert all(subject.lengths[rows].sum() <= room for rows in blocks)
    in_blocks = vog.vog(subject, put, 3)
    for name, values in whole.items():
        np.testing.assert_allclose(in_blocks[name], values, **CLOSE)


def shortened(subject: Subject) -> bool:
    with asked(subject.model), Entrance(subject.model) as entrance:
        tried = lambda: vog.gradients(subject, subject.few(), entrance)[0]  # noqa: E731
        with first_token_only(subject.model, tried) as answer:
            return answer


@pytest.mark.parametrize(("family", "expected"), [("bert", True), ("deberta-v2", True), ("gpt2", False)])
def test_the_last_block_goes_on_with_the_first_token_where_no_other_is_read(
    saved: dict[str, Path], family: str, expected: bool
) -> None:
    subject = make(saved[family], n=5)
    assert shortened(subject) is expected
    assert not any(m._forward_pre_hooks for m in subject.model.modules())


def test_a_head_that_reads_all_tokens_gets_them(saved: dict[str, Path]) -> None:
    subject = make(saved["bert"], n=6)
    pooler = subject.model.bert.pooler
    pooler.forward = lambda hidden: pooler.activation(pooler.dense(hidden[:, 0] + hidden[:, -1]))
    assert not shortened(subject)


def test_an_example_longer_than_a_block_is_a_block(saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    subject = make(saved["bert"], n=3)
    monkeypatch.setattr(vog, "BUDGET", 1)
    assert [len(rows) for rows in vog._blocks(subject, 3)] == [1, 1, 1]


# Prediction depth


def test_prediction_depth_is_that_of_plain_neighbours(saved: dict[str, Path], tmp_path: Path) -> None:
    subject = make(saved["bert"], n=40)
    gold, k, said = subject.targets, 5, []
    subject.model.eval()
    with torch.no_grad():
        single = [subject.batch(np.array([row])).inputs for row in range(40)]
        outputs = [subject.model(**inputs, output_hidden_states=True) for inputs in single]
    for layer in range(3):
        x = np.stack([o.hidden_states[layer][0].mean(0).numpy() for o in outputs])
        near = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x, return_distance=False)
        others = [[j for j in row if j != i][:k] for i, row in enumerate(near)]
        said.append([np.bincount(gold[row], minlength=3).argmax() for row in others])
    final = [int(o.logits[0].argmax()) for o in outputs]
    expected = [
        next((l for l in range(4) if all(said[m][i] == final[i] for m in range(l, 3))), 3)  # noqa: E741
        for i in range(40)
    ]
    found, probes = depth.prediction_depth(subject, gold, 3, tmp_path, k=k)
    assert found.tolist() == expected and probes == 3 and len(set(expected)) == 4
    assert list(tmp_path.iterdir()) == [], "the representations are gone"


def test_fewer_examples_than_neighbours(saved: dict[str, Path], tmp_path: Path) -> None:
    subject = make(saved["bert"], n=4)
    found, _ = depth.prediction_depth(subject, np.zeros(4, dtype=int), 3, tmp_path)  # all neighbours say 0
    final = subject.model.eval()(**subject.batch(np.arange(4)).inputs).logits.argmax(1).numpy()
    assert found.tolist() == [0.0 if k == 0 else 3.0 for k in final]


# --- a run -----------------------------------------------------------------------------------------------------------


def document(directory: Path, **keys: Any) -> dict[str, Any]:
    train = directory / "train.csv"
    if not train.exists():
        write_tiny(train, 60)
    training = {"epochs": 3, "batch_size": 16, "max_length": 32, "precision": "fp32", "log_every": 1}
    data = {"train": str(train), "id": "id", "validation": 0.2}
    whole = {"data": data, "model": "tiny", "training": training, "record": {"mode": "snapshot", "checkpoints": "all"}}
    return {**whole, **{key: {**whole.get(key, {}), **value} for key, value in keys.items()}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs, all of them kept, nothing probed yet: tests copy it."""
    directory = tmp_path_factory.mktemp("trained")
    return experiment.train(document(directory), name="run", root=directory).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Run:
    return Run(copied(trained, tmp_path / "run"))


def copied(source: Path, to: Path) -> Path:

    shutil.copytree(source, to)
    return to


def test_the_weights_of_the_epochs_stay(run: Run) -> None:
    kept = sorted(str(path.relative_to(run.path / "checkpoints")) for path in (run.path / "checkpoints").rglob("*.*"))
    assert kept == [f"epoch_00{e}/model.safetensors" for e in (1, 2, 3)]
    model, _ = learned.load(str(run.path / "model"), run.classes, new_head=False)
    final = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    put_weights(model, run.path / "checkpoints", 1)
    assert any(not torch.equal(tensor, final[name]) for name, tensor in model.state_dict().items())
    put_weights(model, run.path / "checkpoints", 3)  # the last epoch is the model at the end
    assert all(torch.equal(tensor, final[name]) for name, tensor in model.state_dict().items())


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training, no weights kept."""
    directory = tmp_path_factory.mktemp("bare")
    return experiment.train(document(directory, record={"checkpoints": None}), name="run", root=directory).path


def test_keeping_weights_changes_nothing_of_the_training(trained: Path, bare: Path) -> None:
    assert not (bare / "checkpoints").exists()
    for period in ("epoch_001.arrow", "epoch_003.arrow"):
        same = [signals.read_period(path / "signals" / period).loss for path in (trained, bare)]
        np.testing.assert_array_equal(*same)


class Killed(BaseException):
    """Stands for what no handler sees."""


def test_a_killed_run_keeps_the_same_weights(trained: Path, tmp_path: Path) -> None:
    def tell(event: Any) -> None:
        if event["event"] == "step" and event["step"] == 4:  # the first of the second epoch
            raise Killed

    with pytest.raises(Killed):
        experiment.train(document(trained.parent), name="run", root=tmp_path, tell=tell)
    experiment.train(document(trained.parent), name="run", root=tmp_path)
    assert differences(trained, tmp_path / "run") == []


def test_a_probe_is_a_score_like_any_other(run: Run, leadline: Callable[..., tuple[int, str, str]]) -> None:
    before = run.scored()
    assert before.left_out["vog"] == "needs a probe: `leadline probe RUN --probe vog`"
    assert before.left_out["prediction_depth"] == "needs a probe: `leadline probe RUN --probe depth`"
    with pytest.raises(InputError, match="vog needs a probe: `leadline probe RUN --probe vog`"):
        scores.vog(run.signals)
    status, out, _ = leadline("score", run.path)
    assert status == 0 and "left out: vog, vog_raw, vog_early, vog_late: needs a probe: `leadline probe" in out

    status, out, _ = leadline("probe", run.path, "--probe", "vog,grand,grand_full,depth", "--json")
    found = json.loads(out)
    names = ["prediction_depth", "grand", "grand_full", "vog", "vog_early", "vog_late", "vog_raw"]
    assert status == 0 and list(found["probes"]) == names and found["n"] == len(run.train)
    assert found["probes"]["grand"]["checkpoints"] == [1] and found["probes"]["vog"]["checkpoints"] == [1, 2, 3]
    assert found["probes"]["vog"]["early"] == [1, 2] and found["probes"]["vog"]["late"] == [2, 3]
    assert found["probes"]["prediction_depth"]["checkpoints"] == ["end"]

    after = run.scored()  # of the very same Run
    assert not set(names) & set(after.left_out) and {"pvi", "second_split_forgetting"} <= set(after.left_out)
    columns = after.columns()
    for name in names:
        low, high = SCORES[name].range
        assert np.isfinite(columns[name]).all() and columns[name].min() >= low and columns[name].max() <= high
        np.testing.assert_array_equal(columns[name], np.load(run.path / "probes" / f"{name}.npy"))
        np.testing.assert_array_equal(runs.kept_scores(run).columns()[name], columns[name])  # scores.parquet has it
        part = run.signals.rows(np.array([3, 0]))
        np.testing.assert_array_equal(SCORES[name].function(part), columns[name][[3, 0]])
    write_map(run, after, run.path / "map.html", x="vog", color="grand")
    assert "how much the gradient of the gold logit moved" in (run.path / "map.html").read_text()
    status, out, _ = leadline("compare", run.path, "--scores", "grand,vog,aum")
    assert status == 0 and "left out" not in out and "vog" in out


def test_what_the_numbers_of_a_run_are(run: Run) -> None:
    experiment.probe(run, ["grand", "grand_full", "vog"])
    p, columns = run.signals.epoch(1), run.scored().columns()
    el2n = scores.el2n(run.signals, epoch=1)  # a snapshot: the same weights, dropout off
    assert (columns["grand"] > el2n).all() and (columns["grand_full"] > columns["grand"]).all()
    model, tokenizer = learned.load(str(run.path / "model"), run.classes, max_length=32, new_head=False)
    put_weights(model, run.path / "checkpoints", 1)
    text = tokenizer([run.train.table["text"][5]], return_tensors="pt", truncation=True, max_length=32)
    loss = torch.nn.functional.cross_entropy(model.eval()(**text).logits, torch.tensor([int(run.train.gold[5])]))
    assert loss.item() == pytest.approx(float(p.loss[5]), abs=1e-5)
    everything = norm(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True))
    last = norm(torch.autograd.grad(loss, list(learned.decision_layer(model).parameters())))
    assert columns["grand"][5] == pytest.approx(last, rel=1e-4)
    assert columns["grand_full"][5] == pytest.approx(everything, rel=1e-4)
    for k in (0, 1):
        own = columns["vog"][run.train.gold == k]
        assert own.mean() == pytest.approx(0, abs=1e-9) and own.std() == pytest.approx(1)
    np.testing.assert_allclose(
        columns["vog"], vog.within_classes(columns["vog_raw"], run.train.gold), rtol=1e-9, atol=1e-12
    )


def test_the_same_command_gives_the_same_numbers(run: Run) -> None:
    experiment.probe(run, ["vog", "depth"])
    first = {path.name: np.load(path) for path in (run.path / "probes").glob("*.npy")}
    experiment.probe(run, ["depth", "vog"])
    again = {path.name: np.load(path) for path in (run.path / "probes").glob("*.npy")}
    assert first.keys() == again.keys() and len(first) == 5
    assert all((first[name] == again[name]).all() for name in first)


def test_the_epoch_that_is_asked_for(run: Run) -> None:
    experiment.probe(run, ["grand", "depth"], checkpoint=1)
    early = run.scores(["grand", "prediction_depth"])
    experiment.probe(run, ["grand", "depth"], checkpoint=3)
    late = run.scores(["grand", "prediction_depth"])
    assert not early["grand"].equals(late["grand"])
    experiment.probe(run, ["depth"])  # the end is epoch 3
    assert run.scores("prediction_depth")["prediction_depth"].equals(late["prediction_depth"])
    about = json.loads((run.path / "probes" / "grand.json").read_text())
    assert about["settings"]["checkpoints"] == [3] and about["identity"] == dict(run.signals.identity)
    assert about["versions"]["torch"] == torch.__version__ and about["date"][:2] == "20" and about["n"] == 48


def test_a_regression(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    texts = tiny_models.sentences(40)
    rows = [f"n{i},{text},{100 + 10 * len(text.split())}" for i, text in enumerate(texts)]
    path.write_text("\n".join(["id,text,label", *rows]) + "\n")
    made = experiment.train(
        {**document(tmp_path), "task": "regression", "data": {"train": str(path), "id": "id"}}, name="r", root=tmp_path
    )
    assert set(experiment.probe(made)) == {"grand", "vog", "vog_early", "vog_late", "vog_raw"}
    columns = made.scored().columns()
    np.testing.assert_array_equal(columns["vog"], columns["vog_raw"])
    experiment.probe(made, ["grand"], checkpoint=3)  # in the unit of the labels: 2 |z - y| sqrt(|h|^2 + 1)
    error = np.sqrt(made.signals.epoch(3).loss.astype(float))
    assert (made.scored().columns()["grand"] > 2 * error * (1 - 1e-4)).all() and error.max() > 10
    with pytest.raises(InputError, match="prediction depth needs classes, and this is a regression"):
        experiment.probe(made, ["depth"])


# What a run lacks


def test_weights_that_were_not_kept(run: Run, leadline: Callable[..., tuple[int, str, str]]) -> None:

    for epoch in (1, 2):
        shutil.rmtree(run.path / "checkpoints" / f"epoch_00{epoch}")
    status, _, said = leadline("probe", run.path, "--probe", "grand,vog")
    assert status == 2 and "vog needs the model at several epochs, and of its weights only those of epoch 3" in said
    assert "`record.checkpoints: all` keeps them" in said and "--set record.checkpoints=all" in said
    assert not (run.path / "probes").exists(), "said before anything is computed"
    status, _, said = leadline("probe", run.path, "--probe", "grand", "--checkpoint", "2")
    assert status == 2 and "the weights of epoch 2 were not kept (those of the epochs 3)" in said
    status, _, said = leadline("probe", run.path, "--probe", "depth", "--checkpoint", "7")
    assert status == 2 and "there is no epoch 7; this run has 3" in said
    shutil.rmtree(run.path / "checkpoints")
    status, _, said = leadline("probe", run.path, "--probe", "grand")
    assert status == 2 and "grand needs the model early in training, and of its weights none were kept" in said
    assert "`record.checkpoints: [1]`" in said
    assert leadline("probe", run.path, "--probe", "depth")[0] == 0, "the depth reads the model at the end"


def test_the_command_that_a_run_names_keeps_the_weights(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        experiment.probe(bare, ["grand"])
    command = shlex.split(str(told.value).split("`")[3])
    assert command[:2] == ["leadline", "train"] and command[3:] == ["--set", "record.checkpoints=[1]"]
    again = experiment.train(command[2], overrides=[command[4]], name="again", root=tmp_path)
    assert kept_epochs(again.path / "checkpoints") == [1] and "grand" in experiment.probe(again, ["grand"])


def test_names_and_runs_that_cannot_be_probed(run: Run, leadline: Callable[..., tuple[int, str, str]]) -> None:
    with pytest.raises(InputError, match="no probe `gran`. Did you mean `grand`"):
        experiment.probe(run, ["gran"])
    assert "no such probe. Did you mean `vog`" in leadline("probe", run.path, "--probe", "vogg")[2]
    with pytest.raises(InputError, match="vog reads every epoch whose weights were kept"):
        experiment.probe(run, ["vog"], checkpoint=1)
    status, _, said = leadline("probe", run.path, "--probe", "pvi,second_split_forgetting", "--checkpoint", "1")
    assert status == 2 and "pvi, second_split_forgetting: by training other models" in said
    status, _, said = leadline("probe", run.path, "--probe", "vog", "--folds", "3")
    assert status == 2 and "--folds 3 belongs to pvi, which is not asked for" in said

    shutil.rmtree(run.path / "model")
    with pytest.raises(InputError, match="this run has no model .an import, or somebody else's loop., and a probe"):
        experiment.probe(run, ["depth"])


def test_an_epoch_that_never_comes_is_no_recipe() -> None:
    with pytest.raises(InputError, match="record.checkpoints: there is no epoch 4; training.epochs is 3"):
        recipe.load({"data": {"train": "x.csv"}, "training": {"epochs": 3}, "record": {"checkpoints": [1, 4]}})
    with pytest.raises(InputError, match="checkpoints"):
        recipe.load({"data": {"train": "x.csv"}, "record": {"checkpoints": [0]}})


# The files


def test_probes_of_other_examples_are_refused(run: Run) -> None:
    values = np.arange(len(run.train), dtype=float)
    path = runs.write_probe(run, "pvi", values, {"null": "trained"})
    assert run.scores("pvi")["pvi"].to_list() == values.tolist()
    about = json.loads(path.with_suffix(".json").read_text())
    about["identity"] = {key: "0" * len(value) for key, value in about["identity"].items()}
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="pvi.npy: taken of other examples than this run's .hashes differ.; remove"):
        run.scores("aum")


@pytest.mark.parametrize("damage", ["cut", "shape", "json", "newer", "no array"])
def test_a_damaged_probe_is_one_sentence(run: Run, damage: str) -> None:
    path = runs.write_probe(run, "vog", np.zeros(len(run.train)), {})
    about = path.with_suffix(".json")
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-8])
        case "shape":
            np.save(path, np.zeros((len(run.train), 2)))
        case "json":
            about.write_text("{")
        case "newer":
            about.write_text(about.read_text().replace('"format": 1', '"format": 2'))
        case "no array":
            path.unlink()
    with pytest.raises(InputError, match=r"probes/vog\.(npy|json): .*; remove vog.npy and vog.json in .* again$"):
        run.scores("vog")


def test_a_half_of_a_probe_is_passed_over(run: Run) -> None:
    path = runs.write_probe(run, "vog", np.zeros(len(run.train)), {})
    path.with_suffix(".json").unlink()  # killed between the two files
    assert "vog" in run.scored().left_out
    with pytest.raises(ValueError, match="48 training examples, but values of shape"):
        runs.write_probe(run, "vog", np.zeros(7), {})


def test_infinite_and_negative_probes_are_scores(run: Run) -> None:
    n = len(run.train)
    runs.write_probe(run, "second_split_forgetting", np.where(np.arange(n) % 3, np.inf, 2.0), {})
    runs.write_probe(run, "pvi", np.linspace(-4, 1, n), {})
    table = runs.write_scores(run)
    assert table.column("second_split_forgetting").max() == np.inf and table.column("pvi").min() == -4

    ranked = suspects.rank(run.signals, run.scored().columns(), "second_split_forgetting")
    assert ranked["score"][0] == 2.0, "what is forgotten soon is doubted first"
