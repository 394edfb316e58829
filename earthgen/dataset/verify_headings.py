"""Headings of objects as they are in an image, to hold against the headings asked for.

A heading is the angle of an object's long side, degrees clockwise as seen from the x axis. A rectangle looks the same
after half a turn; of its edges alone, after a quarter.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthgen.conditions import Box
from earthgen.data.rectangles import around
from earthgen.dataset.verify_data import box_map

GROWN = 1.25
"""Objects are looked for in their boxes enlarged by this factor, as they need not lie exactly where they were asked."""
FILLED = 0.3
"""Least share of a box that must be seen as object for a heading to be measured."""


def long_side(box: Box) -> float:
    """Heading of a box, degrees in [0, 180)."""
    return (box.angle + (90.0 if box.height > box.width else 0.0)) % 180.0


def mask_heading(object_probability: NDArray[np.float32], box: Box) -> float | None:
    """Heading of what is seen in a box: that of the least rectangle around it, degrees in [0, 180).

    Args:
        object_probability: (height, width), 0 to 1, of the box's class.
        box: Where the object was asked, in pixels.

    Returns:
        None where less than `FILLED` of the box is seen as object.
    """
    inside = box_map([replace(box, width=box.width * GROWN, height=box.height * GROWN)], *object_probability.shape)
    parts, count = ndimage.label(inside & (object_probability > 0.5))
    if not count:
        return None
    part = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    if part.sum() < FILLED * box.width * box.height:
        return None
    rows, columns = np.nonzero(part)
    corners = np.concatenate([np.stack([columns + i, rows + j], 1) for i in (0, 1) for j in (0, 1)]).astype(float)
    return long_side(around(box.label, corners))


def edge_heading(image: NDArray[np.uint8], box: Box) -> float | None:
    """Direction of the edges in a box, by the image alone: degrees in [0, 90), as the sides of a rectangle share it.

    The mean of the gradients' directions, each weighted by its square and turned four times as far, so that the four
    sides add up; after the structure tensor of Bigün and Granlund 1987. None where there is no gradient.
    """
    grey = ndimage.gaussian_filter(image.astype(float).mean(2), 1.0)
    down, right = np.gradient(grey)
    inside = box_map([replace(box, width=box.width * GROWN, height=box.height * GROWN)], *grey.shape)
    power = ((right + 1j * down)[inside] ** 4).astype(complex)
    weight = np.abs(power)
    total = (power[weight > 0] / np.sqrt(weight[weight > 0])).sum()  # magnitude² · e^(4iθ)
    if abs(total) < 1e-6:
        return None
    return math.degrees(np.angle(total) / 4) % 90.0


def heading_error(asked: float, measured: float, period: float) -> float:
    """Degrees between two headings that repeat after `period` degrees: 0 to half of it."""
    return abs((asked - measured + period / 2) % period - period / 2)
