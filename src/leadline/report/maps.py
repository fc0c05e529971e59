"""The data map of a run as a file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from leadline import runs
from leadline.errors import InputError, nearest
from leadline.figures import data_map, interactive, style
from leadline.runs import Run, Scored
from leadline.scores import SCORES
from leadline.scores.regions import axes

DEFAULTS = ("confidence", "variability", "correctness", "action_mean", "loss_std")
MINUS_MEAN_LOSS = "minus_mean_loss"  # the vertical axis where the gold answer has no probability (a regression)

OTHERS = {"label", "region", MINUS_MEAN_LOSS}  # columns of a map that are no scores


def write_map(
    run: Run, scored: Scored, path: Path, x: str | None = None, y: str | None = None, color: str | None = None
) -> None:
    """map.html (interactive), or png, svg, pdf by the ending. Axes and colour default to what the run has."""
    if path.suffix not in (".png", ".svg", ".pdf", ".html"):
        raise InputError(f"-o {path}: the ending says the format; choose .png, .svg, .pdf or .html")
    table, across, up, colour = with_axes(scored)
    if scored.table["region"].n_unique() == 1 and "variability" not in scored.table.columns and x is None:
        axes(scored.columns())  # raises the sentence about one recorded epoch
    color = color or colour
    if color not in table.columns or color == "id":
        raise InputError(f"map: there is no column `{color}` to colour by.{nearest(color, table.columns)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        texts = texts_of(run)
        page = interactive.interactive_map(table, texts, run.classes, x or across, y or up, title=run.name, color=color)
        runs.write_text(path, page)
    else:
        figure = data_map.data_map(table, x or across, y or up, color, title=run.name)
        style.save(figure, path)


def needed(x: str | None, y: str | None, color: str | None) -> str | list[str]:
    """The scores that a picture with these axes and colour takes; "all" where a name is none, so that an error lists
    what there is."""
    asked = {name for name in (x, y, color) if name is not None} - OTHERS
    if any(name not in SCORES for name in asked):
        return "all"
    return [name for name in SCORES if name in {*asked, *DEFAULTS}]


def with_axes(scored: Scored) -> tuple[pl.DataFrame, str, str, str]:
    """The scores with the columns that the map's axes and colour need, and their names (x, y, colour)."""
    if "confidence" in scored.table.columns:
        return scored.table, "variability", "confidence", "correctness"
    table = scored.table.with_columns((-pl.col("action_mean")).alias(MINUS_MEAN_LOSS))
    return table, "loss_std", MINUS_MEAN_LOSS, "region"


def texts_of(run: Run) -> pl.Series:
    """One text per training example; both texts of a pair; the id where the run has no texts."""
    inputs = run.train.inputs or ("_id",)
    return run.train.table.select(
        pl.concat_str([pl.col(name).cast(pl.String) for name in inputs], separator=" ⟂ ")
    ).to_series()
