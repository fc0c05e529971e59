"""The seam between plans and the loop: an Epoch trains as written.

Every optimiser step is computed again with plain transformers code: each text alone and unpadded, the vector that the
head reads, mixed, the head, cross-entropy towards the target, weights, divided by W.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from leadline import signals
from leadline.learn import models
from leadline.learn.tasks.classification import Classification
from leadline.learn.tasks.regression import Regression
from leadline.plans.epoch import Epoch, steps
from leadline.recipe import Mixup, Model, Record
from tiny_models import checkpoint, encoder, examples, fit, sentences

FAMILIES = ("bert", "roberta", "gpt2")
MORE = ("distilbert", "modernbert", "deberta-v2")  # their heads too: mixed entries only, the loop is the same
CLASSES = ("dry", "neither", "wet")
K, N, BATCH = 3, 16, 16
TEXTS = sentences(N, seed=9)
LABELS = np.arange(N) % K
DATA = examples(TEXTS, LABELS.tolist(), CLASSES)
RNG = np.random.default_rng(2)
V = RNG.uniform(0.2, 3, N)  # weights of examples
W = np.array([0.5, 2.0, 1.25])  # of classes

# Matched pairs, the same pair in a second round, one-way partners, a row with itself, lam 0 and 1; 13 to 15 never rows,
# 14 and 15 never met. 37 entries: steps of 16, 16 and 5, or nearly, as whole pairs stay together.
PAIRS = [(0, 1), (1, 0), (2, 3), (3, 2), (4, 5), (5, 4), (6, 7), (7, 6), (8, 9), (9, 8), (10, 11), (11, 10), (12, 12)]
ROUNDS = [*PAIRS, (0, 1), (1, 0), (0, 1), (2, 7), (7, 2), (3, 3), (4, 13), (5, 13), (6, 1), (8, 8), (9, 2), (9, 2)]
ROUNDS += [(10, 0), (0, 10), (11, 12), (12, 11), (1, 5), (5, 1), (2, 4), (3, 6), (6, 3), (7, 7), (8, 11), (10, 9)]
ROWS, PARTNERS = np.array(ROUNDS).T
M = len(ROWS)
LAM = RNG.uniform(0, 1, M)
LAM[[3, 20]] = 1.0, 0.0
SOFT = RNG.dirichlet(np.ones(K), M)
ENTRY_WEIGHTS = np.where(np.arange(M) % 9 == 4, 0.0, RNG.uniform(0, 2, M))

EPOCHS = {
    "plain, with repeats and gaps": Epoch(ROWS),
    "targets and weights of its own": Epoch(ROWS, targets=SOFT, weights=ENTRY_WEIGHTS),
    "other classes": Epoch(ROWS, targets=(LABELS[ROWS] + np.arange(M)) % K),
    "mixed": Epoch(ROWS, PARTNERS, LAM),
    "mixed, targets and weights of its own": Epoch(ROWS, PARTNERS, LAM, SOFT, ENTRY_WEIGHTS),
}
UNWEIGHTED = ("other classes", "mixed")  # the rest with class weights and smoothing


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved with their heads and without dropout, so that plain transformers loads the very model that is trained."""
    root = tmp_path_factory.mktemp("models")
    for name in (*FAMILIES, *MORE):
        model, tokenizer = models.load(Model(name=str(checkpoint(name, root / "body" / name)), dropout=0.0), CLASSES)
        with torch.no_grad():
            models.head(model).apply(lambda m: m.weight.mul_(10) if isinstance(m, torch.nn.Linear) else None)
        models.save(model, tokenizer, root / name)
    return {name: root / name for name in (*FAMILIES, *MORE)}


