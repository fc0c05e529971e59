"""Commands that move rows: select, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadline.cli.output import print_json, say, split_list
from leadline.cli.reading import MaxEpochs, Precedence, Proportion, Rule, RunPath, SkipEpochs, region_rule

if TYPE_CHECKING:
    from leadline.runs import Run


def select(
    run: RunPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="subset.csv, .parquet or .jsonl")],
    keep: Annotated[list[str] | None, typer.Option(help="Regions to keep: easy, ambiguous, hard, none.")] = None,
    score: Annotated[str | None, typer.Option(help="Select by this score instead.")] = None,
    drop_highest: Annotated[float | None, typer.Option(help="Drop this share with the highest scores.")] = None,
    keep_highest: Annotated[float | None, typer.Option(help="Keep this share with the highest scores.")] = None,
    keep_lowest: Annotated[float | None, typer.Option(help="Keep this share with the lowest scores.")] = None,
    random: Annotated[float | None, typer.Option(help="Keep a random share: the control of the same size.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of --random.")] = 0,
    data: Annotated[str | None, typer.Option(help="Take the rows from this copy of the training file instead.")] = None,
    max_epochs: MaxEpochs = None,
    skip_epochs: SkipEpochs = 0,
    regions: Rule = "proportion",
    proportion: Proportion = 0.33,
    precedence: Precedence = "ambiguous,easy,hard",
) -> None:
    """Write a subset of the training data, by region, by score, or at random. The source file is never touched.

    Example: leadline select runs/reviews-minilm-1 --keep easy,ambiguous -o subset.csv
    """
    from leadline import runs
    from leadline.interop import subsets

    opened = runs.open(run)
    choice = subsets.Choice(split_list(keep), score, drop_highest, keep_highest, keep_lowest, random, seed)
    scored = opened.scored("all", max_epochs, skip_epochs, region_rule(regions, proportion, precedence))
    kept, n = subsets.write_subset(opened, scored, choice, output, data)
    print(f"written  {output}: {kept:,} of {n:,} training examples ({choice.says})")


IMPORTS = ("cartography", "argilla", "labelstudio")
EXPORTS = ("cartography", "argilla", "labelstudio", "spotlight")


def import_(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="cartography, argilla or labelstudio.")],
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Directory with dynamics_epoch_<k>.jsonl; or people's answers as JSON."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="cartography: directory of the new run.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="argilla, labelstudio: the run whose examples people answered on.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The file that was trained on: stores its texts and columns.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="Text column of --data (two for pairs).")] = None,
    label: Annotated[str | None, typer.Option(help="Label column of --data.")] = None,
    id: Annotated[
        str | None, typer.Option(help="Column of --data that holds the guids; default: the row number.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Class names in the order of the logits, with commas.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a run of another tool's record, to be scored and mapped like any other; or take people's answers back.

    Answers given in Argilla or Label Studio become decisions of --run, as if they had been given in `leadline review`.

    Example: leadline import cartography dynamics/ -o runs/imported --data train.csv --id idx
    """
    _known("import", format, IMPORTS)
    if format != "cartography":
        _answers(format, source, run, output, json)
    else:
        _dynamics(source, output, run, data, split_list(text), label, id, split_list(classes), json)


def _known(verb: str, format: str, formats: tuple[str, ...]) -> None:
    from leadline.errors import InputError, nearest

    if format not in formats:
        raise InputError(f"{verb} {format}: unknown format.{nearest(format, formats)} Known: {', '.join(formats)}")


def _dynamics(
    source: Path,
    output: Path | None,
    run: Path | None,
    data: str | None,
    text: list[str],
    label: str | None,
    id: str | None,
    classes: list[str],
    json: bool,
) -> None:
    from leadline import recipe, runs
    from leadline.data import load as loading
    from leadline.errors import InputError
    from leadline.interop import cartography

    if output is None or run is not None:
        raise InputError("import cartography: name the directory of the new run by -o (and no --run)")
    examples = None
    if data is not None:
        columns = recipe.load(recipe.quick(data, text=text or None, label=label, id=id)).data
        examples = loading.load_one(data, columns, "classification", classes, split="train")
    told = cartography.to_run(source, output, examples, classes)
    for sentence in told:
        say(sentence)
    made = runs.open(output)
    facts = {"run": str(output), "n": len(made.signals), "epochs": made.signals.n_epochs, "classes": list(made.classes)}
    if json:
        print_json({**facts, "told": list(told)})
    else:
        print(f"written  {output}: {facts['n']:,} examples, {facts['epochs']} epochs\nnext     leadline score {output}")


