"""integrations/transformers.record: the two lines in a Hugging Face script, against loops written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional as F

import leadline
from leadline import report
from leadline.errors import InputError, LeadlineError
from leadline.integrations.transformers import record
from leadline.report.maps import write_map
from tiny_models import FAMILIES
from trainer_models import CLASSES, N, dataset, model, trainer

PADDING = transformers.DataCollatorWithPadding(FAMILIES["bert"].tokenizer())


def recorded(path: Path, **settings: Any) -> Any:
    """A trained, recorded Trainer and its run."""
    found = record(trainer(path, **settings), to=path / "run")
    found.train()
    return found, leadline.open(path / "run")


def complete(run: Any, epochs: int = 2, n: int = N) -> None:
    """Every example exactly once in every epoch, with finite outcomes."""
    assert run.signals.loss.shape == (epochs, n) and np.isfinite(run.signals.loss).all()
    assert all(period.trained.all() and period.recorded.all() for period in run.signals.periods)


def by_hand(net: Any, data: Any, rate: float, batch: int, epochs: int, accumulate: int = 1) -> np.ndarray:
    """(E, N, K): a loop without any of our code, in the order of the rows, with SGD."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    features = data.select_columns(["input_ids", "token_type_ids", "attention_mask", "label"])
    found = np.zeros((epochs, len(data), 3), dtype=np.float32)
    net.train()
    for epoch in range(epochs):
        starts = list(range(0, len(data), batch))
        for first in range(0, len(starts), accumulate):
            group = starts[first : first + accumulate]
            for start in group:
                rows = list(range(start, min(start + batch, len(data))))
                inputs = PADDING([features[row] for row in rows])
                labels = inputs.pop("labels")
                logits = net(**inputs).logits
                found[epoch, rows] = logits.detach().numpy()
                F.cross_entropy(logits, labels).backward()  # transformers 5.23 adds the batches up: transformers#47688
            optimizer.step()
            optimizer.zero_grad()
    return found


def sgd(net: Any, rate: float) -> Any:
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def test_logits_are_those_of_a_loop_by_hand(tmp_path: Path) -> None:
    """21 rows in batches of 4: the last batch has one row."""
    expected = by_hand(model(), dataset(), rate=0.1, batch=4, epochs=2)
    net = model()
    settings = {"optimizers": sgd(net, 0.1), "train_sampling_strategy": "sequential", "max_grad_norm": 0.0}
    _, run = recorded(tmp_path, net=net, **settings)
    complete(run)
    np.testing.assert_allclose(run.signals.logits, expected, atol=1e-6)
    assert np.abs(expected[1] - expected[0]).max() > 0.01  # the order and the updates matter
    assert run.train.ids[:2] == ["0", "1"] and run.classes == tuple(CLASSES)
    assert [int(s) for s in run.signals.periods[0].step[[0, 4, 20]]] == [0, 1, 5]
    gold = dataset()["label"]
    np.testing.assert_allclose(
        run.signals.loss[0], F.cross_entropy(torch.tensor(expected[0]), torch.tensor(gold), reduction="none"), atol=1e-5
    )


class OutOfMemory(transformers.Trainer):
    """Its memory ends in the first backward after `left` steps, once."""

    left = 10**6

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB.")
        return loss


@pytest.mark.parametrize("steps", [2, 8], ids=["first-epoch", "second-epoch"])
def test_an_attempt_that_memory_ended_leaves_no_period(tmp_path: Path, steps: int) -> None:
    found = trainer(tmp_path, kind=OutOfMemory, auto_find_batch_size=True)
    record(found, to=tmp_path / "run")
    found.train()
    found.left = steps  # the epochs of an earlier call stay
    found.train()
    assert found._train_batch_size < 4
    run = leadline.open(tmp_path / "run")
    complete(run, epochs=4)
    assert [len(np.unique(period.step)) for period in run.signals.periods] == [6, 6, 7, 7]


