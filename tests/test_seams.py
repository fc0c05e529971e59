"""The seam between tasks and everything else: models of every kind to come, through the real loop, recorder and scores.

Each task (tests/seam_tasks.py) trains one epoch with a tiny random model; what the record says of each row is held
against plain transformers code that reads the row alone, unpadded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from torch import Tensor

import leadline
from leadline import signals
from leadline.data.examples import Examples, with_hashes
from leadline.learn import models
from leadline.learn.outcome import Outcome
from leadline.learn.tasks.batch import Batch, Task
from leadline.plans.epoch import steps
from leadline.recipe import Record
from leadline.scores import SCORES, compute
from seam_tasks import (
    END,
    START,
    VOCABULARY,
    DecisionToken,
    ImageClassification,
    MultipleChoice,
    QuestionAnswering,
    SequenceToSequence,
    ids,
)
from tiny_models import SIZES, WORDS, accelerator, fit

N = 21
RNG = np.random.default_rng(5)
QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
NO_SEGMENTS = {"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": START, "eos_token_id": END}


def words(least: int, most: int) -> str:
    return " ".join(RNG.choice(WORDS, RNG.integers(least, most + 1)))


@dataclass(frozen=True)
class Case:
    """A task, its rows, its model, and how a stranger would compute the loss of one row."""

    task: Task
    table: dict[str, list[Any]]
    targets: np.ndarray
    model: Callable[[], Any]
    alone: Callable[[Any, dict[str, Any], np.ndarray], Tensor]  # model, row, target -> loss, NaN where undefined
    defined: tuple[str, ...]  # what the outcomes define
    classes: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    def examples(self) -> Examples:
        table = {"_id": [f"q{i}" for i in range(N)], "_split": ["train"] * N, **self.table}
        inputs = tuple(name for name in self.table if name != "_label")
        return with_hashes(Examples(pl.DataFrame(table), task="seam", inputs=inputs, classes=self.classes))

    def expected(self, model: Any) -> Tensor:
        """(N,) with a gradient: each row alone."""
        rows = self.examples().table.to_dicts()
        return torch.stack([self.alone(model, row, target) for row, target in zip(rows, self.targets, strict=True)])


# Extractive question answering

PASSAGES = [RNG.choice(WORDS, RNG.integers(4, 22)).tolist() for _ in range(N)]
SPANS = np.full((N, 2, 2), -1)
for i, passage in enumerate(PASSAGES):
    start = int(RNG.integers(0, len(passage) - 1))
    SPANS[i, 0] = start, min(start + RNG.integers(0, 2), len(passage) - 1)
SPANS[0, 0] = 0, len(PASSAGES[0]) - 1
PASSAGES[1] = RNG.choice(WORDS, 20).tolist()
SPANS[1, 0] = 2, 17  # longer than any window
SPANS[2, 1] = SPANS[2, 0] // 2  # a second gold span
SPANS[3, 0] = 5, 6  # in two windows
PASSAGES[3] = RNG.choice(WORDS, 18).tolist()
HELD = np.array([i not in (0, 1) or len(PASSAGES[i]) <= 8 for i in range(N)])
QA = QuestionAnswering(window=8, stride=5)


def answer_alone(model: Any, row: dict[str, Any], target: np.ndarray) -> Tensor:
    """transformers' own loss is the mean of start and end; a window's log-probability of a span is minus twice that."""
    question, passage, of_windows = ids(row["question"]), ids(row["passage"]), []
    start = 0
    while start == 0 or start < len(passage) - QA.window + QA.stride:
        part = passage[start : start + QA.window]
        tokens = torch.tensor([[START, *question, END, *part, END]])
        segments = torch.tensor([[0] * (len(question) + 2) + [1] * (len(part) + 1)])
        log_p = []
        for first, last in (span - start for span in target if span[0] >= 0):
            if first >= 0 and last < len(part):
                gold = {"start_positions": torch.tensor([first]), "end_positions": torch.tensor([last])}
                shifted = {name: place + len(question) + 2 for name, place in gold.items()}
                log_p.append(-2 * model(input_ids=tokens, token_type_ids=segments, **shifted).loss)
        if log_p:
            of_windows.append(torch.stack(log_p).logsumexp(0))
        start += QA.stride
    return -torch.stack(of_windows).max() if of_windows else torch.tensor(torch.nan)


# Multiple choice: between two and four options

OPTIONS = [[words(1, 4) for _ in range(RNG.integers(2, 5))] for _ in range(N)]
OPTIONS[0] = OPTIONS[0][:2]
OPTIONS[1] = [words(1, 4) for _ in range(4)]
for i, options in enumerate(OPTIONS):
    options[i % 2] = "rain rain rain"  # the gold one


def choose_alone(model: Any, row: dict[str, Any], target: np.ndarray) -> Tensor:
    """transformers' BertForMultipleChoice has the same body and the same decision layer over all options at once."""
    theirs = transformers.BertForMultipleChoice(model.config)
    theirs.bert, theirs.classifier = model.bert, model.classifier
    theirs.train(model.training)
    encoded = [MultipleChoice._option(ids(row["question"]), ids(option)) for option in row["options"]]
    most = max(len(item["input_ids"]) for item in encoded)
    padded = {
        name: torch.tensor([[[*item[name], *[0] * (most - len(item[name]))] for item in encoded]])
        for name in ("input_ids", "token_type_ids")
    }
    mask = torch.tensor([[[1] * len(item["input_ids"]) + [0] * (most - len(item["input_ids"])) for item in encoded]])
    return theirs(**padded, attention_mask=mask, labels=torch.tensor([int(target)])).loss


