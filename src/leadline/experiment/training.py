"""leadline train: one recipe, start to finish."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leadline import evaluate as metrics_room
from leadline import recipe as recipes
from leadline import report, runs, suspects
from leadline.data import load as loading
from leadline.data.examples import Examples
from leadline.errors import InputError, LeadlineError
from leadline.experiment import ood, stressing
from leadline.experiment.job import Job, answers
from leadline.learn import kept_weights, models, notes, ranks, represent, sanity, sharding
from leadline.learn.clock import Clock
from leadline.learn.loop import Event
from leadline.recipe import Recipe
from leadline.runs import Run

Tell = Callable[[Event], None]


def silent(event: Event) -> None:
    """Nobody listens."""


@ranks.leaving()
def train(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    data: Any = None,
    name: str | None = None,
    root: str | Path = "runs",
    overrides: Sequence[str] = (),
    check: bool = False,
    profile: bool = False,
    processes: int | None = None,
    sharded: bool = False,
    tell: Tell = silent,
    **settings: Any,
) -> Run:
    """Trains one run and returns it; a finished run of the same recipe and data is returned as it is.

        leadline.train("recipe.yaml")
        leadline.train(data=df, text="text", label="label", model="minilm", epochs=3)

    recipe     a YAML file, a mapping or a Recipe; or instead of it
    data       a file, `hub:…`, or a pandas / polars / datasets table, with `settings` as in `recipe.quick`
    name       the run's directory under `root` (default: <data>-<model>-<n>)
    overrides  "key.path=value", as --set
    check      also overfit one batch and train on shuffled labels, before training
    profile    note where the time went (an event `profile`); on a GPU it costs some
    processes  how many processes torchrun is to have started: fewer or more is an error
    sharded    the model lies in pieces over the processes (FSDP): for models that do not fit
    tell       called with every event (start, step, epoch, check, end) as a plain dict
    Raises InputError (nothing was written) or LeadlineError (training failed).
    """
    resolved, frames = _resolve(recipe, data, overrides, settings)
    runs.check(resolved)
    base = Run(resolved.base.run) if resolved.base else None
    examples = loading.load(resolved.data, resolved.task, frames, _confusions(resolved, base))
    _check_metrics(resolved, examples, base)
    ood.check(resolved, examples)
    stressing.held_out(resolved, examples)
    key = runs.key(resolved, examples, base)
    path, state = runs.place(resolved, key, name, Path(root))
    if state == "finished":
        tell({"event": "finished before", "path": str(path)})
        return _pages(Run(path)) if int(os.environ.get("RANK", "0")) == 0 else Run(path)
    began, clock = time.perf_counter(), Clock(profile)
    tell({"event": "note", "says": f"{len(examples):,} examples; loading the model {resolved.model_name}"})
    with clock("other"):
        job = Job.prepare(resolved, examples, clock, base)
    represent.check(resolved.evaluate.features, job.model)
    if processes not in (None, ranks.world()):
        raise LeadlineError(f"{processes} processes were asked for, and {ranks.world()} train: start it by torchrun")
    if sharded and ranks.world() == 1:
        raise InputError("a model in pieces needs several processes to lie on: --processes 2, or torchrun")
    tell = tell if ranks.first() else silent
    noted = {"key": key, **notes.about(resolved, job.model, job.tokenizer, job.accelerator)}
    where = (key, name, Path(root), ranks.world(), sharded)
    with claim(resolved, job.examples, noted, where, tell) as (path, start):
        with Log(path / "metrics.jsonl", tell) as log:
            _work(job, path, start, log, check, sharded, began)
        if ranks.first():
            _clear(path)
    if ranks.first():
        _pages(Run(path))
    ranks.gather(None)
    return Run(path)  # read anew: everything is there now


def _work(job: Job, path: Path, start: Path | None, log: Log, check: bool, sharded: bool, began: float) -> None:
    """Trains, evaluates, writes what follows from the record."""
    if job.chosen.says and start is None:
        log({"event": "plan", "says": list(job.chosen.says), "examples": len(job.chosen.rows)})
    if check and not job.examples.classes and start is None:
        log({"event": "note", "says": "--check: a regression has no labels to shuffle; only its record is checked"})
    extra = job.experiments() if check else []
    fit = job.fit(path, log, start, log.written, sharded)
    steps = fit.run()
    trained = time.perf_counter() - fit.began
    job.finish(fit)
    whole = sharding.full_copy(job.model)
    if ranks.first():
        models.save(job.model, job.tokenizer, path / "model", whole)
    with job.clock("evaluate"):
        inference = _evaluate_splits(job, path, log)
        stressing.after_training(job.recipe, job.examples, path)
        ood.after_training(job, path, log)
    if ranks.first():
        _views(Run(path), job, [*extra], log)
        if job.clock.on:
            total = time.perf_counter() - began
            log({"event": "profile", "seconds": job.clock.event(total), "total": total})
        log({"event": "end", "steps": steps, **notes.costs(began, trained, inference, fit.seen)})


@contextlib.contextmanager
def claim(
    recipe: Recipe,
    examples: Examples,
    noted: Mapping[str, Any],
    where: tuple[str, str | None, Path, int, bool],
    tell: Tell,
) -> Iterator[tuple[Path, Path | None]]:
    """(the run's directory, the checkpoint to go on from): claimed by the first process, known to all.

    where  key, name, root, processes, sharded, as `runs.create` takes them
    """
    mine: list[runs.Claimed] = []

    def create() -> tuple[Path, Path | None]:
        claimed = runs.create(recipe, examples, noted, *where)
        mine.append(claimed)
        for sentence in claimed.damaged:
            tell({"event": "note", "says": f"{sentence}; the one before it is used"})
        return claimed.run.path, claimed.start

    found = ranks.on_first(create)
    with mine[0].lock if mine else contextlib.nullcontext():
        yield found


def _clear(path: Path) -> None:
    """Away with what only an unfinished run needs."""
    kept_weights.clear(path / "checkpoints")
    (path / runs.LOCK).unlink(missing_ok=True)


def _pages(run: Run) -> Run:
    """Model card, references and report of a finished run, where they are missing: a view that failed is made again."""
    card, references = run.path / "model" / "README.md", run.path / "references.bib"
    if not card.is_file():
        runs.write_text(card, report.model_card(run))
    if not references.is_file() and (run.path / "signals").is_dir():
        runs.write_text(references, report.references(run))
    if not (run.path / "report.html").is_file():
        report.write(run)
    _clear(run.path)
    return run


def _resolve(
    recipe: Any, data: Any, overrides: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Recipe, dict[str, Any] | None]:
    if (recipe is None) == (data is None):
        raise InputError("train: give a recipe, or data=… with text and label")
    if isinstance(recipe, Recipe):
        return recipes.load(recipe.to_dict(), overrides), None
    if recipe is not None:
        if settings:
            raise InputError(f'train: `{next(iter(settings))}` goes into the recipe; use overrides=["key=value"]')
        return recipes.load(recipe, overrides), None
    if isinstance(data, str | Path):
        return recipes.load(recipes.quick(str(data), **settings), overrides), None
    frames = {"train": data}
    for split in ("validation", "test"):
        if settings.get(split) is not None and not isinstance(settings[split], str | float | Path):
            frames[split] = settings[split]
            settings = {**settings, split: recipes.DATAFRAME}
    return recipes.load(recipes.quick(recipes.DATAFRAME, **settings), overrides), frames


def _confusions(recipe: Recipe, base: Run | None) -> np.ndarray | None:
    """(K, K) counts of the base run's validation predictions, label by prediction: what by-confusion flips copy."""
    if base is None or recipe.data.corrupt is None or recipe.data.corrupt.kind != "by-confusion":
        return None
    if not base.classes:
        raise InputError(f"{base.path}: a regression has no confusions to copy (data.corrupt: by-confusion)")
    table, index = base.predictions("validation"), {name: k for k, name in enumerate(base.classes)}
    labels, predicted = ([index[v] for v in table[column].to_list()] for column in ("label", "predicted"))
    return metrics_room.confusion(np.array(labels), np.array(predicted), len(base.classes))


def _check_metrics(recipe: Recipe, examples: Examples, base: Run | None) -> None:
    """What only the data can tell of the recipe's names: which metrics exist, whether the base has the same classes."""
    if recipe.data.corrupt and recipe.data.corrupt.kind == "by-confusion" and base and base.classes != examples.classes:
        raise InputError(
            f"{base.path}: its classes are {', '.join(base.classes)}, those here {', '.join(examples.classes)}"
        )
    k = len(examples.classes)
    answers = np.full((k, k), 1 / k) if k else np.arange(3.0)
    labels = np.eye(k) if examples.soft else np.arange(k) if k else np.arange(3.0)
    if recipe.evaluate.metrics != "auto":
        metrics_room.metrics(labels, answers, examples.classes, recipe.evaluate.metrics)
    stopping = recipe.training.early_stopping
    if stopping is not None and stopping.metric != "loss":
        metrics_room.metrics(labels, answers, examples.classes, [stopping.metric])


class Log:
    """metrics.jsonl, and whoever listens. Only the first process writes; a resumed run goes on where it was."""

    def __init__(self, path: Path, tell: Tell):
        self.tell = tell
        self.file = open(path, "a", encoding="utf-8") if ranks.first() else None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *trouble: object) -> None:
        if self.file:
            self.file.close()

    def __call__(self, event: Event) -> None:
        if self.file and event["event"] != "resume" and (event["event"] != "step" or "loss" in event):
            self.file.write(json.dumps(runs.plain(event)) + "\n")
            self.file.flush()
        self.tell(event)

    def written(self) -> int:
        """Bytes so far, on disk."""
        if self.file is None:
            return 0
        os.fsync(self.file.fileno())
        return self.file.tell()


