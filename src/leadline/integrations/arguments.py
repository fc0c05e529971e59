"""Which TrainingArguments leadline's loop honours, which the Trainer around it uses as ever, and which it refuses.

Every field of `transformers.TrainingArguments` (5.23) stands in one of two tables, or must have its default value.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from leadline.errors import all_at_once
from leadline.recipe import Training

# What the loop does with it.
HONOURED = {
    "num_train_epochs": "a whole number of epochs",
    "per_device_train_batch_size": "the micro-batch: how many examples are computed at once",
    "gradient_accumulation_steps": "times the above = the examples of one optimiser step",
    "learning_rate": "",
    "weight_decay": "of weight matrices; biases and normalisation weights are not decayed",
    "warmup_steps": "steps, or a share of all steps where below 1",
    "lr_scheduler_type": "linear, cosine, constant or constant_with_warmup",
    "max_grad_norm": "0: no clipping",
    "label_smoothing_factor": "in the training loss; recorded losses are clean",
    "optim": "adamw_torch or adamw_torch_fused, which is what runs on either",
    "train_sampling_strategy": "random or group_by_length: batches of similar length, shuffled, on either",
    "bf16": "the body of the model; the head stays in float32",
    "fp16": "the body of the model; the head stays in float32",
    "use_cpu": "",
    "seed": "order and dropout",
}

# What transformers' own code around the loop uses: evaluation, saving, logging, callbacks.
PASSED = {
    "output_dir", "per_device_eval_batch_size", "prediction_loss_only", "eval_do_concat_batches", "eval_strategy",
    "eval_steps", "eval_delay", "eval_on_start", "eval_accumulation_steps", "eval_use_gather_object",
    "include_for_metrics", "batch_eval_metrics", "bf16_full_eval", "fp16_full_eval", "label_names",
    "remove_unused_columns", "logging_strategy", "logging_steps", "logging_first_step", "log_on_each_node", "log_level",
    "log_level_replica", "disable_tqdm", "report_to", "run_name", "project", "trackio_space_id", "trackio_bucket_id",
    "trackio_static_space_id", "save_strategy", "save_steps", "save_total_limit", "save_only_model",
    "load_best_model_at_end", "metric_for_best_model", "greater_is_better", "tf32", "skip_memory_metrics", "use_cache",
    "length_column_name", "dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers",
    "dataloader_prefetch_factor", "do_train", "do_eval", "do_predict", "local_rank",
}  # fmt: skip

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}


def refused() -> list[str]:
    """The fields that must have their default value."""
    return sorted(
        field.name for field in dataclasses.fields(TrainingArguments) if field.name not in PASSED | {*HONOURED}
    )


def check(args: TrainingArguments) -> None:
    """Raises one InputError that names every argument the loop cannot honour."""
    usual = _defaults()
    problems = [
        f"{name}={getattr(args, name)!r}: not honoured; leave it at {usual[name]!r}"
        for name in refused()
        if _plain(getattr(args, name)) != usual[name]
    ]
    problems += [
        f"{name}={_plain(getattr(args, name))!r}: choose {' or '.join(known)}"
        for name, known in {
            "optim": ("adamw_torch", "adamw_torch_fused"),
            "lr_scheduler_type": tuple(SCHEDULES),
            "train_sampling_strategy": ("random", "group_by_length"),
        }.items()
        if _plain(getattr(args, name)) not in known
    ]
    if args.num_train_epochs != int(args.num_train_epochs) or args.num_train_epochs < 1:
        problems.append(f"num_train_epochs={args.num_train_epochs}: a whole number of epochs, at least 1")
    if args.world_size > 1 or args.n_gpu > 1:
        problems.append(
            "several processes or GPUs: one only; `leadline train --processes N`, or record() in transformers.Trainer"
        )
    if problems:
        raise all_at_once("leadline's Trainer cannot honour these TrainingArguments:", problems, show=len(problems))


def _defaults() -> dict[str, Any]:
    """The defaults, in words. A TrainingArguments made to ask them of would reset the accelerator of this process."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(TrainingArguments):
        made = field.default_factory() if callable(field.default_factory) else field.default
        found[field.name] = _plain(made)
    return found


def _plain(value: Any) -> Any:
    """Enumerations as their words; all the ways to say "nothing" as one."""
    value = getattr(value, "value", value)
    if value == AcceleratorConfig() or (isinstance(value, str | list | dict) and value in ("", "no", [], {})):
        return None
    return None if value is False else value


def training(args: TrainingArguments, n: int) -> Training:
    """The same settings as leadline's loop takes them, for n examples."""
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    total = -(-n // batch) * int(args.num_train_epochs)
    schedule = _plain(args.lr_scheduler_type)
    warm = args.get_warmup_steps(total) if schedule != "constant" else 0  # there transformers' has none
    return Training(
        epochs=int(args.num_train_epochs),
        batch_size=batch,
        micro_batch=args.per_device_train_batch_size,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        warmup=min((warm + 0.5) / total, 1 - 1e-9) if warm else 0.0,  # the loop takes the whole part of a share
        schedule=SCHEDULES[schedule],
        max_grad_norm=args.max_grad_norm or None,
        log_every=1,
        seed=args.seed,
    )