# Sequence to sequence, decision token, images

LABEL_TOKENS = [[5, 9], [6], [7, 8, 11]]  # forms of each label


def summarise_alone(model: Any, row: dict[str, Any], target: np.ndarray) -> Tensor:
    source, gold = (torch.tensor([[*ids(row[name]), END]]) for name in ("source", "summary"))
    return model(input_ids=source, labels=gold).loss  # the mean over tokens is theirs too


def decide_alone(model: Any, row: dict[str, Any], target: np.ndarray) -> Tensor:
    p = model(input_ids=torch.tensor([[START, *ids(row["prompt"])]])).logits[0, -1].softmax(-1)
    of_labels = torch.stack([p[forms].sum() for forms in LABEL_TOKENS])
    return -torch.log(of_labels[int(target)] / of_labels.sum())


def look_alone(model: Any, row: dict[str, Any], target: np.ndarray) -> Tensor:
    pixels = torch.tensor(row["image"]).reshape(1, 3, 8, 8) / 255
    return model(pixel_values=pixels, labels=torch.tensor([int(target)])).loss


def gpt2() -> Any:
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": START, "eos_token_id": END}
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCABULARY, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **shape)
    )


def bart() -> Any:
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64}
    tokens = {"pad_token_id": 0, "bos_token_id": START, "eos_token_id": END, "decoder_start_token_id": START}
    quiet = {"dropout": 0.0, "forced_eos_token_id": None}
    return transformers.BartForConditionalGeneration(
        transformers.BartConfig(vocab_size=VOCABULARY, **sizes, **heads, **tokens, **quiet)
    )


def t5() -> Any:
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0,
            pad_token_id=0, eos_token_id=END, decoder_start_token_id=0,
        )
    )  # fmt: skip


def bert(kind: Any, **more: Any) -> Callable[[], Any]:
    return lambda: kind(transformers.BertConfig(vocab_size=VOCABULARY, **SIZES, **QUIET, **NO_SEGMENTS, **more))


