"""Scores that needed the model again, or another model: read from the run's probes/, never computed from signals.

`leadline probe RUN --probe …` makes the files; a run without them leaves these scores out, with that sentence.
"""

from __future__ import annotations

import numpy as np

from leadline.errors import InputError
from leadline.scores.registry import SCORES, score
from leadline.signals import Signals

INF = float("inf")


def probed(signals: Signals, name: str) -> np.ndarray:
    """(N,) float64 of one file of probes/. InputError where the run has none."""
    if name not in signals.probes:
        raise InputError(f"{name} {lacking(name)}")
    return np.asarray(signals.probes[name], dtype=np.float64)


def lacking(name: str) -> str:
    """What a run without the probe of this score lacks, and the command that makes it."""
    return f"needs a probe: `leadline probe RUN --probe {SCORES[name].probe}`"


@score(
    "harder",
    range=(0.0, INF),
    needs=("probe",),
    probe="grand",
    paper="paul2021",
    says="length of the gradient of the loss for the last layer, early in training",
)
def grand(signals: Signals) -> np.ndarray:
    """||p - Y||_2 sqrt(||h||_2^2 + 1), (N,) from 0, higher is harder. Paul et al. 2021 (GraNd), of the last layer only.

    h is what the last linear layer reads; the 1 is its bias, and is not there where the layer has none. The paper takes
    all parameters: `grand_full`.
    """
    return probed(signals, "grand")


@score(
    "harder",
    range=(0.0, INF),
    needs=("probe",),
    probe="grand_full",
    paper="paul2021",
    says="length of the gradient of the loss for all parameters, early in training",
)
def grand_full(signals: Signals) -> np.ndarray:
    """||grad_theta l||_2 over all parameters, (N,) from 0, higher is harder. Paul et al. 2021 (GraNd)."""
    return probed(signals, "grand_full")


@score(
    "harder",
    range=(-INF, INF),
    needs=("probe",),
    probe="vog",
    paper="agarwal2022",
    says="how much the gradient of the gold logit moved over checkpoints, within its class",
)
def vog(signals: Signals) -> np.ndarray:
    """(VoG - mean of its class) / deviation of its class, (N,), higher is harder. Agarwal et al. 2022.

    A regression has no classes: there it is `vog_raw`. 0 in a class of one example, or without any deviation.
    """
    return probed(signals, "vog")


@score(
    "harder",
    range=(0.0, INF),
    needs=("probe",),
    probe="vog",
    paper="agarwal2022",
    says="how much the gradient of the gold logit for the input moved over checkpoints",
)
def vog_raw(signals: Signals) -> np.ndarray:
    """mean over tokens and dimensions of std_t S, S = d z_y / d embeddings, (N,) from 0, higher is harder.

    Agarwal et al. 2022: the mean of standard deviations, whatever the name says. Not normalised within classes.
    """
    return probed(signals, "vog_raw")


@score(
    "harder",
    range=(-INF, INF),
    needs=("probe",),
    probe="vog",
    paper="agarwal2022",
    says="VoG of the first third of the checkpoints, within its class",
)
def vog_early(signals: Signals) -> np.ndarray:
    """As `vog`, over the first third of the checkpoints (at least two), (N,), higher is harder. Agarwal et al. 2022."""
    return probed(signals, "vog_early")


@score(
    "harder",
    range=(-INF, INF),
    needs=("probe",),
    probe="vog",
    paper="agarwal2022",
    says="VoG of the last third of the checkpoints, within its class",
)
def vog_late(signals: Signals) -> np.ndarray:
    """As `vog`, over the last third of the checkpoints (at least two), (N,), higher is harder. Agarwal et al. 2022."""
    return probed(signals, "vog_late")


@score(
    "harder",
    range=(0.0, INF),
    needs=("probe",),
    probe="depth",
    paper="baldock2021",
    says="first layer from which the neighbours keep the model's final answer",
)
def prediction_depth(signals: Signals) -> np.ndarray:
    """min{l: every probe from l on says the final prediction}, (N,) from 0 (the embeddings), higher is harder.

    As many as there are probes where the last one disagrees. Baldock et al. 2021.
    """
    return probed(signals, "prediction_depth")


@score(
    "easier",
    range=(-INF, INF),
    needs=("probe",),
    probe="pvi",
    paper="ethayarajh2022",
    says="bits that the input adds to what is known of the label without it",
)
def pvi(signals: Signals) -> np.ndarray:
    """-log2 q0[y] + log2 q1[y | x], (N,) bits, may be negative, higher is easier. Ethayarajh et al. 2022.

    q0 is a model of the empty input (`data.null_input`), q1 the one of the inputs.
    """
    return probed(signals, "pvi")


@score(
    "easier",
    range=(0.0, INF),
    needs=("probe",),
    probe="second_split_forgetting",
    paper="maini2022",
    says="epochs on other data until it is forgotten for good; infinite if never",
)
def second_split_forgetting(signals: Signals) -> np.ndarray:
    """Epochs of training on the other half until wrong to the end, (N,) from 0, inf if never, higher is easier.

    Maini et al. 2022: what is forgotten soon has a doubtful label.
    """
    return probed(signals, "second_split_forgetting")
