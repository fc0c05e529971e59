"""Many runs from one definition: a recipe, seeds and a union of grids; what is there is never computed again.

    sweep = leadline.sweep.load("sweep.yaml")       # expanded and checked; needs no torch
    leadline.sweep.run(sweep, jobs=2)               # {title: finished | there | failed | skipped | interrupted}
    leadline.sweep.summary(sweep).averages          # polars: trial, metric, n, mean, interval, difference, p, …

Order inside the room: template · definition · state · work · seeds · tables · arms · drawn.
"""

from leadline.sweep.arms import Arm, Study, study
from leadline.sweep.definition import DEFINITION, Sweep, Trial, load
from leadline.sweep.drawn import write_study
from leadline.sweep.seeds import over
from leadline.sweep.state import Keys, log_file, opened, state
from leadline.sweep.tables import Summary, summary
from leadline.sweep.work import choose, planned, run

__all__ = [
    "DEFINITION",
    "Arm",
    "Keys",
    "Study",
    "Summary",
    "Sweep",
    "Trial",
    "choose",
    "load",
    "log_file",
    "opened",
    "over",
    "planned",
    "run",
    "state",
    "study",
    "summary",
    "write_study",
]
