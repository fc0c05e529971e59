"""One recipe, start to finish: examples -> plan -> loop -> scores -> evaluation -> files.

Order inside the room: chosen · job · evaluation · training.
"""

from leadline.experiment.evaluation import Evaluation, evaluate
from leadline.experiment.job import Job, accelerate
from leadline.experiment.training import train

__all__ = ["Evaluation", "Job", "accelerate", "evaluate", "train"]
