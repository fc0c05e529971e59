"""What a recipe mixes: its pairing over the rows that are trained on, read from its base where it names one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leadline import runs
from leadline.data import vectors as texts_room
from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.experiment.device import accelerate
from leadline.experiment.features import features
from leadline.learn import ranks
from leadline.plans import mix
from leadline.plans.epoch import Plan, units
from leadline.recipe import Mixup, Recipe
from leadline.runs import Standing

FEW_EPOCHS = "regions need two recorded epochs of the base (base.max_epochs, its epochs, its record.under_mixup)"


@dataclass(frozen=True)
class Source:
    """What a pairing may read of N training examples."""

    train: Examples
    standing: Callable[[], Standing]
    has_base: bool

    def vectors(self) -> np.ndarray:
        """(N, D): of the base's model where there is a base with one, else of the texts."""
        if self.has_base:
            base = self.standing().base
            if (base.path / "model").is_dir():
                accelerate("fp32")  # several processes become a group here: they must pair alike
                return ranks.on_first(lambda: features(base))[self.standing().rows]
        return texts_room.text_vectors(runs.joined_texts(self.train))


def kept(mixup: Mixup, rows: np.ndarray, source: Source) -> np.ndarray:
    """Which of the rows are trained on: with pairing by region the easy and ambiguous ones (and none, when asked).

    Raises InputError when a region that is to be mixed is empty.
    """
    if not mixup.by_region:
        return rows
    standing = source.standing()
    category = standing.category[rows]
    counts = {name: int((category == name).sum()) for name in ("easy", "ambiguous", "hard", "none")}
    wanted = ["easy", "ambiguous", *(["none"] if mixup.include_none else [])]
    for name in wanted:
        if not counts[name]:
            found = ", ".join(f"{n} {count:,}" for n, count in counts.items())
            few = standing.window.n_epochs < 2
            advice = FEW_EPOCHS if few else "change base.regions, select, or the pairing"
            raise InputError(
                f"mixup.pairing: no `{name}` example among the {len(rows):,} that are trained on ({found}); {advice}"
            )
    return rows[np.isin(category, wanted)]


def plan(recipe: Recipe, rows: np.ndarray, source: Source, size: int, plain: Plan) -> tuple[Plan, list[str]]:
    """(the plan, what to tell) of mixing the kept `rows`, `size` entries an epoch."""
    mixup = recipe.mixup
    assert mixup is not None
    score = source.standing().column(mixup.score) if mixup.score else None
    unscored = 0 if score is None else int(np.isnan(score[rows]).sum())
    if unscored == len(rows):
        raise InputError(f"mixup.pairing: none of the {len(rows):,} examples has a `{mixup.score}` in the base")
    paired = _round(mixup, rows, source, score)
    lam = mix.Lambda(mixup.alpha, mixup.lam, mixup.fold, mixup.draw == "batch")
    made = mix.mixing(paired, lam, size, plain, mixup.plain_epochs, recipe.training.seed)
    first = made(mixup.plain_epochs)
    assert first.partners is not None
    alone = int((first.rows == first.partners).sum())
    share = f"Beta({mixup.alpha:g}, {mixup.alpha:g})" if mixup.lam is None else f"{mixup.lam:g}"
    folded = ", at least 0.5" if mixup.fold else ""
    if mixup.where == "span":
        share = "by the length of the span"
    left_out = len(source.train) - len(rows)
    singles = int((units(first)[1] < 0).sum())
    single, batch = singles - alone, recipe.training.batch_size
    said = [
        f"mixup after {mixup.plain_epochs} plain epochs: {', '.join(mixup.pairing)} at {mixup.where}, lambda {share}"
        f"{folded} per {mixup.draw}; {len(first):,} entries an epoch over {len(rows):,} examples "
        f"({left_out:,} discarded), {alone:,} paired with themselves"
    ]
    if batch % 2 and singles < len(first) // batch:  # too few that would fill the steps
        said += [f"a pair shares its step: steps hold {max(batch - 1, 2)} entries, not {batch}"]
    if unscored:
        said += [
            f"{unscored:,} examples have no `{mixup.score}` in the base: they are paired as if theirs were highest"
        ]
    if single:
        said += [f"{single:,} of these entries do not share a step with their partner's own: it is encoded once more"]
    return made, said


def _round(mixup: Mixup, rows: np.ndarray, source: Source, score: np.ndarray | None) -> mix.Round:
    """The pairing asked for, as a function of a generator."""
    labels = source.train.gold if "label" in mixup.pairing else None
    if "cross-region" in mixup.pairing:
        category = source.standing().category
        sides = [
            (group[category[group] == "easy"], group[category[group] == "ambiguous"])
            for group in mix.groups(rows, *([labels] if labels is not None else []))
        ]
        return lambda rng: mix.joined([mix.crossed(easy, ambiguous, rng, score) for easy, ambiguous in sides])
    keys = [labels] if labels is not None else []
    if "region" in mixup.pairing:
        keys.append(np.unique(source.standing().category, return_inverse=True)[1])
    found = mix.groups(rows, *keys)
    if score is not None:
        once = mix.joined([mix.ranked(group, score) for group in found])
        return lambda rng: once
    if mixup.order in ("similar", "dissimilar"):
        vectors = source.vectors()
        fixed = mix.joined([mix.closest(group, vectors, mixup.order == "dissimilar") for group in found])
        return lambda rng: fixed
    one = mix.permuted if mixup.permutation else mix.shuffled
    return lambda rng: mix.joined([one(group, rng) for group in found])
