"""What a world's layout says of a window: objects and the class of each pixel, at one day and between days.

Each object and each pixel on its own, by where it lies on the map, so that neighbouring windows say the same.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS as ProjCRS
from pyproj import Transformer

from earthgen import geo
from earthgen.conditions import UNKNOWN, Box, check_number
from earthgen.dataset.canvas import Part, clip
from earthgen.errors import ArgumentError
from earthgen.labels.base import Shape
from earthgen.simulate.event_boxes import BACKGROUND
from earthgen.simulate.events import Event, Kind, Series, check_dates
from earthgen.world.layout import SEEN, Area, Happened, Layout, Placed
from earthgen.world.projection import HALF_SIDE, MAX_LEVEL, TILE, WEB_MERCATOR, mercator_to_position
from earthgen.world.warp import MAX_PIXELS, Grid, sources

_ROWS = 256
"""Of a window that are looked at at a time."""
_PROBES = 33
"""Points a side of a window that are looked up to find where it lies."""
_DECIMALS = 6
"""Of pixels, in labels."""
_STRAIGHT = 0.01
"""Degrees off a right angle within which a box counts as horizontal: maps turn north by as much within a pixel."""

Bools = NDArray[np.bool_]
Indices = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Labels:
    """Of one window."""

    grid: Grid
    parts: tuple[Part, ...]
    """What it shows of the objects, in its pixels; `index` counts in `ids`."""
    ids: tuple[str, ...]
    """Of the objects that lie in it."""
    mask: Indices
    """(height, width), indices into `mask_classes`; 255 where nothing is known."""
    classes: tuple[str, ...]
    """Of the objects of the whole layout, at all times."""
    mask_classes: tuple[str, ...]
    """Those of the layout's mask, or "background"; then those of `classes`."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The objects, as far as they lie in the window. Those of which less than half does are `difficult`."""
        return tuple(part.shape for part in self.parts)


def labels_of(layout: Layout, epoch: int, grid: Grid, min_visible: float = 0.0) -> Labels:
    """See `World.labels`."""
    check_number("min_visible", min_visible, "must be a share from 0 to 1", 0, 1)
    view = _View(grid)
    objects = view.seen(layout, epoch)
    parts = clip([view.shape(one) for one in objects], grid.height, grid.width, min_visible)
    mask = view.mask(layout, objects)
    ids = tuple(one.id for one in objects)
    return Labels(grid, tuple(parts), ids, mask, layout.classes, mask_classes(layout))


def mask_classes(layout: Layout) -> tuple[str, ...]:
    """Classes of the masks of all windows. Raises `ArgumentError` for more than 255."""
    ground = (BACKGROUND,) if layout.mask is None else layout.mask.classes
    names = (*ground, *(name for name in layout.classes if name not in ground))
    if len(names) > UNKNOWN:
        raise ArgumentError("layout", f"must have at most {UNKNOWN} classes for masks", len(names))
    return names


def series_of(layout: Layout, grid: Grid, dates: Sequence[dt.date]) -> Series:
    """The states of a window at several dates, and what happened between them.

    Two dates show the same scene at a pixel where the same objects hold it, with the same classes.

    Raises:
        ArgumentError: The dates run backwards, or the window is larger than memory.
    """
    if not dates:
        raise ArgumentError("dates", "must be at least one", list(dates))
    check_dates(dates, len(dates))
    view, names = _View(grid), mask_classes(layout)
    epochs = [layout.epoch(date) for date in dates]
    states = [view.seen(layout, epoch) for epoch in epochs]
    maps = [view.mask(layout, objects) for objects in states]
    held = np.zeros(maps[0].shape, np.uint64)
    scenes, steps = [held], []
    for number, (first, second) in enumerate(pairwise(epochs)):
        happened, held = [], held.copy()
        for event, _ in view.happened(layout, range(first + 1, second + 1)):
            before, after = view.held(event.before), view.held(event.after)
            with np.errstate(over="ignore"):
                for inside, parts, sign in ((before, event.before, -1), (after, event.after, 1)):
                    if parts:
                        held[inside] += np.uint64(sign * _number(parts[0]) % 2**64)
            changed = before | after if event.kind == "transition" else before ^ after
            if changed.any():
                happened.append(view.event(event, changed, maps[number], maps[number + 1], names))
        scenes.append(held)
        steps.append(tuple(happened))
    return Series(_numbered(scenes), tuple(steps), ({},) * len(steps), tuple(maps), names, dates=tuple(dates))


def check_formats(formats: Iterable[str], known: Sequence[str]) -> None:
    """Raise `ArgumentError` unless `formats` are distinct names of those that are known."""
    names = [] if isinstance(formats, str) else list(formats)
    if isinstance(formats, str) or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ArgumentError("formats", f"must be distinct names of {', '.join(known)}", formats)


