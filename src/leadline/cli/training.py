"""Commands that need a model: train, evaluate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadline.cli.measured import print_robustness, print_slices
from leadline.cli.output import interval, print_json, print_results, print_table, say, split_list
from leadline.cli.sweeps import train_seeds

if TYPE_CHECKING:
    from leadline.evaluate import Certainty
    from leadline.experiment import Evaluation

Columns = Annotated[list[str] | None, typer.Option("--text", help="Text column; give two for pairs (a,b or repeated).")]
Label = Annotated[str | None, typer.Option("--label", help="Label column.")]
Shares = Annotated[
    str | None,
    typer.Option(help="Soft labels instead: a column of lists of shares, or a column per class, with commas."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def train(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE.yaml|DATA",
            help="A recipe, a file (csv, tsv, json, jsonl, parquet, arrow; also .gz), or hub:NAME[:CONFIG][@SPLIT].",
        ),
    ],
    text: Columns = None,
    label: Label = None,
    model: Annotated[str | None, typer.Option(help="minilm, tiny, a local directory or a Hub id.")] = None,
    task: Annotated[str | None, typer.Option(help="classification or regression.")] = None,
    test: Annotated[str | None, typer.Option(help="Test data.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="Validation data: a file, or a fraction of the training data.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="Column with ids; default: the row number.")] = None,
    group: Annotated[str | None, typer.Option(help="Column of groups that no split may cut.")] = None,
    weight: Annotated[str | None, typer.Option(help="Column with a weight per example.")] = None,
    label_distribution: Shares = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per optimiser step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 5e-4 tiny, 5e-5 minilm, else 2e-5.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Longest input in tokens; longer texts are truncated.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, bf16, fp16 or fp32.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training (training.seed).")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Train so many runs, of this seed and those that follow; see sweep.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="With --seeds: how many runs at a time.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override any key of the recipe, for example loss.class_weights=balanced.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run under --root; default: <data>-<model>-<n>.")] = None,
    root: Annotated[Path, typer.Option(help="Where runs lie.")] = Path("runs"),
    check: Annotated[
        bool,
        typer.Option("--check", help="First prove that training works: overfit one batch, fail on shuffled labels."),
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Train data-parallel in so many processes on this machine.")
    ] = None,
    sharded: Annotated[
        bool, typer.Option("--sharded", help="With several processes: the model in pieces over them (FSDP).")
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went.")] = False,
    json: Json = False,
) -> None:
    """Train one run: then data map scores, suspects, predictions, metrics and a report.

    Example: leadline train reviews.csv --text text --label label --model minilm --epochs 3
    """  # fmt: skip
    from leadline import processes as several
    from leadline import recipe as recipes
    from leadline.cli.progress import Watch
    from leadline.errors import InputError

    given: dict[str, Any] = {
        "text": _text(text), "label": label, "model": model, "task": task, "test": test, "id": id, "group": group,
        "weight": weight, "validation": _number(validation), "epochs": epochs, "batch_size": batch_size,
        "learning_rate": learning_rate, "max_length": max_length, "precision": precision,
        "label_distribution": one_or_more(label_distribution),
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value is not None}
    overrides = [*([] if seed is None else [f"training.seed={seed}"]), *(set_ or [])]
    if Path(source).suffix in (".yaml", ".yml"):
        if given:
            option = f"--{next(iter(given)).replace('_', '-')}"
            raise InputError(f"{option} goes into the recipe {source}; override it with --set KEY=VALUE")
        recipe = recipes.load(source, overrides)
    else:
        recipe = recipes.load(recipes.quick(source, **given), overrides)

    if seeds is not None:
        flags = {"--check": check, "--sharded": sharded, "--profile": profile}
        passed_on = [flag for flag, given in flags.items() if given]
        return train_seeds(recipe, seeds, name, root, jobs, processes or 1, passed_on, json)
    if jobs > 1:
        raise InputError(f"--jobs {jobs}: only with --seeds; --processes trains one run in several processes")
    if processes is not None and processes > 1 and not several.inside():
        debug = ["--debug"] * ("--debug" in sys.orig_argv)  # taken off sys.argv by then
        raise typer.Exit(several.start([sys.executable, "-m", "leadline", *sys.argv[1:], *debug], processes))
    say("loading torch and transformers")
    from leadline import experiment

    with Watch() as watch:
        run = experiment.train(
            recipe, name=name, root=root, check=check, profile=profile, processes=processes, sharded=sharded, tell=watch
        )
    if several.rank() > 0:
        return
    if json:
        print_json({"run": str(run.path), "results": run.results, "seconds": run.events("end")[-1]["seconds"]})
        return
    print_results({split: found for split, found in run.results.items() if "+" not in split})
    print(f"run     {run.path}\nreport  {run.path / 'report.html'}")
    print(f"next    leadline map {quote(str(run.path))} -o map.html")


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="Directory of a run, or of any checkpoint.")],
    data: Annotated[
        str | None, typer.Option(help="A file with the run's columns; default: a split of the run.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which of the run's splits.")] = "test",
    text: Columns = None,
    label: Label = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, bf16, fp16 or fp32; default: as the run was trained.")
    ] = None,
    label_distribution: Shares = None,
    calibrate_on: Annotated[
        str | None, typer.Option(help="Fit a temperature on this file; default: that of the run, if it has one.")
    ] = None,
    scaled: Annotated[
        bool, typer.Option("--scaled", help="With -o, which it needs: also the probabilities at that temperature.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for two pictures: reliability.png and selective.png.")
    ] = None,
    robustness: Annotated[
        str | None,
        typer.Option(metavar="all|KIND[=RATE],…", help="Also on mistyped rows: typos=0.05,casing,fgsm=0.1; or all."),
    ] = None,
    slices: Annotated[
        str | None, typer.Option(metavar="COLUMN,…", help="Also per part: length, class, region, any column.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the predictions as Parquet.")] = None,
    json: Json = False,
) -> None:
    """Metrics with intervals, calibration and timing of a trained model.

    --robustness measures the rows again with noise in their texts (fgsm: in their embeddings, by the model's gradient);
    of the run's own rows the results go into results.json and the report.

    Calibration is measured before and after temperature scaling, by the temperature that the run fitted on its
    validation data, or that is fitted on --calibrate-on FILE; never on the rows that are evaluated. Where more than a
    tenth of the texts are the same it is refused, or the run's temperature is left out.

    Example: leadline evaluate runs/reviews-minilm-1 --data new.csv
    """
    from leadline.errors import InputError

    if scaled and output is None:
        raise InputError("--scaled adds columns to the predictions, and nobody asks for those: add -o FILE")
    from leadline import experiment, runs
    from leadline.data.noise import stresses

    columns = {"text": _text(text), "label": label, "label_distribution": one_or_more(label_distribution)}
    for option, names in (("--robustness", robustness), ("--slices", slices)):
        if names is not None and not split_list(names):
            raise InputError(f"{option}: nothing is named")
    kinds = None if robustness is None else stresses([] if robustness == "all" else split_list(robustness))
    given: dict[str, Any] = {name: value for name, value in columns.items() if value}
    if slices is not None:
        experiment.check_slices(model, split_list(slices), data, split=split, **given)
    found = experiment.evaluate(
        model, data, split=split, precision=precision, calibrate_on=calibrate_on, scaled_predictions=scaled,
        **given,
    )  # fmt: skip
    if figures is not None:
        draw_certainty(found, figures)
    if output is not None:
        runs.write_parquet(output, found.predictions)
    n = found.predictions.height
    further = _robustness(model, data, split, precision, kinds, seed, given)
    if slices is not None:
        further["slices"] = experiment.sliced(model, split_list(slices), data, split=split, found=found, **given)[1]
    for note in found.told:
        say(note)
    if json:
        print_json(
            {"results": found.results, "n": n, "seconds": found.seconds, "examples_per_second": n / found.seconds}
            | {"notes": found.told}
            | (
                found.certainty.to_dict()
                if found.certainty
                else dict.fromkeys(("temperature", "reliability", "selective"))
            )
            | {name: value.to_dicts() if name == "slices" else value for name, value in further.items()}
        )
        return
    print_results({str(data or split): found.results})
    if found.certainty is not None:
        print_certainty(found.certainty)
    if further.get("robustness"):
        print_robustness(further["robustness"], further["clean"])
    if "slices" in further:
        print_slices(further["slices"])
    print(f"{n:,} examples in {found.seconds:.1f} s ({n / found.seconds:.0f} examples/s)")


def _robustness(
    model: Path,
    data: str | None,
    split: str,
    precision: str | None,
    kinds: Sequence[tuple[str, float]] | None,
    seed: int,
    given: dict[str, Any],
) -> dict[str, Any]:
    """Robustness, if it is asked for; of the run's own rows it is kept in the run."""
    from leadline import experiment

    if kinds is None:
        return {}
    asked = [f"{kind}={rate!r}" for kind, rate in kinds]
    stressed = experiment.robustness(model, data, kinds=asked, split=split, precision=precision, seed=seed, **given)
    results = stressed.results()
    if data is None:
        results = experiment.keep_robustness(model, stressed)
        say(f"written  {model / 'results.json'}, and the report")
    return {"robustness": results, "clean": stressed.clean}


def _text(columns: list[str] | None) -> str | list[str] | None:
    names = split_list(columns)
    return None if not names else names[0] if len(names) == 1 else names


def _number(value: str | None) -> str | float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return value


def one_or_more(columns: str | None) -> str | list[str] | None:
    """--label-distribution as a recipe has it."""
    names = split_list(columns)
    return None if not names else names[0] if len(names) == 1 else names


def print_certainty(found: Certainty) -> None:
    """What selective prediction would gain; the warning of the temperature."""
    if found.temperature is not None and found.temperature.says:
        say(found.temperature.says)
    chosen = found.selective
    rows = [
        [f"{100 * row['coverage']:g} % answered", interval(row), row["n"], row["threshold"]]
        for row in chosen.accuracy.to_dicts()
    ]
    print_table(
        "accuracy of the surest answers [95 % interval]", ["coverage", "accuracy", "n", "confidence from"], rows
    )
    rows = [
        [f"at most {100 * row['risk']:g} % wrong", interval(row), row["n"], row["threshold"]]
        for row in chosen.coverage.to_dicts()
    ]
    print_table("share that can be answered [95 % interval]", ["errors", "coverage", "n", "confidence from"], rows)


def draw_certainty(found: Evaluation, folder: Path) -> None:
    from leadline.errors import InputError
    from leadline.figures import quality, style

    if found.certainty is None:
        raise InputError(f"--figures {folder}: they show how sure a classifier is; a regression has no probabilities")
    folder.mkdir(parents=True, exist_ok=True)
    sure = found.certainty
    for name, drawn in {
        "reliability": quality.reliability(sure.before, sure.after),
        "selective": quality.selective(sure),
    }.items():
        say(f"written  {style.save(drawn, folder / f'{name}.png')}")
