"""One recipe, start to finish: examples -> plan -> loop -> scores -> evaluation -> files.

Order inside the room: device · features · mixed · chosen · job · evaluation · stressing · slicing · language · texts ·
reading · ood · probing · training.
"""

from leadline.experiment.device import accelerate
from leadline.experiment.evaluation import Evaluation, evaluate
from leadline.experiment.features import features
from leadline.experiment.job import Job
from leadline.experiment.ood import Detected, check_npy, detect
from leadline.experiment.probing import PROBES, probe
from leadline.experiment.slicing import check_slices, sliced
from leadline.experiment.stressing import Robustness, Stress, robustness
from leadline.experiment.stressing import keep as keep_robustness
from leadline.experiment.training import train

__all__ = [
    "Detected",
    "Evaluation",
    "Job",
    "PROBES",
    "Robustness",
    "Stress",
    "accelerate",
    "check_npy",
    "check_slices",
    "detect",
    "evaluate",
    "features",
    "keep_robustness",
    "probe",
    "robustness",
    "sliced",
    "train",
]
