"""Commands that move rows: select, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leadline.cli.output import print_json, say, split_list
from leadline.cli.reading import MaxEpochs, Precedence, Proportion, Rule, RunPath, SkipEpochs, region_rule


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


def import_(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="cartography")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Directory with dynamics_epoch_<k>.jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the new run.")],
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
    """Make a run of another tool's record, to be scored and mapped like any other.

    Example: leadline import cartography dynamics/ -o runs/imported --data train.csv --id idx
    """
    from leadline import recipe, runs
    from leadline.data import load as loading
    from leadline.errors import InputError, nearest
    from leadline.interop import cartography

    if format != "cartography":
        raise InputError(f"import {format}: unknown format.{nearest(format, ['cartography'])} Known: cartography")
    examples = None
    if data is not None:
        columns = recipe.load(recipe.quick(data, text=split_list(text) or None, label=label, id=id)).data
        examples = loading.load_one(data, columns, "classification", split_list(classes), split="train")
    told = cartography.to_run(source, output, examples, split_list(classes))
    for sentence in told:
        say(sentence)
    run = runs.open(output)
    facts = {"run": str(output), "n": len(run.signals), "epochs": run.signals.n_epochs, "classes": list(run.classes)}
    if json:
        print_json({**facts, "told": list(told)})
    else:
        print(f"written  {output}: {facts['n']:,} examples, {facts['epochs']} epochs\nnext     leadline score {output}")


def export(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="cartography")],
    run: RunPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="New directory.")],
) -> None:
    """Write a run's record in another tool's format.

    Example: leadline export cartography runs/reviews-minilm-1 -o dynamics/
    """
    from leadline import runs
    from leadline.errors import InputError, nearest
    from leadline.interop import cartography

    if format != "cartography":
        raise InputError(f"export {format}: unknown format.{nearest(format, ['cartography'])} Known: cartography")
    cartography.write(runs.open(run).signals, output)
    print(f"written  {output}")
