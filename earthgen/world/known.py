"""Imagery that a user knows, laid into a world: at its own level and the coarser ones it is there as it is.

A raster of any CRS and resolution is brought to the pyramid at the level of its own resolution, tile by tile, each
pixel on its own; coarser levels are averages of that. Its own level is the generated one nearest to its resolution, so
it is never enlarged or reduced by more than 2 on the way. Below, the world is made from it.

Where it ends, its colours seldom are those of the world around it. So what a level is made from (the coarser level) is
brought towards them over a few pixels, and as every level does so in turn, the transition is as wide as the raster is
large (Burt and Adelson 1983, with the cascade for the pyramid).
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window as Block
from scipy.ndimage import correlate1d

from earthgen.conditions import COARSE_FACTOR
from earthgen.errors import ArgumentError
from earthgen.models.inputs import filled
from earthgen.output.atomic import StrPath
from earthgen.output.picture import Picture
from earthgen.output.scene import Scene
from earthgen.world.base import averaged
from earthgen.world.cache import TileCache, tile_key
from earthgen.world.placement import Placement
from earthgen.world.projection import (
    MAX_LEVEL,
    TILE,
    Floats,
)
from earthgen.world.pyramid import CASCADE_STEP, Tile, Window
from earthgen.world.warp import interpolated, split

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Pixels = tuple[Image, Mask]
"""uint8 (height, width, 3), and which of them are known, (height, width); what the others hold means nothing."""

_NARROW, _WIDE = 3, (12, 4)
"""Coarser pixels that the Gaussians reach by which colours around a raster are brought towards its own."""
REACH = sum(_NARROW + reach for reach in _WIDE)
MARGIN = 8
"""Pixels, as `_NARROW` and the last of `_WIDE` reach, in whole latents."""
_LEAST = 1e-6
"""Of a weight that is divided by."""


class Source(Protocol):
    """A raster whose parts can be read."""

    height: int
    width: int
    crs: CRS | None
    transform: Affine | None

    def read(self, rows: range, columns: range, /) -> Pixels: ...


class _File:
    """A file of any size, read by windows."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.height, self.width = picture.height, picture.width
        self.crs, self.transform = picture.crs, picture.transform

    def read(self, rows: range, columns: range, /) -> Pixels:
        with self._picture.opened() as source:
            return self._picture.read(source, Block(columns.start, rows.start, len(columns), len(rows)))


class _Scene:
    """An image in memory."""

    def __init__(self, scene: Scene) -> None:
        self._image = scene.image
        self.height, self.width, self.crs, self.transform = scene.height, scene.width, scene.crs, scene.transform

    def read(self, rows: range, columns: range, /) -> Pixels:
        image = self._image[rows.start : rows.stop, columns.start : columns.stop]
        return image, np.ones(image.shape[:2], bool)