@dataclass
class Plain:
    """The same model in plain transformers code."""

    model: Any
    tokenizer: Any
    smoothing: float = 0.0
    class_weights: np.ndarray | None = None

    @classmethod
    def load(cls, path: Path, **settings: Any) -> Plain:
        with models.quiet():
            model = transformers.AutoModelForSequenceClassification.from_pretrained(path)
        return cls(model.train(), transformers.AutoTokenizer.from_pretrained(path), **settings)

    def vector(self, row: int) -> Tensor:
        """What the head reads of one text."""
        encoded = self.tokenizer(TEXTS[row], return_tensors="pt")
        match self.model.config.model_type:
            case "bert":
                return self.model.bert(**encoded).pooler_output
            case "roberta":
                return self.model.roberta(**encoded).last_hidden_state[:, :1]
            case "distilbert":
                return self.model.pre_classifier(self.model.distilbert(**encoded).last_hidden_state[:, 0]).relu()
            case "modernbert":
                return self.model.head(self.model.model(**encoded).last_hidden_state[:, 0])
            case "deberta-v2":
                return self.model.pooler(self.model.deberta(**encoded).last_hidden_state)
        return self.model.transformer(**encoded).last_hidden_state[:, -1]

    def head(self, vector: Tensor) -> Tensor:
        return (self.model.score if self.model.config.model_type == "gpt2" else self.model.classifier)(vector)

    def entry(self, epoch: Epoch, j: int) -> tuple[Tensor, float]:
        """(loss, mass) of one entry: v sum_k w_k S_k (-log p_k) and v sum_k w_k Y_k."""
        row, other = int(epoch.rows[j]), int(epoch.rows[j] if epoch.partners is None else epoch.partners[j])
        lam = 1.0 if epoch.lam is None else float(epoch.lam[j])
        log_p = self.head(lam * self.vector(row) + (1 - lam) * self.vector(other))[0].log_softmax(-1)
        if epoch.targets is None:
            y = lam * np.eye(K)[LABELS[row]] + (1 - lam) * np.eye(K)[LABELS[other]]
        else:
            y = epoch.targets[j] if epoch.targets.ndim == 2 else np.eye(K)[epoch.targets[j]]
        v = lam * V[row] + (1 - lam) * V[other] if epoch.weights is None else epoch.weights[j]
        w = np.ones(K) if self.class_weights is None else self.class_weights
        s = (1 - self.smoothing) * y + self.smoothing / K
        return v * -(torch.from_numpy(w * s).float() * log_p).sum(), v * float(w @ y)

    def divergence(self, epoch: Epoch, j: int) -> Tensor:
        """JS of the anchor's clean answer p and the mixed one q: H(m) - H(p) / 2 - H(q) / 2 with m = (p + q) / 2."""
        lam, row, other = float(epoch.lam[j]), int(epoch.rows[j]), int(epoch.partners[j])
        p = self.head(self.vector(row))[0].softmax(-1)
        q = self.head(lam * self.vector(row) + (1 - lam) * self.vector(other))[0].softmax(-1)
        entropies = [-(x * x.log()).sum() for x in ((p + q) / 2, p, q)]
        return entropies[0] - entropies[1] / 2 - entropies[2] / 2

    def step(self, epoch: Epoch, entries: np.ndarray) -> Tensor:
        losses, masses = zip(*(self.entry(epoch, int(j)) for j in entries), strict=True)
        return torch.stack(losses).sum() / sum(masses)

    def clean(self) -> np.ndarray:
        """(N, K) logits of every text, unmixed."""
        with torch.no_grad():
            return torch.cat([self.head(self.vector(row)) for row in range(N)]).numpy()


@dataclass
class Watched:
    """A training, and for each of its steps the loss and the gradients."""

    losses: list[float]
    gradients: list[dict[str, Tensor]]
    model: Any
    task: Classification


def watched(
    path: Path, epoch: Epoch, monkeypatch: pytest.MonkeyPatch, plain: Plain | None = None, **settings: Any
) -> Watched:
    model, tokenizer = models.load(str(path), CLASSES)
    w, smoothing = (plain.class_weights, plain.smoothing) if plain else (None, 0.0)
    task = Classification(encoder(model, tokenizer), w, label_smoothing=smoothing)
    seen = Watched([], [], model, task)
    trained = fit(
        model, task, DATA, plan=lambda number: epoch, class_weights=w, weights=V, batch_size=BATCH,
        tell=lambda event: seen.losses.append(event["loss"]) if event["event"] == "step" else None, **settings,
    )  # fmt: skip
    clip = trained.accelerator.clip_grad_norm_

    def spy(parameters: Any, limit: float) -> Any:
        seen.gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        return clip(parameters, limit)

    monkeypatch.setattr(trained.accelerator, "clip_grad_norm_", spy)
    trained.run()
    return seen


def formed(epoch: Epoch, plain: Plain, number: int = 0) -> list[np.ndarray]:
    """The steps of the loop: their entries, whatever the micro-batches."""
    lengths = np.array([len(plain.tokenizer(text)["input_ids"]) for text in TEXTS])
    cutting = steps(epoch, lengths, BATCH, None, np.random.default_rng([0, number, 0]))
    return [np.concatenate(step) for step in cutting]