QUESTIONS = [words(2, 6) for _ in range(N)]
THREE = ("even", "more", "odd")
SUMMARIES: dict[str, list[Any]] = {
    "source": [words(3, 12) for _ in range(N)],
    "summary": [words(1, 5) for _ in range(N)],
}
LABELS = RNG.integers(0, 3, N)
IMAGES = [(RNG.integers(0, 76, 192) + 90 * k).tolist() for k in LABELS]
NOTHING = np.full(N, np.nan)
CLOSED = ("loss", "gold_logprob", "margin", "entropy", "correct", "logits", "gold")
CASES = {
    "question answering": Case(
        task=QA,
        table={
            "question": [words(2, 5) for _ in range(N)],
            "passage": [" ".join(passage) for passage in PASSAGES],
            "_label": [" ".join(p[a : b + 1]) for p, (a, b) in zip(PASSAGES, SPANS[:, 0], strict=True)],
        },
        targets=SPANS,
        model=bert(transformers.BertForQuestionAnswering),
        alone=answer_alone,
        defined=("loss", "gold_logprob", "margin", "correct"),
    ),
    "summaries, BART": Case(
        SequenceToSequence(start=START), {**SUMMARIES, "_label": SUMMARIES["summary"]}, NOTHING, bart, summarise_alone,
        ("loss", "gold_logprob"), extras=("nll_sum", "tokens"),
    ),
    "summaries, T5": Case(
        SequenceToSequence(start=0), {**SUMMARIES, "_label": SUMMARIES["summary"]}, NOTHING, t5, summarise_alone,
        ("loss", "gold_logprob"), extras=("nll_sum", "tokens"),
    ),
    "multiple choice": Case(
        task=MultipleChoice(most=4),
        table={"question": QUESTIONS, "options": OPTIONS, "_label": [str(i % 2 + 1) for i in range(N)]},
        targets=np.arange(N) % 2,
        model=bert(transformers.BertForSequenceClassification, num_labels=1),
        alone=choose_alone,
        defined=CLOSED,
        classes=("1", "2", "3", "4"),
    ),
    "decision token": Case(
        DecisionToken(LABEL_TOKENS), {"prompt": [words(2, 12) for _ in range(N)], "_label": [THREE[k] for k in LABELS]},
        LABELS, gpt2, decide_alone, CLOSED, THREE, extras=("mass",),
    ),
    "decision token, padded left": Case(
        DecisionToken(LABEL_TOKENS, "left"),
        {"prompt": [words(2, 12) for _ in range(N)], "_label": [THREE[k] for k in LABELS]},
        LABELS, gpt2, decide_alone, CLOSED, THREE, extras=("mass",),
    ),
    "images": Case(
        task=ImageClassification(),
        table={"image": IMAGES, "_label": [THREE[k] for k in LABELS]},
        targets=LABELS,
        model=lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(image_size=8, patch_size=4, num_labels=3, **SIZES, **QUIET)
        ),
        alone=look_alone,
        defined=CLOSED,
        classes=THREE,
    ),
}  # fmt: skip

every_kind = pytest.mark.parametrize("kind", CASES)


def ready(case: Case) -> Any:
    torch.manual_seed(1)
    model = case.model()
    with torch.no_grad():
        for p in model.parameters() if model.config.model_type != "t5" else ():
            if p.ndim >= 2:
                p.mul_(4)  # answers that differ; T5 begins so
    models.head_in_float32(model)
    return model


def weights(case: Case) -> np.ndarray:
    """A row that the task cannot train on weighs nothing."""
    return HELD.astype(np.float64) if case.targets is SPANS else np.ones(N)


def train(case: Case, model: Any, to: Path | None = None, **settings: Any) -> Any:
    return fit(model, case.task, case.examples(), to=to, targets=case.targets, weights=weights(case), **settings)


@every_kind
def test_the_record_is_what_plain_transformers_code_computes(tmp_path: Path, kind: str) -> None:
    case = CASES[kind]
    model = ready(case)
    expected = case.expected(model).detach().numpy()
    assert train(case, model, tmp_path / "run", learning_rate=0.0, batch_size=5, micro_batch=3).run() == 5
    (period,) = signals.read_periods(tmp_path / "run" / "signals")
    np.testing.assert_allclose(period.loss, expected, atol=1e-5)
    held = ~np.isnan(expected)
    assert held.tolist() == period.recorded.tolist() == period.trained.tolist() == (weights(case) > 0).tolist()
    assert np.ptp(expected[held]) > 0.1  # the rows differ, so an order mixed up would show
    for name in ("gold_logprob", "margin", "entropy", "correct"):
        column = period.columns[name][held]
        known = column >= 0 if name == "correct" else ~np.isnan(column)
        assert known.all() if name in case.defined else not known.any(), name
    assert set(period.columns) == {*signals.FIELDS, *case.extras, *(["logits"] if "logits" in case.defined else [])}
    if "gold_logprob" in case.defined:
        np.testing.assert_allclose(period.gold_logprob[held], -expected[held], atol=1e-5)


