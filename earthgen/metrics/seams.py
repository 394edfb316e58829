"""Whether a grid shows in images: gradients across its borders beside those elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthgen.errors import ArgumentError


def gradients(images: NDArray[np.generic], period: int) -> NDArray[np.float64]:
    """Mean absolute difference between neighbours by their place in the grid, over both axes: (period,).

    The last is that across borders. Of images (..., height, width, channels) that begin at a border and have more than
    `period` pixels a side.
    """
    if images.ndim < 3 or min(images.shape[-3:-1]) <= period or period < 2:
        raise ArgumentError("images", f"must have more than {period} pixels a side, at least 2", images.shape)
    x = images.astype(np.float32)
    found = np.zeros(period)
    for axis in (-3, -2):
        line = np.moveaxis(np.abs(np.diff(x, axis=axis)), axis, 0)
        line = line.reshape(len(line), -1).mean(1, dtype=np.float64)
        found += [line[n::period].mean() / 2 for n in range(period)]
    return found


def border_score(found: NDArray[np.floating[Any]], period: int | None = None) -> float:
    """Across borders ÷ elsewhere, of `gradients`; 1 where nothing shows.

    Args:
        found: By place in a grid.
        period: Of a finer grid in that one; None for its own.
    """
    border = np.arange(1, len(found) + 1) % (period or len(found)) == 0
    elsewhere = float(found[~border].mean())
    return float(found[border].mean()) / elsewhere if elsewhere else float("nan")
