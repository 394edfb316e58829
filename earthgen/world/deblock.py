"""Takes off the steps that lossy coding leaves at the borders of its blocks, where they show in calm parts of a map."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

REACH = 12
"""Pixels: no pixel depends on what is farther from it, in rows or columns."""
_RAMP = 8
_LOOK = 4


def take_steps(x: NDArray[np.float32], sides: Mapping[int, float], top: int = 0, left: int = 0) -> None:
    """Take off the steps across borders of square blocks, in place.

    A step, beyond what the pixels beside it rise by, is taken off as a ramp over up to 8 px on both sides, by the share
    that Wiener's filter gives to the coding: nearly all of it where the image is calm, nothing at a coast. The same to
    the last bit whatever window is asked for; at its rim, steps nearer than 4 px stay.

    Args:
        x: (height, width) or (height, width, bands), grey levels.
        sides: Pixels a side of the blocks → variance of the step that coding adds across their borders.
        top: Rows from a corner of the largest blocks to the first of `x`.
        left: Columns likewise.
    """
    for axis, start in enumerate((top, left)):
        for side, variance in sides.items():
            _across_rows(np.swapaxes(x, 0, axis), side, np.float32(variance), start)


def _across_rows(x: NDArray[np.float32], side: int, variance: np.float32, start: int) -> None:
    borders = np.arange(-start % side, len(x) - _LOOK + 1, side)
    borders = borders[borders >= _LOOK]
    above, below = [x[borders - 1 - i] for i in range(_LOOK)], [x[borders + i] for i in range(_LOOK)]
    slopes = [a - b for a, b in pairwise(above)] + [b - a for a, b in pairwise(below)]
    step = below[0] - above[0] - (slopes[0] + slopes[_LOOK - 1]) / 2
    activity = sum(slope * slope for slope in slopes) / len(slopes)
    size = step * step / (9 * variance + 2 * activity)
    # The last factor leaves what is too large for the coding: an edge that happens to lie at the border.
    step *= variance / (variance + activity) / (1 + size * size)
    reach = min(side // 2, _RAMP)
    for i in range(reach):
        change = step * np.float32(0.5 - (i + 0.5) / (2 * reach))
        for rows, sign in ((borders - 1 - i, 1), (borders + i, -1)):
            there = (rows >= 0) & (rows < len(x))
            x[rows[there]] += sign * change[there]
