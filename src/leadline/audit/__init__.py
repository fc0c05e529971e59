"""What needs several runs of the same data: folds, planted errors, threshold samples, the null model, a second split.

Each is a sweep inside the audited run (`RUN/audit/<name>/`), over a copy of its examples as they were trained on: so it
can be stopped, gone on with, and is never computed twice. Nothing here loads torch; every trial is a process.

Order inside the room: copy · together · folds · planted · threshold · usable · forgetting · labels · beside.
"""

from leadline.audit.beside import Beside, beside
from leadline.audit.folds import folds, out_of_sample
from leadline.audit.forgetting import second_split_forgetting
from leadline.audit.labels import Audit, Expected, Wanted, audit
from leadline.audit.planted import Planted, planted
from leadline.audit.threshold import Threshold, threshold_samples
from leadline.audit.together import together
from leadline.audit.usable import pvi

__all__ = [
    "Audit",
    "Beside",
    "Expected",
    "Planted",
    "Threshold",
    "Wanted",
    "audit",
    "beside",
    "folds",
    "out_of_sample",
    "planted",
    "pvi",
    "second_split_forgetting",
    "threshold_samples",
    "together",
]
