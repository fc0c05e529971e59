"""Which papers stand behind a run: keys of references.bib, and the entries as BibTeX or as a line of text.

The keys are those of `scores.SCORES[...].paper`; every key named here or there has an entry (tests/test_report.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from leadline.errors import InputError
from leadline.ood import DETECTORS
from leadline.runs import Run, kept_scores
from leadline.scores import SCORES

# Part of a model's name -> papers; the first that fits. `tiny` is a BERT built from the training texts.
MODELS = {
    "minilm": ("wang2020", "reimers2019"),
    "distilbert": ("sanh2019",),
    "modernbert": ("warner2024",),
    "deberta": ("he2021",),
    "roberta": ("liu2019",),
    "gpt2": ("radford2019",),
    "qwen2": ("yang2024",),
    "bert": ("devlin2019",),
    "tiny": ("devlin2019",),
}
METRICS = {
    "ece": "guo2017", "brier": "brier1950", "mcc": "gorodkin2004",
    "ece_classwise": "kull2019", "ece_adaptive": "nixon2019", "rms_calibration": "hendrycks2019", "aurc": "geifman2019",
    "e_aurc": "geifman2019",
}  # fmt: skip
MIXED = {
    "sentence": ("sun2020",),
    "embedding": ("guo2019",),
    "layer": ("verma2019", "chen2020"),
    "span": ("yoon2021",),
    "pixel": (),
}  # where it is mixed
ALSO = {"arriaga2023": ("arriaga2020", "angelov2025")}  # the definition, and its test on texts
ACCENTS = {'{\\"a}': "ä", "{\\'e}": "é", "{\\'a}": "á", "--": "–"}


@dataclass(frozen=True)
class Entry:
    key: str
    bibtex: str
    fields: dict[str, str]

    def __str__(self) -> str:
        """Authors. Title. Venue, year."""
        where = self.fields.get("booktitle") or self.fields.get("journal") or self.fields.get("institution")
        venue = ", ".join(filter(None, [where or self.fields.get("howpublished"), self.fields["year"]]))
        return f"{_people(self.fields['author'])}. {self.fields['title']}. {venue}."

    @property
    def link(self) -> str | None:
        doi = self.fields.get("doi")
        return self.fields.get("url") or (f"https://doi.org/{doi}" if doi else None)


def _people(authors: str) -> str:
    names = [" ".join(reversed(name.split(", "))) for name in authors.split(" and ") if name != "others"]
    if len(names) > 7 or authors.endswith("and others"):
        return f"{names[0]} and others"
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


@cache
def entries() -> dict[str, Entry]:
    """Every entry of references.bib by its key, in the order of the file."""
    text = files("leadline.report").joinpath("references.bib").read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"\n(?=@)", text.strip()):
        key = block[block.index("{") + 1 : block.index(",")]
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", block, flags=re.MULTILINE))
        found[key] = Entry(key, block.strip(), {name: _without_tex(value) for name, value in fields.items()})
    return found


def _without_tex(value: str) -> str:
    for tex, letter in ACCENTS.items():
        value = value.replace(tex, letter)
    return value.replace("{", "").replace("}", "")


def cited(run: Run, names: Sequence[str] = ()) -> list[str]:
    """Keys of the papers behind the run's map, the scores `names`, its metrics, its loss and its model."""
    keys = ["swayamdipta2020"] if names else []
    for name in names:
        if name in SCORES and SCORES[name].paper:
            keys += [SCORES[name].paper, *ALSO.get(SCORES[name].paper, ())]
    for figures in run.results.values():
        keys += [key for metric, key in METRICS.items() if metric in figures]
        keys += [DETECTORS[name].paper for name in DETECTORS if f"auroc[{name}]" in figures]
        keys += ["efron1979"] if any(figure.get("low") is not None for figure in figures.values()) else []
    if run.recipe is not None:
        keys += _of_training(run)
    return list(dict.fromkeys(keys))


def _of_training(run: Run) -> list[str]:
    assert run.recipe is not None
    about = run.about.get("model")
    kind = about.get("type", "") if isinstance(about, dict) else ""
    name, loss = f"{run.recipe.model_name} {kind}".lower(), run.recipe.loss
    keys = list(next((papers for part, papers in MODELS.items() if part in name), ()))
    keys += ["lin2017"] if loss.focal_gamma else []
    keys += ["cui2019"] if loss.class_weights == "effective" else []
    keys += ["szegedy2016"] if loss.label_smoothing else []
    if (mixup := run.recipe.mixup) is not None:
        keys += ["zhang2018", *MIXED[mixup.where], *(["park2022"] if "cross-region" in mixup.pairing else [])]
    return [*keys, "loshchilov2019", "wolf2020", "paszke2019"]


def references(run: Run, names: Sequence[str] | None = None) -> str:
    """BibTeX of the methods that a run used. `names`: scores; None takes every score that the run has."""
    if names is None:
        try:
            names = list(kept_scores(run).columns())
        except InputError:  # nothing was recorded
            names = []
    return "\n\n".join(entries()[key].bibtex for key in cited(run, names)) + "\n"
