"""Oriented rectangles: around points, around the components of a mask, and how much of one lies in a window.

SciPy is imported where it is used, as those who only generate do without it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import Box


def around(label: str, points: NDArray[np.float64]) -> Box:
    """The rectangle of least area around points, shape (n, 2) as (x, y).

    One of its sides lies on an edge of the convex hull (Freeman and Shapira, 1975), so each edge is tried.
    `angle` is in [-45, 45), `width` and `height` at least a hundredth of a pixel.
    """
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):  # fewer than three points, or all on a line
        hull = points
    edges = np.roll(hull, -1, axis=0) - hull
    angles = np.unique(np.mod(np.arctan2(edges[:, 1], edges[:, 0]), math.pi / 2).round(9))
    cosine, sine = np.cos(angles), np.sin(angles)
    along = np.outer(cosine, hull[:, 0]) + np.outer(sine, hull[:, 1])
    across = np.outer(cosine, hull[:, 1]) - np.outer(sine, hull[:, 0])
    widths, heights = np.ptp(along, axis=1), np.ptp(across, axis=1)
    k = int(np.argmin(widths * heights + 1e-9 * (widths + heights)))
    u, v = (along[k].min() + along[k].max()) / 2, (across[k].min() + across[k].max()) / 2
    width, height, angle = float(widths[k]), float(heights[k]), math.degrees(angles[k])
    if angle >= 45.0:
        width, height, angle = height, width, angle - 90.0
    return Box(
        label,
        float(cosine[k] * u - sine[k] * v),
        float(sine[k] * u + cosine[k] * v),
        max(width, 0.01),
        max(height, 0.01),
        angle,
    )


def of_components(
    mask: NDArray[np.bool_], label: str, smallest: int = 40, neck: int = 2, fill: float = 0.5
) -> tuple[tuple[Box, ...], float]:
    """Rectangles around the connected parts of a mask, (height, width), and the share of its pixels they stand for.

    Args:
        mask: True where the objects are.
        label: Class of the boxes.
        smallest: Least number of pixels of a part.
        neck: Parts joined by necks up to twice as wide, in pixels, are separated.
        fill: Least share of a rectangle that its part fills; below it the part is several objects that cannot be
            told apart, or no rectangle at all, and is left out.
    """
    from scipy import ndimage

    cores, count = ndimage.label(ndimage.binary_erosion(mask, iterations=neck, border_value=1))
    whole, _ = ndimage.label(mask)
    # Parts too thin to have a core stay as they are.
    thin = mask & ~np.isin(whole, np.unique(whole[cores > 0]))
    parts, extra = ndimage.label(thin)
    seeds = np.where(parts > 0, parts + count, cores)
    if not count + extra:
        return (), 1.0
    away, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    # The corner of a square part is sqrt(2) necks from its core; what is farther is the neck itself.
    parts = np.where(mask & (away <= 1.5 * neck), seeds[tuple(nearest)], 0)
    boxes = []
    told = 0
    for number, where in enumerate(ndimage.find_objects(parts), start=1):
        if where is None:
            continue
        rows, columns = np.nonzero(parts[where] == number)
        if rows.size < smallest:
            continue
        x, y = columns + float(where[1].start), rows + float(where[0].start)
        # Corners of the pixels, not their centres: a pixel is one unit wide.
        corners = np.concatenate([np.stack([x + i, y + j], axis=1) for i in (0, 1) for j in (0, 1)])
        box = around(label, corners)
        if rows.size >= fill * box.width * box.height:
            boxes.append(box)
            told += rows.size
    return tuple(boxes), told / int(np.count_nonzero(mask))


def visible_fraction(box: Box, width: float, height: float) -> float:
    """Share of a box's area that lies in the window (0, 0) to (width, height), 0 to 1."""
    polygon = clipped(box.corners(), width, height)
    if len(polygon) < 3:
        return 0.0
    x, y = polygon[:, 0], polygon[:, 1]
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return min(1.0, area / (box.width * box.height))


def clipped(polygon: NDArray[np.float64], width: float, height: float) -> NDArray[np.float64]:
    """The part of a convex polygon, (n, 2), that lies in the window (0, 0) to (width, height): (m, 2), m may be 0."""
    for axis, bound, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        polygon = _clipped(polygon, axis, bound, sign)
    return polygon


def _clipped(polygon: NDArray[np.float64], axis: int, bound: float, sign: float) -> NDArray[np.float64]:
    """The part of a convex polygon where sign * (coordinate - bound) >= 0 (Sutherland and Hodgman, 1974)."""
    inside = sign * (polygon[:, axis] - bound)
    kept = []
    for k in range(len(polygon)):
        a, b = inside[k - 1], inside[k]
        if (a < 0) != (b < 0):
            kept.append(polygon[k - 1] + (polygon[k] - polygon[k - 1]) * (a / (a - b)))
        if b >= 0:
            kept.append(polygon[k])
    return np.array(kept).reshape(-1, 2)
