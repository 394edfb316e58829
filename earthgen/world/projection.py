"""The grid of the world: the web-mercator pyramid (`WebMercatorQuad`), its levels and pixels.

Level z shows the square of EPSG:3857 that reaches from 180° W to 180° E and 85.0511° S to 85.0511° N in 256·2ᶻ pixels a
side, cut into tiles of 256. Pixel coordinates are (row, column): row 0 begins at the northern edge, column 0 at the
antimeridian, whole numbers are pixels' edges and n + ½ their centres. Columns go around: column c and column
c + 256·2ᶻ are the same place. Rows do not: what lies outside 0 to 256·2ᶻ is not on the map, and nothing is there.

True GSD is the level's resolution × cos(latitude). `earthgen.geo` has both ways: `mercator_gsd(level, lat)` and, with
fractions of a level, `mercator_zoom(gsd, lat)`. Here `level_for` gives whole levels.

Coordinates are float64. At level 30, the last, metres are good to 3e-5 px and degrees to 2e-4 px; at each level above
it twice as good.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS

from earthgen.errors import ArgumentError
from earthgen.geo import EARTH_RADIUS, mercator_zoom
from earthgen.world.noise import whole_number

WEB_MERCATOR = CRS.from_epsg(3857)
TILE = 256
"""Pixels a side of a tile."""
MAX_LEVEL = 30
HALF_SIDE = math.pi * EARTH_RADIUS
"""Metres in EPSG:3857 from the map's centre to each of its edges."""
MAX_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
"""Degrees, 85.0511: where the square ends."""

Floats = NDArray[np.float64]


def world_size(level: int) -> int:
    """Pixels a side of the whole map: 256·2ᶻ."""
    return TILE << whole_number("level", level, 0, MAX_LEVEL)


def resolution(level: int) -> float:
    """Metres a pixel in EPSG:3857, which is its GSD on the equator: 156,543.03 / 2ᶻ."""
    return 2 * HALF_SIDE / world_size(level)


def transform(level: int, top: float = 0, left: float = 0) -> Affine:
    """Pixels (column, row) → EPSG:3857 metres, for an image whose upper left corner is at row `top`, column `left`."""
    pixel = resolution(level)
    return Affine(pixel, 0, left * pixel - HALF_SIDE, 0, -pixel, HALF_SIDE - top * pixel)


def pixel_to_mercator(level: int, rows: ArrayLike, columns: ArrayLike) -> tuple[Floats, Floats]:
    """Pixel coordinates → x, y in EPSG:3857 metres. Columns outside the map give x outside it."""
    pixel = resolution(level)
    return np.asarray(columns, float) * pixel - HALF_SIDE, HALF_SIDE - np.asarray(rows, float) * pixel


def mercator_to_pixel(level: int, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """EPSG:3857 metres → pixel coordinates (rows, columns)."""
    pixel = resolution(level)
    return (HALF_SIDE - np.asarray(y, float)) / pixel, (np.asarray(x, float) + HALF_SIDE) / pixel


def mercator_to_position(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """EPSG:3857 metres → lat, lon in degrees WGS 84, with lon in [-180, 180)."""
    with np.errstate(over="ignore"):  # far beyond the map's edge, where the pole is
        lat = np.degrees(np.arctan(np.sinh(np.asarray(y, float) / EARTH_RADIUS)))
    lon = np.degrees(np.asarray(x, float) / EARTH_RADIUS)
    lon = (lon + 180) % 360 - 180
    return lat, np.where(lon >= 180, -180.0, lon)  # rounding may reach 180 from just below -180


def position_to_mercator(lat: ArrayLike, lon: ArrayLike) -> tuple[Floats, Floats]:
    """lat, lon in degrees WGS 84 → x, y in EPSG:3857 metres; lon is not wrapped, so 190° lies beyond the map's edge.

    Latitudes beyond the map give y beyond it, and the poles ± infinity.

    Raises:
        ArgumentError: A latitude is not within -90 to 90, or a longitude not finite.
    """
    lat, lon = np.asarray(lat, float), np.asarray(lon, float)
    if not (np.abs(lat) <= 90).all():
        raise ArgumentError("lat", "must be degrees north from -90 to 90", lat)
    if not np.isfinite(lon).all():
        raise ArgumentError("lon", "must be finite numbers of degrees", lon)
    y = EARTH_RADIUS * np.arcsinh(np.tan(np.radians(lat)))
    return EARTH_RADIUS * np.radians(lon), np.where(np.abs(lat) == 90, np.copysign(np.inf, lat), y)


def pixel_to_position(level: int, rows: ArrayLike, columns: ArrayLike) -> tuple[Floats, Floats]:
    """Pixel coordinates → lat, lon in degrees WGS 84, with lon in [-180, 180)."""
    return mercator_to_position(*pixel_to_mercator(level, rows, columns))


def position_to_pixel(level: int, lat: ArrayLike, lon: ArrayLike) -> tuple[Floats, Floats]:
    """lat, lon in degrees WGS 84 → pixel coordinates (rows, columns); on the map where `on_map(level, rows)`.

    Raises:
        ArgumentError: A latitude is not within -90 to 90, or a longitude not finite.
    """
    return mercator_to_pixel(level, *position_to_mercator(lat, lon))


def on_map(level: int, rows: ArrayLike) -> NDArray[np.bool_]:
    """Which rows, or pixel coordinates of rows, lie between the map's edges at 85.0511° N and S."""
    rows = np.asarray(rows)
    return (0 <= rows) & (rows < world_size(level))


def wrap_columns(level: int, columns: ArrayLike) -> NDArray[Any]:
    """The same places with columns from 0 to just below 256·2ᶻ. Of the type that came in, whole or not."""
    return np.mod(columns, world_size(level))


def gsd_at(level: int, rows: ArrayLike) -> Floats:
    """True GSD in metres at pixel coordinates of rows: resolution × cos(latitude). Centres of pixels are at n + ½."""
    _, y = pixel_to_mercator(level, rows, 0)
    with np.errstate(over="ignore"):
        return resolution(level) / np.cosh(y / EARTH_RADIUS)  # cos(latitude) = 1 / cosh(y / R)


def level_for(gsd: float, lat: float) -> int:
    """The coarsest level whose pixels at a latitude measure at most `gsd` metres on the ground; 0 if all do.

    Raises:
        ArgumentError: `gsd` is not a number > 0 or finer than the last level, or `lat` is not on the map.
    """
    check_on_map(lat)
    # A level's own GSD, printed with 10 digits and read again, must come back to that level.
    level = max(0, math.ceil(mercator_zoom(gsd, lat) - 1e-9))
    if level > MAX_LEVEL:
        raise ArgumentError("gsd", f"must not be finer than level {MAX_LEVEL}", gsd)
    return level


def check_on_map(lat: float) -> None:
    """Raise `ArgumentError` for a latitude beyond the map, or that is no number."""
    if not abs(lat) <= MAX_LATITUDE:
        raise ArgumentError("lat", "must be degrees from -85.0511 to 85.0511, where web mercator's square ends", lat)