@pytest.mark.parametrize(
    ("family", "kind"), [(family, kind) for family in FAMILIES for kind in EPOCHS] + [(name, "mixed") for name in MORE]
)
def test_loss_and_gradient_of_every_step_are_those_by_hand(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, family: str, kind: str
) -> None:
    epoch = EPOCHS[kind]
    plain = Plain.load(checkpoints[family], **({} if kind in UNWEIGHTED else {"class_weights": W, "smoothing": 0.1}))
    whole = formed(epoch, plain)
    sizes = [len(entries) for entries in whole]
    assert sum(sizes) == M == 37 and len(set(sizes)) > 1  # the last step is shorter
    expected = []
    for entries in whole:
        plain.model.zero_grad()
        loss = plain.step(epoch, entries)
        loss.backward()
        gradient = {name: p.grad.clone() for name, p in plain.model.named_parameters() if p.grad is not None}
        expected.append((loss.item(), gradient))
    for micro in (None, 4, 1):
        seen = watched(checkpoints[family], epoch, monkeypatch, plain, learning_rate=0.0, micro_batch=micro)
        np.testing.assert_allclose(seen.losses, [loss for loss, _ in expected], atol=1e-5)
        for found, (_, gradient) in zip(seen.gradients, expected, strict=True):
            assert set(found) == set(gradient)
            for name, values in gradient.items():
                np.testing.assert_allclose(found[name], values, atol=1e-5, rtol=1e-4, err_msg=f"{name}, {micro}")
    assert max(float(values.abs().max()) for values in expected[0][1].values()) > 1e-2  # gradients to speak of


