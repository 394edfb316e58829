"""Tiles and windows of the pyramid, whose pixels lie as `earthgen.world.projection` says, and a cascade's levels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from affine import Affine
from rasterio.coords import BoundingBox

from earthgen.conditions import COARSE_FACTOR
from earthgen.errors import ArgumentError
from earthgen.world.noise import MAX_COORDINATE, whole_number
from earthgen.world.projection import (
    MAX_LEVEL,
    TILE,
    Floats,
    check_on_map,
    gsd_at,
    mercator_to_pixel,
    pixel_to_mercator,
    pixel_to_position,
    position_to_pixel,
    transform,
    world_size,
)

LATENT = 4
"""Pixels a side of a latent, unless said otherwise."""
CASCADE_STEP = COARSE_FACTOR.bit_length() - 1
"""Levels a stage of the cascade goes down: 2, as it refines by 4."""
DEEPEST = 18
"""The last level: 0.6 m a pixel on the equator, 0.3 m at 60° N and S."""
IMAGINED_LEVEL = 4
"""The level of an imagined planet that is made from noise alone: 9.8 km a pixel."""

_ON_EDGE = 1e-4
"""Pixels, three times the rounding error of the finest level's coordinates."""


def cascade_levels(target: int, base: int) -> tuple[int, ...]:
    """The levels that are made on the way to `target`, from `base` in steps of 2 (factor 4): (14, 8) → 8, 10, 12, 14.

    Only levels at an even distance above the base are ever generated. One at an odd distance is the next finer one
    averaged over 2 × 2 pixels: (13, 8) → 8, 10, 12, 14. That is four times the work of a shorter last step, but one
    world: who zooms from 13 to 14 sees the same Earth, sharper, where a chain for each parity would give two. A target
    below the base is the base averaged: (5, 8) → 8. In every case the result is the last level, averaged over
    2**(last - target) pixels a side.

    Raises:
        ArgumentError: A level is not from 0 to 30, or the chain would pass 30.
    """
    target, base = whole_number("target", target, 0, MAX_LEVEL), whole_number("base", base, 0, MAX_LEVEL)
    stages = max(0, -((base - target) // CASCADE_STEP))
    levels = tuple(base + CASCADE_STEP * n for n in range(stages + 1))
    if levels[-1] > MAX_LEVEL:
        rule = f"must lie an even number of levels above base {base}, as the chain ends at {MAX_LEVEL}"
        raise ArgumentError("target", rule, target)
    return levels


class Tile(NamedTuple):
    """A tile of 256 px: level, column and row of tiles, rows counted from the north (XYZ)."""

    z: int
    x: int
    y: int

    @property
    def tms_y(self) -> int:
        """The row as TMS and MBTiles count, from the south. It is its own inverse: `Tile(z, x, tms).tms_y` is XYZ's."""
        return (1 << self.z) - 1 - self.y

    @property
    def wrapped(self) -> Tile:
        """The same place with 0 <= x < 2ᶻ: the tile's name for servers and caches."""
        return self._replace(x=self.x % (1 << self.z))

    @property
    def window(self) -> Window:
        return Window(self.z, self.y * TILE, self.x * TILE, TILE, TILE)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels of one level: rows top to top + height, columns left to left + width, of the whole map.

    It may reach over the antimeridian (left < 0 or beyond the world's width), be wider than the world, and reach beyond
    the poles, as the halo of a tile there does; `wrapped` and `clipped` bring it back. Coordinates lie within
    ±2⁴⁰, those of the noise field. Two windows are compared as rectangles of the unrolled plane.
    """

    level: int
    top: int
    left: int
    height: int
    width: int

    def __post_init__(self) -> None:
        limits = {
            "level": (0, MAX_LEVEL),
            "top": (-MAX_COORDINATE, MAX_COORDINATE),
            "left": (-MAX_COORDINATE, MAX_COORDINATE),
            "height": (1, MAX_COORDINATE),
            "width": (1, MAX_COORDINATE),
        }
        for name, (low, high) in limits.items():
            object.__setattr__(self, name, whole_number(name, getattr(self, name), low, high))  # numpy's to Python's
        whole_number("top + height", self.bottom, -MAX_COORDINATE, MAX_COORDINATE)
        whole_number("left + width", self.right, -MAX_COORDINATE, MAX_COORDINATE)

    @classmethod
    def around(cls, level: int, lat: float, lon: float, height: int, width: int) -> Window:
        """Of `height` × `width` pixels, its centre within half a pixel of a place.

        Raises:
            ArgumentError: The place is beyond 85.0511° N or S, or an argument out of its range.
        """
        check_on_map(lat)
        height, width = (
            whole_number("height", height, 1, MAX_COORDINATE),
            whole_number("width", width, 1, MAX_COORDINATE),
        )
        row, column = (float(c) for c in position_to_pixel(level, lat, lon))
        return cls(level, math.floor(row - height / 2 + 0.5), math.floor(column - width / 2 + 0.5), height, width)

    @classmethod
    def covering(cls, level: int, west: float, south: float, east: float, north: float) -> Window:
        """The smallest that holds a rectangle of EPSG:3857 metres.

        An edge of it within 1e-4 px of a pixel's edge counts as on it, so that a window's own `bounds` give it back.

        Raises:
            ArgumentError: The rectangle is empty or not finite.
        """
        if not (math.isfinite(west) and math.isfinite(south) and west < east < math.inf and south < north < math.inf):
            rule = "must be finite metres, west < east and south < north"
            raise ArgumentError("west, south, east, north", rule, (west, south, east, north))
        (top, bottom), (left, right) = (c.tolist() for c in mercator_to_pixel(level, (west, east), (north, south)))
        top, left = math.floor(top + _ON_EDGE), math.floor(left + _ON_EDGE)
        bottom, right = math.ceil(bottom - _ON_EDGE), math.ceil(right - _ON_EDGE)
        return cls._between(level, top, left, max(bottom, top + 1), max(right, left + 1))

    @classmethod
    def _between(cls, level: int, top: int, left: int, bottom: int, right: int) -> Window:
        return cls(level, top, left, bottom - top, right - left)

    @property
    def bottom(self) -> int:
        """The row below the last."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The column after the last."""
        return self.left + self.width

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def rows(self) -> range:
        return range(self.top, self.bottom)

    @property
    def columns(self) -> range:
        return range(self.left, self.right)

    @property
    def transform(self) -> Affine:
        """The window's own pixels (column, row) → EPSG:3857 metres."""
        return transform(self.level, self.top, self.left)

    @property
    def bounds(self) -> BoundingBox:
        """West (left), south (bottom), east (right), north (top) in EPSG:3857 metres."""
        (west, east), (north, south) = pixel_to_mercator(self.level, (self.top, self.bottom), (self.left, self.right))
        return BoundingBox(float(west), float(south), float(east), float(north))

    def __contains__(self, other: Window) -> bool:
        return self.intersect(other) == other

    def intersect(self, other: Window) -> Window | None:
        """What both hold of the unrolled plane, or None. Raises `ArgumentError` for windows of two levels."""
        if other.level != self.level:
            raise ArgumentError("other", f"must be of level {self.level}, which `at_level` gives", other)
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return self._between(self.level, top, left, bottom, right) if top < bottom and left < right else None

    def slices_in(self, outer: Window) -> tuple[slice, slice]:
        """Where this window's pixels are in an array (…, rows, columns) of `outer`.

        Raises:
            ArgumentError: `outer` does not contain it.
        """
        if self not in outer:
            raise ArgumentError("outer", f"must contain {self}", outer)
        top, left = self.top - outer.top, self.left - outer.left
        return slice(top, top + self.height), slice(left, left + self.width)

    def grown(self, margin: int) -> Window:
        """With a halo of `margin` more pixels on each side; fewer where it is negative."""
        return self._between(
            self.level, self.top - margin, self.left - margin, self.bottom + margin, self.right + margin
        )

    def aligned(self, multiple: int) -> Window:
        """The smallest that holds this one and whose edges lie on multiples of `multiple` pixels."""
        multiple = whole_number("multiple", multiple, 1, MAX_COORDINATE)
        inner = self.top // multiple, self.left // multiple
        outer = -(-self.bottom // multiple), -(-self.right // multiple)
        return self._between(self.level, *(multiple * n for n in (*inner, *outer)))

    def at_level(self, level: int) -> Window:
        """The same ground at a finer level; at a coarser one, the smallest window that holds it."""
        shift = whole_number("level", level, 0, MAX_LEVEL) - self.level
        if shift >= 0:
            return Window(level, *(n << shift for n in (self.top, self.left, self.height, self.width)))
        inner, outer = (self.top >> -shift, self.left >> -shift), (-(-self.bottom >> -shift), -(-self.right >> -shift))
        return self._between(level, *inner, *outer)

    def wrapped(self) -> Window:
        """The same place with its left edge on the map, 0 <= left < 256·2ᶻ; its right edge may lie beyond."""
        return replace(self, left=self.left % world_size(self.level))

    def clipped(self) -> Window:
        """What lies between the map's northern and southern edges; columns stay as they are.

        Raises:
            ArgumentError: Nothing does.
        """
        top, bottom = max(self.top, 0), min(self.bottom, world_size(self.level))
        if top >= bottom:
            raise ArgumentError("window", "must reach the map, which ends at 85.0511 N and S", self)
        return self._between(self.level, top, self.left, bottom, self.right)

    def latents(self, factor: int = LATENT) -> tuple[range, range]:
        """Rows and columns on the grid of latents of `factor` px, as `noise_field` takes them.

        Columns are not wrapped: the period is `world_size(level) // factor`.

        Raises:
            ArgumentError: An edge is not on a multiple of `factor`; `aligned(factor)` is.
        """
        if self.aligned(factor) != self:
            raise ArgumentError("window", f"must have its edges on multiples of {factor} px", self)
        return (
            range(self.top // factor, self.bottom // factor),
            range(self.left // factor, self.right // factor),
        )

    def cells(self, size: int) -> Iterator[Window]:
        """The squares of the global grid of `size` px that meet it, whole, row by row; also those beyond the poles."""
        outer = self.aligned(size)
        for top in outer.rows[::size]:
            for left in outer.columns[::size]:
                yield Window(self.level, top, left, size, size)

    def tiles(self) -> Iterator[Tile]:
        """The tiles that meet it, row by row. There are none beyond the poles.

        Beyond the antimeridian x is below 0 or at least 2ᶻ, so that `tile.window` lies where this window does;
        `tile.wrapped` is the tile's name.
        """
        for y in range(max(self.top, 0) // TILE, -(-min(self.bottom, world_size(self.level)) // TILE)):
            for x in range(self.left // TILE, -(-self.right // TILE)):
                yield Tile(self.level, x, y)

    def latitudes(self, step: int = 1) -> Floats:
        """Degrees north at the centres of its rows, or of groups of `step` rows, which must divide its height."""
        return pixel_to_position(self.level, _centres("height", self.rows, step), 0)[0]

    def longitudes(self, step: int = 1) -> Floats:
        """Degrees east in [-180, 180) at the centres of its columns, or of groups of `step`."""
        return pixel_to_position(self.level, 0, _centres("width", self.columns, step))[1]

    def gsds(self, step: int = 1) -> Floats:
        """True GSD in metres at the centres of its rows, or of groups of `step`."""
        return gsd_at(self.level, _centres("height", self.rows, step))


def _centres(name: str, pixels: range, step: int) -> Floats:
    if len(pixels) % whole_number("step", step, 1, MAX_COORDINATE):
        raise ArgumentError(name, f"must be a multiple of step {step}", len(pixels))
    return np.arange(pixels.start, pixels.stop, step, dtype=np.float64) + step / 2
