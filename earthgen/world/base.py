"""What the world stands on: a real map of the Earth in the package, coarse enough to ship.

NASA's Blue Marble with shaded relief and bathymetry at web-mercator level 6 (2.4 km a pixel at the equator), and
level 2 without loss, so that a map of the whole Earth need not read all of it. `benchmarks/base_map.py` makes both.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image as Picture
from rasterio.env import Env
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as Block

from earthgen.errors import ArgumentError, DataError
from earthgen.world.deblock import REACH, take_steps
from earthgen.world.projection import world_size
from earthgen.world.pyramid import Window

Image = NDArray[np.uint8]

CREDIT = "NASA Earth Observatory, Blue Marble: Next Generation"
_FOLDER = Path(__file__).resolve().parent / "data"
_CACHE_BYTES = 16 << 20
_STEPS = {16: 2.0, 512: 40.0}
"""Grey levels squared: how much more the pixels differ across borders of WebP's blocks than elsewhere."""


class Base(Protocol):
    """The level of a world that is given, not made; perhaps some coarser ones, which are its averages."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Those it has, the finest first: that is the one which finer levels are made from."""

    @property
    def key(self) -> str:
        """Names its content."""

    def pixels(self, window: Window) -> Image:
        """Of a window of one of its levels, uint8 (height, width, 3); see `surrounding` for those off the map."""


class Read(Protocol):
    def __call__(self, rows: range, columns: range, /) -> Image: ...


class BaseMap:
    """Blue Marble from the package. May be read by several threads.

    Raises:
        DataError: The files are missing or damaged.
    """

    levels: tuple[int, ...] = (6, 2)

    def __init__(self, folder: Path = _FOLDER) -> None:
        fine, coarse = folder / f"blue-marble-{self.levels[0]}.tif", folder / f"blue-marble-{self.levels[1]}.png"
        try:
            self.key = f"blue-marble-{hashlib.sha256(fine.read_bytes()).hexdigest()[:16]}"
            self._dataset = rasterio.open(fine)
            with Picture.open(coarse) as picture:
                self._coarse = np.array(picture.convert("RGB"))
        except (OSError, RasterioError) as error:
            problem = f"the world's base map is not in {folder}, or damaged: reinstall earthgen ({error})"
            raise DataError(problem) from error
        shapes = (self._dataset.height, self._dataset.width), self._coarse.shape[:2]
        if shapes != tuple((world_size(level),) * 2 for level in self.levels):
            raise DataError(f"the world's base map in {folder} has not the size of its levels: reinstall earthgen")
        self._lock = threading.Lock()  # GDAL's datasets are for one thread at a time

    def pixels(self, window: Window) -> Image:
        """See `Base`."""
        if window.level not in self.levels:
            raise ArgumentError("window.level", f"must be one of {self.levels}", window.level)
        if window.level != self.levels[0]:
            return surrounding(window, lambda rows, columns: self._coarse[_slice(rows), _slice(columns)])
        return surrounding(window, self._read)

    def _read(self, rows: range, columns: range) -> Image:
        try:
            with self._lock, Env(GDAL_CACHEMAX=_CACHE_BYTES):
                return read_map(self._dataset, rows, columns)
        except RasterioError as error:
            raise DataError(f"the world's base map is damaged: reinstall earthgen ({error})") from error


def read_map(dataset: DatasetReader, rows: range, columns: range) -> Image:
    """Pixels of the packaged map without the steps that WebP left at the borders of its macroblocks and tiles.

    The antimeridian is a border of tiles too, across which the map goes on.
    """
    top, bottom = max(rows.start - REACH, 0), min(rows.stop + REACH, dataset.height)
    left, right = columns.start - REACH, columns.stop + REACH
    spans = [(max(left, 0), min(right, dataset.width))]
    if left < 0:
        spans.insert(0, (left + dataset.width, dataset.width))
    if right > dataset.width:
        spans.append((0, right - dataset.width))
    read = [dataset.read(window=Block(first, top, last - first, bottom - top)) for first, last in spans]
    pixels = np.moveaxis(np.concatenate(read, 2).astype(np.float32), 0, 2)
    take_steps(pixels, _STEPS, top, left)
    there = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return np.rint(pixels[there].clip(0, 255)).astype(np.uint8)


def surrounding(window: Window, read: Read) -> Image:
    """A window that may go around the world and beyond the poles, from a reader that knows the map alone.

    Beyond the northern and southern edge, at 85.0511°, the outermost row goes on.
    """
    size = world_size(window.level)
    first, last = (min(max(row, 0), size - 1) for row in (window.top, window.bottom - 1))
    rows = range(first, last + 1)
    parts, left = [], window.left
    while left < window.right:
        start = left % size
        width = min(size - start, window.right - left)
        parts.append(read(rows, range(start, start + width)))
        left += width
    image = parts[0] if len(parts) == 1 else np.concatenate(parts, 1)
    if len(rows) == window.height:
        return image
    return image[np.clip(np.arange(window.top, window.bottom), first, last) - first]


def averaged(image: Image) -> Image:
    """The mean over blocks of 2 × 2 pixels: uint8 (2 h, 2 w, 3) → (h, w, 3).

    Halves are rounded to even, as a map would brighten from level to level were all rounded up.
    """
    if image.shape[0] % 2 or image.shape[1] % 2:
        raise ArgumentError("image", "must have even sides", image.shape)
    rows = image[::2].astype(np.uint16) + image[1::2]
    sums: NDArray[np.uint16] = rows[:, ::2] + rows[:, 1::2]
    return ((sums + 1 + ((sums >> 2) & 1)) >> 2).astype(np.uint8)


def _slice(positions: range) -> slice:
    return slice(positions.start, positions.stop)