@pytest.mark.parametrize("kind", ["mixed", "mixed, targets and weights of its own"])
def test_consistency_is_added_per_entry(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """c sum_j JS_j / entries of the step: neither the entries' weights nor W count, nor does the micro-batch."""
    epoch, c = EPOCHS[kind], 25.0
    model, tokenizer = models.load(str(checkpoints["bert"]), CLASSES)
    models.head(model).weight.data.mul_(10)  # clean and mixed answers that differ
    models.save(model, tokenizer, tmp_path)
    plain = Plain.load(tmp_path, class_weights=W)
    expected, added = [], []
    for entries in formed(epoch, plain):
        plain.model.zero_grad()
        js = torch.stack([plain.divergence(epoch, int(j)) for j in entries]).sum() / len(entries)
        loss = plain.step(epoch, entries) + c * js
        loss.backward()
        expected.append((loss.item(), {n: p.grad.clone() for n, p in plain.model.named_parameters()}))
        added.append(c * js.item())
    assert min(added) > 2e-3  # far above the tolerance
    mixup = Mixup(consistency=c)
    for micro in (None, 3):
        seen = watched(tmp_path, epoch, monkeypatch, plain, learning_rate=0.0, micro_batch=micro, mixup=mixup)
        np.testing.assert_allclose(seen.losses, [loss for loss, _ in expected], atol=1e-5)
        for found, (_, gradient) in zip(seen.gradients, expected, strict=True):
            for name, values in gradient.items():
                np.testing.assert_allclose(found[name], values, atol=1e-5, rtol=1e-4, err_msg=f"{name}, {micro}")


def test_three_epochs_are_those_of_a_plain_loop(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW without decay of biases and norms, clipping at 1, linear schedule after a warm-up of 6 % of the steps."""
    epoch, plain = EPOCHS["mixed"], Plain.load(checkpoints["bert"], class_weights=W)
    decayed = [p for p in plain.model.parameters() if p.ndim >= 2]
    others = [p for p in plain.model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 5.0}, {"params": others, "weight_decay": 0}], lr=1e-3
    )
    plan = [formed(epoch, plain, number) for number in range(3)]
    total = sum(len(whole) for whole in plan)
    warm = int(0.3 * total)
    losses, updates = [], 0
    for entries in (entries for whole in plan for entries in whole):
        rate = 1e-3 * (updates / warm if updates < warm else (total - updates) / (total - warm))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = plain.step(epoch, entries)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
        updates += 1
    clean = plain.clean()
    recipe = {"epochs": 3, "warmup": 0.3, "weight_decay": 5.0, "max_grad_norm": 0.5, "learning_rate": 1e-3}
    for micro in (None, 4, 1):
        seen = watched(checkpoints["bert"], epoch, monkeypatch, plain, micro_batch=micro, **recipe)
        np.testing.assert_allclose(seen.losses, losses, atol=2e-4)
        assert abs(seen.losses[0] - seen.losses[-1]) > 0.01
        rows = seen.task.encode([{"text": text} for text in TEXTS])
        with torch.no_grad():
            logits = seen.model.eval()(**seen.task.encoder.collate(rows)).logits
        np.testing.assert_allclose(logits, clean, atol=2e-3)


@pytest.mark.parametrize("kind", ["targets and weights of its own", "mixed, targets and weights of its own"])
@pytest.mark.parametrize(("family", "micro"), [(name, micro) for name in FAMILIES for micro in (None, 3)])
def test_outcomes_are_clean_whatever_is_trained_on(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, micro: int, kind: str
) -> None:
    """Unmixed, and of the examples' own labels."""
    plain, epoch = Plain.load(checkpoints[family]), EPOCHS[kind]
    partners = ROWS if epoch.partners is None else PARTNERS
    watched(checkpoints[family], epoch, monkeypatch, to=tmp_path / "run", learning_rate=0.0, micro_batch=micro)
    (period,) = signals.read_periods(tmp_path / "run" / "signals")
    met = np.isin(np.arange(N), np.concatenate([ROWS, partners]))
    assert period.recorded.tolist() == met.tolist() and met.sum() == (13 if epoch.partners is None else 14)
    expected = signals.outcome(plain.clean(), LABELS)
    for name, values in expected.items():
        np.testing.assert_allclose(period.columns[name][met], values[met], atol=1e-5, err_msg=name)
    for name in ("loss", "gold_logprob", "margin", "entropy"):
        assert np.isnan(period.columns[name][~met]).all()
    assert (period.correct[~met] == -1).all() and np.isnan(period.logits[~met]).all()
    first = {}
    for number, entries in enumerate(formed(epoch, plain)):
        for row in np.concatenate([ROWS[entries], partners[entries]]).tolist():
            first.setdefault(row, number)
    assert period.step[met].tolist() == [first[row] for row in np.flatnonzero(met)]


def test_an_example_is_trained_only_where_it_has_a_weight(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, partners = np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7])
    epoch = Epoch(rows, partners, np.array([0.5, 1.0, 0.0, 0.5]), weights=np.array([1.0, 1.0, 1.0, 0.0]))
    watched(checkpoints["bert"], epoch, monkeypatch, to=tmp_path / "online")
    snapshot = {"to": tmp_path / "snapshot", "record": Record(mode="snapshot")}
    watched(checkpoints["bert"], epoch, monkeypatch, **snapshot)
    for name in ("online", "snapshot"):
        (period,) = signals.read_periods(tmp_path / name / "signals")
        assert np.flatnonzero(period.trained).tolist() == [0, 1, 2, 5], name


def test_a_step_without_weight_changes_nothing_and_is_still_recorded(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step too, before the optimiser has stepped once: torch warns of that."""
    plain, rows = Plain.load(checkpoints["bert"]), np.arange(N).repeat(2)
    lengths = formed(Epoch(rows), plain)
    assert len(lengths) == 2
    weights = np.ones(2 * N)
    weights[lengths[0]] = 0.0  # the first step
    epoch = Epoch(rows, weights=weights)
    seen = watched(checkpoints["bert"], epoch, monkeypatch, to=tmp_path / "one", warmup=0.0, schedule="constant")
    assert len(seen.losses) == len(seen.gradients) == 1  # the second
    assert seen.losses[0] == pytest.approx(plain.step(epoch, lengths[1]).item(), abs=1e-5)
    (period,) = signals.read_periods(tmp_path / "one" / "signals")
    assert period.recorded.all()
    expected = signals.outcome(plain.clean(), LABELS)
    np.testing.assert_allclose(period.loss, expected["loss"], atol=1e-5)  # both steps met the model as it was loaded

    nothing = Epoch(rows, weights=np.zeros(2 * N))
    seen = watched(checkpoints["bert"], nothing, monkeypatch, to=tmp_path / "none")
    (period,) = signals.read_periods(tmp_path / "none" / "signals")
    assert seen.losses == [] and period.recorded.all() and not period.trained.any()
    for name, p in plain.model.named_parameters():
        assert torch.equal(p, dict(seen.model.named_parameters())[name]), name


def test_a_regression_is_mixed_in_its_numbers(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model, tokenizer = models.load(Model(name=str(checkpoints["bert"]), dropout=0.0), ())
    models.save(model, tokenizer, tmp_path)
    plain, values = Plain.load(tmp_path), 50 + 10 * RNG.normal(size=N)
    task, losses = Regression(encoder(model, tokenizer), float(values.mean()), float(values.std())), []
    epoch = EPOCHS["mixed"]
    fit(
        model,
        task,
        replace(DATA, classes=()),
        targets=values,
        weights=V,
        plan=lambda number: epoch,
        batch_size=BATCH,
        micro_batch=5,
        learning_rate=0.0,
        tell=lambda event: losses.append(event["loss"]) if event["event"] == "step" else None,
    ).run()
    for entries, found in zip(formed(epoch, plain), losses, strict=True):
        mixed = [(int(ROWS[j]), int(PARTNERS[j]), float(LAM[j])) for j in entries]
        v = np.array([lam * V[a] + (1 - lam) * V[b] for a, b, lam in mixed])
        with torch.no_grad():
            z = [float(plain.head(lam * plain.vector(a) + (1 - lam) * plain.vector(b))[0, 0]) for a, b, lam in mixed]
        y = (np.array([lam * values[a] + (1 - lam) * values[b] for a, b, lam in mixed]) - values.mean()) / values.std()
        assert found == pytest.approx((v * (np.array(z) - y) ** 2).sum() / v.sum(), rel=1e-4)
