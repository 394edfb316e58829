"""Pixels that are given: an image of a file, which of its pixels to keep, and where on the Earth they lie."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import MAX_SIDE
from earthgen.errors import ArgumentError
from earthgen.output.picture import Picture, Scale, opened

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
    place: tuple[float, float] | None
    """Latitude and longitude of the centre, degrees."""
    gsd: float | None
    """Metres a pixel at the centre."""

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
        return replace(self, image=image, keep=keep, transform=moved)


def read_known(path: Path, mask_path: Path | None, bands: tuple[int, ...] | None, scale: Scale | None) -> Known:
    """Read an image (`earthgen.output.picture`) and the mask of its pixels to keep.

    Without a mask file, what the image's own nodata or alpha leaves out is generated. Warns of a georeference that is
    rotated, as it is not taken over.

    Raises:
        ArgumentError: The image breaks a rule or is too large, or the mask has another size.
        DataError: A file cannot be read.
    """
    picture = Picture.open(path, bands, scale)
    size = f"{picture.width}x{picture.height}"
    if max(picture.height, picture.width) > MAX_SIDE:
        raise ArgumentError("known", f"must be an image of at most {MAX_SIDE} pixels a side", f"{path} ({size})")
    with picture.opened() as source:
        image, keep = picture.read(source, None)
    if mask_path is not None:
        with opened(mask_path) as source:
            if source.shape != keep.shape:
                got = f"{mask_path} ({source.width}x{source.height})"
                raise ArgumentError("known-mask", f"must have the known image's size, {size}", got)
            keep = keep & (source.read(1) > 0)
    t = picture.transform
    if t is not None and picture.crs is not None and not (t.a > 0 and t.e < 0 and t.b == t.d == 0):
        warnings.warn(f"the georeference of {path.name} is not taken over, as it is not north-up", stacklevel=2)
        return Known(image, keep, None, None, None, None)
    crs = None if t is None else picture.crs
    return Known(image, keep, crs, None if crs is None else t, picture.place, picture.gsd)
