"""Lightning: a callback that records.

    Trainer(callbacks=[Record(ids, labels, classes, to="runs/mine")]).fit(module, loader)

What it asks of your code: a batch that carries the positions of its examples, and a `training_step` that returns
{"loss": …, "logits": …}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from leadline import signals
from leadline.data.examples import natural
from leadline.errors import InputError, MissingExtra
from leadline.integrations.rows import Rows, numbers_of
from leadline.learn import ranks
from leadline.learn.recorder import Recorder

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment]  # the same under its older name
    except ImportError:
        raise MissingExtra("leadline.integrations.lightning", "lightning") from None

Getter = str | Callable[[Any], Any]


class Record(Callback):
    """Leaves `examples.parquet` and one signals file per training epoch in `to`.

    ids      N unique ids
    labels   N class names, or indices where `classes` is given
    classes  names in the order of the logits (default: the labels in natural order)
    texts    one text per example, for the map and the report
    rows     where a batch keeps the positions (B,) of its examples in `ids`: a key, or a function of the batch
    logits   where the result of `training_step` keeps the logits (B, K): a key, or a function of the result

    Validation, tests and the sanity check are not recorded. Rows on the host (a numpy array, which Lightning does not
    move) save a wait for the GPU in every step. With `ckpt_path` the record goes on where the checkpoint was made.
    """

    def __init__(
        self,
        ids: Sequence[Any],
        labels: Sequence[Any],
        classes: Sequence[str] = (),
        to: str | Path = "runs/recorded",
        texts: Sequence[str] | None = None,
        rows: Getter = "rows",
        logits: Getter = "logits",
    ):
        super().__init__()
        plain = [value.tolist() if hasattr(value, "tolist") else value for value in labels]
        names = [str(name) for name in classes] or sorted({str(value) for value in plain}, key=natural)
        numbers = numbers_of(plain if classes else [str(value) for value in plain], names)
        if len(ids) != len(numbers) or (texts is not None and len(texts) != len(ids)):
            raise InputError(f"Record: {len(ids)} ids need as many labels and texts; given {len(numbers)} labels")
        self.examples = Rows(ids, numbers, names, texts)
        self.to, self.rows, self.logits = Path(to), rows, logits
        self.recorder: Recorder | None = None
        self.restored: dict[str, Any] | None = None  # of a checkpoint, until the training starts
        self.epoch = 0
        self.updates = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.restored is not None:
            self._go_on(self.restored, pl_module.device)
            self.restored = None
        elif self.recorder is None:
            self.recorder = self.examples.recorder(self.to)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch != self.epoch:
            self._end_period()  # of a checkpoint made after the last step of its epoch
        self.epoch = trainer.current_epoch

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.updates = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self.recorder is not None
        rows = _get(self.rows, batch, "a batch carries no rows (positions in `ids`): Record(rows=…) names the key")
        logits = _get(
            self.logits, outputs, 'training_step must return {"loss": …, "logits": …}: Record(logits=…) names the key'
        )
        self.recorder.log(rows, logits.detach() if isinstance(logits, Tensor) else logits, step=self.updates)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._end_period()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of Lightning keeps of the record."""
        if self.recorder is None:
            return {}
        kept = self.recorder.state()
        columns = {name: column.clone() for name, column in kept["columns"].items()}
        arrays = {name: kept[name].clone() for name in ("recorded", "trained", "step")}
        return {**kept, **arrays, "columns": columns, "epoch": self.epoch, "world": ranks.world()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict or None

    def _end_period(self) -> None:
        assert self.recorder is not None
        if any(ranks.gather(bool(self.recorder.recorded.any()))):
            self.recorder.end_epoch()

    def _go_on(self, state: Mapping[str, Any], device: Any) -> None:
        """The record as it was at the checkpoint; later periods are dropped."""
        within = bool(state["recorded"].any())
        if within and max(ranks.world(), state["world"]) > 1:
            raise InputError(
                f"{self.to}: Lightning keeps the record of one process only; resume several from the end of an epoch "
                "(ModelCheckpoint(save_on_train_epoch_end=True))"
            )
        if self.recorder is None:
            self.recorder = self.examples.recorder_going_on(self.to)
        self.recorder.restore(state, device)
        self.epoch = state["epoch"]
        if ranks.first():
            signals.drop_after(self.recorder.to, state["periods"])


def _get(where: Getter, value: Any, otherwise: str) -> Any:
    if callable(where):
        return where(value)
    if not isinstance(value, Mapping) or where not in value:
        raise InputError(f"Record: {otherwise}")
    return value[where]
