"""The tables of docs/benchmarks.md, made of bench/results/*.json.

    python bench/render.py            rewrites every block <!-- bench:NAME --> … <!-- end -->
    python bench/render.py --check    changes nothing; leaves with 1 where a block is not what its JSON says

A block without a JSON file says "not measured yet". A result that has no function here becomes a list of its values.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from common import interval, markdown

BENCH = Path(__file__).resolve().parent
PAGE = BENCH.parent / "docs" / "benchmarks.md"
BLOCK = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NOT_YET = "Not measured yet.\n"


def five_sets(result: Mapping[str, Any]) -> str:
    rows = []
    for entry in result["results"]:
        runs = entry["runs"]
        f1 = interval([run["macro_f1"]["value"] for run in runs])
        means = {name: statistics.mean(run[name] for run in runs) for name in ("seconds", "examples_per_second")}
        accuracy, ece = (statistics.mean(run[name]["value"] for run in runs) for name in ("accuracy", "ece"))
        sizes = [f"{entry['n_train']:,}", f"{entry['n_test']:,}", str(len(runs))]
        costs = [f"{means['seconds'] / 60:.1f}", f"{means['examples_per_second']:.0f}"]
        rows.append([entry["data"], *sizes, f1, f"{accuracy:.3f}", f"{ece:.3f}", *costs])
    header = ["data", "n train", "n test", "seeds", "macro F1 [95 % t-interval over seeds]", "accuracy", "ECE"]
    return markdown([*header, "minutes a run", "examples/s"], rows) + f"\n\nPrecision: {result['precision']}."


def precision(result: Mapping[str, Any]) -> str:
    shares = result["distinct_share_by_epoch"]
    epochs = range(1, 1 + max(map(len, shares.values())))
    rows = [
        [name, *(f"{share:.1%}" for share in by_epoch), f"{result['train_seconds'][name]:.0f}"]
        for name, by_epoch in shares.items()
    ]
    first = markdown(["run", *(f"epoch {e}" for e in epochs), "seconds of training"], rows)
    between, yardstick = result["spearman_bf16_fp32"], result["spearman_fp32_two_seeds"]
    rows = [[f"`{name}`", number(value), number(yardstick[name])] for name, value in between.items()]
    second = markdown(["score", "bf16 and fp32, same seed", "fp32, two seeds"], rows)
    return (
        f"Distinct gold probabilities among {result['n']:,} training rows:\n\n{first}\n\n"
        f"Spearman's rank agreement of every score between two runs on these rows:\n\n{second}"
    )


def map_100k(result: Mapping[str, Any]) -> str:
    ours, plain = result["ours"], result["plain"]
    named = [name for name, value in ours.items() if isinstance(value, list)]
    rows = [
        [name.replace("_", " "), spread(ours[name]), spread(plain[name]) if name in plain else ""] for name in named
    ]
    size = result["megabytes"]
    rows.append(["size of the page, MB", f"{size['ours']:.1f}", f"{size['plain']:.1f}"])
    here = result["machine"]
    return (
        f"{result['n']:,} simulated examples, {result['columns']} columns in the colour menu; {here['browser']}, "
        f"{here['webgl']}, load average {here['load']:.1f}. "
        "Milliseconds: median (smallest to largest, how often).\n\n"
        + markdown(["what", "leadline's page", "plain plotly (one colour, no menu)"], rows)
    )


def sweep_1000(result: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{way['trials']:,}", *(seconds(way[key]) for key in ("seconds", "command_seconds"))]
        for name, way in result["ways"].items()
    ]
    header = ["written as", "trials", "expanded, named, checked", "`leadline sweep FILE --dry-run`, imports included"]
    return "Seconds: median (smallest to largest, how often).\n\n" + markdown(header, rows)


def seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}, n = {len(values)})"


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f}, n = {len(values)})"


def listed(result: Mapping[str, Any]) -> str:
    """Any other result: its values under their dotted keys."""
    values = {key: value for key, value in result.items() if key != "machine"}
    return markdown(["what", "value"], [[f"`{key}`", value] for key, value in leaves(values)])


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            for index, inner in enumerate(value, start=1):
                yield from leaves(inner, f"{prefix}{key}.{index}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(number, value)) if isinstance(value, list) else number(value)


def number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def machine(result: Mapping[str, Any]) -> str:
    """Where it was measured, as a sentence."""
    about = result.get("machine")
    if not about:
        return ""
    versions = ", ".join(f"{name} {v}" for name, v in about.get("versions", {}).items())
    return f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB; {versions}."


def scores(result: Mapping[str, Any]) -> str:
    rows = []
    for name, found in result["peers"].items():
        times = {way: f"{statistics.median(values):.4f}" for way, values in found["seconds"].items()}
        ratio = {
            way: f"{r['median']:.0f} [{r['low']:.0f}, {r['high']:.0f}], smallest {r['smallest']:.0f}"
            for way, r in found["ratio"].items()
        }
        rows.append([name, ", ".join(f"`{s}`" for s in found["scores"]), times["theirs"], times["from_logits"]])
        rows[-1] += [ratio["from_logits"], times["from_record"], ratio["from_record"]]
    header = [
        "peer",
        "scores",
        "its seconds",
        "ours from logits",
        "times as fast",
        "ours from a record",
        "times as fast",
    ]
    skipped = [f"Not at hand, so not compared: {', '.join(result['not_at_hand'])}."] if result["not_at_hand"] else []
    said = f"{result['n']:,} examples x {result['epochs']} epochs x {result['classes']} classes, one thread; "
    said += f"medians of {result['repeats']} repeats in turns, ratios with a 95 % t-interval over the repeats."
    runs = [
        [f"{run['n']:,}", f"{run['seconds']:.1f}", f"{run['private_bytes'] / 1e6:,.0f}", f"{run['bytes'] / 1e6:,.0f}"]
        for run in result["streamed"]["runs"]
    ]
    streamed = markdown(["examples", "seconds", "largest private memory, MB", "run directory, MB"], runs)
    asked = f"`leadline score RUN --scores {result['streamed']['scores']}`, with regions, 5 epochs x 2 classes:"
    return "\n\n".join([said, markdown(header, rows), *skipped, asked, streamed, load(result)])


def map_1m(result: Mapping[str, Any]) -> str:
    rows = []
    for name in result["rounds"][0]:
        found = [one[name] for one in result["rounds"]]
        seconds = [f["seconds"] for f in found]
        rows.append([name, f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"])
        rows[-1] += [f"{max(f['private_bytes'] for f in found) / 1e6:,.0f}", f"{found[0]['bytes'] / 1e6:.1f}"]
    table = markdown(["what", "seconds", "largest private memory, MB", "file, MB"], rows)
    drawn = result["first_draw_milliseconds"]
    opened = [f"First picture of the page in headless Chromium: {spread(drawn)} ms."] if drawn else []
    said = f"{result['n']:,} examples, {result['repeats']} repeats: median (smallest to largest)."
    return "\n\n".join([said, table, *opened, load(result)])


def throughput(result: Mapping[str, Any]) -> str:
    rows = []
    for model, way in dict.fromkeys((r["model"], r["way"]) for r in result["results"]):
        mine = [r for r in result["results"] if (r["model"], r["way"]) == (model, way)]
        speeds = [r["examples_per_second"] for r in mine]
        f1 = interval([r["macro_f1"] for r in mine])
        faster = f"{result['ratios'][model][way]:.2f}"
        rows.append([model, way, str(len(mine)), ranged(speeds), faster, f1])
    header = ["model", "way", "seeds", "examples/s, median (range)", "leadline is so many times faster"]
    native = "bfloat16 is native here" if result["bf16_native"] else "bfloat16 is NOT native here: no bar applies"
    said = f"{result['n']:,} rows of {result['data']}, {result['epochs']} epochs, steps of {result['batch']}, at most "
    said += f"{result['max_length']} tokens; {native}. Ratios are medians over seeds, each within its seed."
    return said + "\n\n" + markdown([*header, "macro F1 [95 % t-interval]"], rows)


def ranged(values: list[float]) -> str:
    middle = f"{statistics.median(values):.0f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.0f} to {max(values):.0f})"


def recording(result: Mapping[str, Any]) -> str:
    rows = [
        [clock, f"{r['value']:.4f}", f"{r['low']:.4f} to {r['high']:.4f}", str(r["n"])]
        for clock in ("processor", "wall")
        for r in [result[clock]]
    ]
    table = markdown(["time", "on / off, median", "95 % bootstrap interval", "pairs of 20 steps"], rows)
    size = f"{result['bytes_per_example_epoch']:.1f} bytes per example and epoch (2 classes, logits kept)."
    block = f"A block of {result['steps_per_block']} steps of {result['batch']} examples of {result['tokens']} tokens "
    return f"{table}\n\n{block}takes {result['seconds_per_block_off']:.2f} s without recording. {size}"


def recording_trainer(result: Mapping[str, Any]) -> str:
    rows = [
        [clock, way.replace("_", " "), f"{r['median']:.4f}", f"{r['low']:.4f} to {r['high']:.4f}", str(result["pairs"])]
        for clock in ("processor", "wall")
        for way in ("by_block", "by_step")
        for r in [result[clock][way]]
    ]
    table = markdown(["time", "compared", "on / off, median", "95 % bootstrap interval", "pairs"], rows)
    each = result["signal_bytes"] / result["examples_in_epoch"]
    written = f"{result['examples_in_epoch']:,} examples took {result['end_epoch_seconds']:.3f} s"
    return f"{table}\n\nApart from that, writing the period of {written}: {each:.1f} bytes an example."


def kill(result: Mapping[str, Any]) -> str:
    found = result["results"]
    counts = {
        "trials": len(found),
        "killed before their end": sum(r["status"] == -9 for r in found),
        "resumed from a checkpoint": sum(r["resumed"] for r in found),
        "left half-written files": sum(bool(r["half_written"]) for r in found),
        "equal to the undisturbed run": result["equal"],
    }
    ages = [r["seconds_since_checkpoint"] for r in found if r["seconds_since_checkpoint"] is not None]
    cost = result["checkpoint"]
    asked = f"asked for every {60 * result['checkpoint_minutes']:.1f} s"
    lost = f"The newest checkpoint was at most {max(ages):.2f} s old at the kill ({asked})." if ages else ""
    price = f"A checkpoint of {cost['model']}: {cost['megabytes']:.0f} MB, {cost['seconds']:.2f} s "
    price += f"(median of {cost['n']}, slowest {cost['slowest']:.2f} s)."
    return f"{markdown(list(counts), [[str(v) for v in counts.values()]])}\n\n{lost} {price}"


def accumulation(result: Mapping[str, Any]) -> str:
    rows = []
    for r in result["results"]:
        gaps = [f"{r[name]:.1e}" for name in ("loss", "gradient", "signals")]
        how = f"{r['processes']}{', in pieces' if r['sharded'] else ''}"
        rows.append([r["weights"], how, str(r["micro_batch"]), *gaps, "yes" if r["every_example_once"] else "NO"])
    header = ["weights", "processes", "micro-batch", "loss", "gradient", "signals", "every example once"]
    largest = max(r["largest_gradient"] for r in result["results"])
    said = (
        f"n = {result['n']}, {result['results'][0]['steps']} steps; the largest element of a gradient is {largest:.2f}."
    )
    return f"{markdown(header, rows)}\n\n{said}"


def how_many(result: Mapping[str, Any]) -> str:
    ours = [r for r in result["reviewed"] if r["method"] == "leadline"]
    key = ("rows", "drawn", "reviewed", "errors", "kind")
    plain = {tuple(r[k] for k in key): r for r in result["reviewed"] if r["method"].startswith("plain")}
    rows = []
    for r in ours:
        covered = f"{r['coverage']:.3f} [{r['coverage_low']:.3f}, {r['coverage_high']:.3f}]"
        rows.append([f"{r['reviewed']} of {r['rows']:,}", str(r["errors"]), r["kind"], covered])
        rows[-1] += [f"{r['too_high']:.3f}", f"{r['too_low']:.3f}", f"{r['median_width_over_truth']:.2f}"]
        rows[-1].append(f"{plain[tuple(r[k] for k in key)]['median_width_over_truth']:.2f}")
    header = ["reviewed", "errors", "how they rank", "coverage [90 %]", "above the truth", "below it", "width / truth"]
    first = markdown([*header, "of a plain sample"], rows)
    said = f"{ours[0]['datasets']:,} data sets a line; nominal coverage {result['level']:.0%}; widths are medians."
    bounds = []
    for r in result["planted"]:
        held = f"{r['held']:.3f} [{r['held_low']:.3f}, {r['held_high']:.3f}]"
        bounds.append([f"{r['planted']} in {r['rows']:,}", str(r["errors"]), r["kind"], held])
        bounds[-1] += [f"{r['median_bound_over_truth']:.2f}", f"{r['median_value_over_truth']:.2f}"]
    header = ["planted", "natural", "how they rank", "the bound held [90 %]", "bound / truth", "`value` / truth"]
    return "\n\n".join([said, first, _other_intervals(result), markdown(header, bounds), load(result)])


def _other_intervals(result: Mapping[str, Any]) -> str:
    """Coverage and width of every interval on the same draws, over all lines of the first table."""
    methods = list(dict.fromkeys(r["method"] for r in result["reviewed"]))
    lines = {name: [r for r in result["reviewed"] if r["method"] == name] for name in methods}
    rows = []
    for name, mine in lines.items():
        covered = [r["coverage"] for r in mine]
        pairs = zip(mine, lines["leadline"], strict=True)
        wider = [a["median_width_over_truth"] / max(b["median_width_over_truth"], 1e-9) for a, b in pairs]
        share = sum(0.87 <= c <= 0.93 for c in covered)
        rows.append([name, f"{min(covered):.3f}", f"{statistics.median(covered):.3f}", f"{max(covered):.3f}"])
        rows[-1] += [f"{share} of {len(covered)}", f"{statistics.median(wider):.2f}"]
    header = ["interval", "smallest coverage", "median", "largest", "within 0.87 to 0.93", "width / leadline's, median"]
    return markdown(header, rows)


def near_duplicates(result: Mapping[str, Any]) -> str:
    rows = []
    for side, found in result["rounds"].items():
        clock, processor = ([one[name] for one in found] for name in ("seconds", "processor"))
        memory = max(one["private_bytes"] for one in found) / 1e6
        rows.append([side, seconds(clock), seconds(processor), f"{memory:,.0f}"])
    table = markdown(["side", "seconds", "processor seconds", "largest private memory of the call, MB"], rows)
    pairs, ratios = result["pairs"], result["ratios"]
    ours, theirs = ([one["processor"] for one in result["rounds"][side]] for side in ("leadline", "datalab"))
    said = f"{result['n']:,} x {result['d']} {result['dtype']}, threads: {result['threads']}; "
    said += f"rounds: {result['repeats']}. "
    said += f"leadline is {statistics.median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f}), in "
    said += f"processor time {statistics.median(theirs) / statistics.median(ours):.1f} times. Datalab names "
    said += f"{pairs['theirs']:,} pairs, leadline {pairs['ours']:,}; {pairs['odd']} are on one side only."
    return "\n\n".join(filter(None, [said, table, result.get("note"), load(result)]))


def probes(result: Mapping[str, Any]) -> str:
    seconds, n = result["seconds"], result["n"]
    pairs = {
        "vog": ("vog", "vog one by one"),
        "vog_full_model": ("vog", "vog full-model loop"),
        "grand_full": ("grand_full", "grand_full one by one"),
    }
    rows = [
        [ours, plain, spread(seconds[ours]), spread(seconds[plain]), f"{r['median']:.1f}", f"{r['smallest']:.1f}"]
        for name, (ours, plain) in pairs.items()
        for r in [result["ratio"][name]]
    ]
    header = ["probe", "beside", "seconds", "seconds beside", "times as fast, median", "smallest"]
    errors = ", ".join(f"{name} {value:.1e}" for name, value in result["largest_relative_difference"].items())
    grown = [
        [m["probe"], f"{m['n']:,}", f"{m['private_bytes'] / 2**20:.0f}", f"{m['seconds']:.1f}"]
        for m in result["memory"]
    ]
    size = f"{n:,} tweets, {result['tokens']:,} tokens, {result['checkpoints']} checkpoints"
    said = f"{size}, threads: {result['threads']}. GraNd of the last layer: {spread(seconds['grand'])} s. "
    said += f"Largest relative difference: {errors}."
    memory = markdown(["probe", "examples", "private memory above the start, MiB", "seconds"], grown)
    return "\n\n".join(filter(None, [markdown(header, rows), said, memory, result.get("note"), load(result)]))


def load(result: Mapping[str, Any]) -> str:
    return f"Load average at the end: {result['machine']['load']:.1f}."


def review(result: Mapping[str, Any]) -> str:
    says = {
        "first_page_ms": "first page, over HTTP",
        "decision_ms": "one decision, until the next card has come",
        "search_ms": "a search over all texts",
        "seen_ms": "first page in Chromium, until card and map are seen",
    }
    rows = [[words, spread(result[name])] for name, words in says.items() if result.get(name)]
    return (
        f"{result['n']:,} simulated examples; the server was ready {result['start_seconds']:.1f} s after the command; "
        f"load average {result['machine']['load']:.1f}. Milliseconds: median (smallest to largest, how often).\n\n"
        + markdown(["what", "milliseconds"], rows)
    )


def agreement(result: Mapping[str, Any]) -> str:
    table = result["table"]
    rows = [[name, seconds(took)] for name, took in table["seconds"].items()]
    scores = f"{table['scores_without_gaps']} scores (all {table['scores']} where it says so)"
    size = f"{table['n']:,} examples, {scores}, one thread."
    first = markdown(["way", "seconds"], rows)
    written = [
        [
            r["format"],
            f"{r['n']:,}",
            f"{r['seconds']:.1f}",
            f"{r['bytes'] / 1e6:.0f}",
            f"{r['private_bytes'] / 1e6:.0f}",
        ]
        for r in result["exports"]
    ]
    second = markdown(["export", "examples", "seconds", "MB written", "largest private memory, MB"], written)
    return "\n\n".join(filter(None, [size, first, second, result.get("note"), load(result)]))


def own(module: str) -> Callable[[Mapping[str, Any]], str]:
    """The table that the bench prints itself."""
    return lambda result: str(import_module(module).table(result["results"]))


def whole(module: str) -> Callable[[Mapping[str, Any]], str]:
    """The same, of a bench whose table needs more than its results."""
    return lambda result: str(import_module(module).table(result))


RENDER: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "five_sets": five_sets,
    "precision": precision,
    "map_100k": map_100k,
    "map_1m": map_1m,
    "sweep_1000": sweep_1000,
    "scores": scores,
    "throughput": throughput,
    "recording": recording,
    "recording_trainer": recording_trainer,
    "kill": kill,
    "accumulation": accumulation,
    "near_duplicates": near_duplicates,
    "how_many": how_many,
    "probes": probes,
    "review": review,
    "agreement": agreement,
    "audit": own("audit_tables"),
    "learn_from_it": own("learn_from_it"),
    "cleaning": own("cleaning"),
    "action_score": own("action_score"),
    "humans": own("humans"),
    "how_many_trained": own("how_many_trained"),
    "real_errors": whole("real_errors"),
    **{name: whole(name) for name in ("mixup_speed", "ablation", "low_data", "ood")},
}


def block(name: str, results: Path) -> str:
    path = results / f"{name}.json"
    if not path.is_file():
        return NOT_YET
    result = json.loads(path.read_text(encoding="utf-8"))
    if trials := sorted((results / name).glob("*.json")):  # a bench that keeps a file a trial
        result["results"] = [json.loads(trial.read_text(encoding="utf-8")) for trial in trials]
    return "\n\n".join(filter(None, [RENDER.get(name, listed)(result), machine(result)])) + "\n"


def rendered(text: str, results: Path) -> str:
    return BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2], results)}\n{found[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=BENCH / "results")
    options = parser.parse_args()
    text = options.page.read_text(encoding="utf-8")
    names = re.findall(r"<!-- bench:(\w+) -->", text)
    unread = sorted(path.stem for path in options.results.glob("*.json") if path.stem not in names)
    if unread:
        sys.exit(f"{options.page.name} has no block for {', '.join(unread)}: write <!-- bench:{unread[0]} --> there")
    new = rendered(text, options.results)
    if new == text:
        return
    if options.check:
        sys.exit(f"{options.page.name} is not what the results say: run `python bench/render.py`")
    partial = options.page.with_name(options.page.name + ".partial")
    partial.write_text(new, encoding="utf-8")
    os.replace(partial, options.page)


if __name__ == "__main__":
    main()
