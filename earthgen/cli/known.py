"""Pixels that are given: an image of a file, which of its pixels to keep, and where on the Earth they lie."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthgen.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.crs import CRS


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What `--known` and `--known-mask` say."""

    image: NDArray[np.uint8]
    """(height, width, 3) RGB."""
    keep: NDArray[np.bool_]
    """(height, width), true where the pixel is kept and false where it is generated."""
    crs: CRS | None
    transform: Affine | None
    """North-up, of the image; both absent where the file has no such georeference."""

    def place(self) -> tuple[float, float, float] | None:
        """(lat, lon, gsd) of the centre, degrees and metres, from the georeference if there is one."""
        if self.crs is None or self.transform is None:
            return None
        from pyproj import Geod
        from rasterio.warp import transform as project

        height, width = self.keep.shape
        columns = [width / 2, width / 2 + 1, width / 2]
        rows = [height / 2, height / 2, height / 2 + 1]
        xs, ys = zip(*(self.transform @ point for point in zip(columns, rows, strict=True)), strict=True)
        lons, lats = project(self.crs, "EPSG:4326", xs, ys)
        geod = Geod(ellps="WGS84")
        sides = [geod.inv(lons[0], lats[0], lons[i], lats[i])[2] for i in (1, 2)]
        return lats[0], (lons[0] + 180) % 360 - 180, math.sqrt(sides[0] * sides[1])

    def centred(self, height: int, width: int) -> Known:
        """The same pixels in the middle of a larger image; the rim around them is to be generated."""
        have_height, have_width = self.keep.shape
        if height < have_height or width < have_width:
            rule = f"must be at least the known image's, {have_width}x{have_height}"
            raise ArgumentError("size", rule, f"{width}x{height}")
        top, left = (height - have_height) // 2, (width - have_width) // 2
        rows, columns = slice(top, top + have_height), slice(left, left + have_width)
        image, keep = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.bool_)
        image[rows, columns], keep[rows, columns] = self.image, self.keep
        moved = None if self.transform is None else self.transform @ type(self.transform).translation(-left, -top)
        return Known(image, keep, self.crs, moved)


def read_known(path: Path, mask_path: Path | None) -> Known:
    """Read an RGB image and the mask of its pixels to keep.

    Without a mask file, what the image's own nodata or alpha leaves out is generated.

    Raises:
        ArgumentError: it is not 8-bit RGB, or the mask has another size.
        DataError: a file cannot be read.
    """
    bands, own_mask, crs, transform = _read(path)
    if bands.dtype != np.uint8 or bands.shape[0] not in (3, 4):
        rule = "must be an 8-bit RGB or RGBA image"
        raise ArgumentError("known", rule, f"{path} ({bands.shape[0]} bands of {bands.dtype})")
    keep = own_mask
    if mask_path is not None:
        mask = _read(mask_path)[0]
        if mask.shape[1:] != bands.shape[1:]:
            height, width = bands.shape[1:]
            got = f"{mask_path} ({mask.shape[2]}x{mask.shape[1]})"
            raise ArgumentError("known-mask", f"must have the known image's size, {width}x{height}", got)
        keep = keep & (mask[0] > 0)
    return Known(np.ascontiguousarray(bands[:3].transpose(1, 2, 0)), keep, crs, transform)


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_], CRS | None, Affine | None]:
    """Bands first, the file's own mask of valid pixels, and its georeference."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                t = source.transform
                north_up = t.a > 0 and t.e < 0 and t.b == t.d == 0  # what a scene can say of itself
                where = (source.crs, t) if source.crs is not None and north_up else (None, None)
                return source.read(), source.dataset_mask() > 0, *where
    except (RasterioError, OSError) as error:
        raise DataError(f"cannot read the image {path}: {error}") from error
