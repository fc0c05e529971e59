"""integrations/lightning.Record: Lightning's loop, recorded, against a loop written by hand."""

from __future__ import annotations

import functools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

import leadline
from leadline.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # whatever Lightning's imports say of their own dependencies
    lightning = pytest.importorskip("lightning.pytorch")
    from leadline.integrations.lightning import Record

N, CLASSES = 21, ["no", "yes", "perhaps"]


def points() -> tuple[torch.Tensor, torch.Tensor]:
    """x (N, 5), gold (N,)"""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, 5, generator=generator), torch.randint(3, (N,), generator=generator)


def linear() -> torch.nn.Linear:
    torch.manual_seed(1)
    return torch.nn.Linear(5, 3)


class Module(lightning.LightningModule):
    def __init__(self, result: str = "dict", by_hand: bool = False):
        super().__init__()
        self.layer, self.result, self.automatic_optimization = linear(), result, not by_hand

    def training_step(self, batch: dict[str, Any], number: int) -> Any:
        logits = self.layer(batch["x"])
        loss = F.cross_entropy(logits, batch["y"])
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return {"loss": loss, "logits": logits} if self.result == "dict" else loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.3)


class Validated(Module):
    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        self.layer(batch["x"])


def loader(rows: str = "rows") -> DataLoader:
    x, y = points()
    return DataLoader([{"x": x[i], "y": y[i], rows: i} for i in range(N)], batch_size=4)


def record(path: Path, **settings: Any) -> Record:
    _, y = points()
    return Record([f"p{i}" for i in range(N)], y, CLASSES, to=path / "run", **settings)


def fit(path: Path, callbacks: list[Any], module: Any = None, ckpt_path: str | None = None, **settings: Any) -> Any:
    trainer = lightning.Trainer(
        default_root_dir=path, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=callbacks, **{"max_epochs": 3, "enable_checkpointing": False, **settings},
    )  # fmt: skip
    module = module or Module()
    trainer.fit(module, loader(), loader() if isinstance(module, Validated) else None, ckpt_path=ckpt_path)
    return trainer


def by_hand(accumulate: int = 1, epochs: int = 3) -> np.ndarray:
    """(E, N, K)"""
    x, y = points()
    layer, found = linear(), np.zeros((epochs, N, 3), dtype=np.float32)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    for epoch in range(epochs):
        batches = torch.arange(N).split(4)
        for number, rows in enumerate(batches, start=1):
            logits = layer(x[rows])
            found[epoch, rows] = logits.detach().numpy()
            (F.cross_entropy(logits, y[rows]) / accumulate).backward()
            if number % accumulate == 0 or number == len(batches):
                optimizer.step()
                optimizer.zero_grad()
    return found


@pytest.mark.parametrize(
    ("module", "settings", "accumulate"),
    [
        (Module, {}, 1),
        (Module, {"accumulate_grad_batches": 4}, 4),
        (Validated, {"limit_val_batches": 2, "val_check_interval": 2}, 1),
        (functools.partial(Module, by_hand=True), {}, 1),
    ],
    ids=["plain", "accumulated", "validated", "manual"],
)
def test_logits_are_those_of_a_loop_by_hand(tmp_path: Path, module: Any, settings: Any, accumulate: int) -> None:
    """The last batch has one row; validation and its sanity check see the same rows and are not recorded."""
    fit(tmp_path, [record(tmp_path, texts=[f"point {i}" for i in range(N)])], module(), **settings)
    run = leadline.open(tmp_path / "run")
    np.testing.assert_allclose(run.signals.logits, by_hand(accumulate), atol=1e-6)
    assert run.train.table["_label"].to_list() == [CLASSES[k] for k in points()[1]]
    assert run.train.ids[2] == "p2" and run.train.table["text"][2] == "point 2"
    assert run.signals.periods[0].step.max() == (5 if accumulate == 1 else 1)
    assert "confidence" in run.scores().columns


def test_keys_and_getters(tmp_path: Path) -> None:
    class Kept(Module):
        def training_step(self, batch: dict[str, Any], number: int) -> Any:
            found = super().training_step({**batch, "rows": batch["index"]}, number)
            self.kept = found["logits"].detach()
            return found["loss"]

    module = Kept()
    x, y = points()
    data = DataLoader([{"x": x[i], "y": y[i], "index": i} for i in range(N)], batch_size=4)
    mine = record(tmp_path, rows=lambda batch: batch["index"].numpy(), logits=lambda result: module.kept)
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=3,
        enable_checkpointing=False, callbacks=[mine],
    )  # fmt: skip
    trainer.fit(module, data)
    np.testing.assert_allclose(leadline.open(tmp_path / "run").signals.logits, by_hand(), atol=1e-6)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty:UserWarning")  # it is, on purpose
@pytest.mark.filterwarnings("ignore:You.re resuming from a checkpoint that ended before the epoch ended:UserWarning")
@pytest.mark.parametrize("settings", [{"every_n_train_steps": 4}, {"save_on_train_epoch_end": True}, {}])
def test_resuming_from_a_checkpoint(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Within an epoch, after it, and between its validation and its end.

    Within an epoch Lightning begins its data anew, so rows that it does not come to are missing; none is lost.
    """

    def keep() -> Any:
        return lightning.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", save_top_k=-1, **settings)

    common = {"enable_checkpointing": True, "limit_val_batches": 1}
    fit(tmp_path, [record(tmp_path), keep()], Validated(), **common)
    first = sorted((tmp_path / "kept").glob("*.ckpt"))[0]
    fit(tmp_path, [record(tmp_path), keep()], Validated(), ckpt_path=str(first), **common)
    found, expected = leadline.open(tmp_path / "run").signals, by_hand()
    assert found.loss.shape == (3, N)
    if "every_n_train_steps" in settings:
        np.testing.assert_allclose(found.logits[0, :16], expected[0, :16], atol=1e-6)
    else:
        np.testing.assert_allclose(found.logits, expected, atol=1e-6)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Record\(rows=…\) names the key"):
        fit(tmp_path, [record(tmp_path, rows="index")])
    with pytest.raises(InputError, match=r"Record\(logits=…\) names the key"):
        fit(tmp_path / "b", [record(tmp_path / "b")], Module(result="loss"))
    with pytest.raises(InputError, match="already holds a run"):
        fit(tmp_path, [record(tmp_path)])
    with pytest.raises(InputError, match="21 ids need as many labels"):
        Record(range(21), ["a", "b"], to=tmp_path / "c")
    with pytest.raises(InputError, match="row 1 has the label 4"):
        Record(range(2), [0, 4], CLASSES, to=tmp_path / "c")


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_integrations_lightning import fit, record
path = Path({path!r})
trainer = fit(path, [record(path)], devices=2, strategy="ddp")
assert trainer.world_size == 2
"""


@pytest.mark.long
def test_two_processes_record_every_example_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), path=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    run = leadline.open(tmp_path / "run")
    assert run.signals.loss.shape == (3, N) and np.isfinite(run.signals.loss).all()
    assert all(period.trained.all() for period in run.signals.periods)