def _number(one: Placed) -> int:
    """Of an object and its class: 64 bits, as good as never those of another."""
    return int.from_bytes(hashlib.sha256(repr((one.id, one.label, one.text)).encode()).digest()[:8], "big")


def _numbered(scenes: list[NDArray[np.uint64]]) -> tuple[NDArray[np.uint16], ...]:
    """The same equalities between dates, in few numbers."""
    touched = np.logical_or.reduce([scene != scenes[0] for scene in scenes])
    values, numbers = np.unique([scene[touched] for scene in scenes], return_inverse=True)
    if len(values) > np.iinfo(np.uint16).max:
        raise ArgumentError("events", "must leave fewer different scenes in a window than 65535", len(values))
    found = []
    for row in numbers.reshape(len(scenes), -1):
        scene = np.zeros(touched.shape, np.uint16)
        scene[touched] = row + 1
        found.append(scene)
    return tuple(found)


class _View:
    """Where a window lies on the map, and the map in the window."""

    def __init__(self, grid: Grid) -> None:
        if grid.height * grid.width > MAX_PIXELS:
            raise ArgumentError("grid", f"must have at most {MAX_PIXELS} pixels", (grid.height, grid.width))
        self.grid = grid
        self._forward = Transformer.from_crs(geo.WGS84, ProjCRS.from_wkt(grid.crs.to_wkt()), always_xy=True)
        self._middle = (grid.transform @ (grid.width / 2, grid.height / 2))[0]
        self.area, self.level = self._area()
        """A part of the map's square that holds the window, None where it shows no place; and a level as fine as it."""

    def _area(self) -> tuple[Area | None, int]:
        grid, n = self.grid, _PROBES - 1
        # As pixels of a grid of few, large ones, whose centres lie at the window's edges and between.
        scale = Affine.scale(grid.width / n, grid.height / n) @ Affine.translation(-0.5, -0.5)
        probe = Grid(grid.crs, grid.transform @ scale, _PROBES, _PROBES)
        y, x, levels = sources(probe, range(_PROBES), range(_PROBES))
        shown = np.isfinite(y)
        if not shown.any():
            return None, 0
        finer = math.log2(max(grid.height, grid.width, n) / n)
        level = min(MAX_LEVEL, int(levels[shown].max()) + math.ceil(finer) + 1)
        x, y = x[shown] / TILE, y[shown].clip(-TILE, 2 * TILE) / TILE
        if grid.crs != WEB_MERCATOR:
            x = x - np.round(x - x[len(x) // 2])
        down, across = (2 * np.ptp(values) / _PROBES + 1e-12 for values in (y, x))
        left, right = float(x.min() - across), float(x.max() + across)
        if grid.crs != WEB_MERCATOR and (right - left > 0.5 or not shown.all()):
            left, right = 0.0, 1.0  # around a pole, say
        return (left, float(y.min() - down), right, float(y.max() + down)), level

    def seen(self, layout: Layout, epoch: int) -> list[Placed]:
        """The objects of an epoch that may lie in the window and are large enough, the largest first."""
        found = [] if self.area is None else layout.near(self.area, epoch, self.level)
        unique = {id(one): one for one, _ in found}
        return [one for one in unique.values() if self.large(one)]

    def happened(self, layout: Layout, epochs: range) -> list[tuple[Happened, int]]:
        """Events that may lie in the window, each once."""
        found = [] if self.area is None else layout.happened(self.area, epochs, self.level)
        return [(event, turn) for n, (event, turn) in enumerate(found) if event not in [e for e, _ in found[:n]]]

    def large(self, one: Placed) -> bool:
        """Whether it measures `SEEN` pixels or more, and so was drawn."""
        shape = self.drawn(one)
        return shape is not None and float(shape.area) >= SEEN

    def drawn(self, one: Placed) -> Any:
        """Its outline in pixels of the window; None where the CRS does not show it."""
        shape = shapely.transform(one.outline, self._pixels)
        return shape if np.isfinite(shapely.get_coordinates(shape)).all() else None

    def _pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions on the map's square → pixels."""
        east, north = (2 * points[:, 0] - 1) * HALF_SIDE, (1 - 2 * points[:, 1]) * HALF_SIDE
        period = 2 * HALF_SIDE
        if self.grid.crs != WEB_MERCATOR:
            lat, lon = mercator_to_position(east, north)
            lon = lon + 360 * np.round((lon[0] - lon) / 360)  # one piece across the antimeridian
            east, north = self._forward.transform(lon, lat)
            period = 360.0 if self.grid.crs.is_geographic else 0.0
        if period:
            east = east + period * round((self._middle - float(np.mean(east[[0, -1]]))) / period)
        x, y = ~self.grid.transform @ (east, north)
        return np.round(np.column_stack([x, y]), _DECIMALS)

    def shape(self, one: Placed) -> Shape:
        """An object as a label."""
        shape = self.drawn(one)
        ring = shapely.get_coordinates(shape.exterior)[:-1]
        if one.box is None:
            (x0, y0), (x1, y1) = ring.min(0), ring.max(0)
            return Shape(Box.from_xyxy(one.label, float(x0), float(y0), float(x1), float(y1)), ring)
        along, across = (ring[1] - ring[0] + ring[2] - ring[3]) / 2, (ring[3] - ring[0] + ring[2] - ring[1]) / 2
        angle = math.degrees(math.atan2(along[1], along[0]))
        nearest = round(angle / 90) * 90.0
        angle = nearest if abs(angle - nearest) < _STRAIGHT else round(angle, _DECIMALS)
        width, height = (round(float(np.hypot(*side)), _DECIMALS) for side in (along, across))
        cx, cy = (round(float(v), _DECIMALS) for v in ring.mean(0))
        return Shape(Box(one.label, cx, cy, width, height, angle))

    def mask(self, layout: Layout, objects: Sequence[Placed]) -> Indices:
        """The class of each pixel: the smallest object that holds its centre, or else the ground."""
        names = mask_classes(layout)
        found = np.full((self.grid.height, self.grid.width), UNKNOWN if layout.mask else 0, np.uint8)
        for top, x, y in self._positions():
            part = found[top : top + len(x)]
            if layout.mask is not None:
                shown = np.isfinite(y)
                part[:] = layout.mask.at(0, np.where(shown, y, -1) * TILE, x * TILE)
            for one in objects:
                place, inside = self._inside(one, top, x, y)
                part[place][inside] = names.index(one.label)
        return found

    def held(self, parts: Sequence[Placed]) -> Bools:
        """The pixels whose centres lie in an object's parts, of those that are large enough."""
        found = np.zeros((self.grid.height, self.grid.width), bool)
        parts = [one for one in parts if self.large(one)]
        for top, x, y in self._positions() if parts else ():
            for one in parts:
                place, inside = self._inside(one, top, x, y)
                found[top : top + len(x)][place] |= inside
        return found

    def event(self, event: Happened, changed: Bools, before: Indices, after: Indices, names: Sequence[str]) -> Event:
        """As it is recorded of a window."""
        first = (event.before or event.after)[0]
        kind: Kind = event.kind  # type: ignore[assignment]
        ground = None
        if kind in ("add", "remove", "shrink"):
            under = (before if kind == "add" else after)[changed]
            under = under[under != UNKNOWN]
            ground = names[int(np.bincount(under).argmax())] if under.size else None
        outlines = [self._outline(parts) for parts in (event.before, event.after)]
        return Event(
            kind,
            first.label,
            became=event.after[0].label if kind == "transition" else None,
            ground=None if ground in (BACKGROUND, first.label) else ground,
            before=outlines[0],
            after=outlines[1],
            area=int(np.count_nonzero(changed)),
        )

    def _outline(self, parts: Sequence[Placed]) -> Any:
        """Of an object as far as it lies in the window; None where it does not."""
        drawn = [shape for one in parts if self.large(one) and (shape := self.drawn(one)) is not None]
        shape = shapely.union_all(drawn).intersection(shapely.box(0, 0, self.grid.width, self.grid.height))
        areas = [one for one in shapely.get_parts(shapely.get_parts(shape)) if one.geom_type == "Polygon"]
        return shapely.union_all(areas) if areas else None

    def _positions(self) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
        """Of the pixels' centres on the map's square, some rows at a time: the first row, x and y."""
        for top in range(0, self.grid.height, _ROWS):
            rows = range(top, min(top + _ROWS, self.grid.height))
            y, x, _ = sources(self.grid, rows, range(self.grid.width))
            yield top, x / TILE, y / TILE

    def _inside(
        self, one: Placed, top: int, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[tuple[slice, slice], Bools]:
        """The pixels of some rows whose centres lie in an object: a part of them, and which of that."""
        shape = self.drawn(one)
        left, upper, right, lower = (0, 0, -1, -1) if shape is None else shape.bounds
        height, width = x.shape
        rows = slice(*(min(max(n, 0), height) for n in (math.floor(upper) - 2 - top, math.ceil(lower) + 2 - top)))
        columns = slice(*(min(max(n, 0), width) for n in (math.floor(left) - 2, math.ceil(right) + 2)))
        x, y = x[rows, columns], y[rows, columns]
        x = x - np.round(x - one.outline.centroid.x)
        shapely.prepare(one.outline)
        inside: Bools = shapely.contains_xy(one.outline, x.ravel(), y.ravel()).reshape(x.shape)
        return (rows, columns), inside
