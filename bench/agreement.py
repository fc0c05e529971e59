"""How long does the table of all scores take, and are the exports for reviewers streamed?

    python bench/agreement.py [--n 67349] [--repeats 3] [--toy]

Part one, simulated logits of 67,349 examples (the size of SST-2's training file), 5 epochs, 3 classes, and every score
that they define: Spearman of all pairs by leadline, by pandas and by scipy, one thread, in turns in one process (equal
to 1e-9); then with overlap and bootstrap intervals; then Kendall's tau of 5,000 random rows.

Part two, a simulated run of 100,000 examples with texts, as a directory: `leadline export` for Argilla, Label Studio
and Spotlight as processes of their own: seconds, file size, and the largest private memory (RssAnon), beside the same
of 10,000.
Writes bench/results/agreement.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from common import machine, watched, write_json
from scipy import stats
from simulated import logits_of, write_run

from leadline import evaluate, scores, signals
from leadline.comparison.agreement import KENDALL_ROWS, harder_up

RESULTS = Path(__file__).parent / "results" / "agreement.json"
FORMATS = ("argilla", "labelstudio", "spotlight")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def tables(n: int, repeats: int) -> dict[str, Any]:
    logits, gold = logits_of(n, 5, 3, seed=0)
    columns = harder_up(
        scores.compute(signals.from_logits([str(i) for i in range(n)], logits, gold, ["a", "b", "c"]))[0]
    )
    whole = {name: x for name, x in columns.items() if not np.isnan(x).any()}  # pandas and scipy drop rows otherwise
    frame = pd.DataFrame({name: np.minimum(x, 1e300) for name, x in whole.items()})
    ways: dict[str, Callable[[], np.ndarray]] = {
        "leadline": lambda: evaluate.concordance(whole, repeats=0).spearman,
        "pandas": lambda: frame.corr(method="spearman").to_numpy(),
        "scipy": lambda: np.asarray(stats.spearmanr(frame.to_numpy()).statistic),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        found = {}
        for name, way in ways.items():
            took, found[name] = timed(way)
            seconds[name].append(took)
        for name in ("pandas", "scipy"):
            np.testing.assert_allclose(found["leadline"], found[name], rtol=0, atol=1e-9)
    seconds["leadline, all scores with overlap and intervals"] = [
        timed(lambda: evaluate.concordance(columns))[0] for _ in range(repeats)
    ]
    seconds[f"leadline, with Kendall of {min(n, KENDALL_ROWS):,} rows"] = [
        timed(lambda: evaluate.rank_agreement(columns, KENDALL_ROWS))[0] for _ in range(repeats)
    ]
    return {"n": n, "scores": len(columns), "scores_without_gaps": len(whole), "seconds": seconds}


def exports(sizes: list[int], formats: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as place:
            run = Path(place) / "run"
            write_run(run, n, classes=3, texts=True)
            for format in formats:
                out = Path(place) / format
                took = watched([sys.executable, "-m", "leadline", "export", format, str(run), "-o", str(out)])
                size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
                rows.append({"format": format, "n": n, "bytes": size, **took})
                print(f"{format}, n = {n:,}: {took['seconds']:.1f} s, {took['private_bytes'] / 1e6:,.0f} MB private")
    return rows


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--n", type=int, default=67_349)
    asked.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--note", help="what else must be known of this measurement")
    asked.add_argument("--toy", action="store_true")
    asked.add_argument("--out", type=Path, default=RESULTS)
    given = asked.parse_args()
    n, sizes, repeats = (400, [100], 2) if given.toy else (given.n, given.sizes, given.repeats)
    result = {
        "table": tables(n, repeats),
        "exports": exports(sizes, FORMATS[:1] if given.toy else FORMATS),
        "note": given.note,
    }
    for name, values in result["table"]["seconds"].items():
        print(f"{name}: {np.median(values):.2f} s")
    result["machine"] = machine() | {"load": os.getloadavg()[0], "pandas": pd.__version__}
    write_json(given.out, result)
    print(f"written to {given.out.name}")


if __name__ == "__main__":
    main()
