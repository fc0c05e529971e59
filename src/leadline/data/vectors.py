"""Vectors of texts without a model: which sequences of characters they hold. For runs that have none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DIMENSIONS = 256
GRAMS = (3, 5)  # characters, inside words and over their edges
HASHED = 2**16  # columns that the n-grams are hashed to
SOURCE = f"texts: TF-IDF of n-grams of {GRAMS[0]} to {GRAMS[1]} characters, hashed to {HASHED}, reduced to {DIMENSIONS}"


def text_vectors(texts: Sequence[str], dimensions: int = DIMENSIONS, seed: int = 0) -> np.ndarray:
    """(N, H) float32, H at most `dimensions`: texts that share many rare n-grams point the same way.

    TF-IDF with 1 + log(count), rows of length 1, then truncated SVD. Letters are lowered. The same texts in the same
    order give the same vectors, to the rounding of the machine. A text without a character is a vector of zeros.
    It knows spelling, not meaning: use the vectors of a model where there is one.
    """
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.utils.extmath import randomized_svd

    if not len(texts):
        return np.zeros((0, dimensions), dtype=np.float32)
    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=GRAMS, n_features=HASHED, alternate_sign=False, norm=None, dtype=np.float32
    )
    counts = hashed.transform(texts)
    counts = counts[:, np.unique(counts.indices)]  # only columns that some text uses
    smaller = min(counts.shape)
    if smaller < 2:
        return np.asarray(counts.toarray(), dtype=np.float32) if counts.shape[1] else np.zeros((len(texts), 1), "f4")
    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    _, _, directions = randomized_svd(weighted, min(dimensions, smaller - 1), n_iter=2, random_state=seed)
    return np.ascontiguousarray(weighted @ directions.T, dtype=np.float32)
