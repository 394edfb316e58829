"""How a level comes to average to the coarser one that it is made from."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from earthgen.conditions import COARSE_FACTOR

SMOOTHED = 7
"""Coarser pixels over which `unrounded` looks."""
_LEVELLING = 6


def unrounded(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An image (h, w, 3) as smooth as one can be that rounds to it.

    Where a coarser image is calm, its whole grey levels are steps, and an enlargement that kept them would show its
    pixels. A pixel depends on those up to `SMOOTHED` from it.
    """
    exact = image.astype(np.float32)
    smooth = gaussian_filter(exact, (*[SMOOTHED / 2] * 2, 0), mode="nearest", radius=(SMOOTHED, SMOOTHED, 0))
    return exact + np.clip(smooth - exact, -0.5, 0.5)


def levelled(pixels: Tensor, coarse: Tensor) -> Tensor:
    """Pixels (3, 4 h, 4 w) brought into 0 to 255 such that 4 × 4 of them average to each of `coarse` (3, h, w).

    They nearly do, but where they are black or white: what is cut off there is given to the others of the block.
    """
    y = pixels.clamp(0, 255)
    for _ in range(_LEVELLING):
        missing = coarse - F.avg_pool2d(y, COARSE_FACTOR)
        more = _spread(missing) > 0
        room = torch.where(more, y < 255, y > 0).to(y.dtype)
        change = _spread(missing / F.avg_pool2d(room, COARSE_FACTOR).clamp(min=1 / COARSE_FACTOR**2))
        y = (y + change * room).clamp(0, 255)
    return y


def _spread(x: Tensor) -> Tensor:
    return x.repeat_interleave(COARSE_FACTOR, -1).repeat_interleave(COARSE_FACTOR, -2)
