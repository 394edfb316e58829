"""NASA Blue Marble with shaded relief and bathymetry: the whole world in Web Mercator tiles."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from earthgen.data.base import MERCATOR_GSD, Facts, Reader, Sample, Split, read_rgb, split_of, wrapped
from earthgen.errors import ArgumentError, DataError

TILE = 256
SPLIT_ZOOM = 4
"""Tiles of this zoom, 2,500 km wide at the equator, are wholly train or test, with all their descendants."""


class BlueMarble(Reader):
    """XYZ tiles `bluemarble/z/x/y.jpeg`, EPSG:3857, 256 px, y counted from the north.

    An item is a window of `tiles` x `tiles` tiles that starts at a tile, so that random crops of it may straddle
    tiles; where the neighbours are missing or of the other split it is that tile alone. There is one item for each
    tile of the split. Longitude wraps around. Tiles of zoom 4 and deeper are split by the hash of their zoom 4
    ancestor; coarser ones, which show the whole world, are always train.

    Args:
        zooms: Zoom levels to take, 0 to 8; None takes all that are there.
        tiles: Side of a window in tiles.
    """

    name = "bluemarble"
    folder = "bluemarble"
    licence = "NASA, free to use with credit (Blue Marble Next Generation, NASA Earth Observatory)"
    homepage = "https://visibleearth.nasa.gov/collection/1484/blue-marble"
    may_ship_weights = True

    def __init__(
        self,
        root: Path | str | None = None,
        split: Split = "train",
        zooms: Iterable[int] | None = None,
        tiles: int = 2,
    ) -> None:
        super().__init__(root, split)
        if tiles < 1:
            raise ArgumentError("tiles", "must be at least 1", tiles)
        found = sorted(int(p.name) for p in self.path.iterdir() if p.is_dir() and p.name.isdigit())
        self.zooms = tuple(found if zooms is None else zooms)
        for zoom in self.zooms:
            self.require(self.path / str(zoom))
        self.tiles = {zoom: self._tiles_at(zoom) for zoom in self.zooms}
        self.items: list[tuple[int, int, int, int]] = []
        for zoom in self.zooms:
            side = min(tiles, 2**zoom)
            for x, y in sorted(self.tiles[zoom]):
                fits = all(((x + i) % 2**zoom, y + j) in self.tiles[zoom] for i in range(side) for j in range(side))
                self.items.append((zoom, x, y, side if fits else 1))

    def _tiles_at(self, zoom: int) -> set[tuple[int, int]]:
        files = (self.path / str(zoom)).glob("*/*.jpeg")
        tiles = ((int(file.parent.name), int(file.stem)) for file in files)
        return {(x, y) for x, y in tiles if self.wanted(split_of_tile(zoom, x, y))}

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, index: int) -> Sample:
        """Image, GSD at the centre and position."""
        zoom, x, y, side = self.items[index]
        return self.window(zoom, x * TILE, y * TILE, side * TILE, side * TILE)

    def window(self, zoom: int, x: int, y: int, width: int, height: int) -> Sample:
        """Any window of the world picture of `zoom`, in its pixels from the north west corner at (180 W, 85.05 N).

        `x` wraps around the antimeridian. The window may show ground of both splits: keep to the items for training.

        Raises:
            ArgumentError: The window is empty, wider than the world or reaches beyond its north or south edge.
            DataError: A tile of it is missing.
        """
        world = TILE * 2**zoom
        if not (0 < width <= world and height > 0 and y >= 0 and y + height <= world):
            rule = f"must lie within the world of {world} px at zoom {zoom}"
            raise ArgumentError("window", rule, (x, y, width, height))
        image = np.empty((height, width, 3), np.uint8)
        for row in range(y // TILE, (y + height - 1) // TILE + 1):
            for column in range(x // TILE, (x + width - 1) // TILE + 1):
                tile = self._read(zoom, column % 2**zoom, row)
                left, top = column * TILE - x, row * TILE - y
                target = image[max(top, 0) : top + TILE, max(left, 0) : left + TILE]
                source = tile[max(-top, 0) :, max(-left, 0) :]
                target[:] = source[: target.shape[0], : target.shape[1]]
        lat, lon = place_of(zoom, x + width / 2, y + height / 2)
        gsd = MERCATOR_GSD * math.cos(math.radians(lat)) / 2**zoom
        return Sample(
            image=image,
            gsd=gsd,
            lat=lat,
            lon=lon,
            date=None,
            source=self.name,
            id=f"{zoom}/{x}/{y}/{width}x{height}",
            facts=Facts(sensor="satellite"),
            cloud_cover=0.0,
            projection="mercator",
        )

    def _read(self, zoom: int, x: int, y: int) -> NDArray[np.uint8]:
        path = self.path / str(zoom) / str(x) / f"{y}.jpeg"
        self.require(path)
        tile = read_rgb(path)
        if tile.shape != (TILE, TILE, 3):
            raise DataError(f"{path} is {tile.shape}, but tiles are {TILE} px squares")
        gap = 2**zoom >> 5
        if gap and x == 2**zoom - 1:
            # The source has a black line there, 1 px wide at zoom 5 and twice that at each further one.
            tile[:, -gap:] = tile[:, -gap - 1 : -gap]
        return tile


def split_of_tile(zoom: int, x: int, y: int) -> Literal["train", "test"]:
    """Train or test of a tile: by its zoom 4 ancestor, or train for tiles that are coarser."""
    if zoom < SPLIT_ZOOM:
        return "train"
    shift = zoom - SPLIT_ZOOM
    return split_of(f"bluemarble/{x >> shift}/{y >> shift}")


def place_of(zoom: int, x: float, y: float) -> tuple[float, float]:
    """Latitude and longitude in degrees of a pixel position of the world picture of `zoom`."""
    world = TILE * 2.0**zoom
    lat = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / world))))
    return lat, wrapped(360.0 * x / world - 180.0)
