"""Geometry of labels: outlines made valid and cut to the image, rectangles found in four corners.

Points are (n, 2) arrays of (x, y) in pixels, origin at the image's top left corner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from earthgen.conditions import Box, Polygon
from earthgen.labels.base import Shape

Points = NDArray[np.float64]

_MIN_VISIBLE = 1.0
"""Square pixels of an object's part in the image below which the object counts as outside."""
_SQUARE = 0.1
"""Pixels that a corner may lie off a rectangle's: as far as files round."""


def polygons(points: Points, height: float | None = None, width: float | None = None) -> list[Points]:
    """The rings that an outline encloses, self-crossings resolved, cut to the image if it is given; largest first.

    Holes, which a single outline has only where it crosses itself, are filled.
    """
    shape: BaseGeometry = shapely.Polygon(points)
    if not shape.is_valid:
        shape = shapely.make_valid(shape)
    if height is not None and width is not None and not inside(points, height, width):
        shape = shape.intersection(shapely.box(0, 0, width, height))
    parts = [part for part in shapely.get_parts(shapely.get_parts(shape)) if part.geom_type == "Polygon"]
    parts = sorted((part for part in parts if part.area > 0), key=lambda part: -part.area)
    return [np.array(part.exterior.coords[:-1]) for part in parts]


def as_polygon(shape: Shape) -> Polygon | None:
    """The outline of an object as a condition, its largest part where it crosses itself; None where it has none."""
    rings = [] if shape.polygon is None else polygons(shape.polygon)
    return Polygon(shape.label, tuple((x, y) for x, y in rings[0].tolist())) if rings else None


def inside(points: Points, height: float, width: float) -> bool:
    """Whether all points lie in the image."""
    return bool((points >= 0).all() and (points <= (width, height)).all())


def area(points: Points) -> float:
    """Area of a ring that does not cross itself, square pixels."""
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def visible(shape: Shape, height: int, width: int) -> tuple[Shape, list[Points]] | None:
    """The part of an object that lies in the image, and its outline there; None where that is less than a pixel.

    A rotated box keeps its angle: it becomes the smallest rectangle of that angle around what is visible of it, so its
    corners may still stick out. The outline is one ring or, where the border cuts it, several, the largest first.
    """
    outline, corners = shape.outline(), shape.box.corners()
    whole = inside(outline, height, width) and inside(corners, height, width)
    if whole and shape.polygon is None:  # the usual case, spared the geometry
        return shape, [corners]
    rings = polygons(outline, height, width)
    if whole:
        return (shape, rings) if rings else None
    if sum(map(area, rings)) < _MIN_VISIBLE:
        return None
    of_box = polygons(corners, height, width) or rings
    box = _extent(shape.box, np.concatenate(of_box))
    return Shape(box, None if shape.polygon is None else rings[0], shape.difficult), rings


def _extent(box: Box, points: Points) -> Box:
    """The smallest rectangle of the box's angle around points."""
    c, s = math.cos(math.radians(box.angle)), math.sin(math.radians(box.angle))
    axes = np.array([[c, s], [-s, c]])
    along = points @ axes.T
    low, high = along.min(0), along.max(0)
    (cx, cy), (width, height) = (low + high) / 2 @ axes, high - low
    return Box(box.label, float(cx), float(cy), float(width), float(height), box.angle)


def bounds(shape: Shape, rings: Sequence[Points]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the horizontal box of a visible object.

    That of a horizontal box as it was given, which may be looser than the outline; else that of the outline.
    """
    points = np.concatenate(rings) if shape.box.angle % 90 else shape.box.corners()
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    return x0, y0, x1, y1


def rectangle(label: str, corners: Points) -> Box | None:
    """The box with these four corners, its x axis along the first two; None where they are no rectangle's.

    Both ways round are taken.
    """
    if len(corners) != 4:
        return None
    x, y = corners.T
    if x @ np.roll(y, -1) < y @ np.roll(x, -1):  # counterclockwise as seen: the same direction, the other way round
        corners = corners[::-1]
    along = (corners[1] - corners[0] + corners[2] - corners[3]) / 2
    across = (corners[3] - corners[0] + corners[2] - corners[1]) / 2
    axis = along + np.array([across[1], -across[0]])  # either side's rounding weighs as its length allows
    length = math.hypot(*axis)
    if length == 0:
        return None
    width, height = along @ axis / length, (across[1] * axis[0] - across[0] * axis[1]) / length
    if width <= 0 or height <= 0:
        return None
    cx, cy = corners.mean(0).tolist()
    box = Box(label, cx, cy, float(width), float(height), math.degrees(math.atan2(axis[1], axis[0])))
    return box if np.abs(box.corners() - corners).max() <= _SQUARE else None


def around(label: str, points: Points) -> Box:
    """The smallest rectangle, of any angle, around points that are not all on one line.

    Its x axis is the one nearest to the direction of the first edge, which is an object's heading where it has one.
    """
    corners = np.array(shapely.MultiPoint(points).minimum_rotated_rectangle.exterior.coords[:-1])
    box = rectangle(label, corners)
    assert box is not None
    first = points[1] - points[0]
    quarter = round((math.degrees(math.atan2(first[1], first[0])) - box.angle) / 90)
    sides = (box.width, box.height) if quarter % 2 == 0 else (box.height, box.width)
    angle = (box.angle + 90 * quarter + 180) % 360 - 180
    return Box(label, box.cx, box.cy, *sides, angle)
