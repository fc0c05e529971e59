"""docs/reference.md and the generated tables of the how-to pages, made of docstrings, command line and registries.

    python docs/make_reference.py

Rewrites what has changed; `tests/test_reference.py` fails where a file is older than the code.
"""

from __future__ import annotations

import html
import inspect
import math
import os
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main

import leadline
from leadline import cli, comparison, demo, errors, evaluate, recipe, report, runs, scores, signals, suspects
from leadline.experiment import Evaluation
from leadline.experiment import evaluate as evaluate_model
from leadline.figures import data_map, distributions, interactive, learning, quality, style
from leadline.interop import cartography, subsets
from leadline.learn.outcome import Outcome
from leadline.plans import epoch
from leadline.report import maps
from leadline.scores.observed import n_obs

DOCS = Path(__file__).resolve().parent
WIDTH = 110

HEAD = """\
# Reference

Made by `docs/make_reference.py` from the help texts of the commands and the docstrings of the library: change those,
not this page. [index.md](index.md) leads to the pages that explain.

E recorded epochs, N examples, K classes, B batch, M entries. Losses in nats, probabilities in [0, 1].
"""

LIBRARY: dict[str, list[Any]] = {  # heading -> objects, each with the name by which it is imported
    "leadline": [
        ("leadline.train", leadline.train),
        ("leadline.open", leadline.open),
        ("leadline.Run", leadline.Run),
        ("leadline.Recorder", leadline.Recorder),
    ],
    "Runs": [
        ("leadline.runs.RegionRule", runs.RegionRule),
        ("leadline.runs.Scored", runs.Scored),
        ("leadline.experiment.evaluate", evaluate_model),
        ("leadline.experiment.Evaluation", Evaluation),
        ("leadline.suspects.rank", suspects.rank),
        ("leadline.comparison.compare", comparison.compare),
        ("leadline.comparison.Comparison", comparison.Comparison),
        ("leadline.interop.subsets.Choice", subsets.Choice),
        ("leadline.interop.subsets.write_subset", subsets.write_subset),
    ],
    "Signals": [
        *((f"leadline.signals.{name}", getattr(signals, name)) for name in ("Signals", "Period", "outcome", "softmax")),
        *((f"leadline.signals.{name}", getattr(signals, name)) for name in ("from_logits", "read_periods")),
        *((f"leadline.signals.{name}", getattr(signals, name)) for name in ("write_period", "complete")),
        ("leadline.learn.outcome.Outcome", Outcome),
    ],
    "Scores": [
        ("leadline.scores.compute", scores.compute),
        ("leadline.scores.average", scores.average),
        ("leadline.scores.gold_probability", scores.gold_probability),
        ("leadline.scores.mean_probability", scores.mean_probability),
        ("leadline.scores.n_obs", n_obs),
        ("leadline.scores.by_proportion", scores.by_proportion),
        ("leadline.scores.by_threshold", scores.by_threshold),
        ("leadline.scores.by_data_iq", scores.by_data_iq),
        ("leadline.scores.Regions", scores.Regions),
    ],
    "Metrics, intervals, calibration": [
        (f"leadline.evaluate.{name}", getattr(evaluate, name))
        for name in (
            "metrics", "with_intervals", "find_metric", "per_class", "confusion", "slices", "reliability",
            "calibration_error", "fit_temperature", "risk_coverage", "aurc", "e_aurc", "accuracy_at_coverage", "wilson",
            "mean_interval", "resamples", "rank_agreement", "overlap_of_hardest",
        )
    ],  # fmt: skip
    "Plans": [("leadline.plans.epoch.Epoch", epoch.Epoch), ("leadline.plans.epoch.steps", epoch.steps)],
    "Figures and report": [
        ("leadline.figures.data_map.data_map", data_map.data_map),
        ("leadline.figures.interactive.interactive_map", interactive.interactive_map),
        ("leadline.figures.learning.curves", learning.curves),
        ("leadline.figures.learning.region_accuracy", learning.region_accuracy),
        ("leadline.figures.learning.spark", learning.spark),
        ("leadline.figures.distributions.distributions", distributions.distributions),
        ("leadline.figures.quality.reliability", quality.reliability),
        ("leadline.figures.quality.confusion", quality.confusion),
        ("leadline.figures.style.save", style.save),
        ("leadline.figures.style.svg", style.svg),
        ("leadline.report.write", report.write),
        ("leadline.report.model_card", report.model_card),
        ("leadline.report.references", report.references),
        ("leadline.report.maps.write_map", maps.write_map),
    ],
    "Other tools and the example": [
        ("leadline.interop.cartography.read", cartography.read),
        ("leadline.interop.cartography.write", cartography.write),
        ("leadline.interop.cartography.to_run", cartography.to_run),
        ("leadline.demo.write_demo", demo.write_demo),
        ("leadline.demo.DemoTruth", demo.DemoTruth),
    ],
    "Errors": [
        ("leadline.errors.LeadlineError", errors.LeadlineError),
        ("leadline.errors.InputError", errors.InputError),
        ("leadline.errors.MissingExtra", errors.MissingExtra),
    ],
}  # fmt: skip


