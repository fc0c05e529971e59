"""What a recipe trains on: which rows, in which order, with which weights; read from its base where it names one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leadline.data.examples import Examples
from leadline.errors import InputError
from leadline.experiment import mixed
from leadline.plans import curriculum, subset
from leadline.plans.epoch import Plan, every
from leadline.plans.weights import of_examples
from leadline.recipe import Recipe, Select
from leadline.runs import Run, Standing
from leadline.scores import SCORES

LEAN = 0.05  # a class's share of what is chosen above its share of all, from which a person is told


@dataclass(frozen=True)
class Chosen:
    """What is trained on, of N training examples."""

    rows: np.ndarray  # (M,) sorted
    plan: Plan
    weights: np.ndarray  # (N,) what a score makes of each example's weight; mean 1 over `rows`
    says: tuple[str, ...]  # for a person


def choose(recipe: Recipe, train: Examples, base: Run | None) -> Chosen:
    """Raises InputError when the base lacks an example or a score, or when what is left cannot be trained on."""
    n, seed = len(train), recipe.training.seed
    standing = _standing(recipe, train, base)
    rows, says = selected(recipe.select, train, standing, seed)
    source = mixed.Source(train, standing, base is not None)
    if recipe.mixup is not None:
        rows = mixed.kept(recipe.mixup, rows, source)
    _check(rows, train)
    entries = n if recipe.training.steps == "same-as-full" else len(rows)
    weights = np.ones(n)
    if (w := recipe.loss.example_weights) is not None:
        weights[rows] = of_examples(standing().difficulty(w.score)[rows], w.rule, w.favour, w.lowest, w.drop)
        spread = f"from {weights[rows].min():.2f} to {weights[rows].max():.2f}"
        says += [f"weights by {w.score} ({w.rule}, {w.favour} examples count more): {spread}"]
    if recipe.curriculum is not None:
        plan, told = _curriculum(recipe, train, rows, entries, standing)
    else:
        plan, told = _plain(rows, n, entries, seed)
    if recipe.mixup is not None:
        size = n if recipe.mixup.size == "original" else entries
        plan, more = mixed.plan(recipe, rows, source, size, plan)
        told += more
    return Chosen(rows, plan, weights, (*says, *told, *_leaning(rows, train)))


def _standing(recipe: Recipe, train: Examples, base: Run | None) -> Callable[[], Standing]:
    """The base's judgement, joined once, when it is first asked for."""
    kept: list[Standing] = []

    def standing() -> Standing:
        assert base is not None and recipe.base is not None  # the recipe's shape says so
        if not kept:
            kept.append(Standing(base, train, recipe.base))
        return kept[0]

    return standing


def selected(
    select: Select | None, train: Examples, standing: Callable[[], Standing], seed: int
) -> tuple[np.ndarray, list[str]]:
    """(rows (M,) sorted, what to tell)."""
    n = len(train)
    if select is None:
        return np.arange(n), []
    if select.keep is not None:
        rows, how = subset.keep_regions(standing().category, select.keep), f"regions {', '.join(select.keep)}"
    elif select.score is not None:
        ((way, share),) = select.by_score.items()
        rows = getattr(subset, way)(standing().column(select.score), share)
        high = SCORES[select.score].higher_is
        how = f"{select.score}{f', high is {high}' if high != 'neither' else ''}: {way.replace('_', ' ')} {share:g}"
    elif select.random is not None:
        rows, how = subset.random(n, share=select.random, seed=seed), f"a random {select.random:g}, seed {seed}"
    else:
        rows, how = _by_id(str(select.ids), train), f"the ids of {select.ids}"
    if select.control:
        rows, how = subset.random(n, count=len(rows), seed=seed), f"as many at random as {how}, seed {seed}"
    return rows, [f"trained on {len(rows):,} of {n:,} examples ({how})"]


def _by_id(path: str, train: Examples) -> np.ndarray:
    try:
        asked = [line for line in Path(path).read_text(encoding="utf-8-sig").split("\n") if line]
    except UnicodeDecodeError:
        raise InputError(f"select.ids: {path}: not a text in UTF-8; it has an id a line") from None
    place = {name: row for row, name in enumerate(train.ids)}
    unknown = [name for name in asked if name not in place]
    if unknown:
        raise InputError(
            f"select.ids: {path}: {len(unknown)} of its {len(asked)} ids are no training examples (first: {unknown[0]})"
        )
    return np.unique(np.array([place[name] for name in asked], dtype=np.int64))


def _check(rows: np.ndarray, train: Examples) -> None:
    if len(rows) < 2:
        raise InputError(f"select: {len(rows)} of {len(train)} examples are left; nothing can be learned from them")
    if train.classes and not train.soft:
        left = np.unique(train.gold[rows])
        if len(left) < 2:
            raise InputError(f"select: only class `{train.classes[left[0]]}` is left; keep more")


def _plain(rows: np.ndarray, n: int, entries: int, seed: int) -> tuple[Plan, list[str]]:
    if entries == len(rows):
        return every(rows), []
    told = f"{len(rows):,} examples are gone through until the steps of {n:,} are taken"
    return subset.as_many_as(rows, entries, seed), [told]


def _leaning(rows: np.ndarray, train: Examples) -> list[str]:
    """Regions and scores are no blind draws: what they keep may hold a class more often than all examples do."""
    if not train.classes or train.soft:
        return []
    k = len(train.classes)
    kept, everywhere = (np.bincount(gold, minlength=k) / len(gold) for gold in (train.gold[rows], train.gold))
    most = int(np.argmax(kept - everywhere))
    if kept[most] - everywhere[most] < LEAN:
        return []
    name = train.classes[most]
    shares = f"{kept[most]:.0%} of the examples trained on, {everywhere[most]:.0%} of all"
    return [f"class `{name}` is {shares}: answers may lean towards it"]


def _curriculum(
    recipe: Recipe, train: Examples, rows: np.ndarray, entries: int, standing: Callable[[], Standing]
) -> tuple[Plan, list[str]]:
    c = recipe.curriculum
    assert c is not None
    if c.score is None:
        difficulty = np.random.default_rng([recipe.training.seed, 0, curriculum.ORDER_STREAM]).random(len(train))
    else:
        difficulty = standing().difficulty(c.score) * (1 if c.order == "easy-first" else -1)
    groups = train.gold[rows] if c.balanced and train.classes else None
    order = rows[curriculum.easiest_first(difficulty[rows], groups)]
    share = curriculum.pacing(c.pacing, c.start, c.root, c.factor, c.buckets, len(rows))
    t = recipe.training
    plan = curriculum.curriculum(order, share, c.full_at, t.epochs, entries, t.batch_size, t.seed)
    unknown = int(np.isnan(difficulty[rows]).sum())
    order_by = f"{c.order} by {c.score}" if c.score else c.order
    told = (
        f"curriculum: {order_by}, {c.pacing} from {share(0.0):.2f} of the examples, all at {c.full_at:g} of the steps"
    )
    return plan, [told + (f"; {unknown} without a score last" if unknown else "")]
