"""Commands for many runs: sweep, its status, logs and summary; and `train --seeds`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from leadline.cli.output import interval, print_json, print_table, say

if TYPE_CHECKING:
    from leadline.recipe import Recipe
    from leadline.sweep import Keys, Summary, Sweep, Trial

Place = Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a sweep, or its YAML file.")]
Root = Annotated[Path, typer.Option(help="Where sweeps lie.")]
Only = Annotated[
    str | None, typer.Option(help="Indices, ranges, names or globs: 0-6,9 or base or 'accept_*'; default: all.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LATER = "script", "data"  # verbs of the command's plan that are not there yet
MARK = "-h", "--help"


class FileOrVerb(TyperGroup):
    """`leadline sweep FILE` is `leadline sweep run FILE`: what is no verb is the file (or an option of `run`)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in LATER and not Path(args[0]).exists():
            from leadline.errors import InputError

            raise InputError(
                f"leadline sweep {args[0]}: comes with a later version; `leadline sweep --help` tells of all"
            )
        if args and args[0] not in self.commands and args[0] not in MARK:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def get_help(self, ctx: Any) -> str:
        """With the help of `run`, which is what most people come for."""
        run = self.commands["run"]
        inner = type(ctx)(run, info_name="run", parent=ctx)
        return super().get_help(ctx) + "\n\n" + run.get_help(inner)


