"""Around a change: pixels that may differ too, fading from what is new to what was there."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

MARGIN = 12
"""Pixels, unless said otherwise."""

RGB = NDArray[np.uint8]


def feathered(changed: NDArray[np.bool_], margin: float = MARGIN) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Pixels within `margin` of a change, and a weight that falls smoothly from 1 on it to 0 at the margin's edge."""
    if not changed.any():
        return changed.copy(), changed.astype(np.float32)
    distance = scipy.ndimage.distance_transform_edt(~changed)
    t = np.clip(1 - distance / (margin + 1), 0, 1)
    return distance <= margin, (t * t * (3 - 2 * t)).astype(np.float32)


def mixed(old: RGB, new: RGB, weight: NDArray[np.floating]) -> RGB:
    """Old pixels where the weight is 0, exactly, new ones where it is 1, a mixture between."""
    mixture = old + (new.astype(np.float32) - old) * weight[..., None]
    return np.where(weight[..., None] > 0, np.rint(mixture), old).astype(np.uint8)