def _answers(format: str, source: Path, run: Path | None, output: Path | None, json: bool) -> None:
    from leadline import runs
    from leadline.errors import InputError
    from leadline.interop import answers, argilla, labelstudio

    if run is None or output is not None:
        raise InputError(f"import {format}: name the run whose examples people answered on by --run (and no -o)")
    opened = runs.open(run)
    tool = {"argilla": argilla, "labelstudio": labelstudio}[format]
    names = {called: name for name, called in labelstudio.choices(opened.classes, run).items()}
    found = answers.record(opened, tool.read(source, opened), source, names if format == "labelstudio" else None)
    if json:
        print_json({"run": str(run), "n": found.n, **vars(found)})
        return
    kinds = ", ".join(f"{n:,} {action}" for action, n in found.actions.items()) or "none"
    print(f"recorded {found.n:,} decisions of {len(found.reviewers)} reviewers: {kinds}")
    if found.unchanged:
        print(f"         {found.unchanged:,} answers were decisions already")
    print(f"next     leadline clean {run} -o cleaned.csv")


def export(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="cartography, argilla, labelstudio or spotlight.")],
    run: RunPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="New directory; spotlight: directory or .parquet.")],
    score: Annotated[
        str | None, typer.Option(help="Order by this score; default: suspects.csv, else aum_prob.")
    ] = None,
    suspects: Annotated[Path | None, typer.Option(help="Order of this file of `leadline audit`.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only so many, the most doubtful.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a run in another tool's format: the record (cartography), or its examples for people to review.

    Example: leadline export argilla runs/reviews-minilm-1 -o for-argilla --top 500
    """
    from leadline import runs
    from leadline.errors import InputError

    _known("export", format, EXPORTS)
    opened = runs.open(run)
    if format == "cartography":
        from leadline.interop import cartography

        if score or suspects or top:
            raise InputError(
                "export cartography: writes all examples as they were recorded; no --score, --suspects, --top"
            )
        cartography.write(opened.signals, output)
        n = len(opened.signals)
    else:
        output, n = _for_review(format, opened, output, score, suspects, top)
    if json:
        print_json({"run": str(run), "format": format, "path": str(output), "n": n})
    else:
        print(f"written  {output}: {n:,} examples" + NEXT.get(format, "").replace("{output}", str(output)))


NEXT = {
    "argilla": "\nnext     rg.Dataset.from_disk('{output}', name=…, workspace=…) in Python",
    "labelstudio": "\nnext     a project with {output}/config.xml as labelling interface; import {output}/tasks.json",
    "spotlight": "\nnext     spotlight {output}",
}


def _for_review(
    format: str, run: Run, output: Path, score: str | None, suspects: Path | None, top: int | None
) -> tuple[Path, int]:
    """Writes the examples for people; (what was written, how many examples)."""
    from leadline.errors import InputError
    from leadline.interop import argilla, labelstudio, spotlight
    from leadline.interop.doubted import doubted

    if score and suspects:
        raise InputError("export: give --score or --suspects, not both")
    if format == "spotlight" and top:
        raise InputError("export spotlight: writes all examples; no --top (filter by rank there)")
    found = doubted(run, score, top, suspects) if run.classes or score or suspects else None
    for sentence in found.told if found is not None and format != "spotlight" else []:
        say(sentence)
    if format == "spotlight":
        return spotlight.write(run, output, found)
    if found is None:
        raise InputError(
            f"{run.path}: a regression has no classes to choose from; `leadline export spotlight` shows it"
        )
    return output, {"argilla": argilla, "labelstudio": labelstudio}[format].write(found, output)
