"""What probes cost: beside a plain loop over examples, and in memory as the data grow tenfold.

    python bench/probes.py [--n 1000] [--checkpoints 2] [--rounds 3] [--threads 2] [--toy]

MiniLM on tweets (sarcasm) in float32, the same threads for all, texts encoded before the clock starts, in turns:
- VoG by batches and blocks, against one example at a time (the gradient of its gold logit for its embeddings) and
  against one example at a time with the gradients of all parameters (the full-model loop);
- GraNd of all parameters by batches, against the full-model loop;
- GraNd of the last layer in closed form, against autograd.
Values are compared too: the largest relative difference. Then all four of --memory examples and of ten times as many,
each in a process of its own: the largest private memory (RssAnon, sampled every 20 ms) above that before
the probe. Writes bench/results/probes.json.
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
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import polars as pl
import torch
from common import data_directory, machine, write_json

from leadline.evaluate import mean_interval
from leadline.learn import models
from leadline.learn.kept_weights import KeptWeights, put_weights
from leadline.learn.probes import depth, grand, grand_full, vog
from leadline.learn.probes.subject import Subject
from leadline.learn.tasks.classification import Classification, TextEncoder

RESULTS = Path(__file__).parent / "results" / "probes.json"
CLASSES = ("no", "yes")


def subject_of(n: int, toy: bool) -> Subject:
    """n tweets, over again where there are fewer; a fresh head."""
    if toy:
        rng = np.random.default_rng(0)
        texts = [" ".join(rng.choice(["rain", "sand", "river", "dust", "lamp"], rng.integers(3, 12))) for _ in range(n)]
        labels = rng.integers(0, 2, n)
    else:
        table = pl.read_csv(data_directory() / "sarcasm" / "train.csv")
        rows = np.arange(n) % table.height
        texts, labels = table["text"][rows].to_list(), table["label"][rows].to_numpy()
    model, tokenizer = models.load("tiny" if toy else "minilm", CLASSES, texts, max_length=128)
    task = Classification(TextEncoder(tokenizer, ["text"], 128, models.takes_positions(model)))
    return Subject(model, task, task.encode([{"text": text} for text in texts]), labels, torch.device("cpu"))


def wandering(subject: Subject, count: int, directory: Path) -> Callable[[int], None]:
    """Kept weights as a run has them: each a little away from the one before."""
    torch.manual_seed(0)
    kept = KeptWeights(directory, "all")
    for epoch in range(1, count + 1):
        kept.write(epoch, subject.model)
        with torch.no_grad():
            for p in subject.model.parameters():
                p.add_(0.02 * p.std().nan_to_num(0.0) * torch.randn_like(p))
    return lambda t: put_weights(subject.model, directory, t + 1)


# --- one example at a time --------------------------------------------------------------------------------------------


def naive_vog(subject: Subject, put: Callable[[int], None], count: int, full: bool = False) -> np.ndarray:
    """(N,); `full`: with the gradients of all parameters as well, as `backward` gives them."""
    model = subject.model.eval()
    model.requires_grad_(full)
    seen: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        leaf = output.detach().requires_grad_() if not full else output
        if full:
            leaf.retain_grad()
        seen.append(leaf)
        return leaf

    hook = model.base_model.embeddings.register_forward_hook(keep)
    gradients: list[list[np.ndarray]] = [[] for _ in range(len(subject))]
    for t in range(count):
        put(t)
        for row in range(len(subject)):
            seen.clear()
            batch = subject.batch(np.array([row]))
            model(**batch.inputs).logits[0, int(batch.targets[0])].backward()
            gradients[row].append(seen[0].grad[0].numpy().copy())
            model.zero_grad()
    hook.remove()
    model.requires_grad_(True)
    return np.array([np.stack(s).std(axis=0, dtype=np.float64).mean() for s in gradients])


def naive_grand(subject: Subject, last: bool = False) -> np.ndarray:
    model = subject.model.eval()
    parameters = list((models.decision_layer(model) if last else model).parameters())
    values = []
    for row in range(len(subject)):
        batch = subject.batch(np.array([row]))
        torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.targets).backward()
        found = [p.grad.double().square().sum() for p in parameters if p.grad is not None]
        values.append(float(torch.stack(found).sum().sqrt()))
        model.zero_grad()
    return np.array(values)


# --- measuring --------------------------------------------------------------------------------------------------------


def times(ways: dict[str, Callable[[], np.ndarray]], rounds: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """({way: seconds of each round}, {way: values}), in turns, in another order every round."""
    found: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            began = time.perf_counter()
            found[name] = ways[name]()
            seconds[name].append(time.perf_counter() - began)
            print(f"round {number + 1}: {name} {seconds[name][-1]:.2f} s", flush=True)
    return seconds, found


def ratio(seconds: dict[str, list[float]], slow: str, quick: str) -> dict[str, float]:
    values = [s / q for s, q in zip(seconds[slow], seconds[quick], strict=True)]
    _, low, high = mean_interval(values)
    return {"median": float(np.median(values)), "smallest": min(values), "low": low, "high": high}


def speed(options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    subject, k = subject_of(options.n, options.toy), options.checkpoints
    put = wandering(subject, k, directory)
    put(0)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "vog": lambda: vog.vog(subject, put, k)["all"],
        "vog one by one": lambda: naive_vog(subject, put, k),
        "vog full-model loop": lambda: naive_vog(subject, put, k, full=True),
    }
    seconds, found = times(ways, options.rounds)
    put(0)
    ways = {
        "grand": lambda: grand.grand(subject),
        "grand_full": lambda: grand_full.grand_full(subject)[0],
        "grand_full one by one": lambda: naive_grand(subject),
    }
    more, values = times(ways, options.rounds)
    seconds, found = seconds | more, found | values
    last = naive_grand(subject, last=True)
    return {
        "n": len(subject), "checkpoints": k, "tokens": int(subject.lengths.sum()), "threads": torch.get_num_threads(),
        "seconds": seconds,
        "ratio": {
            "vog": ratio(seconds, "vog one by one", "vog"),
            "vog_full_model": ratio(seconds, "vog full-model loop", "vog"),
            "grand_full": ratio(seconds, "grand_full one by one", "grand_full"),
        },
        "largest_relative_difference": {
            "vog": relative(found["vog"], found["vog one by one"]),
            "grand": relative(found["grand"], last),
            "grand_full": relative(found["grand_full"], found["grand_full one by one"]),
        },
    }  # fmt: skip


def relative(ours: np.ndarray, plain: np.ndarray) -> float:
    return float((np.abs(ours - plain) / plain).max())


def private_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def memory_of(probe: str, n: int, toy: bool) -> dict[str, Any]:
    """Peak private memory of one probe in this process, above what was there before it."""
    with tempfile.TemporaryDirectory() as scratch:
        subject = subject_of(n, toy)
        put = wandering(subject, 2, Path(scratch) / "checkpoints")
        put(0)
        work: dict[str, Callable[[], Any]] = {
            "vog": lambda: vog.vog(subject, put, 2),
            "grand": lambda: grand.grand(subject),
            "grand_full": lambda: grand_full.grand_full(subject),
            "depth": lambda: depth.prediction_depth(subject, subject.targets, 2, Path(scratch)),
        }
        before, peak, done = private_bytes(), [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.02):
                peak[0] = max(peak[0], private_bytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.perf_counter()
        work[probe]()
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
    return {"probe": probe, "n": n, "private_bytes": max(peak[0] - before, 0), "seconds": seconds}


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for probe in ("vog", "grand", "grand_full", "depth"):
        for n in (options.memory, 10 * options.memory):
            command = [sys.executable, __file__, "--one", probe, str(n), *(["--toy"] if options.toy else [])]
            told = subprocess.run([*command, "--threads", str(options.threads)], capture_output=True, text=True)
            if told.returncode:
                raise SystemExit(told.stderr)
            found.append(json.loads(told.stdout.splitlines()[-1]))
            print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=300, help="examples; and ten times as many")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--note", default="", help="what a reader must know of this measurement")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(json.dumps(memory_of(options.one[0], int(options.one[1]), options.toy)))
        return
    if options.toy:
        options.n, options.rounds, options.memory, options.checkpoints = 12, 1, 0, 2
    with tempfile.TemporaryDirectory() as scratch:
        found = speed(options, Path(scratch) / "checkpoints")
    grown = memory(options) if options.memory else [memory_of("vog", 20, True)]
    here = {**machine(), "load": os.getloadavg()[0]}
    write_json(options.out, {"machine": here, **found, "memory": grown, "note": options.note})
    print(json.dumps(found["ratio"], indent=1), json.dumps(found["largest_relative_difference"], indent=1))


if __name__ == "__main__":
    main()