class Raster:
    """One raster, as tiles of the pyramid.

    Raises:
        ArgumentError: It has no CRS, lies beyond the map, or is coarser than what the world begins with.
        DataError: It cannot be read.
    """

    def __init__(self, given: StrPath | Scene | Picture, first: int, deepest: int) -> None:
        self._source: Source
        if isinstance(given, Scene):
            self.name, self._source, content = "scene", _Scene(given), given.image.tobytes()
        else:
            picture = given if isinstance(given, Picture) else Picture.open(Path(given), None, None)
            self.name, self._source, content = picture.path.name, _File(picture), _digest(picture)
        source = self._source
        self._place = Placement("known", self.name, source.height, source.width, source.crs, source.transform)
        self.reaches = self._place.reaches
        self.digest = hashlib.sha256(self._place.text.encode() + content).hexdigest()
        """Of its pixels and its place."""
        level = self._place.level
        self.level = first + CASCADE_STEP * round((level - first) / CASCADE_STEP)
        """The finest at which it is known, unless the world ends before."""
        if self.level < first:
            rule = f"must have pixels about as fine as level {first} of the map, where the world begins, or finer"
            raise ArgumentError("known", rule, f"{self.name}, of level {level:.1f}")
        self.level = min(self.level, deepest)
        self._read_level = min(max(math.ceil(level - 1e-6), self.level), MAX_LEVEL)

    def tile(self, tile: Tile, cache: TileCache) -> Pixels | None:
        """Its pixels of a tile; None where it has none."""
        if not self.reaches(tile.window):
            return None
        if tile.z > self.level:  # of use for coarser ones alone
            return self._made(tile, cache)
        key = tile_key("known", self.digest, self._read_level, *tile)
        if (kept := cache.get(key)) is None or kept.shape != (TILE, TILE, 4):
            image, known = self._made(tile, cache) or (
                np.zeros((TILE, TILE, 3), np.uint8),
                np.zeros((TILE, TILE), bool),
            )
            kept = np.dstack([image, known.astype(np.uint8)])
            cache.put(key, kept)
        return (kept[..., :3], kept[..., 3] > 0) if kept[..., 3].any() else None

    def _made(self, tile: Tile, cache: TileCache) -> Pixels | None:
        """A tile from the raster, or as the mean of the finer ones; a pixel is known if all four of it are."""
        if tile.z == self._read_level:
            return self._sampled(tile)
        z, x, y = tile
        image, known = np.zeros((2 * TILE, 2 * TILE, 3), np.uint8), np.zeros((2 * TILE, 2 * TILE), bool)
        for i in (0, 1):
            for j in (0, 1):
                if (part := self.tile(Tile(z + 1, 2 * x + j, 2 * y + i), cache)) is not None:
                    at = slice(TILE * i, TILE * (i + 1)), slice(TILE * j, TILE * (j + 1))
                    image[at], known[at] = part
        return averaged(image), np.asarray(known.reshape(TILE, 2, TILE, 2).all((1, 3)))

    def _sampled(self, tile: Tile) -> Pixels | None:
        """Each pixel on its own, interpolated between the raster's. Known where the four around it are."""
        rows, columns = (np.arange(n, n + TILE, dtype=np.float64) + 0.5 for n in (tile.window.top, tile.window.left))
        row, column = self._place.positions(tile.z, rows[:, None], columns[None, :])
        height, width = self._source.height, self._source.width
        with np.errstate(invalid="ignore"):
            inside = (row >= -0.5) & (row <= height - 0.5) & (column >= -0.5) & (column <= width - 0.5)
        if not inside.any():
            return None
        r, c = row[inside].clip(0, height - 1), column[inside].clip(0, width - 1)
        blocks: list[tuple[range, range, Mask]] = []

        def read(rows: range, columns: range) -> Image:
            """With the outermost pixels repeated, and unknown ones as those nearest to them."""
            i, j = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
            image, valid = self._source.read(range(int(i[0]), int(i[-1]) + 1), range(int(j[0]), int(j[-1]) + 1))
            around = np.ix_(i - i[0], j - j[0])
            blocks.append((rows, columns, valid[around]))
            return filled(image, valid)[around]

        image, known = np.zeros((TILE, TILE, 3), np.uint8), np.zeros((TILE, TILE), bool)
        image[inside] = interpolated(r, c, read)
        ((rows_read, columns_read, valid),) = blocks
        (i, u), (j, v) = split(r), split(c)
        i, j = i - rows_read.start, j - columns_read.start
        below, beside = i + (u > 0), j + (v > 0)
        known[inside] = valid[i, j] & valid[below, j] & valid[i, beside] & valid[below, beside]
        return (image, known) if known.any() else None