# --- after training ---------------------------------------------------------------------------------------------------


def _evaluate_splits(job: Job, path: Path, log: Log) -> dict[str, float]:
    """Predictions and results of the splits asked for; returns {seconds, examples} of the passes."""
    asked, there = job.recipe.evaluate, job.examples.splits
    found, seconds = {}, 0.0
    for split in [s for s in asked.splits if s in there]:
        began = time.perf_counter()
        found[split] = job.predict(split)
        seconds += time.perf_counter() - began
    temperature = None
    if asked.calibration and job.examples.classes and "validation" in there:
        outcome = found.get("validation") or job.predict("validation")
        temperature = metrics_room.temperature_with_interval(
            outcome["logits"], job.examples.split("validation").targets
        )
        log({"event": "temperature", **temperature._asdict()})
    if ranks.first():
        runs.write_results(path, {split: _measured(job, path, split, found[split], temperature) for split in found})
    return {"seconds": seconds, "examples": sum(len(job.examples.split(split)) for split in found)}


def _measured(
    job: Job, path: Path, split: str, found: Mapping[str, np.ndarray], temperature: metrics_room.Temperature | None
) -> dict[str, dict[str, float]]:
    """The metrics of one split, and after scaling where the temperature is of other rows; writes its predictions."""
    part, asked = job.examples.split(split), job.recipe.evaluate
    scale = temperature.value if temperature and asked.scaled_predictions else None
    table = runs.predictions_table(part.ids, part.table["_label"].to_list(), found, part.classes, scale)
    runs.write_parquet(path / "predictions" / f"{split}.parquet", table)
    said = answers(found, part.classes)
    values = metrics_room.with_intervals(part.targets, said, part.classes, asked.metrics)
    if temperature is not None and split != "validation":
        values |= metrics_room.after_scaling(part.targets, said, part.classes, temperature, asked.metrics)
    elif temperature is not None:
        values |= metrics_room.temperature_figure(temperature)
    left_out = () if asked.calibration else metrics_room.CALIBRATION
    return {metric: value for metric, value in values.items() if metric not in left_out}


def _views(run: Run, job: Job, extra: list[sanity.Check], log: Log) -> None:
    """What the record says: scores.parquet, suspects.csv, and the training check."""
    recorded = job.recipe.record is not None
    whole = len(job.chosen.rows) == len(run.train) and job.recipe.curriculum is None
    checks = [*(sanity.of_record(run.signals, whole) if recorded else []), *extra]
    log({"event": "check", "checks": [check.event() for check in checks]})
    if not recorded:
        return
    runs.write_scores(run)
    if run.classes:
        runs.write_suspects(run, suspects.rank(run.signals, runs.kept_scores(run).columns()))
