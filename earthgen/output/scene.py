"""A generated image with its place and its provenance: pixels never travel without them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.transform import array_bounds

from earthgen import geo
from earthgen.conditions import Conditions
from earthgen.errors import ArgumentError
from earthgen.output import geotiff, png
from earthgen.output.atomic import StrPath, check_writable
from earthgen.output.provenance import Provenance

_GEOTIFF, _PNG, _JPEG = (".tif", ".tiff"), (".png",), (".jpg", ".jpeg")
SUFFIXES = (*_GEOTIFF, *_PNG, *_JPEG)


@dataclass(frozen=True, eq=False)
class Scene:
    """One image, where it lies, and where it comes from.

    `crs` and `transform` are both given or both None; without them the image has no place and none is invented.
    Raises `ArgumentError` for an image that is no uint8 RGB, or a transform that is not north-up.
    """

    image: NDArray[np.uint8]
    """(height, width, 3), uint8 RGB."""
    crs: CRS | None
    transform: Affine | None
    """(column, row) of pixel corners to `crs`, north-up."""
    gsd: float | None
    """Metres on the ground a pixel, known also of images without a place."""
    provenance: Provenance

    def __post_init__(self) -> None:
        image = self.image
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            shown = (image.dtype, image.shape) if isinstance(image, np.ndarray) else image
            raise ArgumentError("image", "must be a uint8 array of shape (height, width, 3)", shown)
        if 0 in image.shape:
            raise ArgumentError("image", "must have at least one pixel", image.shape)
        geo.check_georeference(self.crs, self.transform, self.gsd)

    @classmethod
    def from_conditions(cls, image: NDArray[np.uint8], conditions: Conditions, provenance: Provenance) -> Scene:
        """The scene of an image made under `conditions`: it has a place if they give a position and a GSD.

        Raises `ArgumentError` for an image that is larger than a hemisphere at its GSD.
        """
        if conditions.lat is None or conditions.lon is None or conditions.gsd is None:
            return cls(image, None, None, conditions.gsd, provenance)
        height, width = image.shape[:2]
        crs, transform = geo.transform_for(conditions.lat, conditions.lon, conditions.gsd, height, width)
        return cls(image, crs, transform, conditions.gsd, provenance)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.image.shape[1])

    @property
    def bounds(self) -> BoundingBox | None:
        """West (left), south (bottom), east (right), north (top) in units of `crs`; None without a place."""
        if self.transform is None:
            return None
        return BoundingBox(*array_bounds(self.height, self.width, self.transform))

    @property
    def footprint(self) -> geo.Footprint | None:
        """The outline and bounding box in WGS 84; None without a place."""
        if self.crs is None or self.transform is None:
            return None
        return geo.footprint(self.crs, self.transform, self.height, self.width)

    def write(self, path: StrPath) -> Path:
        """Write the scene in the format of the path's suffix: .tif, .tiff (COG), .png, .jpg, .jpeg.

        Raises `ArgumentError` for another suffix and `OutputError` where the file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix in _GEOTIFF:
            return geotiff.write_geotiff(path, self.image, self.provenance, self.crs, self.transform, self.gsd)
        tags = {} if self.gsd is None else {geotiff.GSD_TAG: repr(float(self.gsd))}
        if suffix in _PNG:
            return png.write_png(path, self.image, self.provenance, tags)
        if suffix in _JPEG:
            return png.write_jpeg(path, self.image, self.provenance, tags)
        raise ArgumentError("path", f"must end in one of {', '.join(SUFFIXES)}", str(path))

    def save_all(self, folder: StrPath, stem: str) -> dict[str, Path]:
        """Write `<stem>.tif`, `<stem>.png` and the STAC item `<stem>.json`, the item last as it says the rest is there.

        Returns the paths by the names "tif", "png" and "stac". Raises `OutputError`.
        """
        from earthgen.output.stac import write_item  # pystac is slow to import, and not every scene wants an item

        if Path(stem).name != stem or stem in ("", ".."):
            raise ArgumentError("stem", "must be a file name without folder and suffix", stem)
        folder = check_writable(folder)
        files = {kind: self.write(folder / f"{stem}.{kind}") for kind in ("tif", "png")}
        return {**files, "stac": write_item(folder / f"{stem}.json", self, files)}

    @classmethod
    def read(cls, path: StrPath) -> Scene:
        """The scene in a file that `write` made; only GeoTIFF keeps the place, and JPEG not the exact pixels.

        Raises `ArgumentError` for a file without earthgen's provenance, `OSError` for one that cannot be read.
        """
        if Path(path).suffix.lower() not in _GEOTIFF:
            tags = png.read_tags(path)
            with Image.open(path) as picture:
                return cls(np.array(picture.convert("RGB")), None, None, _gsd(tags), Provenance.from_tags(tags))
        image, crs, transform, tags = geotiff.read_geotiff(path)
        return cls(image, crs, transform, _gsd(tags), Provenance.from_tags(tags))


def _gsd(tags: dict[str, str]) -> float | None:
    return float(tags[geotiff.GSD_TAG]) if geotiff.GSD_TAG in tags else None