@every_kind
def test_each_kind_trains_and_is_scored(tmp_path: Path, kind: str) -> None:
    case = CASES[kind]
    model = ready(case)
    before = float(np.nanmean(case.expected(model).detach()))
    trained = train(
        case, model, tmp_path / "run", learning_rate=3e-3, batch_size=4, record=Record(mode="snapshot"), warmup=0.0
    )
    trained.run()
    after = case.expected(model.eval()).detach().numpy()
    assert np.nanmean(after) < before
    run = leadline.open(tmp_path / "run")
    np.testing.assert_allclose(run.signals.loss[0], after, atol=1e-5)  # a snapshot is of the trained model
    assert run.signals.metadata["mode"] == "snapshot" and run.signals.metadata["task"] == "seam"

    columns, left_out = compute(run.signals)
    computable = {name for name, score in SCORES.items() if set(score.needs) <= set(case.defined)}
    assert set(columns) == computable and set(left_out) == set(SCORES) - computable
    for name in ("action", "action_mean", "loss_last", "loss_min", "loss_max"):
        np.testing.assert_allclose(columns[name], after, atol=1e-5)
    np.testing.assert_allclose(columns["confidence"], np.exp(-after), atol=1e-5)
    assert all("several epochs" in left_out[name] for name in ("variability", "forgetting", "loss_slope"))
    assert set(run.scores().columns) == {"id", "label", "region", *computable}


def test_what_a_kind_does_not_define_is_left_out_with_the_reason(tmp_path: Path) -> None:
    def reasons(kind: str) -> dict[str, str]:
        case = CASES[kind]
        train(case, ready(case), tmp_path / kind).run()
        return compute(leadline.open(tmp_path / kind).signals)[1]

    summaries = reasons("summaries, T5")
    assert summaries["correctness"] == "needs correct; the task of this run defines none"
    assert summaries["aum"] == "needs margin; the task of this run defines none"
    assert "its answer space is not fixed" in summaries["el2n"] and "no classes" in summaries["el2n"]
    assert "needs correct" in summaries["forgetting"] and "confidence" not in summaries
    answers = reasons("question answering")
    assert answers["entropy"] == "needs entropy; the task of this run defines none"
    assert {"el2n", "aum_prob", "normalised_margin"} <= set(answers) and not {"aum", "correctness"} & set(answers)
    for kind in ("multiple choice", "images"):
        left_out = {name: reason for name, reason in reasons(kind).items() if not SCORES[name].probe}
        assert left_out and all("epochs" in reason for reason in left_out.values())


# Details of each kind that the loss does not show


def recorded(kind: str, tmp_path: Path) -> tuple[Any, signals.Period]:
    case, model = CASES[kind], ready(CASES[kind])
    train(case, model, tmp_path / "run", learning_rate=0.0).run()
    return model.eval(), signals.read_periods(tmp_path / "run" / "signals")[0]


def test_absent_options_are_minus_infinity(tmp_path: Path) -> None:
    model, period = recorded("multiple choice", tmp_path)
    options = np.array([len(o) for o in OPTIONS])
    assert period.logits.shape == (N, 4) and set(options) == {2, 3, 4}
    assert np.isfinite(period.logits).sum(axis=1).tolist() == options.tolist()
    assert (period.entropy <= np.log(options) + 1e-6).all()
    assert np.isfinite(period.margin).all()
    columns, _ = compute(leadline.open(tmp_path / "run").signals, ["entropy_normalised", "el2n", "aum_prob"])
    np.testing.assert_allclose(columns["entropy_normalised"], period.entropy / np.log(options), atol=1e-6)
    p = signals.softmax(period.logits)
    np.testing.assert_allclose(columns["el2n"], np.linalg.norm(p - np.eye(4)[np.arange(N) % 2], axis=1), atol=1e-6)


def test_mass_is_what_the_vocabulary_leaves_for_the_labels(tmp_path: Path) -> None:
    model, period = recorded("decision token", tmp_path)
    prompts = CASES["decision token"].table["prompt"]
    for row, prompt in enumerate(prompts):
        p = model(input_ids=torch.tensor([[START, *ids(prompt)]])).logits[0, -1].softmax(-1).detach()
        of_labels = np.array([float(p[forms].sum()) for forms in LABEL_TOKENS])
        assert period.mass[row] == pytest.approx(of_labels.sum(), abs=1e-5)
        np.testing.assert_allclose(signals.softmax(period.logits[row]), of_labels / of_labels.sum(), atol=1e-5)


def test_a_sequence_keeps_its_sum_and_its_tokens(tmp_path: Path) -> None:
    _, period = recorded("summaries, BART", tmp_path)
    assert period.tokens.tolist() == [len(text.split()) + 1 for text in SUMMARIES["summary"]]
    np.testing.assert_allclose(period.nll_sum, period.loss * period.tokens, rtol=1e-5)


