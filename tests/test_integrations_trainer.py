"""integrations/trainer: a transformers.Trainer whose loop is leadline's; every argument has its place."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

import leadline
from leadline import recipe as recipes
from leadline.errors import InputError
from leadline.integrations import arguments
from leadline.integrations.trainer import PASSED_OVER, encode
from leadline.integrations.transformers import Trainer, record
from leadline.learn import models
from tiny_models import FAMILIES, checkpoint, sentences
from trainer_models import CLASSES, N, dataset, model, tokens, trainer


def ours(path: Path, **settings: Any) -> Any:
    return trainer(path, kind=Trainer, **settings)


def table(path: Path, n: int = 70) -> tuple[Path, list[str], list[int]]:
    texts = sentences(n, seed=3)
    labels = [(5 * i + i // 4) % 3 for i in range(n)]
    pl.DataFrame({"text": texts, "label": [CLASSES[k] for k in labels]}).write_csv(path / "data.csv")
    return path / "data.csv", texts, labels


@pytest.mark.parametrize("settings", [{"weight_decay": 0.1}, {"label_smoothing": 0.2, "schedule": "cosine"}])
def test_signals_are_those_of_leadline_train(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The same data, seed, starting weights and settings, dropout on; evaluation in between on one side only."""
    file, texts, labels = table(tmp_path)
    body = checkpoint("bert", tmp_path / "body")
    smoothing, own = settings.get("label_smoothing", 0.0), dict(settings)
    own.pop("label_smoothing", None)
    training = {"epochs": 3, "batch_size": 16, "micro_batch": 8, "learning_rate": 1e-3, "warmup": 0.2, "seed": 4,
                "precision": "fp32", "max_length": 64, "weight_decay": 0.0, **own}  # fmt: skip
    recipe = {"data": {"train": str(file), "validation": None, "text": "text", "label": "label"}, "model": str(body),
              "training": training, "loss": {"label_smoothing": smoothing}}  # fmt: skip
    run = leadline.train(recipe, root=tmp_path / "runs")
    net, tokenizer = models.load(recipes.load(recipe).model, CLASSES, seed=4, max_length=64)
    found = ours(
        tmp_path, net=net, processing_class=tokenizer, given=dataset(len(texts), text=texts, label=labels, id=texts,
        **dict(tokenizer(texts))), num_train_epochs=3, per_device_train_batch_size=8, gradient_accumulation_steps=2,
        learning_rate=1e-3, warmup_steps=0.2, weight_decay=training["weight_decay"], seed=4,
        label_smoothing_factor=smoothing, lr_scheduler_type=training.get("schedule", "linear"), to=tmp_path / "run",
        eval_dataset=dataset(9, 1), eval_strategy="epoch", dataloader_num_workers=0,
    )  # fmt: skip
    found.train()
    mine = leadline.open(tmp_path / "run")
    assert mine.train.table["_label"].to_list() == run.train.table["_label"].to_list()
    np.testing.assert_allclose(mine.signals.logits, run.signals.logits, atol=1e-5)
    assert np.abs(mine.signals.logits[2] - mine.signals.logits[0]).max() > 0.05
    for name in ("confidence", "aum"):
        np.testing.assert_allclose(mine.scores()[name], run.scores()[name], atol=1e-5)


class Heard(TrainerCallback):
    """Writes down what it is told, with the step."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_") and name not in ("on_init_end", "on_prediction_step"):
            if name in ("on_step_begin", "on_substep_end", "on_pre_optimizer_step", "on_optimizer_step"):
                return super().__getattribute__(name)

            def hear(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                assert kwargs["model"] is not None
                self.events.append((name.removeprefix("on_"), state.global_step))

            return hear
        return super().__getattribute__(name)


SCHEDULED = {
    "eval_strategy": "epoch", "save_strategy": "epoch", "logging_strategy": "steps", "logging_steps": 4,
    "eval_dataset": dataset(9, 1), "save_total_limit": 1,
}  # fmt: skip


def test_callbacks_and_the_log_are_those_of_transformers(tmp_path: Path) -> None:
    """The same events at the same steps, and the same entries of log_history, as transformers' own loop."""
    seen = []
    for kind in (Trainer, transformers.Trainer):
        heard = Heard()
        found = trainer(tmp_path / kind.__module__, kind=kind, callbacks=[heard], **SCHEDULED)
        output = found.train()
        assert output.global_step == 12 and output.metrics["epoch"] == 2 and output.training_loss > 0
        log = [
            (sorted(set(entry) - {"total_flos"}), entry["step"], entry["epoch"]) for entry in found.state.log_history
        ]
        kept = sorted(path.name for path in (tmp_path / kind.__module__ / "out").glob("checkpoint-*"))
        seen.append((heard.events, log, kept, found.state.max_steps, found.state.num_train_epochs))
    assert seen[0] == seen[1]
    assert ("evaluate", 6) in seen[0][0] and ("save", 12) in seen[0][0] and ("log", 8) in seen[0][0]


