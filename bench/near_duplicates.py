"""Near-duplicates of many vectors: leadline beside Datalab of cleanlab, the same pairs asked of both.

    python bench/near_duplicates.py [--n 50000] [--d 384] [--repeats 3] [--threads 2] [--dtype float32] [--toy]

Vectors like those of a sentence encoder: Gaussian clusters whose directions fade as 1 / sqrt(rank), and among them
planted doubles: exact ones (crowds of up to 30), and near ones at all sorts of distances. Each side in turns, each in a
process of its own that loads the vectors, and is timed from there to its pairs; imports and loading are left out on
both sides. Datalab is called as its documents say: `find_issues(features=x, issue_types={"near_duplicate": {}})`.
Private memory: the largest RssAnon of /proc/PID/status beyond what it was before the call, sampled every 20 ms.
Where the pairs differ, how far the odd ones lie from the limit is told. Writes bench/results/near_duplicates.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, write_json

RESULTS = Path(__file__).parent / "results" / "near_duplicates.json"
SIDES = ("leadline", "datalab")


def vectors(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32: clusters, and 8 % of the rows doubles of others."""
    rng = np.random.default_rng(seed)
    fading = 1 / np.sqrt(np.arange(1, d + 1))
    centres = rng.normal(size=(max(2, n // 250), d)) * fading
    x = centres[rng.integers(0, len(centres), n)] + 0.9 * rng.normal(size=(n, d)) * fading
    x = x @ np.linalg.qr(rng.normal(size=(d, d)))[0]  # the directions that count are not the first columns
    doubles = rng.permutation(n)[: n * 8 // 100]
    exact, near = np.array_split(doubles, 2)
    others = np.setdiff1d(np.arange(n), doubles)
    crowds = rng.choice(others, max(1, len(exact) // 80), replace=False)
    x[exact] = x[np.append(np.repeat(crowds, 30), rng.choice(others, len(exact)))[: len(exact)]]
    source = x[rng.choice(np.setdiff1d(others, crowds), len(near))]  # beside a crowd, which ten are named is chance
    x[near] = source + rng.uniform(0.001, 0.5, (len(near), 1)) * rng.normal(size=source.shape) * source.std()
    return x.astype(np.float32)


def leadline_pairs(x: np.ndarray) -> tuple[np.ndarray, float]:
    from leadline.data.neighbours import near_duplicates

    found = near_duplicates(x)
    return found.pairs, found.limit


def datalab_pairs(x: np.ndarray) -> tuple[np.ndarray, float]:
    from cleanlab import Datalab

    lab = Datalab({"row": list(range(len(x)))}, verbosity=0)
    lab.find_issues(features=x, issue_types={"near_duplicate": {}})
    info = lab.get_info("near_duplicate")
    sets = info["near_duplicate_sets"]
    i = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    j = np.concatenate([np.asarray(one, dtype=np.int64) for one in sets])
    key = np.unique(np.minimum(i, j) * len(x) + np.maximum(i, j))
    limit = info["threshold"] * info["median_distance_to_nearest_neighbor"]
    return np.column_stack([key // len(x), key % len(x)]), float(limit)


def private_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def measured(work: Callable[[], Any]) -> tuple[float, float, int, Any]:
    """Seconds by the clock and of the processor, private bytes beyond those before, and what came of it."""
    before, peak, over = private_bytes(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], private_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, processor = time.perf_counter(), time.process_time()
    found = work()
    took, processor = time.perf_counter() - began, time.process_time() - processor
    over.set()
    watcher.join()
    return took, processor, max(peak[0], private_bytes()) - before, found


def one_side(side: str, folder: Path) -> None:
    """In a process of its own: measures one call, prints the figures, leaves the pairs in the folder."""
    x = np.load(folder / "x.npy")
    if side == "leadline":
        import leadline.data.neighbours  # noqa: F401  # imports are not what is timed
    else:
        import cleanlab.datalab.datalab  # noqa: F401
        from cleanlab.datalab.internal import issue_manager_factory  # noqa: F401
    work = leadline_pairs if side == "leadline" else datalab_pairs
    seconds, processor, private, (pairs, limit) = measured(lambda: work(x))
    np.save(folder / f"{side}.npy", pairs)
    print(json.dumps({"seconds": seconds, "processor": processor, "private_bytes": private, "limit": limit}))


def run_side(side: str, folder: Path, threads: int) -> dict[str, float]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | {name: str(threads) for name in names}
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def difference(folder: Path, x: np.ndarray) -> dict[str, Any]:
    """The pairs that only one side has, and how far from the limit they are, as a share of it."""
    ours, theirs = (np.load(folder / f"{side}.npy") for side in SIDES)
    ours_key, theirs_key = (pairs[:, 0] * len(x) + pairs[:, 1] for pairs in (ours, theirs))
    odd = np.setxor1d(ours_key, theirs_key)
    unit = x.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distances = 1 - np.einsum("pd,pd->p", unit[odd // len(x)], unit[odd % len(x)])
    kind = np.unique(x, axis=0, return_inverse=True)[1].ravel()  # up to which of several equal vectors is named
    named = [{tuple(sorted(pair)) for pair in kind[pairs].tolist()} for pairs in (ours, theirs)]
    odd_vectors = len(named[0] ^ named[1])
    return {"ours": len(ours), "theirs": len(theirs), "odd": len(odd), "odd_vectors": odd_vectors,
            "odd_distances": distances.tolist()}  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--n", type=int, default=50_000)
    asked.add_argument("--d", type=int, default=384)
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    asked.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    asked.add_argument("--features", type=Path, help="an .npy file of vectors instead of the made ones")
    asked.add_argument("--toy", action="store_true")
    asked.add_argument("--out", type=Path, default=RESULTS)
    asked.add_argument("--note", help="what else went on, for the record")
    asked.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.side:
        one_side(given.side, given.folder)
        return
    n, d, repeats = (600, 16, 1) if given.toy else (given.n, given.d, given.repeats)
    x = np.load(given.features)[:n] if given.features else vectors(n, d)
    x = x.astype(given.dtype)
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "x.npy", x)
        for number in range(repeats):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                rounds[side].append(run_side(side, folder, given.threads))
                print(side, {name: round(value, 4) for name, value in rounds[side][-1].items()}, flush=True)
        pairs = difference(folder, x)
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(*(rounds[s] for s in SIDES), strict=True)]
    result = {"n": len(x), "d": x.shape[1], "dtype": given.dtype, "threads": given.threads, "repeats": repeats}
    result |= {"made": not given.features, "rounds": rounds, "ratios": ratios, "pairs": pairs, "note": given.note}
    result["machine"] = machine() | {"load": os.getloadavg()[0], "cleanlab": version("cleanlab")}
    write_json(given.out, result)
    print(f"times as fast: {', '.join(f'{r:.1f}' for r in ratios)}; pairs that only one side has: {pairs['odd']}")


if __name__ == "__main__":
    main()
