"""An ablation as files: tables and pictures in one folder."""

from __future__ import annotations

import json
from pathlib import Path

from leadline import runs
from leadline.data.write import write_table
from leadline.errors import InputError, cannot_write
from leadline.figures import arms as drawing
from leadline.figures import style
from leadline.sweep.arms import Study


def write_study(found: Study, folder: str | Path) -> list[Path]:
    """arms.csv, changed.csv, study.json, f1.png, and where there is something to draw curves.png and regions.png.

    The folder is made; files of these names in it are replaced, each whole or not at all, or removed where there is
    nothing to say now. Returns what was written.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InputError(f"{folder}: a file; -o takes a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    written = [folder / "arms.csv", folder / "study.json"]
    write_table(written[0], found.table())
    runs.write_text(written[1], json.dumps(runs.plain(found.to_dict()), indent=1, ensure_ascii=False) + "\n")
    if found.changed.height:
        written.append(folder / "changed.csv")
        write_table(written[-1], found.changed)
    names, arms = [arm.name for arm in found.arms], found.arms
    shown = [arm for arm in arms if "macro_f1" in arm.values]
    pictures = {
        "f1": lambda: drawing.bars([arm.name for arm in shown], [arm.values["macro_f1"] for arm in shown],
                                   [arm.mixed for arm in shown], found.against),
        "curves": lambda: drawing.curves([vars(arm) for arm in arms], found.against),
        "regions": lambda: drawing.regions(names, [arm.regions for arm in arms]),
    }  # fmt: skip
    there = {"f1": bool(shown), "curves": any(arm.curve for arm in arms), "regions": any(arm.regions for arm in arms)}
    for name, draw in pictures.items():
        if there[name]:
            written.append(style.save(draw(), folder / f"{name}.png"))
    for stale in {folder / "changed.csv", *(folder / f"{name}.png" for name in pictures)} - set(written):
        stale.unlink(missing_ok=True)
    return written
