"""Grids in any CRS, and how they are filled from the pyramid.

Each pixel is found on its own: its centre brought to the map exactly (no grid of control points between which others
are guessed), the level chosen by its own size, and then interpolated between 4 × 4 pixels of that level. So a part of
a grid is the same whatever is asked around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS as ProjCRS
from pyproj import Geod, Transformer
from rasterio.crs import CRS
from rasterio.errors import CRSError

from earthgen import geo
from earthgen.conditions import check_number
from earthgen.errors import ArgumentError
from earthgen.world.noise import whole_number
from earthgen.world.projection import (
    MAX_LATITUDE,
    TILE,
    WEB_MERCATOR,
    level_for,
    position_to_pixel,
    transform,
    world_size,
)
from earthgen.world.pyramid import Window

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]

MAX_SIDE = 2**24
MAX_PIXELS = 10**9
"""Of an image in memory; what is larger goes to a file, block by block."""
_SAME_LEVEL = 1e-6
"""Levels. A pixel of a level, found by way of another CRS, is still one of that level."""
_ON_PIXEL = 1e-6
"""Pixels. What is so near a pixel's centre is that pixel."""
_PROBE = 1.0
"""Metres, over which the scale of a CRS is measured at a place."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie: raises `ArgumentError` for what is no such thing."""

    crs: CRS
    transform: Affine
    """(column, row) of pixel corners to `crs`; may be rotated."""
    height: int
    width: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "crs", parsed_crs(self.crs))
        for name in ("height", "width"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1, MAX_SIDE))
        t = self.transform
        if not isinstance(t, Affine) or not all(map(math.isfinite, t)) or not abs(t.determinant) > 0:
            raise ArgumentError("transform", "must be an Affine that can be inverted", t)

    @classmethod
    def around(cls, lat: float, lon: float, gsd: float, size: tuple[int, int], crs: Any = None) -> Grid:
        """North-up around a place, with pixels of `gsd` metres on the ground at its centre.

        Args:
            lat: Degrees.
            lon: Degrees.
            gsd: Metres.
            size: (height, width) in pixels.
            crs: None for the UTM zone of the place, or the equal-area projection about it where the image is too large
                for a zone (`earthgen.geo.crs_for`). EPSG:3857 for the pyramid's own pixels, of the coarsest level
                whose GSD is at most `gsd`. In a geographic CRS, pixels are as wide and as high on the ground.
        """
        height, width = check_size(size)
        check_number("lat", lat, "must be degrees north from -90 to 90", -90, 90)
        check_number("lon", lon, "must be a finite number of degrees", -math.inf, math.inf)
        check_number("gsd", gsd, "must be a finite number of metres > 0", 0, math.inf, low_open=True)
        if abs(lat) > MAX_LATITUDE:
            raise ArgumentError("lat", "must be from -85.0511 to 85.0511, where the world's map ends", lat)
        lon = geo.wrap_longitude(lon)
        if crs is None:
            return cls(*geo.transform_for(lat, lon, gsd, height, width), height, width)
        crs = parsed_crs(crs)
        if crs == WEB_MERCATOR:
            level = level_for(gsd, lat)
            window = Window.around(level, lat, lon, height, width)
            return cls(crs, transform(level, window.top, window.left), height, width)
        forward = Transformer.from_crs(geo.WGS84, ProjCRS.from_wkt(crs.to_wkt()), always_xy=True)
        x, y = forward.transform(lon, lat)
        across, down = _scales(forward, lat, lon)
        if not all(map(math.isfinite, (x, y, across, down))) or min(across, down) <= 0:
            raise ArgumentError("crs", f"must be one that shows {lat:g} N, {lon:g} E", crs.to_string())
        across, down = gsd * across, gsd * down
        return cls(crs, Affine(across, 0, x - across * width / 2, 0, -down, y + down * height / 2), height, width)

    @property
    def gsd(self) -> float:
        """Metres on the ground a pixel, in its middle, to four digits; infinite where the CRS shows no place."""
        back = Transformer.from_crs(ProjCRS.from_wkt(self.crs.to_wkt()), geo.WGS84, always_xy=True)
        middle = self.width / 2, self.height / 2
        # From corner to corner of a pixel both ways: half the product of the diagonals of a square is its area.
        ends = [(-0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (0.5, -0.5)]
        x, y = zip(*(self.transform @ (middle[0] + dx, middle[1] + dy) for dx, dy in ends), strict=True)
        lon, lat = back.transform(x, y)
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            return math.inf
        _, _, metres = Geod(ellps="WGS84").inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
        return float(f"{math.sqrt(metres[0] * metres[1] / 2):.4g}")


def parsed_crs(crs: Any) -> CRS:
    """A horizontal CRS from anything rasterio knows: its own, a code, WKT, PROJ.

    Raises:
        ArgumentError: It is unknown, or none of places on the Earth.
    """
    try:
        found = CRS.from_user_input(crs)
    except (CRSError, TypeError, ValueError):
        raise ArgumentError("crs", 'must be a CRS, such as "EPSG:32632"', crs) from None
    if not (found.is_projected or found.is_geographic):
        raise ArgumentError("crs", "must be a projected or geographic CRS", found.to_string())
    return found


def check_size(size: Any) -> tuple[int, int]:
    """(height, width), or one number for both."""
    sides = (size, size) if isinstance(size, (int, np.integer)) else size
    if not isinstance(sides, (tuple, list)) or len(sides) != 2:
        raise ArgumentError("size", "must be (height, width) in pixels", size)
    height, width = (whole_number("size", side, 1, MAX_SIDE) for side in sides)
    return height, width


def _scales(forward: Transformer, lat: float, lon: float) -> tuple[float, float]:
    """Units of a CRS for a metre on the ground along its two axes, at a place."""
    geod = Geod(ellps="WGS84")
    geographic = forward.target_crs is not None and forward.target_crs.is_geographic
    steps = []
    for azimuth in (90, 0):
        ends = [geod.fwd(lon, lat, azimuth, sign * _PROBE / 2)[:2] for sign in (1, -1)]
        (x1, y1), (x0, y0) = (forward.transform(*end) for end in ends)
        across = (x1 - x0 + 180) % 360 - 180 if geographic else x1 - x0  # the short way around the world
        steps.append((across / _PROBE, (y1 - y0) / _PROBE))
    (ex, ey), (nx, ny) = steps
    if geographic:
        return abs(ex), abs(ny)
    pixel = math.sqrt(abs(ex * ny - ey * nx))  # a grid may be turned against north
    return pixel, pixel


def sources(grid: Grid, rows: range, columns: range) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Where the pixels of a part of a grid lie: level 0's (row, column), and each one's level.

    Rows are NaN where the CRS shows no place. Levels are the coarsest whose pixels are no larger than the grid's.
    """
    # One more to the right and below: a pixel's size is the way to its neighbours.
    j, i = np.meshgrid(np.arange(columns.start, columns.stop + 1) + 0.5, np.arange(rows.start, rows.stop + 1) + 0.5)
    t = grid.transform
    x, y = t.a * j + t.b * i + t.c, t.d * j + t.e * i + t.f
    if grid.crs == WEB_MERCATOR:
        ends = transform(0)
        r, c = (y - ends.f) / ends.e, (x - ends.c) / ends.a
    else:
        back = Transformer.from_crs(ProjCRS.from_wkt(grid.crs.to_wkt()), geo.WGS84, always_xy=True)
        lon, lat = back.transform(x, y)
        shown = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
        r, c = position_to_pixel(0, np.where(shown, lat, 0), np.where(shown, lon, 0))
        r = np.where(shown, r, np.nan)
    r = np.where(np.isinf(r), np.where(r > 0, 4.0 * TILE, -3.0 * TILE), r)  # the poles
    with np.errstate(invalid="ignore", divide="ignore"):
        down = [r[1:, :-1] - r[:-1, :-1], c[1:, :-1] - c[:-1, :-1]]
        across = [r[:-1, 1:] - r[:-1, :-1], c[:-1, 1:] - c[:-1, :-1]]
        for step in (down, across):
            step[1] = (step[1] + TILE / 2) % TILE - TILE / 2  # the short way around the world
        area = np.abs(down[0] * across[1] - down[1] * across[0])
        levels = np.ceil(-np.log2(area) / 2 - _SAME_LEVEL)
    levels = np.where(np.isfinite(levels), levels, 0).clip(0, 62).astype(np.intp)
    return r[:-1, :-1], c[:-1, :-1], levels


def filled(
    grid: Grid, rows: range, columns: range, pixels: Callable[[Window], Image], deepest: int
) -> tuple[Image, NDArray[np.bool_]]:
    """The pixels of a part of a grid, and which of them lie on the map.

    Args:
        grid: The whole grid.
        rows: Of the part.
        columns: Of the part.
        pixels: Gives windows of any level.
        deepest: Levels beyond it are not asked for.

    Returns:
        uint8 (len(rows), len(columns), 3), and bool (len(rows), len(columns)): False beyond 85.0511° N and S, where the
        map's outermost row goes on, and where the CRS shows no place, which is black.
    """
    r, c, levels = sources(grid, rows, columns)
    image = np.zeros((*r.shape, 3), np.uint8)
    shown = np.isfinite(r)
    valid = shown & (r >= 0) & (r < TILE)
    levels = np.minimum(levels, deepest)
    for level in np.unique(levels[shown]):
        at = np.nonzero(shown & (levels == level))
        size = world_size(int(level))
        # From the pixel whose centre is to the upper left. Beyond the poles nothing changes with the row.
        row, column = np.clip(r[at] * (size / TILE), -8, size + 8) - 0.5, (c[at] * (size / TILE) - 0.5) % size
        tiles = np.floor(row).astype(np.int64) // TILE * (size // TILE + 2) + np.floor(column).astype(np.int64) // TILE
        order = np.argsort(tiles, kind="stable")
        bounds = np.flatnonzero(np.diff(tiles[order])) + 1
        for some in np.split(order, bounds):

            def read(rows: range, columns: range, level: int = int(level)) -> Image:
                return pixels(Window(level, rows.start, columns.start, len(rows), len(columns)))

            image[at[0][some], at[1][some]] = interpolated(row[some], column[some], read)
    return image, valid


def interpolated(row: Floats, column: Floats, read: Callable[[range, range], Image]) -> Image:
    """Catmull and Rom's cubic between pixels, at positions counted from pixels' centres: uint8 (n, 3).

    `read` gives the pixels of some rows and columns, those around the positions.
    """
    i, u = split(row)
    j, v = split(column)
    alone = not (u.any() or v.any())
    before, after = (0, 1) if alone else (1, 3)
    top, left = int(i.min()) - before, int(j.min()) - before
    image = read(range(top, int(i.max()) + after), range(left, int(j.max()) + after))
    i, j = i - top, j - left
    if alone:
        return image[i, j]
    down, across = _cubic(u), _cubic(v)
    total = np.zeros((len(i), 3), np.float32)
    for m in range(4):
        line = np.zeros_like(total)
        for n in range(4):
            line += across[n][:, None] * image[i + (m - 1), j + (n - 1)]
        total += down[m][:, None] * line
    return np.rint(total.clip(0, 255)).astype(np.uint8)


def split(positions: Floats) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pixel before a position, and how far it is beyond that."""
    nearest = np.rint(positions)
    positions = np.where(np.abs(positions - nearest) < _ON_PIXEL, nearest, positions)
    whole = np.floor(positions)
    return whole.astype(np.int64), (positions - whole).astype(np.float32)


def _cubic(t: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Weights of the four pixels around a position. Keys 1981, with a = -1/2."""
    return [
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
