"""A semantic mask of any CRS and resolution, as a part of a world's layout: each pixel the index of a class."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as Block

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError, DataError
from earthgen.output.atomic import StrPath
from earthgen.output.geotiff import quiet_without_place
from earthgen.world.placement import Placement
from earthgen.world.projection import Floats
from earthgen.world.pyramid import Window

Indices = NDArray[np.uint8]
CLASSES_TAG = "CLASSES"
"""Of the file: a JSON list of the classes' names, in the order of their indices."""
SPEAKS = 4
"""Levels: it counts from where 16 of its pixels make one of the level, and 64 a side of a cell of the layout field."""
_CHUNK = 1 << 24
"""Pixels that are read at a time when it is opened."""


class MaskRaster:
    """See the module.

    Args:
        path: A GeoTIFF, or another raster that GDAL reads, with CRS, of one band of uint8: indices of classes; 255 and
            its nodata value say nothing. Of any size: it is read by windows.
        classes: Their names; None for those that its tag `CLASSES` lists.

    Raises:
        ArgumentError: It has no CRS, other bands, no classes, or indices of none.
        DataError: It cannot be read.
    """

    def __init__(self, path: StrPath, classes: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()  # pyproj's transformers are for one thread at a time
        digest = hashlib.sha256()
        try:
            with quiet_without_place(), rasterio.open(self.path) as file:
                if file.count != 1 or file.dtypes[0] != "uint8":
                    rule = "must have one band of uint8, the indices of classes"
                    raise ArgumentError("layout_mask", rule, f"{file.count} of {file.dtypes[0]}")
                self.place = Placement("layout_mask", self.path.name, file.height, file.width, file.crs, file.transform)
                self.classes = _classes(classes, file.tags().get(CLASSES_TAG))
                self._nodata = UNKNOWN if file.nodata is None else int(file.nodata)
                known = [*range(len(self.classes)), UNKNOWN, self._nodata]
                step = max(1, _CHUNK // file.width)
                for top in range(0, file.height, step):
                    rows = Block(0, top, file.width, min(step, file.height - top))
                    values = file.read(1, window=rows)
                    digest.update(values.tobytes())
                    wrong = np.setdiff1d(values, known)
                    if wrong.size:
                        rule = f"must hold indices below {len(self.classes)}, or 255 for unknown"
                        raise ArgumentError("layout_mask", rule, wrong[:8].tolist())
        except (OSError, RasterioError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"cannot read the mask {self.path}: {error}") from error
        self.level = max(0, math.ceil(self.place.level - 1e-6) - SPEAKS)
        """The first at which it counts."""
        digest.update(repr((self.place.text, self.classes, self._nodata)).encode())
        self.digest = digest.hexdigest()
        """Of its pixels, their classes and its place."""

    def speaks(self, level: int) -> bool:
        """Whether it counts at a level."""
        return level >= self.level

    def reaches(self, window: Window) -> bool:
        """Whether it may say anything of a window; False for sure where it does not."""
        return self.place.reaches(window)

    def at(self, level: int, rows: Floats, columns: Floats) -> Indices:
        """The classes at pixel coordinates of a level: of the mask's pixel that holds each; `UNKNOWN` beside it.

        Raises `DataError` where the file can no longer be read.
        """
        with self._lock:
            row, column = self.place.positions(level, rows, columns)
        with np.errstate(invalid="ignore"):
            i, j = np.floor(row + 0.5), np.floor(column + 0.5)
            there = (i >= 0) & (i < self.place.height) & (j >= 0) & (j < self.place.width)
        found = np.full(there.shape, UNKNOWN, np.uint8)
        if there.any():
            i, j = i[there].astype(np.intp), j[there].astype(np.intp)
            top, left = int(i.min()), int(j.min())
            block = Block(left, top, int(j.max()) + 1 - left, int(i.max()) + 1 - top)
            try:
                with rasterio.open(self.path) as file:
                    values = file.read(1, window=block)[i - top, j - left]
            except (OSError, RasterioError) as error:
                raise DataError(f"cannot read the mask {self.path}: {error}") from error
            found[there] = np.where(values == self._nodata, UNKNOWN, values)
        return found


def _classes(given: Sequence[str] | None, tag: str | None) -> tuple[str, ...]:
    names: object = given
    if given is None:
        try:
            names = json.loads(tag or "null")
        except ValueError:
            names = tag
    if isinstance(names, str) or not isinstance(names, Sequence):
        rule = f"must be given: a name for each index, where the mask has no tag {CLASSES_TAG} that lists them"
        raise ArgumentError("mask_classes", rule, names)
    ok = all(isinstance(name, str) and name.strip() for name in names)
    if not ok or not 1 <= len(names) <= UNKNOWN or len(set(names)) < len(names):
        raise ArgumentError("mask_classes", f"must be 1 to {UNKNOWN} distinct names", list(names))
    return tuple(names)