def test_by_steps(tmp_path: Path) -> None:
    """Evaluation and saving within an epoch leave the training as it is, dropout and all."""
    weights = []
    for settings in ({}, {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 4}):
        found = ours(tmp_path / str(len(weights)), net=model(dropout=0.2), eval_dataset=dataset(9, 1), **settings)
        found.train()
        weights.append([p.detach().clone() for p in found.model.parameters()])
    assert [entry["step"] for entry in found.state.log_history if "eval_loss" in entry] == [2, 4, 6, 8, 10, 12]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert (tmp_path / "1" / "out" / "checkpoint-8").is_dir()


def test_the_best_model_comes_back_and_training_stops_early(tmp_path: Path) -> None:
    values = iter([0.2, 0.9, 0.5, 0.4, 0.3, 0.9])
    found = ours(
        tmp_path, to=tmp_path / "run", num_train_epochs=6, callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        compute_metrics=lambda prediction: {"f1": next(values)}, eval_strategy="epoch", save_strategy="epoch",
        load_best_model_at_end=True, metric_for_best_model="f1", greater_is_better=True, eval_dataset=dataset(9, 1),
    )  # fmt: skip
    output = found.train()
    assert output.global_step == 24 and found.state.best_metric == 0.9
    assert found.state.best_model_checkpoint is not None and found.state.best_model_checkpoint.endswith("checkpoint-12")
    assert leadline.open(tmp_path / "run").signals.loss.shape == (4, N)
    saved = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint-12")
    for a, b in zip(saved.parameters(), found.model.parameters(), strict=True):
        assert torch.equal(a, b)


