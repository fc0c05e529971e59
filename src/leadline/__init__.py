"""leadline: record how every training example was learned, and read everything else from that record.

    import leadline
    run = leadline.train("recipe.yaml")        # or leadline.train(data=df, text="text", label="label", model="minilm")
    run = leadline.open("runs/x")
    run.scores()                               # polars: id, label, one column per score, region
    recorder = leadline.Recorder(ids, labels, classes=["no", "yes"], to="runs/mine")   # in anybody's loop

torch is loaded only when `train` or `Recorder` is asked for.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline.experiment import train
    from leadline.learn.recorder import Recorder
    from leadline.runs import Run, open

__version__ = version("leadline")
ROOMS = ("audit", "comparison", "data", "demo", "evaluate", "figures", "integrations", "interop", "plans", "recipe",
         "report", "runs", "scores", "signals", "suspects", "sweep")  # fmt: skip
__all__ = ["Recorder", "Run", "open", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":
        from leadline.experiment import train

        return train
    if name == "Recorder":
        from leadline.learn.recorder import Recorder

        return Recorder
    if name in ("open", "Run"):
        from leadline import runs

        return getattr(runs, name)
    if name in ROOMS:  # leadline.scores.aum without importing leadline.scores first
        return import_module(f"leadline.{name}")
    raise AttributeError(f"module 'leadline' has no attribute {name!r}")