def test_a_gold_span_in_no_window_is_not_recorded_and_a_nan_of_the_model_is_an_error(tmp_path: Path) -> None:
    assert 0 < (~HELD).sum() < 3
    case, model = CASES["question answering"], ready(CASES["question answering"])
    with torch.no_grad():
        model.qa_outputs.weight.fill_(torch.nan)
    with pytest.raises(
        leadline.errors.LeadlineError, match=r"training diverged at step 1: the loss of \d+ examples is"
    ):
        train(case, model, tmp_path / "run").run()
    assert not (tmp_path / "run" / "signals").exists()


@pytest.mark.parametrize("kind", ["question answering", "multiple choice"])
def test_all_inputs_of_a_row_travel_in_one_micro_batch(kind: str) -> None:
    case, seen = CASES[kind], []

    class Watched(type(case.task)):  # type: ignore[misc]
        def collate(self, rows: Any, targets: np.ndarray) -> Batch:
            batch = super().collate(rows, targets)
            assert batch.owner.tolist() == [b for b, row in enumerate(rows) for _ in row]
            seen.append([len(row) for row in rows])
            return batch

    calls: list[int] = []
    model = ready(case)
    model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    trained = fit(model, Watched(**vars(case.task)), case.examples(), targets=case.targets, batch_size=8, micro_batch=2)
    trained.run()
    assert calls == [sum(inputs) for inputs in seen] and max(len(inputs) for inputs in seen) == 2
    expected = [len(row) for row in trained.material.encoded]
    assert sorted(n for inputs in seen for n in inputs) == sorted(expected) and len(set(expected)) > 1


