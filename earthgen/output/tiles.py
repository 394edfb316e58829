"""Which tiles of the web mercator pyramid an archive holds, and how each is encoded."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from pmtiles.tile import TileType

from earthgen.conditions import check_number
from earthgen.errors import ArgumentError
from earthgen.output.partial import identity_of
from earthgen.output.provenance import SYNTHETIC_MARK, Provenance

TILE_SIZE = 256
MAX_ZOOM = 30
MAX_TILES = 10**8
"""Of a request; more is a mistake in its bounds or zooms."""
MAX_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
"""Degrees, 85.0511: where the square of web mercator ends."""

_EDGE = 1e-6
"""Share of a tile by which bounds may miss its edge: rounding, not a wish for the tile beyond."""


class _Format(NamedTuple):
    pillow: str
    pmtiles: TileType
    media_type: str
    least: float
    """Bytes of a tile without detail, and of one with: Blue Marble, and NAIP and OpenAerialMap."""
    typical: float


FORMATS = {
    "png": _Format("PNG", TileType.PNG, "image/png", 15e3, 120e3),
    "jpg": _Format("JPEG", TileType.JPEG, "image/jpeg", 2e3, 20e3),
    "webp": _Format("WEBP", TileType.WEBP, "image/webp", 1e3, 15e3),
}


@dataclass(frozen=True)
class TileRequest:
    """Which tiles, how they are encoded, and what the archive says of itself.

    Raises `ArgumentError` where an argument is out of range, no tile is asked for, or more than `MAX_TILES`.
    """

    bounds: tuple[float, float, float, float]
    """West, south, east, north, degrees WGS 84; west > east across the antimeridian. Cut at 85.05°, where tiles end."""
    minzoom: int
    maxzoom: int
    provenance: Provenance
    name: str = "earthgen"
    format: str = "png"
    """`png` (exact), `jpg` or `webp`."""
    quality: int = 85
    """Of `jpg` and `webp`, 1 to 100."""

    def __post_init__(self) -> None:
        for name in ("minzoom", "maxzoom"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ZOOM:
                raise ArgumentError(name, f"must be a whole number from 0 to {MAX_ZOOM}", value)
        if self.minzoom > self.maxzoom:
            raise ArgumentError(
                "minzoom", f"must be at most `maxzoom` ({self.maxzoom}), or there are no tiles", self.minzoom
            )
        self._check_bounds()
        if not isinstance(self.name, str) or not self.name.strip():
            raise ArgumentError("name", "must be a non-empty string", self.name)
        if self.format not in FORMATS:
            raise ArgumentError("format", f"must be one of {tuple(FORMATS)}", self.format)
        if not isinstance(self.quality, int) or not 1 <= self.quality <= 100:
            raise ArgumentError("quality", "must be a whole number from 1 to 100", self.quality)
        if self.count > MAX_TILES:
            rule = f"must leave at most {MAX_TILES:,} tiles in the bounds ({self.count:,} are asked for)"
            raise ArgumentError("maxzoom", rule, self.maxzoom)

    def _check_bounds(self) -> None:
        try:
            west, south, east, north = map(float, self.bounds)
        except (TypeError, ValueError):
            raise ArgumentError("bounds", "must be four numbers: west, south, east, north", self.bounds) from None
        for name, value, most in (("west", west, 180), ("south", south, 90), ("east", east, 180), ("north", north, 90)):
            check_number(f"bounds.{name}", value, f"must be degrees from -{most} to {most}", -most, most)
        if south >= north or west == east or (west, east) == (180, -180):
            raise ArgumentError("bounds", "must hold an area: south < north, and west other than east", self.bounds)
        if south >= MAX_LATITUDE or north <= -MAX_LATITUDE:
            rule = f"must reach into latitudes of web mercator, {MAX_LATITUDE:.2f} S to {MAX_LATITUDE:.2f} N"
            raise ArgumentError("bounds", rule, self.bounds)
        south, north = max(south, -MAX_LATITUDE), min(north, MAX_LATITUDE)
        object.__setattr__(self, "bounds", (-180.0 if west == 180 else west, south, east, north))

    def columns(self, zoom: int) -> tuple[range, ...]:
        """The columns at a zoom up to `maxzoom`; across the antimeridian two ranges, which may overlap."""
        west, _, east, _ = self.bounds
        parts = ((west, east),) if west < east else ((west, 180.0), (-180.0, east))
        return tuple(self._indices((low + 180) / 360, (high + 180) / 360, zoom) for low, high in parts)

    def rows(self, zoom: int) -> range:
        """The rows at a zoom up to `maxzoom`, from the north."""
        _, south, _, north = self.bounds
        return self._indices(_from_top(north), _from_top(south), zoom)

    def _indices(self, low: float, high: float, zoom: int) -> range:
        """Tiles between two shares of the pyramid's side. Found at the finest zoom, so that coarser ones hold them."""
        side = 1 << self.maxzoom
        first = min(max(math.floor(low * side + _EDGE), 0), side - 1)
        last = min(max(math.ceil(high * side - _EDGE) - 1, first), side - 1)
        shift = self.maxzoom - zoom
        return range(first >> shift, (last >> shift) + 1)

    @property
    def count(self) -> int:
        """The number of tiles."""
        zooms = range(self.minzoom, self.maxzoom + 1)
        return sum(min(sum(map(len, self.columns(z))), 1 << z) * len(self.rows(z)) for z in zooms)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Zoom, column and row of each tile: down the quadtree, each tile before those that refine it."""
        places = [(self.columns(zoom), self.rows(zoom)) for zoom in range(self.maxzoom + 1)]
        ahead = [(0, 0, 0)]
        while ahead:
            zoom, x, y = ahead.pop()
            columns, rows = places[zoom]
            if y not in rows or not any(x in part for part in columns):
                continue
            if zoom >= self.minzoom:
                yield zoom, x, y
            if zoom < self.maxzoom:
                ahead += [(zoom + 1, 2 * x + dx, 2 * y + dy) for dy, dx in ((1, 1), (1, 0), (0, 1), (0, 0))]

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        """A tile as a file, with the mark as its description (EXIF).

        Raises `ArgumentError` for anything but uint8 RGB (256, 256, 3).
        """
        shape = (TILE_SIZE, TILE_SIZE, 3)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != shape:
            shown = (image.dtype, image.shape) if isinstance(image, np.ndarray) else image
            raise ArgumentError("tile", f"must give a uint8 array of shape {shape}", shown)
        exif = Image.Exif()
        exif[ExifTags.Base.ImageDescription] = SYNTHETIC_MARK
        buffer = io.BytesIO()
        options = {} if self.format == "png" else {"quality": self.quality}
        Image.fromarray(image).save(buffer, format=FORMATS[self.format].pillow, exif=exif, **options)
        return buffer.getvalue()

    def about(self) -> dict[str, Any]:
        """What all archives say: TileJSON's words, and the tags of the provenance."""
        west, south, east, north = self.bounds
        if west > east:  # readers of archives do not know bounds across the antimeridian
            west, east = -180.0, 180.0
        return {
            "name": self.name,
            "description": ". ".join(filter(None, (SYNTHETIC_MARK, self.provenance.prompt))),
            "attribution": SYNTHETIC_MARK,
            "version": "1.0.0",
            "bounds": [west, south, east, north],
            "center": [(west + east) / 2, (south + north) / 2, self.minzoom],
            "minzoom": self.minzoom,
            "maxzoom": self.maxzoom,
            **self.provenance.to_tags(),
        }

    def identity(self) -> dict[str, Any]:
        """All that decides about the archive, JSON-ready."""
        names = ("bounds", "minzoom", "maxzoom", "name", "format", "quality")
        return {**{name: getattr(self, name) for name in names}, "provenance": identity_of(self.provenance)}


def _from_top(lat: float) -> float:
    """Share of the mercator square that lies north of a latitude."""
    return 0.5 - math.asinh(math.tan(math.radians(lat))) / (2 * math.pi)
