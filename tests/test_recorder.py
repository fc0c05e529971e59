"""learn/recorder.py in anybody's loop, and how the one loop records: modes, periods, what a period says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import leadline
from leadline import signals
from leadline.errors import InputError, LeadlineError
from leadline.learn import models
from leadline.learn.outcome import Outcome
from leadline.learn.tasks.classification import Classification
from leadline.plans.epoch import Epoch, Plan, steps
from leadline.recipe import Model, Record
from tiny_models import encoder, examples, fit, sentences

CLASSES = ["no", "perhaps", "yes"]
IDS = [f"row-{i}" for i in range(6)]
LABELS = ["yes", "no", "perhaps", "no", "yes", "yes"]
GOLD = np.array([2, 0, 1, 0, 2, 2])


def recorder(tmp_path: Path, **settings: Any) -> leadline.Recorder:
    given = {"ids": IDS, "labels": LABELS, "classes": CLASSES, "to": tmp_path / "run", **settings}
    return leadline.Recorder(**given)


# Somebody else's loop


def test_a_plain_torch_loop_is_recorded_and_scored(tmp_path: Path) -> None:
    """A linear model on numbers: leadline knows nothing of it but ids, labels and logits."""
    torch.manual_seed(0)
    x, y = torch.randn(23, 4), torch.randint(0, 3, (23,))
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    kept = torch.full((4, 23, 3), torch.nan)
    texts = [f"text {i}" for i in range(23)]
    ours = leadline.Recorder(range(100, 123), y, classes=CLASSES, to=tmp_path / "mine", texts=texts)
    for epoch in range(4):
        for number, rows in enumerate(torch.randperm(23).split(11)):  # 11, 11 and a last batch of one
            logits = model(x[rows])
            kept[epoch, rows] = logits.detach()
            ours.log(rows, logits, step=epoch * 3 + number)
            optimizer.zero_grad()
            F.cross_entropy(logits, y[rows]).backward()
            optimizer.step()
        assert ours.end_epoch() == tmp_path / "mine" / "signals" / f"epoch_00{epoch + 1}.arrow"

    run = leadline.open(tmp_path / "mine")
    assert run.signals.n_epochs == 4 and run.classes == tuple(CLASSES) and run.recipe is None
    np.testing.assert_array_equal(run.signals.logits, kept)
    log_p = kept.double().log_softmax(-1)[:, torch.arange(23), y].numpy()
    assert sorted(np.unique(run.signals.stack("step"), return_counts=True)[1].tolist()) == [1] * 4 + [11] * 8
    table = run.scores()
    assert table["id"].to_list() == [str(i) for i in range(100, 123)]
    assert table["label"].to_list() == [CLASSES[k] for k in y]
    np.testing.assert_allclose(table["confidence"], np.exp(log_p).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(table["variability"], np.exp(log_p).std(axis=0), atol=1e-6)
    np.testing.assert_allclose(table["action"], -log_p.sum(axis=0), atol=1e-5)
    right = (kept.argmax(-1) == y).numpy()
    np.testing.assert_array_equal(table["correctness"], right.mean(axis=0))
    others = kept.clone()
    others[:, torch.arange(23), y] = -torch.inf
    margin = (kept[:, torch.arange(23), y] - others.amax(-1)).mean(0)
    np.testing.assert_allclose(table["aum"], margin, atol=1e-6)
    assert run.train.table["text"].to_list() == texts


def test_the_first_outcome_of_a_repeated_row_is_kept(tmp_path: Path) -> None:
    ours = recorder(tmp_path)
    z = torch.arange(21.0).reshape(7, 3).sin()
    ours.log([0, 1, 0, 0], z[:4], step=5)  # three times in one batch
    ours.log([1, 2], z[4:6], step=6)  # and again in another
    ours.end_epoch()
    period = leadline.open(tmp_path / "run").signals.epoch(1)
    np.testing.assert_array_equal(period.logits[:3], z[[0, 1, 5]])
    assert period.step[:3].tolist() == [5, 5, 6]
    np.testing.assert_allclose(period.loss[:3], F.cross_entropy(z[[0, 1, 5]], torch.tensor(GOLD[:3]), reduction="none"))


def test_rows_never_seen_are_nan_and_not_recorded(tmp_path: Path) -> None:
    ours = recorder(tmp_path)
    ours.log(np.array([3]), np.array([[0.5, -1.0, 0.25]]))  # a batch of one, numpy in float64
    ours.end_epoch()
    ours.log([4, 5], torch.zeros(2, 3), trained=False)
    ours.end_epoch()
    run = leadline.open(tmp_path / "run")
    assert run.signals.recorded.tolist() == [[i == 3 for i in range(6)], [i >= 4 for i in range(6)]]
    assert run.signals.stack("trained").tolist() == [[i == 3 for i in range(6)], [False] * 6]
    unseen = ~run.signals.recorded
    for name in ("loss", "gold_logprob", "margin", "entropy", "logits"):
        assert np.isnan(run.signals.stack(name)[unseen]).all() and np.isfinite(run.signals.stack(name)[~unseen]).all()
    assert (run.signals.correct[unseen] == -1).all() and run.signals.epoch(1).step[0] == 0
    table = run.scores()
    assert table["confidence"].is_nan().to_list() == [True] * 3 + [False] * 3
    assert table["confidence"][4] == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_an_error_with_the_id(tmp_path: Path, value: float) -> None:
    ours = recorder(tmp_path)
    z = torch.zeros(6, 3)
    z[1, 0] = value  # the gold class of row 1; an infinite logit of another class would be an absent option
    z[4] = torch.nan
    ours.log(range(6), z)
    with pytest.raises(LeadlineError, match=r"2 examples have a NaN or infinite loss \(first id: row-1\)"):
        ours.end_epoch()
    assert not (tmp_path / "run" / "signals").exists()


def test_an_outcome_of_ones_own(tmp_path: Path) -> None:
    """Whatever has a loss can be recorded: extras become columns, also whole numbers."""
    ours = recorder(tmp_path)
    ours.log(
        [2, 0], Outcome.of_loss(torch.tensor([0.5, 1.5]), tokens=torch.tensor([7, 9]), mass=torch.tensor([0.1, 0.2]))
    )
    ours.end_epoch()
    period = leadline.open(tmp_path / "run").signals.epoch(1)
    assert period.loss[[2, 0]].tolist() == [0.5, 1.5] and period.tokens[[2, 0]].tolist() == [7, 9]
    assert np.isnan(period.tokens[1]) and period.tokens.dtype == np.float32
    np.testing.assert_allclose(period.mass[[2, 0]], [0.1, 0.2])
    assert "logits" not in period.columns and np.isnan(period.gold_logprob).all()


def test_an_example_without_an_outcome_is_announced_by_the_outcome(tmp_path: Path) -> None:
    ours = recorder(tmp_path)
    loss, defined = torch.tensor([0.5, torch.nan]), torch.tensor([True, False])
    ours.log([0, 1], Outcome.of_loss(loss, defined=defined), trained=np.array([True, False]))
    ours.end_epoch()
    period = leadline.open(tmp_path / "run").signals.epoch(1)
    assert period.recorded.tolist() == period.trained.tolist() == [True, *[False] * 5]
    assert "defined" not in period.columns
    ours.log([0, 1], Outcome.of_loss(loss))
    with pytest.raises(LeadlineError, match="row-1"):
        ours.end_epoch()


def refused(tmp_path: Path, says: str, *log: Any, **settings: Any) -> None:
    with pytest.raises(InputError, match=says):
        recorder(tmp_path, **settings).log(*log)


@pytest.mark.parametrize(
    ("rows", "logits", "says"),
    [
        ([0, 1], torch.zeros(2, 2), r"logits of shape \(B, 3\) are needed, not \(2, 2\)"),
        ([0, 1], torch.zeros(2), r"logits of shape \(B, 3\) are needed, not \(2,\)"),
        ([0, 1, 2], torch.zeros(2, 3), r"rows of shape \(3,\), but outcomes of 2 examples"),
        ([[0, 1]], torch.zeros(2, 3), r"rows of shape \(1, 2\)"),
        ([0, 6], torch.zeros(2, 3), "positions from 0 to 5; given 0 to 6"),
        ([-1, 0], torch.zeros(2, 3), "positions from 0 to 5; given -1 to 0"),
        ([True, False], torch.zeros(2, 3), "positions from 0 to 5.*bool"),
        ([0.0, 1.0], torch.zeros(2, 3), "positions from 0 to 5.*float"),
        ([0, 1, 2], Outcome.of_loss(torch.zeros(2)), r"rows of shape \(3,\)"),
    ],
)
def test_wrong_shapes_are_told(tmp_path: Path, rows: Any, logits: Any, says: str) -> None:
    refused(tmp_path, says, rows, logits)


def test_an_empty_batch_is_nothing(tmp_path: Path) -> None:
    ours = recorder(tmp_path)
    ours.log([], torch.zeros(0, 3))
    with pytest.raises(InputError, match="nothing was logged"):
        ours.end_epoch()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ids": ["a", "b", "c", "b", "d", "e"]}, "ids must be unique; `b` occurs more than once"),
        ({"ids": [1, 2, 3, 4, 5, "3"]}, "`3` occurs more than once"),
        ({"ids": IDS[:5]}, "5 ids need as many labels"),
        ({"texts": ["x"]}, "6 ids need as many labels and texts"),
        ({"labels": [*LABELS[:5], "Yes"]}, "the label `Yes` is not among the classes no, perhaps, yes"),
        ({"labels": [0, 1, 2, 0, 1, 3]}, "the label `3` is not among"),
        ({"labels": [0, 1, 2, 0, 1, -1]}, "the label `-1` is not among"),  # unlabelled, never the last class
        ({"labels": ["a"] * 6, "classes": ()}, "two classes at least"),
        ({"ids": [], "labels": [], "classes": ()}, "two classes at least"),
    ],
)
def test_wrong_examples_are_told(tmp_path: Path, settings: Mapping[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        recorder(tmp_path, **settings)
    assert not (tmp_path / "run").exists()


def test_a_directory_that_holds_a_run_is_never_overwritten(tmp_path: Path) -> None:
    recorder(tmp_path)
    with pytest.raises(InputError, match="already holds a run"):
        recorder(tmp_path)
    (tmp_path / "empty").mkdir()
    recorder(tmp_path, to=tmp_path / "empty")


@pytest.mark.parametrize(
    ("ids", "labels", "classes"),
    [
        (range(6), [2, 0, 1, 0, 2, 2], CLASSES),
        (np.arange(6), np.array([2, 0, 1, 0, 2, 2]), CLASSES),
        (torch.arange(6), torch.tensor([2, 0, 1, 0, 2, 2]), CLASSES),
        ([str(i) for i in range(6)], np.array(LABELS), ()),
        (pl.Series(range(6)), pl.Series(LABELS), CLASSES),
    ],
    ids=["lists", "numpy", "torch", "text", "polars"],
)
def test_ids_and_labels_of_every_kind_are_the_same(tmp_path: Path, ids: Any, labels: Any, classes: Any) -> None:
    recorder(tmp_path, ids=ids, labels=labels, classes=classes).log([5], torch.tensor([[0.0, 1.0, 3.0]]))
    run = leadline.open(tmp_path / "run")
    assert run.train.ids == ["0", "1", "2", "3", "4", "5"]
    assert run.train.gold.tolist() == GOLD.tolist() and run.classes == tuple(CLASSES)


def test_classes_found_in_the_labels_are_in_natural_order(tmp_path: Path) -> None:
    recorder(tmp_path, labels=[10, 2, 10, 2, 1, 1], classes=())
    assert leadline.open(tmp_path / "run").classes == ("1", "2", "10")


# The one loop records

TEXTS = sentences(40, seed=3)
DATA = examples(TEXTS, [i % 3 for i in range(40)], CLASSES)


@pytest.fixture(scope="module")
def start() -> tuple[dict[str, Tensor], Any]:
    """The weights and the tokenizer that every run begins with."""
    model, tokenizer = models.load(Model(name="tiny", dropout=0.0), CLASSES, TEXTS, max_length=32)
    return {name: p.clone() for name, p in model.state_dict().items()}, tokenizer


def run(start: tuple[dict[str, Tensor], Any], to: Path, **settings: Any) -> Any:
    model, _ = models.load(Model(name="tiny", dropout=settings.pop("dropout", 0.0)), CLASSES, TEXTS, max_length=32)
    model.load_state_dict(start[0])
    if settings.get("record", True) is not None:
        settings["to"] = to
    trained = fit(model, Classification(encoder(model, start[1])), DATA, batch_size=8, **settings)
    trained.run()
    return trained


def alone(model: Any, tokenizer: Any) -> np.ndarray:
    """(N,) losses of a model in evaluation, every text by itself."""
    model.eval()
    with torch.no_grad():
        z = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    return F.cross_entropy(z, torch.tensor(DATA.gold), reduction="none").numpy()


def test_outcomes_of_the_first_step_are_those_of_the_initial_model(start: Any, tmp_path: Path) -> None:
    trained = run(start, tmp_path, epochs=2)
    one, two = leadline.open(tmp_path).signals.periods
    lengths = trained.material.lengths
    cutting = steps(trained.plan(0), lengths, 8, None, np.random.default_rng([0, 0, 0]))
    assert one.step.tolist() == [next(s for s, step in enumerate(cutting) if i in step[0]) for i in range(40)]
    assert sorted(set(two.step.tolist())) == [5, 6, 7, 8, 9] and trained.updates == 10 and trained.seen == 80
    initial, _ = models.load(Model(name="tiny", dropout=0.0), CLASSES, TEXTS, max_length=32)
    initial.load_state_dict(start[0])
    expected, first = alone(initial, start[1]), one.step == 0
    np.testing.assert_allclose(one.loss[first], expected[first], atol=1e-5)
    assert first.sum() == 8 and not np.allclose(one.loss[~first], expected[~first], atol=1e-3)
    assert one.metadata["mode"] == "online" and one.metadata["period"] == 1 and two.metadata["period"] == 2
    assert one.metadata["task"] == "classification" and one.metadata["classes"] == CLASSES
    assert one.metadata["leadline"] == leadline.__version__ and one.metadata["format"] == 1


@pytest.mark.parametrize(
    ("record", "epochs", "at"),
    [
        (Record(), 3, [5, 10, 15]),
        (Record(every=2), 3, [10, 15]),  # the last period is whole or not
        (Record(every=2), 4, [10, 20]),
        (Record(mode="snapshot"), 2, [5, 10]),
        (Record(mode="snapshot", every=2), 2, [10]),
        (Record(every=0.5), 2, [2, 5, 7, 10]),  # a fraction is a snapshot
        (Record(every=0.2), 1, [1, 2, 3, 4, 5]),
        (Record(every=0.1), 1, [1, 2, 3, 4, 5]),  # no more often than there are steps
    ],
)
def test_periods(start: Any, tmp_path: Path, record: Record, epochs: int, at: list[int]) -> None:
    """40 examples in 5 steps an epoch; `at`: the updates after which a period ends."""
    trained = run(start, tmp_path, record=record, epochs=epochs)
    periods = leadline.open(tmp_path).signals.periods
    assert [period.metadata["period"] for period in periods] == list(range(1, len(at) + 1))
    begun = 0
    for period, end in zip(periods, at, strict=True):
        assert period.recorded.all() and np.isfinite(period.loss).all()
        assert period.metadata["mode"] == record.mode
        if record.mode == "snapshot":
            assert set(period.step.tolist()) == {end}
            assert period.trained.sum() == min(40, 8 * (end - begun))
        else:
            assert set(period.step.tolist()) == set(range(begun, begun + 5)) and period.trained.all()
        begun = end
    if record.mode == "snapshot":
        np.testing.assert_allclose(periods[-1].loss, alone(trained.model, start[1]), atol=1e-5)


def test_a_snapshot_has_no_dropout_and_leaves_training_as_it_was(start: Any, tmp_path: Path) -> None:
    weights = []
    for name, record in {"none": None, "online": Record(), "snapshot": Record(every=0.2)}.items():
        trained = run(start, tmp_path / name, record=record, epochs=2, dropout=0.2)
        weights.append(torch.cat([p.flatten() for p in trained.model.parameters()]).detach())
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])
    last = leadline.open(tmp_path / "snapshot").signals.periods[-1]
    np.testing.assert_allclose(last.loss, alone(trained.model, start[1]), atol=1e-5)


def test_the_seed_of_training_decides_order_and_dropout(start: Any, tmp_path: Path) -> None:
    def losses(name: str, seed: int, noise: int) -> np.ndarray:
        model, _ = models.load(Model(name="tiny", dropout=0.2), CLASSES, TEXTS, max_length=32)
        model.load_state_dict(start[0])
        task = Classification(encoder(model, start[1]))
        trained = fit(model, task, DATA, batch_size=8, to=tmp_path / name, seed=seed, epochs=2)
        torch.manual_seed(noise)  # what happened before does not matter
        trained.run()
        return leadline.open(tmp_path / name).signals.loss

    one = losses("one", 0, 1)
    np.testing.assert_array_equal(losses("again", 0, 2), one)
    assert not np.allclose(losses("other", 1, 1), one, atol=1e-3)


def test_logits_are_left_out_on_request(start: Any, tmp_path: Path) -> None:
    for name, record in {"online": Record(logits=False), "snapshot": Record(logits=False, mode="snapshot")}.items():
        run(start, tmp_path / name, record=record)
        made = leadline.open(tmp_path / name)
        assert made.signals.logits is None and "`record.logits` was off" in made.scored().left_out["el2n"]


def test_the_metrics_of_an_epoch_are_clean_means(start: Any, tmp_path: Path) -> None:
    events: list[Any] = []
    run(start, tmp_path, epochs=2, tell=events.append)
    told = [event for event in events if event["event"] == "epoch"]
    for event, period in zip(told, leadline.open(tmp_path).signals.periods, strict=True):
        assert event["train"]["loss"] == pytest.approx(period.loss.mean(), rel=1e-5)
        assert event["train"]["accuracy"] == pytest.approx(period.correct.mean())
    assert events[0] == {"event": "start", "steps": 10, "epochs": 2, "packed": True}
    lines = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in lines] == list(range(1, 11)) and {event["examples"] for event in lines} == {8}


def test_a_plan_may_change_from_epoch_to_epoch(start: Any, tmp_path: Path) -> None:
    plan: Plan = lambda number: Epoch(np.arange(10 * (number + 1)))  # noqa: E731
    trained = run(start, tmp_path, epochs=3, plan=plan)
    assert trained.updates == 2 + 3 + 4 and trained.seen == 60
    recorded = leadline.open(tmp_path).signals.recorded
    assert recorded.sum(axis=1).tolist() == [10, 20, 30] and recorded[0, :10].all()


def test_early_stopping_puts_the_best_weights_back(start: Any, tmp_path: Path) -> None:
    """Validation says 0.3, 0.7, 0.5, 0.6: of patience 2 the fourth epoch is the last, and the second the best."""
    weights, said, events = [], [0.3, 0.7, 0.5, 0.6, 0.9], []

    def validate(updates: int) -> dict[str, float]:
        weights.append({name: p.clone() for name, p in trained.model.state_dict().items()})
        return {"macro_f1": said[len(weights) - 1]}

    model, _ = models.load(Model(name="tiny", dropout=0.0), CLASSES, TEXTS, max_length=32)
    stopping = {"metric": "macro_f1", "patience": 2}
    settings = {"epochs": 5, "batch_size": 8, "early_stopping": stopping, "record": Record(every=3), "to": tmp_path}
    trained = fit(
        model, Classification(encoder(model, start[1])), DATA, validate=validate, tell=events.append, **settings
    )
    assert trained.run() == 20 and len(weights) == 4
    assert all(torch.equal(p, weights[1][name]) for name, p in trained.model.state_dict().items())
    assert not all(torch.equal(p, weights[3][name]) for name, p in trained.model.state_dict().items())
    assert [e for e in events if e["event"] == "best"] == [
        {"event": "best", "epoch": 2, "metric": "macro_f1", "value": 0.7}
    ]
    assert [p.step.max() for p in leadline.open(tmp_path).signals.periods] == [4, 19]  # epochs 1 to 3, and the fourth


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"schedule": "constant", "warmup": 0.0}, [1.0] * 10),
        ({"schedule": "linear", "warmup": 0.2}, [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ({"schedule": "constant", "warmup": 0.2}, [0, 0.5, *[1.0] * 8]),
        ({"schedule": "cosine", "warmup": 0.0}, [0.5 * (1 + np.cos(np.pi * i / 10)) for i in range(10)]),
        ({"schedule": "step", "warmup": 0.0, "step_factor": 0.1}, [1.0] * 5 + [0.1] * 5),
    ],
)
def test_schedules(start: Any, tmp_path: Path, settings: Mapping[str, Any], rates: list[float]) -> None:
    events: list[Any] = []
    run(start, tmp_path, epochs=2, record=None, tell=events.append, learning_rate=1e-3, **settings)
    found = [event["lr"] for event in events if event["event"] == "step"]
    np.testing.assert_allclose(found, np.array(rates) * 1e-3, atol=1e-9)


def test_signals_can_be_read_without_the_run(start: Any, tmp_path: Path) -> None:
    run(start, tmp_path, epochs=2)
    periods = signals.read_periods(tmp_path / "signals")
    assert [set(period.columns) for period in periods] == [{*signals.FIELDS, "logits"}] * 2
    assert not list((tmp_path / "signals").glob("*.partial"))