def reference() -> str:
    """The text of reference.md."""
    parts = [
        HEAD,
        "## Commands\n",
        COMMON,
        *commands(),
        "## Recipe keys\n",
        RECIPE,
        recipe_table(),
        "## SCORES\n",
        SCORES,
    ]
    parts += [score_table(), *score_functions(), "## METRICS\n", METRICS, metric_table()]
    for heading, objects in LIBRARY.items():
        parts.append(f"## {heading}\n")
        parts += [described(name, thing) for name, thing in objects]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


COMMON = """\
`leadline --version` prints the version, `--debug` (anywhere on the line) shows a traceback when something fails.
Results go to stdout, messages and progress to stderr. Exit status: 0 success, 1 the work failed, 2 bad arguments or
input, 130 interrupted.
"""
RECIPE = """\
What each key means stands in [howto/train.md](howto/train.md#every-key).
"""
SCORES = """\
`leadline.scores.SCORES` maps a name to an entry with `function`, `higher_is`, `range`, `needs`, `paper` and `says`.
Each is also a function of the module: `leadline.scores.aum(run.signals)`. When to use which:
[howto/scores.md](howto/scores.md).
"""
METRICS = """\
`leadline.evaluate.METRICS` maps a name to an entry with `function`, `needs`, `higher_is_better`, `range` and `says`.
A metric of each class is named `f1[spam]`. How to read them: [howto/evaluate.md](howto/evaluate.md).
"""


# --- commands ---------------------------------------------------------------------------------------------------------