class Enough(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == 8


def test_a_callback_stops_within_an_epoch(tmp_path: Path) -> None:
    found = ours(tmp_path, to=tmp_path / "run", callbacks=[Enough()])
    assert found.train().global_step == 8
    assert [int(p.recorded.sum()) for p in leadline.open(tmp_path / "run").signals.periods] == [N, 8]


def test_predict_evaluate_and_save(tmp_path: Path) -> None:
    found = ours(tmp_path, bf16=True, model_init=lambda: model())
    found.train()
    predicted = found.predict(dataset(9, 1))
    assert predicted.predictions.shape == (9, 3) and predicted.metrics["test_loss"] > 0
    found.save_model(str(tmp_path / "saved"))
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert again.config._attn_implementation == model().config._attn_implementation
    for a, b in zip(again.parameters(), found.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_padding_by_hand_changes_nothing(tmp_path: Path) -> None:
    tokenizer = FAMILIES["bert"].tokenizer()
    texts = list(dataset()["text"])
    padded = dataset(**dict(tokenizer(texts, padding="max_length", max_length=30)))
    plain, same = encode(dataset(), model(), tokenizer), encode(padded, model(), tokenizer)
    for a, b in zip(plain, same, strict=True):
        assert {k: v.tolist() for k, v in a[0].items()} == {k: v.tolist() for k, v in b[0].items()}
    holes = dataset(attention_mask=[[1, 0] + [1] * (len(ids) - 2) for ids in tokens(texts)["input_ids"]])
    with pytest.raises(InputError, match="the attention mask of row 0 has holes"):
        encode(holes, model(), tokenizer)


# The table of arguments


def test_every_argument_has_its_place() -> None:
    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(arguments.HONOURED) | arguments.PASSED <= names
    assert not set(arguments.HONOURED) & arguments.PASSED
    assert {*arguments.HONOURED, *arguments.PASSED, *arguments.refused()} == names


def test_defaults_are_not_refused(tmp_path: Path) -> None:
    arguments.check(TrainingArguments(output_dir=str(tmp_path / "out"), report_to="none"))


OTHER = {
    "max_steps": 5, "lr_scheduler_kwargs": {"num_cycles": 2}, "optim_args": "eps=1", "adam_beta1": 0.8,
    "adam_beta2": 0.99, "adam_epsilon": 1e-6, "torch_compile": True, "auto_find_batch_size": True, "data_seed": 3,
    "full_determinism": True, "dataloader_drop_last": True, "neftune_noise_alpha": 5.0, "ignore_data_skip": True,
    "include_num_input_tokens_seen": "all", "activation_checkpointing": True, "torch_empty_cache_steps": 3,
    "logging_nan_inf_filter": False, "enable_jit_checkpoint": True, "average_tokens_across_devices": False,
    "restore_callback_states_from_checkpoint": True, "accelerator_config": {"split_batches": True},
    "ddp_find_unused_parameters": True, "dataloader_in_order": False, "use_liger_kernel": True,
    "optim": "adafactor", "lr_scheduler_type": "polynomial", "train_sampling_strategy": "sequential",
    "num_train_epochs": 1.5, "hub_model_id": "me/model", "push_to_hub": True,
}  # fmt: skip


def test_all_that_is_refused_is_named_at_once(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to="none")
    for name, value in OTHER.items():
        setattr(args, name, value)
    with pytest.raises(InputError) as error:
        arguments.check(args)
    for name in OTHER:
        assert f"- {name}=" in str(error.value), name
    assert str(error.value).count("\n") == len(OTHER)


def test_arguments_become_the_same_settings(tmp_path: Path) -> None:
    """Learning rates of every step equal transformers' own schedule."""
    for schedule, warm in (("linear", 3), ("cosine", 0.25), ("constant_with_warmup", 5), ("constant", 5)):
        rates = []
        for kind in (Trainer, transformers.Trainer):
            settings = {"lr_scheduler_type": schedule, "warmup_steps": warm, "logging_steps": 1}
            found = trainer(tmp_path, kind=kind, logging_strategy="steps", **settings)
            found.train()
            rates.append([entry["learning_rate"] for entry in found.state.log_history if "loss" in entry])
        np.testing.assert_allclose(rates[0], rates[1], rtol=1e-9, err_msg=schedule)


class Within(TrainerCallback):
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Never called by our loop."""


class OwnLoss(Trainer):
    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs)


@pytest.mark.parametrize("name", PASSED_OVER)
def test_methods_that_the_loop_never_calls_are_refused(tmp_path: Path, name: str) -> None:
    own = type("Own", (Trainer,), {name: lambda self, *args, **kwargs: None})
    with pytest.raises(InputError, match=f"never calls Own.{name}; use transformers.Trainer with record"):
        trainer(tmp_path, kind=own)


def test_a_log_of_your_own_is_called(tmp_path: Path) -> None:
    told = []

    class Own(Trainer):
        def log(self, logs: Any, *args: Any, **kwargs: Any) -> None:
            told.append(logs)
            super().log(logs, *args, **kwargs)

    trainer(tmp_path, kind=Own, logging_strategy="epoch").train()
    assert len([logs for logs in told if "loss" in logs]) == 2


def test_parts_that_the_loop_would_pass_over_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Within.on_optimizer_step would never be called"):
        ours(tmp_path, callbacks=[Within()]).train()
    with pytest.raises(InputError, match="a loss of its own"):
        ours(tmp_path, compute_loss_func=lambda *a, **k: None)
    with pytest.raises(InputError, match="a loss of its own"):
        trainer(tmp_path, kind=OwnLoss)
    with pytest.raises(InputError, match="leave data_collator out"):
        ours(tmp_path, data_collator=lambda features: features)
    with pytest.raises(InputError, match="as processing_class"):
        ours(tmp_path, processing_class=None)
    with pytest.raises(InputError, match="makes its own optimiser"):
        ours(tmp_path, optimizers=(torch.optim.SGD(model().parameters(), lr=1.0), None))
    with pytest.raises(InputError, match="does not resume"):
        ours(tmp_path / "r", save_strategy="epoch").train()
        ours(tmp_path / "r").train(resume_from_checkpoint=str(tmp_path / "r" / "out" / "checkpoint-6"))
    with pytest.raises(InputError, match="records by itself"):
        record(ours(tmp_path), to=tmp_path / "run")
    with pytest.raises(InputError, match="no input_ids among"):
        ours(tmp_path, given=dataset().remove_columns("input_ids")).train()
    with pytest.raises(InputError, match="how to pad position_ids"):
        ours(tmp_path, given=dataset(position_ids=tokens(list(dataset()["text"]))["input_ids"])).train()


def test_the_documents_have_the_table() -> None:
    page = (Path(__file__).parents[1] / "docs" / "howto" / "integrations.md").read_text(encoding="utf-8")
    for name, words in arguments.HONOURED.items():
        assert f"| `{name}` | {words or 'as everywhere'} |" in page
    passed, others = page.split("Used by transformers' own code")[1].split("Refused unless at their default:")
    assert set(re.findall(r"`(\w+)`", passed)) == arguments.PASSED
    assert re.findall(r"`(\w+)`", others.split("## Lightning")[0]) == arguments.refused()