class KnownImagery:
    """Rasters laid over each other, the last on top. May be asked by several threads."""

    def __init__(self, rasters: Sequence[Raster], cache: TileCache) -> None:
        self._rasters, self._cache = tuple(rasters), cache
        self._lock = threading.RLock()  # GDAL's datasets and pyproj's transformers are for one thread at a time

    def knows(self, level: int) -> bool:
        """Whether anything is known at a level."""
        return any(level <= raster.level for raster in self._rasters)

    def pixels(self, window: Window) -> Pixels | None:
        """What is known of a window of any level; None for nothing."""
        rasters = [r for r in self._rasters if window.level <= r.level and r.reaches(window)]
        if not rasters:
            return None
        image, known = np.zeros((*window.shape, 3), np.uint8), np.zeros(window.shape, bool)
        for raster in rasters:
            for tile in window.tiles():
                part = tile.window.intersect(window)
                assert part is not None  # it meets the window
                if not raster.reaches(part):
                    continue
                with self._lock:
                    found = raster.tile(tile.wrapped, self._cache)
                if found is None:
                    continue
                into, of = part.slices_in(window), part.slices_in(tile.window)
                here = found[1][of]
                image[into][here] = found[0][of][here]
                known[into] |= here
        return (image, known) if known.any() else None

    def pasted(self, image: Image, window: Window) -> Image:
        """An image of a window with what is known of it in its place."""
        found = self.pixels(window)
        return image if found is None else np.where(found[1][..., None], found[0], image)

    def blended(self, pixels: Callable[[Window], Image], window: Window) -> Image:
        """A window with known colours in their place, and those around brought to meet them (`meeting`)."""
        wide = window.grown(REACH)
        found = self._shares(wide)
        if found is None:
            return pixels(window)
        colour, share = found[0], found[1][..., None]
        image = meeting(pixels(wide).astype(np.float64), colour, share, _WIDE)
        image = share * colour + (1 - share) * image
        return np.rint(image[REACH:-REACH, REACH:-REACH].clip(0, 255)).astype(np.uint8)

    def finished(self, image: Floats, window: Window) -> Image:
        """Pixels that were made of a window, 0 to 255, and of `MARGIN` around it: what is known of it laid into them.

        Those around it are brought to meet it over the last few pixels.
        """
        inner = slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN)
        found = self.pixels(window.grown(MARGIN))
        if found is not None:
            colour, share = found[0].astype(np.float64), found[1][..., None].astype(np.float64)
            image = np.where(share > 0, colour, meeting(image, colour, share, _WIDE[-1:]))
        return np.rint(image[inner].clip(0, 255)).astype(np.uint8)

    def laid(self, pixels: Callable[[Window], Image], window: Window) -> Image:
        """`blended`, with the known pixels of that level as they are."""
        return self.pasted(self.blended(pixels, window), window)

    def _shares(self, window: Window) -> tuple[Floats, Floats] | None:
        """Mean colour of what is known of each pixel, and which part of it that is, 0 to 1."""
        colour, share = np.zeros((*window.shape, 3)), np.zeros(window.shape)
        if (found := self.pixels(window)) is not None:
            colour, share = found[0].astype(np.float64), found[1].astype(np.float64)
        if (found := self.pixels(window.at_level(window.level + CASCADE_STEP))) is not None:
            cells = window.height, COARSE_FACTOR, window.width, COARSE_FACTOR
            image, known = found[0].reshape(*cells, 3).astype(np.int64), found[1].reshape(*cells)
            count = known.sum((1, 3))
            mean = (image * known[..., None]).sum((1, 3)) / np.maximum(count, 1)[..., None]
            colour = np.where(count[..., None] > 0, mean, colour)
            share = np.where(count > 0, count / COARSE_FACTOR**2, share)
        return (colour, share) if share.any() else None


def meeting(image: Floats, colour: Floats, share: Floats, reaches: Sequence[int]) -> Floats:
    """An image whose colours meet the known ones where those end.

        c' = c + min(1, 2 G a) G em / G e,    e = g a · g (1 - a),    m = g ak / g a - g (1 - a)c / g (1 - a)

    c is the image, k and a what is known of each pixel and which part of it that is, g and G a narrow and a wider
    Gaussian. So m is how far colours jump where what is known ends (there e is large); by as much those outside are
    moved there, and ever less farther out. A wide G is for the colours of the whole, a narrower one after it for what
    changes along its edge. A function of each place and its surroundings alone, as far as `_NARROW` + G, for each G.

    Args:
        image: (height, width, 3), 0 to 255.
        colour: The same, mean of what is known of each pixel.
        share: (height, width, 1), 0 to 1.
        reaches: Pixels that each G reaches.
    """
    inside, outside = _smooth(share, _NARROW), _smooth(1 - share, _NARROW)
    edge, known = inside * outside, _smooth(share * colour, _NARROW) / np.maximum(inside, _LEAST)
    for reach in reaches:
        jump = known - _smooth((1 - share) * image, _NARROW) / np.maximum(outside, _LEAST)
        offset = _smooth(edge * jump, reach) / np.maximum(_smooth(edge, reach), _LEAST)
        image = image + np.minimum(1, 2 * _smooth(share, reach)) * offset
    return image


def _smooth(values: Floats, reach: int) -> Floats:
    """A Gaussian of three deviations along rows and columns, the same at a place whatever lies beyond its reach."""
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * 3 / reach) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        values = correlate1d(values, kernel, axis, mode="constant")
    return values


def _digest(picture: Picture) -> bytes:
    """Of a file, with all that belong to it (masks, georeference), and of how its bands are read."""
    digest = hashlib.sha256(repr((picture.bands, picture.black_white)).encode())
    with picture.opened() as source:
        files = sorted(source.files)
    for name in files:
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()
