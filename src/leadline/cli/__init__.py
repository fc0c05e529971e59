"""The command line: the library with printing. One command per verb; our errors become advice.

Order inside the room: output · measured · arms · progress · agreement · sweeps · training · reading · probing ·
detecting · auditing · reviewing · rows · story.
Only the commands' signatures are loaded for `leadline --help`; what a command needs it imports when it runs.
"""

import sys
from typing import Annotated

import typer

from leadline.cli import auditing, detecting, probing, reading, reviewing, rows, story, sweeps, training

app = typer.Typer(
    name="leadline",
    help="Record how every training example was learned, and read everything else from that record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("leadline"))
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
) -> None:
    """Record how every training example was learned, and read everything else from that record."""


COMMANDS = {
    "demo": (story.demo, "The whole story on a built-in example."),
    "train": (training.train, "Train one run; scores, suspects, metrics, report."),
    "score": (reading.score, "Scores and regions of a run."),
    "map": (reading.map_, "The data map, as a picture or a page."),
    "evaluate": (training.evaluate, "Metrics of a trained model on any file."),
    "ood": (detecting.ood, "How well the model tells texts of its own kind from others."),
    "report": (reading.report, "One self-contained page about a run."),
    "compare": (reading.compare, "Scores and metrics of runs side by side."),
    "probe": (probing.probe, "Scores that need the model again: GraNd, VoG, depth."),
    "audit": (auditing.audit, "Which labels are wrong, and how many to expect."),
    "review": (reviewing.review, "Decide on suspects in the browser."),
    "clean": (reviewing.clean, "The data with the decisions applied."),
    "select": (rows.select, "A subset of the training data as a file."),
    "import": (rows.import_, "Make a run of another tool's record."),
    "export": (rows.export, "Write a run's record for another tool."),
}
for name, (command, short) in COMMANDS.items():
    app.command(name=name, short_help=short)(command)  # type: ignore[type-var]
app.add_typer(sweeps.app, name="sweep", short_help="Many runs: grids, seeds, dependencies; N at a time.")


def main() -> None:
    """The entry point: 0 success, 1 the work failed, 2 bad arguments or input, 130 interrupted."""
    from leadline.errors import LeadlineError

    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]  # wherever it stands
    try:
        app()
    except LeadlineError as error:
        if debug:
            raise
        print(f"leadline: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except Exception as error:
        if debug:
            raise
        print(f"leadline: {_told(error)}", file=sys.stderr)
        sys.exit(1)


def _told(error: Exception) -> str:
    """One line for what is no mistake of the user's: the machine's limits, and ours."""
    line = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "t allocate memory" in line:
        return "out of memory; try a smaller training.micro_batch or training.max_length"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return (
        f"unexpected {type(error).__name__}: {line}\nRun it again with --debug for the traceback, and report it please"
    )
