"""The command that asks the model of a run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli.output import print_json, print_table, say, split_list
from leadline.cli.reading import Json, RunPath, summary

if TYPE_CHECKING:
    from leadline.runs import Run

FOLDS = 5  # of pvi
SWEEPS = ("pvi", "second_split_forgetting")  # probes that train other models


def probe(
    run: RunPath,
    probe: Annotated[
        str | None,
        typer.Option(
            "--probe",
            help="With commas: grand (last layer), grand_full, vog, depth; pvi and second_split_forgetting train. "
            "Default: grand,vog,depth; of a regression grand,vog.",
        ),
    ] = None,
    checkpoint: Annotated[
        int | None,
        typer.Option(help="Epoch whose weights grand and depth read; default: the first kept, for depth the end."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Of pvi: out-of-sample probabilities by so many trainings; 5 if not given."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Of pvi and second_split_forgetting: trainings at a time.")] = 1,
    json: Json = False,
) -> None:
    """Scores that need the model again: how long gradients are, how they moved, how deep an answer is decided.

    `record.checkpoints: all` in the recipe keeps the weights that grand and vog read.

    Example: leadline probe runs/reviews-minilm-1 --probe vog,grand
    """
    from leadline import runs
    from leadline.errors import InputError

    opened, names = runs.open(run), split_list(probe)
    known_probes(names)
    settings: dict[str, Mapping[str, Any]] = {}
    own = [name for name in names if name not in SWEEPS]
    if checkpoint is not None and names and not own:
        raise InputError(
            f"--checkpoint {checkpoint}: no kept weights are read; {', '.join(names)}: by training other models"
        )
    if folds is not None and "pvi" not in names:
        raise InputError(f"--folds {folds} belongs to pvi, which is not asked for: add --probe pvi")
    if own or not names:
        say("loading torch and transformers")
        from leadline import experiment

        settings |= experiment.probe(opened, own, checkpoint, tell=lambda event: say(event["says"]))
    for name in [name for name in SWEEPS if name in names]:
        settings[name] = by_training(opened, name, folds or FOLDS, jobs)
    if len(own) < len(names):
        runs.write_scores(opened)
    if json:
        paths = {name: str(opened.path / "probes" / f"{name}.npy") for name in settings}
        found = {name: {**about, "path": paths[name]} for name, about in settings.items()}
        print_json({"run": str(run), "n": len(opened.signals), "probes": found})
        return
    print_probes(opened, settings)


def known_probes(names: list[str]) -> None:
    """InputError for a name that is no probe."""
    from leadline.errors import InputError, nearest
    from leadline.scores import SCORES

    known = sorted({score.probe for score in SCORES.values() if score.probe})
    for name in names:
        if name not in known:
            raise InputError(
                f"--probe {name}: there is no such probe.{nearest(name, known)} They are {', '.join(known)}"
            )


def by_training(run: Run, name: str, folds: int, jobs: int) -> dict[str, Any]:
    """Trains what the probe needs, writes probes/<name>.npy, returns its settings."""
    from leadline import audit, runs
    from leadline.cli.sweeps import Told

    if name == "pvi":
        probabilities = audit.out_of_sample(run, folds, jobs=jobs, tell=Told())
        values, settings = audit.pvi(run, probabilities, jobs, Told()), {"folds": folds, "null": "trained"}
    else:
        values, settings = audit.second_split_forgetting(run, jobs=jobs, tell=Told()), {"seed": 0}
    runs.write_probe(run, name, values, settings)
    return settings


def print_probes(run: Run, settings: Mapping[str, Mapping[str, Any]]) -> None:
    from leadline.scores import SCORES

    record = run.signals
    rows = []
    for name, about in settings.items():
        values = [None if v is None else f"{v:.3g}" for v in summary(record.probes[name])]  # those of VoG are tiny
        epochs = ", ".join(map(str, about.get("checkpoints", [])))
        rows.append([name, SCORES[name].higher_is, *values, epochs])
    header = ["probe", "high means", "min", "median", "max", "epochs"]
    print_table(f"probes of {len(record):,} examples", header, rows)
    for name, about in settings.items():
        if str(about.get("how", "")).startswith("one by one"):
            print(f"{name} was computed {about['how']}")
    print(f"written  {run.path / 'probes'}, {run.path / 'scores.parquet'}")
