"""Detectors that measure how far a text lies from the training texts: h (N, H) against h_train (M, H)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from leadline.errors import InputError
from leadline.ood.registry import detector

INF = float("inf")
NOISE = 1e-12  # eigenvalues of a covariance below this share of the largest are the rounding of float32 features
CELLS = 4_000_000  # of one block of distances
ROUNDING = 1e-6  # of the norm: a smaller mean residual is the rounding of float32 features
K = 50  # Sun et al.'s choice for data of ten classes and 50,000 examples

PER_CLASS = ("features", "train_features", "train_labels")


@detector(needs=PER_CLASS, range=(0.0, INF), paper="lee2018", says="squared distance to the nearest class, whitened")
def mahalanobis(features: ArrayLike, train: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """min_c (h - mu_c)' S^-1 (h - mu_c), (N,) from 0. Lee et al. 2018.

    One covariance S for all classes, of deviations from the class means divided by M (Lee), pseudo-inverted: directions
    in which no training text differs from its class say nothing. No input perturbation, the last features only.
    train (M, H) and labels (M,) class indices; a class without rows is passed over, one of a single row is allowed.
    """
    h, x, y = *_pair(features, train), _labels(labels, train)
    classes = np.unique(y)
    means = np.stack([x[y == c].mean(axis=0) for c in classes])  # (C, H)
    white = _whitening(x - means[np.searchsorted(classes, y)])
    distances = [((h - mean) @ white) ** 2 for mean in means]
    return np.min([d.sum(axis=1) for d in distances], axis=0)


@detector(
    needs=PER_CLASS, range=(-INF, INF), paper="ren2021", says="Mahalanobis distance minus that to all training texts"
)
def relative_mahalanobis(features: ArrayLike, train: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """min_c MD_c - MD_0, (N,). Ren et al. 2021.

    MD_0 is the squared distance to one Gaussian over all training texts: what is common to all texts drops out. Far
    from every class the two distances grow alike and it falls again: higher is stranger near the classes only.
    """
    h, x = _pair(features, train)
    background = (((h - x.mean(axis=0)) @ _whitening(x - x.mean(axis=0))) ** 2).sum(axis=1)
    return mahalanobis(h, x, labels) - background


@detector(
    needs=("features", "train_features"),
    range=(0.0, 2.0),
    paper="sun2022",
    says="distance to the k-th nearest training text, directions only (KNN)",
)
def knn(features: ArrayLike, train: ArrayLike, k: int = K) -> np.ndarray:
    """Euclidean distance of h / |h| to the k-th nearest of the h_train / |h_train|, (N,) in [0, 2]. Sun et al. 2022.

    Of fewer than k training texts the farthest. A vector of zeros has no direction and stays as it is.
    """
    h, x = (_unit(a) for a in _pair(features, train))
    k, step = min(k, len(x)), max(1, CELLS // len(x))
    squares = np.empty(len(h))
    for start in range(0, len(h), step):
        some = h[start : start + step]
        d = (some**2).sum(axis=1)[:, None] + (x**2).sum(axis=1) - 2 * some @ x.T  # (n, M)
        squares[start : start + step] = np.partition(d, k - 1, axis=1)[:, k - 1]
    return np.sqrt(np.maximum(squares, 0))


@detector(
    needs=("penultimate", "train_penultimate", "weight", "bias"),
    range=(-INF, INF),
    paper="wang2022",
    says="energy, and what of the text lies outside the training texts' main directions (ViM)",
)
def vim(
    features: ArrayLike, train: ArrayLike, weight: ArrayLike, bias: ArrayLike, dim: int | None = None
) -> np.ndarray:
    """alpha |residual of h - u| - log sum exp(z), (N,), with z = W h + b and u = -pinv(W) b. Wang et al. 2022.

    The residual is what lies outside the `dim` main directions of the uncentred second moments of h_train - u; alpha is
    the mean largest logit over the mean residual of the training texts. features are what the decision layer reads.
    dim: the paper's code has 1,000 of 2,048 and more, 512 of 768 and more; here half below that.
    InputError where M is not above dim + K, or the training texts have no residual: as many main directions as texts
    explain them whole, and alpha would divide by rounding.
    """
    h, x = _pair(features, train)
    w, b = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)  # (K, H), (K,)
    if w.shape[1] != h.shape[1]:
        raise InputError(f"vim: the decision layer reads {w.shape[1]} numbers, the features have {h.shape[1]}")
    dim = _main_directions(h.shape[1]) if dim is None else dim
    if not 0 < dim < h.shape[1]:
        raise InputError(f"vim: dim {dim} must lie between 0 and the {h.shape[1]} of the features; none would be left")
    if len(x) <= dim + len(w):
        raise InputError(
            f"needs more than {dim + len(w)} training texts ({dim} main directions and {len(w)} classes), not {len(x)}"
        )
    u = -np.linalg.pinv(w) @ b
    _, vectors = np.linalg.eigh((x - u).T @ (x - u) / len(x))  # ascending
    rest = vectors[:, : h.shape[1] - dim]
    residual = np.linalg.norm((x - u) @ rest, axis=1).mean()
    if residual <= ROUNDING * np.linalg.norm(x - u, axis=1).mean():
        raise InputError(f"the training texts' features lie within their {dim} main directions: nothing is left over")
    alpha = (x @ w.T + b).max(axis=1).mean() / residual
    return alpha * np.linalg.norm((h - u) @ rest, axis=1) - special.logsumexp(h @ w.T + b, axis=1)


def _main_directions(h: int) -> int:
    return 1000 if h >= 2048 else 512 if h >= 768 else max(1, h // 2)


def _whitening(deviations: np.ndarray) -> np.ndarray:
    """(H, R) with A A' the pseudo-inverse of the covariance (divisor M) of deviations (M, H)."""
    values, vectors = np.linalg.eigh(deviations.T @ deviations / len(deviations))
    kept = values > NOISE * values[-1]
    if not kept.any():
        raise InputError("the training texts' features do not differ from their class means: no distance can be scaled")
    return vectors[:, kept] / np.sqrt(values[kept])


def _pair(features: ArrayLike, train: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(N, H) and (M, H) float64, finite, M >= 1, or InputError."""
    h, x = np.asarray(features, dtype=np.float64), np.asarray(train, dtype=np.float64)
    for what, array in (("features", h), ("training features", x)):
        if array.ndim != 2:
            raise InputError(f"{what}: one vector per text is needed, shape (N, H), not {array.shape}")
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).any(axis=1).argmax())
            raise InputError(f"{what}: row {bad} (counted from 0) is not finite")
    if not len(x) or x.shape[1] != h.shape[1]:
        raise InputError(
            f"training features {x.shape} do not fit features {h.shape}: (M, H) with M >= 1 and the same H"
        )
    return h, x


def _labels(labels: ArrayLike, train: ArrayLike) -> np.ndarray:
    y = np.asarray(labels)
    if y.shape != (len(np.asarray(train)),):
        raise InputError(f"training labels: one class index per training text is needed, not shape {y.shape}")
    return y


def _unit(x: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(size > 0, size, 1)
