"""The command that asks how well a model tells texts of its own kind from others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadline.cli.output import interval, print_json, print_table, say, split_list
from leadline.cli.training import Columns, Json, Label

if TYPE_CHECKING:
    from leadline.experiment import Detected


def ood(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="Directory of a run, or of any checkpoint.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="FILE…", help="Further files, as --against.")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE…",
            help="Other texts: FILE, NAME=FILE, KIND:FILE (near, far, semantic, background; several: far+semantic:), "
            "FILE#COLUMN for a text column of its own.",
        ),
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="Texts in distribution; default: the run's test (or validation) split.")
    ] = None,
    fit: Annotated[
        str | None, typer.Option(help="Labelled training texts for distances and language models; default: the run's.")
    ] = None,
    text: Columns = None,
    label: Label = None,
    detectors: Annotated[
        str | None,
        typer.Option(help="With commas: msp,energy,…; all. Default: all that need neither language model nor extra."),
    ] = None,
    lm: Annotated[
        str | None,
        typer.Option(
            "--lm",
            help="Causal language model for perplexity and density: Hub id or directory. Default: a small one, trained "
            "here on the training texts.",
        ),
    ] = None,
    fine_tune: Annotated[bool, typer.Option("--fine-tune", help="Train --lm on the training texts first.")] = False,
    features: Annotated[
        str | None, typer.Option(help="What distances read: pooled, cls, or layers (4,6). Default: as the head does.")
    ] = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="At most so many rows of each file, at random.")] = None,
    npy: Annotated[
        Path | None, typer.Option("--npy", help="Write MSP under the names of published code: DIR/output/…_msp.npy.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, bf16, fp16 or fp32; default: as the run was trained.")
    ] = None,
    json: Json = False,
) -> None:
    """How well a model tells texts of its own kind from others: AUROC, AUPR, FPR@95 by detector and set.

    Example: leadline ood runs/reviews-minilm-1 --against questions.csv far:news=20news.csv#body
    """
    from leadline.errors import InputError

    files = [*(against or []), *(more or [])]
    if not files:
        raise InputError("no texts to tell apart: name files with --against FILE")
    if fine_tune and lm is None:
        raise InputError("--fine-tune: name the language model with --lm; the small one is always trained here")
    names = split_list(detectors) or "default"
    say("loading torch and transformers")
    from leadline import experiment

    if npy is not None:
        experiment.check_npy(model, npy)
    found = experiment.detect(
        model, files, id=id, fit=fit, text=split_list(text) or None, label=label, lm=lm, fine_tune=fine_tune,
        detectors="all" if names == ["all"] else names, features=_features(features), max_rows=max_rows,
        precision=precision, tell=lambda event: say(str(event["says"])) if "says" in event else None,
    )  # fmt: skip
    if json:
        print_json(as_json(found) | {"files": [str(path) for path in _files(found, npy)]})
    else:
        print_detected(found)
    for path in _write(found, npy):  # last: what was computed is told, whatever becomes of the files
        if not json:
            print(f"written  {path}")


def as_json(found: Detected) -> dict[str, object]:
    sets = {
        one.name: {
            "file": one.file, "kinds": list(one.kinds), "n": found.rows(one.name),
            "prevalence": found.prevalence(one.name), "detectors": found.results[one.name],
        }
        for one in found.sets
    }  # fmt: skip
    about = {"model": found.model, "id": {"name": found.data, "n": found.n}}
    return {**about, "sets": sets, "left_out": found.left_out, "notes": found.told}


def print_detected(found: Detected) -> None:
    """One table of all sets and detectors; then, of sets with a kind, the mean AUROC of each kind."""
    from leadline.ood import MEASURES

    header = ["set", "kind", "n", "detector", *MEASURES]
    rows = []
    for one in found.sets:
        for name, measures in found.results[one.name].items():
            figures = [interval(measures[m]) for m in MEASURES]
            rows.append([one.name, " + ".join(one.kinds), f"{found.rows(one.name):,}", name, *figures])
    title = f"{found.data} (n = {found.n:,}) against other texts: value [95 % interval]; higher score is stranger"
    print_table(title, header, rows, width=190)
    kinds = list(dict.fromkeys(kind for one in found.sets for kind in one.kinds))
    if kinds:
        means = [[name, *(interval(found.mean_auroc(name, kind)) for kind in kinds)] for name in found.scores]
        sets = [f"{kind} ({sum(kind in one.kinds for one in found.sets)})" for kind in kinds]
        print_table("mean AUROC over the sets of each kind [95 % interval]", ["detector", *sets], means)
    for note in found.told:
        print(note)
    for name, why in found.left_out.items():
        print(f"left out  {name}: {why}")


def _files(found: Detected, folder: Path | None) -> list[Path]:
    """Where `_write` will write."""
    from leadline import ood as ood_room

    others = {name: () for name in found.msp if name != ood_room.IN}
    return [] if folder is None else [folder / p for p in ood_room.names(found.model, found.data, others).values()]


def _write(found: Detected, folder: Path | None) -> list[Path]:
    from leadline import ood as ood_room

    others = {name: values for name, values in found.msp.items() if name != ood_room.IN}
    if folder is None:
        return []
    return ood_room.write_npy(folder, found.model, found.data, found.msp[ood_room.IN], others)


def _features(asked: str | None) -> str | Sequence[int] | None:
    from leadline.errors import InputError

    if asked is None or asked in ("pooled", "cls"):
        return asked
    layers = split_list(asked)
    if not layers or not all(part.removeprefix("-").isdecimal() for part in layers):
        raise InputError(f"--features {asked or 'without a value'}: pooled, cls, or numbers of layers (4,6)")
    return [int(part) for part in layers]