def test_with_accumulation(tmp_path: Path) -> None:
    """One update for two batches; the sixth batch of an epoch is alone with its row."""
    net = model()
    settings = {"optimizers": sgd(net, 0.1), "train_sampling_strategy": "sequential", "max_grad_norm": 0.0}
    _, run = recorded(tmp_path, net=net, gradient_accumulation_steps=4, **settings)
    expected = by_hand(model(), dataset(), rate=0.1, batch=4, epochs=2, accumulate=4)
    np.testing.assert_allclose(run.signals.logits, expected, atol=1e-6)
    assert set(run.signals.periods[0].step.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "eval_dataset": dataset(9, 1)},
        {"label_smoothing_factor": 0.1, "train_sampling_strategy": "group_by_length"},
        {"compute_loss_func": lambda outputs, labels, num_items_in_batch: F.cross_entropy(outputs.logits, labels)},
    ],
    ids=["plain", "evaluated", "smoothed", "own-loss"],
)
def test_the_weights_are_the_same_as_without_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    """With dropout, so that one random number more or less would show."""
    plain = trainer(tmp_path, net=model(dropout=0.2), **settings)
    plain.train()
    mine, run = recorded(tmp_path, net=model(dropout=0.2), **settings)
    complete(run)
    for (name, a), b in zip(plain.model.state_dict().items(), mine.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_run_can_be_scored_drawn_and_reported(tmp_path: Path) -> None:
    found = record(trainer(tmp_path), to=tmp_path / "run", ids="id", texts="text")
    assert found.train().global_step == 12
    run = leadline.open(tmp_path / "run")
    assert run.train.ids[3] == "s3" and run.train.table["text"][3] == dataset()["text"][3]
    assert {"confidence", "aum", "region"} <= set(run.scores().columns)
    write_map(run, run.scored(), tmp_path / "map.html", "variability", "confidence", "correctness")
    report.write(run)
    assert (tmp_path / "map.html").is_file() and (tmp_path / "run" / "report.html").is_file()


def unwilling(features: list[dict[str, Any]]) -> dict[str, Any]:
    """Somebody's collator: knows exactly its columns, and is handed plain lists of dicts."""
    assert isinstance(features, list) and set(features[0]) == {"input_ids", "token_type_ids", "attention_mask", "label"}
    return PADDING(features)


class Items(torch.utils.data.Dataset):
    """A plain torch data set."""

    def __init__(self, data: Any):
        self.items = [data[i] for i in range(len(data))]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return dict(self.items[row])


@pytest.mark.parametrize(
    "settings",
    [
        {"remove_unused_columns": False, "given": dataset().remove_columns(["id", "text"])},
        {"data_collator": unwilling},
        {"data_collator": unwilling, "given": Items(dataset())},
        {"given": torch.utils.data.Subset(dataset(N + 5), range(N))},
        {"given": dataset(N + 9).shuffle(seed=3).select(range(N))},
        {"given": dataset().with_format("torch")},
        {"per_device_train_batch_size": N - 1},
        {"dataloader_num_workers": 1},
        {"bf16": True},
    ],
    ids=["unused", "collator", "torch", "subset", "shuffled", "tensors", "last-of-one", "workers", "bf16"],
)
def test_the_row_index_survives(tmp_path: Path, settings: dict[str, Any]) -> None:
    """A row's first outcome is that of its own text: nothing is learned, so each can be looked up."""
    net = model(id2label=dict(enumerate(CLASSES)))
    found, run = recorded(tmp_path, learning_rate=1e-12, net=net, **settings)
    complete(run)
    found.model.eval()
    data = found.train_dataset
    for row in (0, 5, N - 1):
        inputs = PADDING([{k: data[row][k] for k in ("input_ids", "token_type_ids", "attention_mask")}])
        with torch.no_grad():
            logits = found.model(**inputs).logits[0].numpy()
        np.testing.assert_allclose(run.signals.logits[1, row], logits, atol=5e-3 if "bf16" in settings else 1e-5)
        assert run.train.table["_label"].to_list()[row] == CLASSES[int(data[row]["label"])]


def test_drop_last_leaves_rows_out(tmp_path: Path) -> None:
    _, run = recorded(tmp_path, dataloader_drop_last=True)
    assert [int(np.isfinite(period.loss).sum()) for period in run.signals.periods] == [20, 20]
    assert all((period.recorded == np.isfinite(period.loss)).all() for period in run.signals.periods)


def test_a_training_that_ends_within_an_epoch(tmp_path: Path) -> None:
    _, run = recorded(tmp_path, max_steps=8)
    assert [int(period.recorded.sum()) for period in run.signals.periods] == [21, 8]


class TwoPasses(transformers.Trainer):
    """R-Drop and its kin: two passes a step, outputs as a tuple, inputs changed in place."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        labels = inputs.pop("labels")
        first, second = model(**inputs).logits, model(**inputs).logits
        loss = F.cross_entropy(first, labels) + F.cross_entropy(second, labels)
        return (loss, (loss, first)) if return_outputs else loss


class Silent(transformers.Trainer):
    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        return model(**inputs).loss


class OwnLoader(transformers.Trainer):
    def get_train_dataloader(self) -> Any:
        keep = self._remove_unused_columns(self.train_dataset)
        return torch.utils.data.DataLoader(keep, batch_size=4, collate_fn=self.data_collator)


def test_a_subclass_with_a_loss_of_its_own(tmp_path: Path) -> None:
    complete(recorded(tmp_path, kind=TwoPasses)[1])


@pytest.mark.parametrize(("kind", "says"), [(Silent, "return_outputs"), (OwnLoader, "_leadline_rows")])
def test_a_subclass_that_hides_the_logits_or_the_rows(tmp_path: Path, kind: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        recorded(tmp_path, kind=kind)


def test_evaluation_is_not_recorded(tmp_path: Path) -> None:
    """The same rows are evaluated after every step; only what the training pass said is kept."""
    data = dataset()
    _, plain = recorded(tmp_path / "a", given=data)
    found, run = recorded(tmp_path / "b", given=data, eval_dataset=data, eval_strategy="steps", eval_steps=1)
    assert sum("eval_loss" in entry for entry in found.state.log_history) == 12
    assert run.signals.logits.tobytes() == plain.signals.logits.tobytes()
    assert found.evaluate()["eval_loss"] > 0 and len(found.predict(data).predictions) == N
    assert len(leadline.open(tmp_path / "b" / "run").signals.periods) == 2


# peft 0.21 asks transformers 5.23 under an old name
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    net = peft.get_peft_model(model(), peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    complete(recorded(tmp_path, net=net)[1])


def test_a_training_that_diverges_names_an_example(tmp_path: Path) -> None:
    def broken(outputs: Any, labels: Any, num_items_in_batch: Any) -> Any:
        return F.cross_entropy(outputs.logits, labels) * float("nan")

    with pytest.raises(LeadlineError, match="diverged: 17 examples have a NaN or infinite loss .first id: s"):
        found = record(trainer(tmp_path, compute_loss_func=broken), to=tmp_path / "run", ids="id")
        found.train()
    assert not list((tmp_path / "run" / "signals").glob("*"))


class TooLarge(transformers.Trainer):
    """A GPU that holds half a batch."""

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **kwargs: Any) -> Any:
        if len(inputs["labels"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().compute_loss(model, inputs, *rest, **kwargs)


@pytest.mark.long
def test_a_batch_size_that_is_searched_for(tmp_path: Path) -> None:
    found, run = recorded(tmp_path, kind=TooLarge, per_device_train_batch_size=8, auto_find_batch_size=True)
    assert found._train_batch_size <= 4
    complete(run)


def test_the_room_opens_without_torch() -> None:
    code = "import sys, leadline.integrations; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr


# Resuming from the Trainer's own checkpoints


@pytest.mark.parametrize("at", [3, 6, 9, 12], ids=["within", "epoch", "within-second", "end-of-second"])
def test_resuming_leaves_the_record_of_an_undisturbed_training(tmp_path: Path, at: int) -> None:
    settings = {"save_strategy": "steps", "save_steps": 3, "num_train_epochs": 3}
    whole, expected = recorded(tmp_path, net=model(dropout=0.2), **settings)
    before = expected.signals.logits
    again = record(trainer(tmp_path, net=model(dropout=0.2, seed=5), **settings), to=tmp_path / "run")
    again.train(resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{at}"))
    run = leadline.open(tmp_path / "run")
    complete(run, epochs=3)
    np.testing.assert_allclose(run.signals.logits, before, atol=1e-6)


def test_resuming_by_epochs_in_the_same_object(tmp_path: Path) -> None:
    found, run = recorded(tmp_path, save_strategy="epoch")
    before = run.signals.logits
    found.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-6"))
    np.testing.assert_allclose(leadline.open(tmp_path / "run").signals.logits, before, atol=1e-6)


def test_training_on_appends_epochs(tmp_path: Path) -> None:
    found, _ = recorded(tmp_path)
    found.train()
    complete(leadline.open(tmp_path / "run"), epochs=4)


def test_resuming_without_the_record_of_before(tmp_path: Path) -> None:
    trainer(tmp_path, save_strategy="epoch").train()
    last = str(tmp_path / "out" / "checkpoint-12")
    with pytest.raises(InputError, match="made without record"):
        record(trainer(tmp_path), to=tmp_path / "run").train(resume_from_checkpoint=last)
    recorded(tmp_path, save_strategy="epoch")
    with pytest.raises(InputError, match="the record of its first epochs is not here"):
        record(trainer(tmp_path), to=tmp_path / "other").train(resume_from_checkpoint=last)
    with pytest.raises(InputError, match="holds the record of other data"):
        other = trainer(tmp_path, given=dataset(seed=4, label=[0, 1, 2] * 7))
        record(other, to=tmp_path / "run").train(resume_from_checkpoint=last)


# What is refused


def test_what_cannot_be_recorded_is_refused_before_training(tmp_path: Path) -> None:
    stream = dataset().to_iterable_dataset()
    with pytest.raises(InputError, match="stream"):
        record(trainer(tmp_path, given=stream, max_steps=3), to=tmp_path / "run")
    with pytest.raises(InputError, match="no column `name`. It has: id, text, label"):
        record(trainer(tmp_path), to=tmp_path / "run", ids="name")
    with pytest.raises(InputError, match="ids must be unique"):
        record(trainer(tmp_path), to=tmp_path / "run", ids=["a"] * N).train()
    with pytest.raises(InputError, match=f"{N} training rows, but 3 ids"):
        record(trainer(tmp_path), to=tmp_path / "run", ids=["a", "b", "c"])
    with pytest.raises(InputError, match="row 4 has the label 2, which is none of the 2 classes"):
        record(trainer(tmp_path, net=model(classes=2), given=dataset(label=[0, 1, 0, 1, 2] + [0] * 16)).__class__(
            model=model(classes=2), args=trainer(tmp_path).args,
            train_dataset=dataset(label=[0, 1, 0, 1, 2] + [0] * 16)), to=tmp_path / "run")  # fmt: skip
    with pytest.raises(InputError, match="regression"):
        record(trainer(tmp_path, net=model(classes=1)), to=tmp_path / "run")
    with pytest.raises(InputError, match="the label of row 0"):
        many = dataset().remove_columns("label").add_column("labels", [[1.0, 0.0, 1.0]] * N)
        record(trainer(tmp_path, given=many), to=tmp_path / "run")
    with pytest.raises(InputError, match="recorded already"):
        record(record(trainer(tmp_path), to=tmp_path / "run"), to=tmp_path / "run")
    with pytest.raises(InputError, match="Trainer is needed"):
        record(model(), to=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_directory_that_holds_a_run(tmp_path: Path) -> None:
    recorded(tmp_path)
    again = record(trainer(tmp_path), to=tmp_path / "run")
    with pytest.raises(InputError, match="already holds a run"):
        again.train()


def test_labels_and_classes_by_hand(tmp_path: Path) -> None:
    """A data set whose items say nothing of labels' names, and a model whose config names them."""
    data = dataset()
    plain = Items(data.rename_column("label", "labels").remove_columns(["id", "text"]))
    found = record(trainer(tmp_path, given=plain, net=model(id2label={0: "a", 1: "b", 2: "c"})), to=tmp_path / "run")
    found.train()
    assert leadline.open(tmp_path / "run").classes == ("a", "b", "c")
    named = record(trainer(tmp_path, given=plain), to=tmp_path / "x", labels=[CLASSES[k] for k in data["label"]],
                   classes=CLASSES, ids=range(100, 100 + N))  # fmt: skip
    named.train()
    run = leadline.open(tmp_path / "x")
    assert run.train.table["_label"].to_list() == [CLASSES[k] for k in data["label"]] and run.train.ids[0] == "100"


# Two processes

SCRIPT = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from trainer_models import dataset, model, trainer
from leadline.integrations.transformers import record

path = Path({path!r})
net = model()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
plain = (optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0))
found = trainer(path, net=net, optimizers=plain, train_sampling_strategy="sequential", max_grad_norm=0.0,
                average_tokens_across_devices=False, eval_dataset=dataset(5, 1), eval_strategy="epoch",
                save_strategy="epoch", ddp_backend="gloo")
record(found, to=path / "run")
assert found.args.world_size == 2, found.args.world_size
found.train()
"""


@pytest.mark.long
def test_two_processes_record_every_example_once(tmp_path: Path) -> None:
    """21 rows over two processes: the sampler repeats rows so that both take as many steps."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), path=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    run = leadline.open(tmp_path / "run")
    complete(run)
    assert len(list((tmp_path / "out" / "checkpoint-6").glob("leadline_record_*.pt"))) == 2
    assert json.loads((tmp_path / "out" / "checkpoint-6" / "trainer_state.json").read_text())["global_step"] == 6
    expected = by_hand(model(), dataset(), rate=0.1, batch=8, epochs=1)  # 4 rows each a step
    np.testing.assert_allclose(run.signals.logits[0], expected[0], atol=1e-5)
