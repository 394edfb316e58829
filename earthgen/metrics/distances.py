"""How far two sets of images are apart in a feature space: sets, not pairs; no image has a partner.

Both distances fall as sets grow, so compare only distances between sets of the same sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from earthgen.errors import ArgumentError

Features = NDArray[np.floating[Any]]
"""(number of images, features of each)."""


def frechet_distance(a: Features, b: Features) -> float:
    """Squared Fréchet distance between the normal distributions fitted to two sets of features.

    |mean a - mean b|² + tr(A + B - 2 (A^½ B A^½)^½) with covariances A and B, in float64; 0 for equal sets.
    Heusel et al. 2017, arXiv:1706.08500, equation 6. The product is taken in its symmetric form, whose eigenvalues
    are real even where fewer images than features make the covariances singular.
    """
    a, b = _checked(a, b)
    difference = a.mean(0) - b.mean(0)
    first, second = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    values, vectors = linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(max(difference @ difference + np.trace(first) + np.trace(second) - 2 * cross, 0.0))


def kernel_distance(a: Features, b: Features) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y / features + 1)³, as KID has it.

    The unbiased estimate over the whole sets: near 0, even a little below, for sets from one distribution.
    Bińkowski et al. 2018, arXiv:1801.01401, section 4.
    """
    a, b = _checked(a, b)

    def kernel(x: Features, y: Features) -> Features:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)

    def within(x: Features) -> float:
        k = kernel(x, x)
        return float((k.sum() - np.trace(k)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def nearest(a: Features, b: Features, rows: int = 1024) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Euclidean distance of each of `a` to the nearest of `b`, and which that is: (number of a,) each.

    Args:
        a: Features.
        b: Features to search.
        rows: Of `a`, looked at together.
    """
    a, b = _checked(a, b)
    squares = (b**2).sum(1)
    found = np.concatenate([(squares - 2 * part @ b.T).argmin(1) for part in np.split(a, range(rows, len(a), rows))])
    # Of the chosen pair directly: the expansion above loses small distances to rounding.
    return np.sqrt(((a - b[found]) ** 2).sum(1)), found.astype(np.int64)


def _checked(a: Features, b: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for name, x in (("a", a), ("b", b)):
        if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
            rule = "must be finite features of at least two images, (number, features)"
            raise ArgumentError(name, rule, (x.dtype, x.shape))
    if a.shape[1] != b.shape[1]:
        raise ArgumentError("b", f"must have the {a.shape[1]} features of `a`", b.shape)
    return a.astype(np.float64), b.astype(np.float64)
