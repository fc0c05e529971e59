"""The shape of a recipe: everything that determines one training run, as one validated YAML document.

Unknown keys are errors that suggest the nearest key; all problems are told at once.
Names of scores and detectors are not checked here (they live in rooms below): `runs.check(recipe)` does that.

Order inside the room: parts · chosen · whole · reading.
"""

from leadline.recipe.chosen import Base, Curriculum, Mixup, Regions, Select
from leadline.recipe.parts import (
    Corrupt,
    Data,
    EarlyStopping,
    Evaluate,
    ExampleWeights,
    Loss,
    Model,
    Part,
    Record,
    Sample,
    Training,
)
from leadline.recipe.reading import DATAFRAME, FORMAT, RESERVED, Yaml, load, quick
from leadline.recipe.whole import Recipe

__all__ = [
    "DATAFRAME",
    "FORMAT",
    "RESERVED",
    "Base",
    "Corrupt",
    "Curriculum",
    "Data",
    "EarlyStopping",
    "Evaluate",
    "ExampleWeights",
    "Loss",
    "Mixup",
    "Model",
    "Part",
    "Recipe",
    "Record",
    "Regions",
    "Sample",
    "Select",
    "Training",
    "Yaml",
    "load",
    "quick",
]