@every_kind
def test_a_step_is_the_sum_over_its_rows_divided_by_w(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Loss and gradient of the first step, against autograd over the rows alone; in micro-batches of 2."""
    case, model = CASES[kind], ready(CASES[kind])
    events, gradients = [], []
    trained = train(case, model, learning_rate=0.0, batch_size=6, micro_batch=2, max_grad_norm=None, tell=events.append)
    monkeypatch.setattr(
        trained.accelerator,
        "clip_grad_norm_",
        lambda parameters, limit: (
            gradients.append([None if p.grad is None else p.grad.clone() for p in parameters]),
            torch.zeros(()),
        )[1],
    )
    monkeypatch.setattr(trained, "_tell_step", lambda number, step, loss, *rest: events.append(loss))
    trained.run()
    epoch, v = trained.plan(0), weights(case)
    formed = steps(epoch, trained.material.lengths, 6, 2, np.random.default_rng([0, 0, 0]))
    rows = np.concatenate(formed[0])
    rows = rows[v[rows] > 0]
    model.zero_grad()
    loss = case.expected(model.train())[rows].sum() / v[rows].sum()
    loss.backward()
    assert float(next(e for e in events if isinstance(e, Tensor))) == pytest.approx(loss.item(), abs=1e-5)
    for (name, p), found in zip(model.named_parameters(), gradients[0], strict=True):
        if p.grad is None:
            assert found is None, name
        else:
            np.testing.assert_allclose(found, p.grad, atol=1e-5, rtol=1e-4, err_msg=name)


def test_the_head_of_each_kind_runs_in_float32_under_bf16(tmp_path: Path) -> None:
    for kind, case in CASES.items():
        model = ready(case)
        batch = case.task.collate(case.task.encode(case.examples().table.to_dicts())[:2], case.targets[:2])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(**batch.inputs)
        assert {z.dtype for name, z in output.items() if name.endswith("logits")} == {torch.float32}, kind
        exact = case.expected(model).detach().numpy()
        train(case, model, tmp_path / kind, learning_rate=0.0, accelerator=accelerator("bf16")).run()
        (period,) = signals.read_periods(tmp_path / kind / "signals")
        np.testing.assert_allclose(period.loss, exact, atol=0.3, err_msg=kind)
        assert not np.array_equal(period.loss, exact, equal_nan=True), kind
        held = period.recorded
        assert len(np.unique(period.loss[held])) == held.sum(), kind
        if "logits" in case.defined and "decision" not in kind:
            z = torch.from_numpy(period.logits.copy())
            assert ((z.bfloat16().float() == z) & z.isfinite()).float().mean() < 0.1, kind


# The worked example: numbers by hand, given to the tasks as the output of a model


def test_question_answering_of_the_worked_example() -> None:
    output = SimpleNamespace(
        start_logits=torch.tensor([[2.0, 0.5, -1.0, 0.0]]), end_logits=torch.tensor([[-0.5, 1.5, 2.2, 0.1]])
    )
    targets = {"spans": torch.tensor([[[0, 2]]]), "held": torch.tensor([[True]]), "real": torch.ones(1, 4)}
    found = QA.outcome(output, Batch({}, targets, torch.tensor([0])))
    assert found.loss.item() == pytest.approx(0.864855, abs=1e-6)  # the sum, not transformers' mean 0.432428
    assert found.gold_logprob.exp().item() == pytest.approx(0.421113, abs=1e-6)
    assert found.margin.item() == pytest.approx(2.0 - 0.5 + 2.2 - 1.5, abs=1e-6) and found.correct.tolist() == [1]
    assert QA.training_loss(output, Batch({}, targets, torch.tensor([0]))).item() == pytest.approx(0.864855, abs=1e-6)


def test_the_best_window_counts_and_gold_spans_of_one_window_add_up() -> None:
    start, end = torch.tensor([[2.0, 0.5, -1.0]] * 3), torch.tensor([[0.1, 1.5, 0.4], [0.1, 2.5, 0.4], [0.1, 9.9, 0.4]])
    spans = torch.tensor([[[0, 1], [1, 1]], [[0, 1], [0, 0]], [[0, 1], [0, 0]]])
    held = torch.tensor([[True, True], [True, False], [False, False]])
    batch = Batch({}, {"spans": spans, "held": held, "real": torch.ones(3, 3)}, torch.tensor([0, 0, 0]))
    p_start, p_end = start.softmax(-1), end.softmax(-1)
    one = p_start[0, 0] * p_end[0, 1] + p_start[0, 1] * p_end[0, 1]
    other = p_start[1, 0] * p_end[1, 1]
    assert float(one) != pytest.approx(float(other))
    found = QA.outcome(SimpleNamespace(start_logits=start, end_logits=end), batch)
    assert found.gold_logprob.exp().item() == pytest.approx(float(torch.maximum(one, other)), abs=1e-6)


def test_sequence_to_sequence_of_the_worked_example() -> None:
    log_p = torch.tensor([-0.2, -1.5, -0.05, -2.3, -0.7])
    logits = torch.stack([log_p, torch.log1p(-log_p.exp())], dim=1)[None]  # (1, 5, 2): the gold token is 0
    batch = Batch({}, {"gold": torch.zeros(1, 5, dtype=torch.long), "real": torch.ones(1, 5)})
    found = SequenceToSequence(0).outcome(SimpleNamespace(logits=logits), batch)
    assert found.loss.item() == pytest.approx(0.95, abs=1e-6)
    assert found.extra["nll_sum"].item() == pytest.approx(4.75, abs=1e-5) and found.extra["tokens"].item() == 5
    assert found.gold_logprob.exp().item() == pytest.approx(0.386741, abs=1e-6)
    assert np.isnan(found.margin.item()) and found.correct.tolist() == [-1]


def test_multiple_choice_of_the_worked_example() -> None:
    logits = torch.tensor([1.4, 0.3, -0.8, 0.9, 5.0, 6.0])[:, None]  # a second question with two options
    targets = {"gold": torch.tensor([3, 0]), "option": torch.tensor([0, 1, 2, 3, 0, 1])}
    batch = Batch({}, targets, torch.tensor([0, 0, 0, 0, 1, 1]))
    found: Outcome = MultipleChoice(4).outcome(SimpleNamespace(logits=logits), batch)
    assert found.loss[0].item() == pytest.approx(1.217940, abs=1e-6)
    assert found.gold_logprob[0].exp().item() == pytest.approx(0.295839, abs=1e-6)
    assert found.margin.tolist() == pytest.approx([-0.5, -1.0], abs=1e-6)
    assert found.loss[1].item() == pytest.approx(np.log1p(np.e), abs=1e-6)
    assert MultipleChoice(4).training_loss(SimpleNamespace(logits=logits), batch).tolist() == found.loss.tolist()


def test_decision_token_of_the_worked_example() -> None:
    logits = torch.tensor([[[9.0] * 5, [3.1, 1.2, -0.4, 0.8, 2.9]]])
    batch = Batch({}, {"gold": torch.tensor([0]), "last": torch.tensor([1])})
    found = DecisionToken([[0, 1], [2, 3]]).outcome(SimpleNamespace(logits=logits), batch)
    assert found.margin.item() == pytest.approx(2.176104, abs=1e-6)  # logsumexp of the forms, not their max 2.3
    assert found.gold_logprob.exp().item() == pytest.approx(0.898083, abs=1e-6)
    assert found.extra["mass"].item() == pytest.approx(0.609897, abs=1e-6)
