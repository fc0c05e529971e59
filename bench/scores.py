"""How fast are scores, beside two published tools and at ten million examples?

    python bench/scores.py [--peers DIR] [--sizes 1000000 3000000 10000000] [--repeats 5] [--toy]

Part one, 67,349 examples x 5 epochs x 2 classes (the size of SST-2's training file), the same logits for all:
`compute_train_dy_metrics` of Dataset Cartography and `AUMCalculator` of aum 1.0.2 in turns with leadline, in one
process with one thread. leadline is timed twice: from the logits, and from a record that is in memory. The values are
asserted to be equal to 1e-6. A peer that is not at hand is skipped, and the result says so. DIR
(default: LEADLINE_PEERS) holds the packages: `pip install --no-deps --target DIR aum==1.0.2`, and the folder
`cartography/` of a checkout of github.com/allenai/cartography.

Part two: a simulated run directory of each of --sizes, and the real `leadline score` on it as a process of its own.
Seconds, and the largest private memory (RssAnon of /proc/PID/status, sampled every 20 ms): pages of the memory-mapped
record belong to the file cache and are not counted. Writes bench/results/scores.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import machine, watched, write_json
from simulated import logits_of, write_run

from leadline import scores, signals
from leadline.evaluate import mean_interval

RESULTS = Path(__file__).parent / "results" / "scores.json"
SIZES = [1_000_000, 3_000_000, 10_000_000]
SHAPE = (5, 67_349, 2)  # (E, N, K)
CARTOGRAPHY = ("confidence", "variability", "correct_count", "forgetting", "threshold_closeness")
STREAMED = "confidence,variability,correctness,aum,action"


def cartography_of(directory: Path | None) -> Callable[..., Any] | None:
    """Their function; what their module imports and this function does not need is replaced by empty modules."""
    if directory is None or not (directory / "cartography" / "selection" / "train_dy_filtering.py").is_file():
        return None
    for name in ("spacy", "seaborn"):
        sys.modules.setdefault(name, types.ModuleType(name))
    data = types.ModuleType("cartography.data_utils")
    data.read_data = data.read_jsonl = data.copy_dev_test = None  # type: ignore[attr-defined]
    sys.path.insert(0, str(directory))
    sys.modules["cartography.data_utils"] = data
    import logging

    from cartography.selection import train_dy_filtering

    logging.disable(logging.INFO)
    train_dy_filtering.tqdm.tqdm = lambda items: items  # no progress bar in the time
    return train_dy_filtering.compute_train_dy_metrics


def aum_of(directory: Path | None) -> Any:
    if directory is not None:
        sys.path.insert(0, str(directory))
    try:
        from aum import AUMCalculator
    except ImportError:
        return None
    return AUMCalculator


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def beside_cartography(
    theirs: Callable[..., Any], logits: np.ndarray, gold: np.ndarray, repeats: int
) -> dict[str, Any]:
    ids, record = range(len(gold)), signals.from_logits([], logits, gold)
    dynamics = {i: {"logits": logits[:, i].tolist(), "gold": int(gold[i])} for i in ids}
    asked = types.SimpleNamespace(include_ci=False, burn_out=len(logits))

    def ours(record: signals.Signals) -> dict[str, np.ndarray]:
        return scores.compute(record, CARTOGRAPHY)[0]

    times: dict[str, list[float]] = {"theirs": [], "from_logits": [], "from_record": []}
    for _ in range(repeats):
        took, (table, _) = seconds(lambda: theirs(dynamics, asked))
        times["theirs"].append(took)
        times["from_logits"].append(seconds(lambda: ours(signals.from_logits([], logits, gold)))[0])
        took, found = seconds(lambda: ours(record))
        times["from_record"].append(took)
    forgotten = np.where(np.isinf(found["forgetting"]), 1000, found["forgetting"])  # their number for never learned
    pairs = {"correct_count": "correctness", "forgetting": "forgetfulness"}
    for name in CARTOGRAPHY:
        values = forgotten if name == "forgetting" else found[name]
        np.testing.assert_allclose(values, table[pairs.get(name, name)].to_numpy(float), rtol=0, atol=1e-6)
    return compared(times, list(CARTOGRAPHY))


def beside_aum(calculator: Any, logits: np.ndarray, gold: np.ndarray, repeats: int, folder: Path) -> dict[str, Any]:
    ids, targets = list(range(len(gold))), torch.from_numpy(gold)
    tensors, record = [torch.from_numpy(z) for z in logits], signals.from_logits([], logits, gold)

    def theirs() -> None:
        aum = calculator(str(folder))
        for z in tensors:  # one update per epoch: the fewest calls, which is to their advantage
            aum.update(z, targets, ids)
        aum.finalize()

    times: dict[str, list[float]] = {"theirs": [], "from_logits": [], "from_record": []}
    for _ in range(repeats):
        times["theirs"].append(seconds(theirs)[0])
        times["from_logits"].append(seconds(lambda: scores.aum(signals.from_logits([], logits, gold)))[0])
        took, found = seconds(lambda: scores.aum(record))
        times["from_record"].append(took)
    table = pd.read_csv(folder / "aum_values.csv").sort_values("sample_id")
    np.testing.assert_allclose(found, table["aum"].to_numpy(float), rtol=0, atol=1e-6)
    return compared(times, ["aum"])


def compared(times: dict[str, list[float]], names: list[str]) -> dict[str, Any]:
    """Ratios are taken within each repeat, so that both sides meet the same load."""
    ratios = {
        way: [theirs / ours for theirs, ours in zip(times["theirs"], times[way], strict=True)]
        for way in ("from_logits", "from_record")
    }
    told = {}
    for way, values in ratios.items():
        _, low, high = mean_interval(values)
        told[way] = {"median": float(np.median(values)), "smallest": min(values), "low": low, "high": high}
    return {"scores": names, "seconds": times, "ratio": told}


def score_as_process(run: Path, names: str) -> dict[str, float]:
    """The command on a run of its own: seconds and peak private memory in bytes."""
    command = [sys.executable, "-m", "leadline", "score", str(run), "--scores", names]
    return watched(command)


def streamed(sizes: list[int], names: str, folder: Path | None) -> list[dict[str, Any]]:
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            run = Path(place) / "run"
            write_run(run, n)
            rows.append(
                {"n": n, **score_as_process(run, names), "bytes": sum(f.stat().st_size for f in run.rglob("*.*"))}
            )
            print(
                f"n = {n:,}: {rows[-1]['seconds']:.1f} s, {rows[-1]['private_bytes'] / 1e6:,.0f} MB private", flush=True
            )
    return rows


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = os.environ.get("LEADLINE_PEERS")
    asked.add_argument("--peers", type=Path, default=peers and Path(peers), help="folder with aum and cartography")
    asked.add_argument("--sizes", type=int, nargs="*", help="default: 1000000 3000000 10000000; toy: 2000")
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--folder", type=Path, help="where the simulated runs lie while they are scored (3.5 GB)")
    asked.add_argument("--toy", action="store_true")
    asked.add_argument("--out", type=Path, default=RESULTS)
    given = asked.parse_args()
    torch.set_num_threads(1)
    shape, sizes, repeats = ((5, 500, 2), [2000], 2) if given.toy else (SHAPE, SIZES, given.repeats)
    logits, gold = logits_of(shape[1], shape[0], shape[2], seed=0)
    result: dict[str, Any] = {"n": shape[1], "epochs": shape[0], "classes": shape[2], "repeats": repeats, "peers": {}}
    theirs, calculator = cartography_of(given.peers), aum_of(given.peers)
    if theirs:
        result["peers"]["cartography"] = beside_cartography(theirs, logits, gold, repeats)
    with tempfile.TemporaryDirectory() as folder:
        if calculator:
            result["peers"]["aum"] = beside_aum(calculator, logits, gold, repeats, Path(folder))
    result["not_at_hand"] = [name for name, there in (("cartography", theirs), ("aum", calculator)) if not there]
    for name, found in result["peers"].items():
        print(name, {way: round(ratio["median"]) for way, ratio in found["ratio"].items()}, "times as fast")
    for name in result["not_at_hand"]:
        print(f"{name}: not at hand, skipped; see --help")
    result["streamed"] = {"scores": STREAMED, "runs": streamed(given.sizes or sizes, STREAMED, given.folder)}
    result["machine"] = machine() | {"load": os.getloadavg()[0], "pandas": pd.__version__}
    write_json(given.out, result)
    print(f"written to {given.out.name}")


if __name__ == "__main__":
    main()
