"""Large labelled canvases cut into tiles: objects that cross a border are clipped, and none is lost.

Coordinates are pixels with the origin at the top left corner of the canvas, or of the tile once cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from earthgen.conditions import Box
from earthgen.errors import ArgumentError
from earthgen.labels.base import Shape

DIFFICULT_BELOW = 0.5
"""Objects of which less is visible are marked as difficult."""
_SMALLEST = 1e-6
"""Square pixels: what is left of an object that a border only touches."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a canvas, in whole pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


@dataclass(frozen=True, slots=True)
class Part:
    """What a window shows of an object."""

    index: int
    """Of the object among those of the canvas."""
    shape: Shape
    """In pixels of the window, clipped to it."""
    visible: float
    """Share of the object's area that lies in the window, above 0 to 1."""


def windows(height: int, width: int, size: int, overlap: int = 0) -> list[Window]:
    """Windows of `size` pixels a side that cover a canvas, row by row, neighbours sharing at least `overlap` pixels.

    Those at the right and bottom end at the canvas's edge, sharing more. A canvas smaller than a window is one window.
    """
    if not 0 <= overlap < size:
        raise ArgumentError("overlap", f"must be from 0 to below the tile's size, {size}", overlap)

    def starts(length: int) -> list[int]:
        if length <= size:
            return [0]
        count = math.ceil((length - size) / (size - overlap)) + 1
        return [min(i * (size - overlap), length - size) for i in range(count)]

    rows, columns = min(size, height), min(size, width)
    return [Window(x, y, columns, rows) for y in starts(height) for x in starts(width)]


def clip(shapes: Sequence[Shape], height: int, width: int, min_visible: float) -> list[Part]:
    """The objects of which at least `min_visible` lies on a canvas, or an image, of this size."""
    return cut(shapes, [Window(0, 0, width, height)], min_visible, keep_all=False)[0]


def cut(
    shapes: Sequence[Shape], tiles: Sequence[Window], min_visible: float = 0.0, keep_all: bool = True
) -> list[list[Part]]:
    """What each tile shows of the objects of a canvas, in the objects' order.

    Args:
        shapes: Objects in pixels of the canvas.
        tiles: Windows of the canvas.
        min_visible: Share of an object that a tile must show for it to be labelled there, 0 to 1.
        keep_all: An object of which every tile shows less is labelled in the tile that shows most, the first of equals,
            so that none is lost.
    """
    found: list[list[Part]] = [[] for _ in tiles]
    for index, shape in enumerate(shapes):
        outline = shape.outline()
        (x0, y0), (x1, y1) = outline.min(0), outline.max(0)
        seen: list[tuple[int, Part]] = []
        for number, tile in enumerate(tiles):
            if x1 > tile.x and y1 > tile.y and x0 < tile.x + tile.width and y0 < tile.y + tile.height:
                part = _part(index, shape, outline, tile)
                if part is not None:
                    seen.append((number, part))
        shown = [(number, part) for number, part in seen if part.visible >= min_visible]
        if seen and not shown and keep_all:
            shown = [max(seen, key=lambda one: one[1].visible)]
        for number, part in shown:
            found[number].append(part)
    return found


def _part(index: int, shape: Shape, outline: NDArray[np.float64], tile: Window) -> Part | None:
    moved = outline - (tile.x, tile.y)
    box = replace(shape.box, cx=shape.box.cx - tile.x, cy=shape.box.cy - tile.y)
    if (moved >= 0).all() and (moved <= (tile.width, tile.height)).all():  # whole: its numbers are kept as they are
        polygon = None if shape.polygon is None else moved
        return Part(index, replace(shape, box=box, polygon=polygon), 1.0)
    whole = shapely.Polygon(moved)
    if not whole.is_valid:  # it crosses itself
        whole = shapely.make_valid(whole)
    inside = whole.intersection(shapely.box(0, 0, tile.width, tile.height))
    piece = _largest(inside)
    if piece is None:
        return None
    points = shapely.get_coordinates(piece.exterior)[:-1]
    visible = round(min(1.0, inside.area / whole.area), 9)
    box = _around(points, box)
    straight = shape.polygon is None and box.angle % 90 == 0
    difficult = shape.difficult or visible < DIFFICULT_BELOW
    return Part(index, Shape(box, None if straight else points, difficult), visible)


def _largest(geometry: Any) -> Any:
    """The largest polygon of a geometry, None where it holds none."""
    parts = shapely.get_parts(shapely.get_parts(geometry))  # of a collection, too
    polygons = [one for one in parts if one.geom_type == "Polygon" and one.area > _SMALLEST]
    return max(polygons, key=lambda one: one.area, default=None)


def _around(points: NDArray[np.float64], box: Box) -> Box:
    """The smallest box with the heading of `box` around points: a clipped object keeps its heading."""
    angle = math.radians(box.angle)
    c, s = math.cos(angle), math.sin(angle)
    if box.angle % 90 == 0:
        c, s = round(c), round(s)
    along, across = points @ (c, s), points @ (-s, c)
    u, v = (along.min() + along.max()) / 2, (across.min() + across.max()) / 2
    return replace(
        box,
        cx=float(c * u - s * v),
        cy=float(s * u + c * v),
        width=float(np.ptp(along)),
        height=float(np.ptp(across)),
    )
