"""Many rectangles at once: gaps between them, what of one an image shows, which pixels it covers.

A rectangle is a row (cx, cy, width, height, angle) of an array: pixels and degrees, as in `earthgen.conditions.Box`.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import Box
from earthgen.data import rectangles

Floats = NDArray[np.float64]


def row_of(box: Box) -> Floats:
    """A box as a row."""
    return np.array([box.cx, box.cy, box.width, box.height, box.angle], float)


def gaps(one: Floats, many: Floats) -> Floats:
    """Gaps in pixels between a row (5,) and rows (n, 5), negative by the depth where they overlap: (n,).

    The widest separation along one of the four axes of a pair (separating axes): the distance, but between corners
    that face each other, where it is a lower bound.
    """
    d = many[:, :2] - one[:2]
    a, b = math.radians(one[4]), np.radians(many[:, 4])
    c, s = np.abs(np.cos(b - a)), np.abs(np.sin(b - a))
    w, h = one[2] / 2, one[3] / 2
    ws, hs = many[:, 2] / 2, many[:, 3] / 2
    along = np.abs(d @ (math.cos(a), math.sin(a))) - (w + ws * c + hs * s)
    across = np.abs(d @ (-math.sin(a), math.cos(a))) - (h + ws * s + hs * c)
    their_along = np.abs(d[:, 0] * np.cos(b) + d[:, 1] * np.sin(b)) - (ws + w * c + h * s)
    their_across = np.abs(d[:, 1] * np.cos(b) - d[:, 0] * np.sin(b)) - (hs + w * s + h * c)
    return np.maximum(np.maximum(along, across), np.maximum(their_along, their_across))


def extent(row: Floats) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the upright rectangle around a row."""
    c, s = abs(math.cos(math.radians(row[4]))), abs(math.sin(math.radians(row[4])))
    x, y = (row[2] * c + row[3] * s) / 2, (row[2] * s + row[3] * c) / 2
    return row[0] - x, row[1] - y, row[0] + x, row[1] + y


def clipped(row: Floats, height: int, width: int) -> Floats | None:
    """The rectangle of least area around what an image of that size shows of a row; None where that is nothing."""
    x0, y0, x1, y1 = extent(row)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return row
    if row[4] % 180 == 0:
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height)
        return np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, row[4]]) if x1 > x0 and y1 > y0 else None
    seen = rectangles.clipped(Box("-", *row.tolist()).corners(), width, height)
    if len(seen) < 3:
        return None
    part = row_of(rectangles.around("-", seen))
    turns = round((row[4] - part[4]) / 90)  # the sides keep their names
    part[4] += 90 * turns
    return part if turns % 2 == 0 else part[[0, 1, 3, 2, 4]]


def footprint(row: Floats, height: int, width: int) -> tuple[slice, slice, NDArray[np.bool_]]:
    """Rows and columns of an image, and which of their pixels have their centre in a rectangle."""
    x0, y0, x1, y1 = extent(row)
    rows = slice(max(0, math.floor(y0)), max(0, min(height, math.ceil(y1))))
    columns = slice(max(0, math.floor(x0)), max(0, min(width, math.ceil(x1))))
    x = np.arange(columns.start, columns.stop) + 0.5 - row[0]
    y = (np.arange(rows.start, rows.stop) + 0.5 - row[1])[:, None]
    c, s = math.cos(math.radians(row[4])), math.sin(math.radians(row[4]))
    return rows, columns, (np.abs(c * x + s * y) <= row[2] / 2) & (np.abs(c * y - s * x) <= row[3] / 2)


def framed(points: Floats, angle: float) -> Floats:
    """An outline (n, 2) in the own frame of what has that heading, each axis stretched to go from -1 to 1."""
    own = points @ _axes(angle).T
    low, high = own.min(0), own.max(0)
    return (2 * own - low - high) / (high - low)


def filling(row: Floats, outline: Floats) -> Floats:
    """An outline as of `framed`, laid into a rectangle so that it reaches all four sides: (n, 2), pixels."""
    return outline * (row[2:4] / 2) @ _axes(row[4]) + row[:2]


def enclosing(points: Floats, angle: float) -> Floats:
    """The rectangle of a heading around points (n, 2), as a row."""
    axes = _axes(angle)
    own = points @ axes.T
    low, high = own.min(0), own.max(0)
    return np.array([*((low + high) / 2 @ axes), *(high - low), angle])


def _axes(angle: float) -> Floats:
    """The own x and y axis of what is turned by an angle, one a row."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[c, s], [-s, c]])


class Crowd:
    """Rectangles with the room each wants around it, and quick answers to who is near (a grid of buckets)."""

    def __init__(self, cell: float) -> None:
        self.cell = max(cell, 1.0)
        self.rows: list[Floats] = []
        self.room: list[float] = []
        self._buckets: defaultdict[tuple[int, int], list[int]] = defaultdict(list)

    def _keys(self, row: Floats, margin: float) -> list[tuple[int, int]]:
        x0, y0, x1, y1 = extent(row)
        columns = range(math.floor((x0 - margin) / self.cell), math.floor((x1 + margin) / self.cell) + 1)
        rows = range(math.floor((y0 - margin) / self.cell), math.floor((y1 + margin) / self.cell) + 1)
        return [(i, j) for i in rows for j in columns]

    def add(self, row: Floats, room: float) -> int:
        """Take a rectangle in; its number."""
        number = len(self.rows)
        self.rows.append(row)
        self.room.append(room)
        for key in self._keys(row, max(room, 0.0)):
            self._buckets[key].append(number)
        return number

    def admits(self, row: Floats, room: float, slack: float = 0.0, theirs: bool = True) -> bool:
        """Whether a rectangle stands clear of all others by its room, less `slack` pixels; and by `theirs` if so."""
        near = {n for key in self._keys(row, max(room, 0.0)) for n in self._buckets.get(key, ())}
        if not near:
            return True
        numbers = list(near)
        wanted = np.maximum(np.array([self.room[n] for n in numbers]), room) if theirs else room
        return bool((gaps(row, np.array([self.rows[n] for n in numbers])) >= wanted - slack).all())