app = typer.Typer(
    cls=FileOrVerb,
    help="Many runs from one recipe: grids, seeds, dependencies; N at a time; what is there is not computed again.\n\n"
    "SWEEP.yaml without a verb is `run`. Example: leadline sweep SWEEP.yaml --jobs 2",
    subcommand_metavar="SWEEP.yaml|COMMAND [ARGS]...",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command(name="run", short_help="Run the trials that are not there yet (the verb may be left out).")
def run(
    file: Annotated[
        Path, typer.Argument(metavar="SWEEP.yaml", help="A sweep, or the directory of one that was started.")
    ],
    on: Annotated[str, typer.Option(help="Where: local.")] = "local",
    jobs: Annotated[int, typer.Option(min=1, help="How many trials at a time; each gets its share of the cores.")] = 1,
    only: Only = None,
    found: Annotated[
        Path | None, typer.Option(help="Take finished runs of the same recipe and data from below this directory.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials and their states; run nothing.")] = False,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Run the trials of a sweep, each in its own process and directory. Finished ones are skipped, failures told.

    Example: leadline sweep run SWEEP.yaml --jobs 2 --only 0-6
    """
    loaded = _load(file, root)
    if dry_run:
        return _print_planned(loaded, only, on, found, json)
    if on == "local" and loaded.document.get("requests"):
        say("requests: not used on this machine")
    states = _run(loaded, only or "", jobs, on, found)
    if json:
        print_json({"sweep": loaded.name, "path": str(loaded.path), "states": states})
    else:
        print(f"sweep   {loaded.path}: {_counted(states.values())}")
        print(f"next    leadline sweep summary {quote(str(loaded.path))}")
    _leave(states)


@app.command(short_help="What became of each trial; also while they run.")
def status(place: Place, only: Only = None, root: Root = Path("runs"), json: Json = False) -> None:
    """The state of each trial: new, running, finished, failed, skipped, unfinished; read from the directory alone.

    Example: leadline sweep status runs/my-sweep
    """
    _print_trials(_load(place, root), only, json)


@app.command(short_help="What the processes of the trials printed.")
def logs(
    place: Place,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Trials: names, indices or globs; printed in full.")
    ] = None,
    lines: Annotated[int | None, typer.Option(min=1, help="Only so many last lines of each.")] = None,
    root: Root = Path("runs"),
) -> None:
    """The log of each trial named; without a name, the last lines of those that run or have failed.

    Example: leadline sweep logs runs/my-sweep base-s0
    """
    from leadline import launch
    from leadline import sweep as sweeps

    loaded, keys = _load(place, root), sweeps.Keys()
    chosen = sweeps.choose(loaded, names or ())
    if not names:
        chosen = [t for t in chosen if sweeps.state(loaded, t, keys) in ("running", "failed")]
        say(f"{len(chosen)} of {len(loaded)} trials run or have failed" + ("" if chosen else "; name one for its log"))
    for trial in chosen:
        log = sweeps.log_file(loaded, trial)
        print(f"==> {log} <==")
        if not log.is_file():
            say(f"{trial.title}: it was never started")
        elif names and lines is None:
            print(log.read_text(encoding="utf-8", errors="replace"), end="")
        else:
            print("\n".join(launch.last_lines(log, lines or 5)))


@app.command(short_help="Metrics of each trial, and averaged over seeds.")
def summary(
    place: Place,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics, with commas or repeated; or all.")] = None,
    split: Annotated[str | None, typer.Option(help="Default: test, or validation where there is no test.")] = None,
    against: Annotated[
        str | None, typer.Option(help="The trial to compare the others with; default: the first.")
    ] = None,
    arms: Annotated[
        bool, typer.Option("--arms", help="An ablation: a column per trial, what each was trained on, one claim.")
    ] = False,
    claim: Annotated[
        str | None, typer.Option(help="With --arms: the trial that the claim is about; default: the full mixup.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --arms: a folder for its tables and pictures.")
    ] = None,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Metrics of every trial, their means over seeds with intervals, and paired differences from one trial.

    Example: leadline sweep summary runs/my-sweep --metric macro_f1 --against base
    """
    from leadline import sweep as sweeps

    if arms and metric:
        from leadline.errors import InputError

        raise InputError("--metric: --arms has its own metrics")
    if arms:
        return _arms(_load(place, root), split, against, claim, output, json)
    for option, given in (("--claim", claim), ("-o", output)):
        if given is not None:
            from leadline.errors import InputError

            raise InputError(f"{option} {given}: only with --arms")
    found = sweeps.summary(_load(place, root), metric or (), split, against)
    if json:
        print_json(found.to_dict())
    else:
        print_summary(found)


def _arms(
    loaded: Sweep, split: str | None, against: str | None, claim: str | None, output: Path | None, json: bool
) -> None:
    from leadline import sweep as sweeps
    from leadline.cli.arms import print_study

    found = sweeps.study(loaded, split, against, claim)
    for path in sweeps.write_study(found, output) if output is not None else []:
        say(f"written  {path}")
    if json:
        print_json(found.to_dict())
    else:
        print_study(found)


def train_seeds(
    recipe: Recipe,
    count: int,
    name: str | None,
    root: Path,
    jobs: int,
    processes: int,
    arguments: Sequence[str],
    json: bool,
) -> None:
    """`leadline train … --seeds N`: a sweep over seeds, then its summary."""
    from leadline import sweep as sweeps

    loaded = sweeps.over(recipe, count, name, root)
    say(f"seeds {', '.join(str(trial.seed) for trial in loaded.trials)} in {loaded.path}")
    states = _run(loaded, "", jobs, "local", None, arguments, processes)
    if any(state in ("finished", "there") for state in states.values()):
        found = sweeps.summary(loaded)
        if json:
            print_json({"path": str(loaded.path), "states": states, **found.to_dict()})
        else:
            print_summary(found)
            print(f"runs    {loaded.path}\nnext    leadline sweep summary {quote(str(loaded.path))} --metric all")
    _leave(states)


def print_summary(found: Summary) -> None:
    """One row per trial, then one per name and metric."""
    names = {"examples_per_second": "examples/s"}
    print_table(
        f"{found.sweep}: trials, {found.split}",
        [names.get(column, column) for column in found.trials.columns],
        [[*row[:-1], None if row[-1] is None else round(row[-1])] for row in found.trials.rows()],
    )
    several = found.averages["trial"].n_unique() > 1
    rows = []
    for row in found.averages.to_dicts():
        mean = _interval(row["mean"], row["low"], row["high"])
        difference = [
            _interval(row["difference"], row["difference_low"], row["difference_high"]),
            row["p"],
            row["p_holm"],
        ]
        rows.append([row["trial"], row["metric"], row["n"], mean, *(difference if several else [])])
    compared = [f"minus {found.against} [95 %]", "p", "p (Holm)"] if several else []
    print_table("over seeds: mean [95 % t-interval]", ["trial", "metric", "seeds", "mean", *compared], rows)
    for note in found.notes:
        print(note)


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    return "" if value is None else interval({"value": value, "low": low, "high": high})


def _load(file: Path, root: Path) -> Sweep:
    from leadline import sweep as sweeps
    from leadline.errors import InputError, nearest

    if not file.exists():
        verbs = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
        raise InputError(f"{file}: no such sweep file or directory.{nearest(file.name, verbs)}")
    return sweeps.load(file, root)


def _run(
    loaded: Sweep, only: str, jobs: int, on: str, found: Path | None, arguments: Sequence[str] = (), processes: int = 1
) -> dict[str, Any]:
    from leadline import sweep as sweeps

    return dict(sweeps.run(loaded, only, jobs, on, found, arguments, processes, Told()))


class Told:
    """Says to stderr what happens to each trial."""

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "note":
            return say(event["says"])
        title, seconds = event["title"], event.get("seconds")
        if event["event"] == "interrupted" and seconds is None:
            return  # it had not begun
        after = f" after {seconds:.0f} s" if seconds is not None else ""
        says = {
            "started": f"started; log {event.get('log')}",
            "finished": f"finished{after}",
            "there": "finished before with the same recipe and data; not run again",
            "elsewhere": "another process is at it; waiting",
            "failed": f"FAILED{after} (status {event.get('status')})",
            "skipped": f"skipped: it needs {', '.join(event.get('needs', []))}",
            "interrupted": f"interrupted{after}",
        }[event["event"]]
        say(f"{title}: {says}")
        for line in event.get("last", []):
            say(f"    {line}")


def _leave(states: Mapping[str, str]) -> None:
    """Exit status: 130 where we were interrupted, 1 where a trial failed."""
    if "interrupted" in states.values():
        raise typer.Exit(130)
    if "failed" in states.values() or "skipped" in states.values():
        raise typer.Exit(1)


def _counted(states: Any) -> str:
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{n} {state}" for state, n in counts.items())


def _told(loaded: Sweep, trial: Trial, keys: Keys) -> dict[str, Any]:
    from leadline import sweep as sweeps

    state = sweeps.state(loaded, trial, keys)
    run = sweeps.opened(trial.path) if state in ("running", "unfinished") else None
    epochs = f"{len(run.events('epoch'))} of {trial.recipe.training.epochs} epochs" if run is not None else ""
    return {"index": trial.index, "trial": trial.name, "seed": trial.seed, "differs": dict(trial.differs),
            "needs": list(trial.needs), "state": state, "done": epochs, "path": str(trial.path)}  # fmt: skip


def _print_trials(loaded: Sweep, only: str | None, json: bool) -> None:
    from leadline import sweep as sweeps

    keys = sweeps.Keys()
    _print_rows(loaded, [_told(loaded, trial, keys) for trial in sweeps.choose(loaded, only or ())], json)


def _print_planned(loaded: Sweep, only: str | None, on: str, found: Path | None, json: bool) -> None:
    """What `run` would do: the same checks, the same choice; `found` is what it would take from elsewhere."""
    from leadline import sweep as sweeps

    chosen, elsewhere, keys = sweeps.planned(loaded, only or (), on, found)
    rows = []
    for trial in sorted(chosen, key=lambda trial: trial.index):
        row = _told(loaded, trial, keys)
        there = elsewhere.find(trial.recipe, keys) if row["state"] == "new" else None
        rows.append(row | ({"state": "found", "done": str(there)} if there is not None else {}))
    _print_rows(loaded, rows, json)


def _print_rows(loaded: Sweep, rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json({"sweep": loaded.name, "path": str(loaded.path), "trials": rows})
        return
    header = ["index", "trial", "seed", "differs", "state", "done"]
    shown = [[*(row[c] for c in header[:3]), _differs(row["differs"]), *(row[c] for c in header[4:])] for row in rows]
    print_table(f"{loaded.name}: {len(rows)} trials in {loaded.path}", header, shown)
    print(_counted(row["state"] for row in rows))


def _differs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{k}={v if isinstance(v, str) else dumps(v, ensure_ascii=False)}" for k, v in values.items())
