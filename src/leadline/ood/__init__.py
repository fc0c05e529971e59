"""Out of distribution: how strange a text is to a model, and how well strangeness tells two sets of texts apart.

Arrays in, numbers out: no torch, no files but those of `published`. Higher is stranger everywhere, and what is out of
distribution is the positive class.

Order inside the room: registry · logits · distances · language · apart · sets · published.
"""

from leadline.ood import logits, distances, language  # noqa: F401  # isort: skip  (they fill DETECTORS, in this order)
from leadline.ood.apart import MEASURES, compute_auroc, mean_auroc, told_apart
from leadline.ood.published import check_folder, names, read_model_out, write_npy
from leadline.ood.registry import DETECTORS, Detector, Evidence, strangeness
from leadline.ood.sets import IN, KINDS, SPLIT, OodSet, parse

__all__ = [
    "DETECTORS",
    "IN",
    "KINDS",
    "MEASURES",
    "SPLIT",
    "Detector",
    "Evidence",
    "OodSet",
    "check_folder",
    "compute_auroc",
    "mean_auroc",
    "names",
    "parse",
    "read_model_out",
    "strangeness",
    "told_apart",
    "write_npy",
]