def every_command(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Commands by their whole names, those of a group after it."""
    for name, command in group.commands.items():
        yield before + name, command
        if hasattr(command, "commands"):
            yield from every_command(command, f"{before}{name} ")


def commands() -> Iterator[str]:
    for name, command in every_command(typer.main.get_command(cli.app)):
        text, _, example = (command.help or "").partition("Example: ")
        places = [p for p in command.params if not p.opts[0].startswith("-")]
        options = [p for p in command.params if p.opts[0].startswith("-") and not getattr(p, "hidden", False)]
        inner = [command.subcommand_metavar] if hasattr(command, "commands") else []
        usage = " ".join(["leadline", name, *inner, *(p.metavar or p.name.upper() for p in places), "[OPTIONS]"])
        lines = [
            f"### leadline {name}\n",
            text.strip() + "\n",
            f"```text\n{usage}\n```\n",
            f"Example: `{example.strip()}`\n",
        ]
        rows = [[f"`{p.metavar or p.name.upper()}`", _default(p), prose(p.help)] for p in places]
        rows += [[" ".join(f"`{o}`" for o in p.opts), _default(p), prose(p.help)] for p in options]
        yield "\n".join([*lines, *([table(["argument or option", "default", "says"], rows)] if rows else [])])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, False):
        return ""
    return f"`{parameter.default}`"


# --- tables -----------------------------------------------------------------------------------------------------------


def table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value or "").split()).replace("|", "\\|")


def prose(text: str | None) -> str:
    """<data> is shown as it is written, not taken for HTML."""
    return html.escape(text or "", quote=False)


def _range(bounds: tuple[float, float]) -> str:
    low, high = (_number(bound) for bound in bounds)
    return f"{'(' if math.isinf(bounds[0]) else '['}{low}, {high}{')' if math.isinf(bounds[1]) else ']'}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    named = {math.sqrt(2): "√2", math.log(2): "log 2"}
    return named.get(value, f"{value:g}").replace("-", "−")


def score_table() -> str:
    papers = {key: report.bibliography.entries()[key] for key in {s.paper for s in scores.SCORES.values()}}
    rows = [
        [
            f"`{s.name}`",
            s.higher_is,
            _range(s.range),
            ", ".join(s.needs),
            s.says,
            f"[{s.paper}]({link})" if link else s.paper,
        ]
        for s in scores.SCORES.values()
        for link in [papers[s.paper].link]
    ]
    return table(["score", "high means", "range", "needs", "says", "paper"], rows)


def metric_table() -> str:
    rows = [
        [f"`{name}`", "higher" if m.higher_is_better else "lower", _range(m.range), m.needs, m.says]
        for name, m in evaluate.METRICS.items()
    ]
    return table(["metric", "better", "range", "needs", "says"], rows)


def recipe_table() -> str:
    rows = [
        [f"`{key}`", default if " " in default and "[" not in default else f"`{default}`", kind]
        for key, default, kind in recipe_keys()
    ]
    return table(["key", "default", "type"], rows)


def recipe_keys() -> Iterator[tuple[str, str, str]]:
    """Every key with its default as YAML writes it and its type; the keys of an optional part after the part."""

    def walk(part: type[recipe.Part], prefix: str) -> Iterator[tuple[str, str, str]]:
        for name, field in part.model_fields.items():
            inner = _part(field.annotation)
            if inner is None or type(None) in get_args(field.annotation) or str in get_args(field.annotation):
                default = "required" if field.is_required() else _yaml(field.default)
                yield prefix + name, default, _type(field.annotation)
            if inner is not None:
                yield from walk(inner, f"{prefix}{name}.")

    yield from walk(recipe.Recipe, "")


def _part(annotation: Any) -> type[recipe.Part] | None:
    options = [annotation, *get_args(annotation)]
    return next((o for o in options if isinstance(o, type) and issubclass(o, recipe.Part)), None)


def _yaml(value: Any) -> str:
    if isinstance(value, recipe.Part):
        return "the keys below"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


def _type(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " | ".join(map(_type, inside))
    if origin is Annotated:
        return _type(inside[0])
    if origin is Literal:
        return " | ".join(map(str, inside))
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, recipe.Part):
        return "the keys below"
    name = {"str": "text", "list": "list of", "dict": "mapping of"}.get(annotation.__name__, annotation.__name__)
    return f"{name} {' to '.join(map(_type, inside))}" if inside else name


# --- functions and classes --------------------------------------------------------------------------------------------


def score_functions() -> Iterator[str]:
    for name, entry in scores.SCORES.items():
        yield described(f"leadline.scores.{name}", entry.function)


def described(name: str, thing: Any) -> str:
    """A heading, and signature and docstring as they stand; of a class its public methods and properties too."""
    text = inspect.getdoc(thing) or ""
    lines = [
        signature(name, thing),
        "",
        "" if text.startswith(f"{thing.__name__}(") else text,
    ]  # a dataclass without one
    if inspect.isclass(thing):
        for own, member in members(thing):
            lines += ["", own, *(f"    {line}".rstrip() for line in (inspect.getdoc(member) or "").splitlines())]
    return f"### {name}\n\n```text\n" + "\n".join(lines).strip() + "\n```\n"


def members(thing: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that the class itself defines."""
    for name, member in vars(thing).items():
        if name.startswith("_"):
            continue
        getter = getattr(member, "fget", None) or getattr(member, "func", None)  # property, functools.cached_property
        if getter is not None:
            yield f"{thing.__name__}.{name} -> {inspect.signature(getter).return_annotation}", getter
        elif inspect.isfunction(member) or isinstance(member, staticmethod | classmethod):
            yield signature(f"{thing.__name__}.{name}", getattr(member, "__func__", member)), member


def signature(name: str, thing: Callable[..., Any]) -> str:
    """`name(parameter: type = default) -> type`, a parameter per line where one line is too long."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"{name}({', '.join(base.__name__ for base in thing.__bases__)})"
    found = inspect.signature(thing)
    parameters, starred = [], False
    for p in found.parameters.values():
        if p.name in ("self", "cls"):
            continue
        if p.kind is p.KEYWORD_ONLY and not starred:
            parameters.append("*")
            starred = True
        parameters.append(_parameter(p))
    returns = (
        "" if inspect.isclass(thing) or found.return_annotation is found.empty else f" -> {found.return_annotation}"
    )
    line = f"{name}({', '.join(parameters)}){returns}"
    return line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {p},\n" for p in parameters) + f"){returns}"


def _parameter(p: inspect.Parameter) -> str:
    stars = {p.VAR_KEYWORD: "**", p.VAR_POSITIONAL: "*"}.get(p.kind, "")
    text = stars + p.name + ("" if p.annotation is p.empty else f": {p.annotation}")
    if p.default is p.empty:
        return text
    default = p.default.__name__ if inspect.isfunction(p.default) else repr(p.default)
    default = "…" if " object at 0x" in default or "<factory>" in default else default
    return f"{text} = {default}"


# --- writing ----------------------------------------------------------------------------------------------------------

BLOCKS = {"scores": score_table, "metrics": metric_table}  # <!-- made: scores --> … <!-- end -->
MADE = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A document with its generated tables as they are now."""
    return MADE.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[3]}", text)


def documents() -> dict[Path, str]:
    """Every file that this script writes, with the text that it should have."""
    made = {path: filled(path.read_text(encoding="utf-8")) for path in sorted((DOCS / "howto").glob("*.md"))}
    return {DOCS / "reference.md": reference()} | made


def main() -> None:
    for path, text in documents().items():
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


if __name__ == "__main__":
    main()
