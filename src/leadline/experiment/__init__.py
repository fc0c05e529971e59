"""One recipe, start to finish: examples -> plan -> loop -> scores -> evaluation -> files.

Order inside the room: chosen · job · features · evaluation · probing · training.
"""

from leadline.experiment.evaluation import Evaluation, evaluate
from leadline.experiment.features import features
from leadline.experiment.job import Job, accelerate
from leadline.experiment.probing import PROBES, probe
from leadline.experiment.training import train

__all__ = ["PROBES", "Evaluation", "Job", "accelerate", "evaluate", "features", "probe", "train"]
