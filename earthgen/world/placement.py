"""Where a raster of any CRS and resolution lies on the pyramid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from affine import Affine
from pyproj import CRS as ProjCRS
from pyproj import Transformer

from earthgen import geo
from earthgen.errors import ArgumentError
from earthgen.world.projection import (
    HALF_SIDE,
    TILE,
    WEB_MERCATOR,
    Floats,
    pixel_to_mercator,
    pixel_to_position,
    position_to_pixel,
    world_size,
)
from earthgen.world.pyramid import Window
from earthgen.world.warp import parsed_crs

_OUTLINE = 33
"""Points a side at which a raster's pixels are looked up to find where it lies."""


class Placement:
    """A raster's place.

    Args:
        argument: What an error names.
        name: Of the raster.
        height: Pixels.
        width: Pixels.
        crs: Of `transform`.
        transform: (column, row) of pixel corners to `crs`; may be rotated.

    Raises:
        ArgumentError: It has no CRS or lies beyond the map.
    """

    def __init__(self, argument: str, name: str, height: int, width: int, crs: Any, transform: Affine | None) -> None:
        if crs is None or transform is None:
            raise ArgumentError(argument, "must say where it lies: a CRS and a transform", name)
        if not abs(transform.determinant) > 0:
            shown = f"{name} {tuple(transform)[:6]}"
            raise ArgumentError(argument, "must have a transform that can be inverted", shown)
        self._argument, self._name, self.height, self.width = argument, name, height, width
        self.crs = parsed_crs(crs)
        self.text = repr((self.crs.to_wkt(), tuple(transform), height, width))
        """Says all of the place."""
        self._inverse = ~transform
        self._from_degrees = Transformer.from_crs(geo.WGS84, ProjCRS.from_wkt(self.crs.to_wkt()), always_xy=True)
        self._period = 360.0 if self.crs.is_geographic else 2 * HALF_SIDE if self.crs == WEB_MERCATOR else None
        self._middle = (transform @ (width / 2, height / 2))[0]
        self._top, self._left, self._bottom, self._right = self._outline()
        self.level = self._nearest_level()
        """The level, with fractions, whose pixels are as large as the raster's in its middle."""

    def reaches(self, window: Window) -> bool:
        """Whether it may have pixels there; False for sure where it has none."""
        size = world_size(window.level)
        scale = size / TILE
        if window.bottom <= self._top * scale or window.top >= self._bottom * scale:
            return False
        # The first copy of it, going around the world, that ends beyond the window's left edge.
        turns = math.floor((window.left - self._right * scale) / size) + 1
        return self._left * scale + turns * size < window.right

    def positions(self, level: int, rows: Floats, columns: Floats) -> tuple[Floats, Floats]:
        """Pixel coordinates of the pyramid → of the raster, counted from pixels' centres; not finite for no place."""
        if self.crs == WEB_MERCATOR:
            x, y = np.broadcast_arrays(*pixel_to_mercator(level, rows, columns))
        else:
            lat, lon = np.broadcast_arrays(*pixel_to_position(level, rows, columns))
            x, y = self._from_degrees.transform(lon, lat)
        if self._period is not None:
            half = self._period / 2
            x = x - self._period * np.floor((x - self._middle + half) / self._period)
        t = self._inverse
        return t.d * x + t.e * y + t.f - 0.5, t.a * x + t.b * y + t.c - 0.5

    def _on_map(self, rows: Floats, columns: Floats) -> tuple[Floats, Floats]:
        """The raster's pixel coordinates → level 0's, as (rows, columns). NaN where they are of no place."""
        t = ~self._inverse
        x, y = t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f
        lon, lat = self._from_degrees.transform(x, y, direction="INVERSE")
        shown = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
        row, column = position_to_pixel(0, np.where(shown, lat, 0), np.where(shown, lon, 0))
        return np.where(shown, row, np.nan), column

    def _outline(self) -> tuple[float, float, float, float]:
        """Level 0's rows and columns that hold it: top, left, bottom, right. Columns may reach beyond the map."""
        at = np.linspace(0, 1, _OUTLINE)
        middle = self._on_map(np.array([self.height / 2]), np.array([self.width / 2]))
        row, column = self._on_map(*np.meshgrid(self.height * at, self.width * at, indexing="ij"))
        shown = np.isfinite(row)
        if not (shown.any() and np.isfinite(middle[0]).all()):
            raise ArgumentError(self._argument, "must lie somewhere on the Earth", self._name)
        row = np.clip(row[shown], -TILE, 2 * TILE)
        column = (column[shown] - middle[1][0] + TILE / 2) % TILE - TILE / 2 + middle[1][0]
        top, bottom, left, right = row.min(), row.max(), column.min(), column.max()
        if bottom <= 0 or top >= TILE:
            raise ArgumentError(self._argument, "must reach the map, which ends at 85.0511 N and S", self._name)
        # Between the points that were looked up its edges may be bent.
        down, across = ((high - low) / _OUTLINE for low, high in ((top, bottom), (left, right)))
        return float(top - down), float(left - across), float(bottom + down), float(right + across)

    def _nearest_level(self) -> float:
        y, x = self.height / 2, self.width / 2
        row, column = self._on_map(np.array([y, y, y + 1]), np.array([x, x + 1, x]))
        column = (column - column[0] + TILE / 2) % TILE - TILE / 2
        (r1, c1), (r2, c2) = ((row[n] - row[0], column[n]) for n in (1, 2))
        area = abs(r1 * c2 - r2 * c1)
        if not (math.isfinite(area) and area > 0):
            raise ArgumentError(self._argument, "must have pixels of some size on the Earth", self._name)
        return -math.log2(area) / 2
