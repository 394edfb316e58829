"""Scenes as cloud-optimised GeoTIFF, written by GDAL's COG driver.

Tiles of 512 pixels, DEFLATE with the horizontal predictor, averaged overviews down to one tile, no nodata value as
every pixel is valid. An image without a place gets the same file without CRS and transform: none is invented.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from earthgen.output.atomic import StrPath, write_bytes
from earthgen.output.provenance import SYNTHETIC_MARK, Provenance
from earthgen.output.xmp import xmp_packet

BLOCK_SIZE = 512
GSD_TAG = "EARTHGEN_GSD"
"""Ground sampling distance, metres a pixel, as it was asked for."""
_PROFILE: dict[str, Any] = {
    "driver": "COG",
    "dtype": "uint8",
    "count": 3,
    "blocksize": BLOCK_SIZE,
    "compress": "DEFLATE",
    "predictor": "STANDARD",
    "overviews": "AUTO",
    "overview_resampling": "AVERAGE",
}


def write_geotiff(
    path: StrPath,
    image: NDArray[np.uint8],
    provenance: Provenance,
    crs: CRS | None = None,
    transform: Affine | None = None,
    gsd: float | None = None,
) -> Path:
    """Write `image` (height, width, 3), uint8 RGB, as a COG with its provenance in the tags.

    `transform` maps (column, row) of pixel corners to `crs`. Both or neither are given; `gsd`, metres a pixel, goes
    into the tag `EARTHGEN_GSD`. The mark is also the TIFF's ImageDescription, and IPTC's terms its XMP packet.
    Raises `OutputError` where the file cannot be written.
    """
    height, width, _ = image.shape
    place = {} if crs is None else {"crs": crs, "transform": transform}
    tags = {
        **provenance.to_tags(),
        **({} if gsd is None else {GSD_TAG: repr(float(gsd))}),
        "TIFFTAG_IMAGEDESCRIPTION": SYNTHETIC_MARK,
        "TIFFTAG_SOFTWARE": f"earthgen {provenance.version}",
        "TIFFTAG_DATETIME": provenance.created.strftime("%Y:%m:%d %H:%M:%S"),
    }
    # Through memory: on a disk that fills up at the last, GDAL cuts the file short without an error.
    with _quiet_without_place(), MemoryFile() as memory:
        with memory.open(height=height, width=width, **_PROFILE, **place) as dataset:
            dataset.write(np.moveaxis(image, 2, 0))
            dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
            dataset.update_tags(**tags)
            # GDAL takes the XMP domain as one text, rasterio gives "key=value": cut the packet at its first "=".
            key, _, value = xmp_packet(provenance).partition("=")
            dataset.update_tags(ns="xml:XMP", **{key: value})
        return write_bytes(path, memory.getbuffer())


class Contents(NamedTuple):
    """What a GeoTIFF of earthgen's holds."""

    image: NDArray[np.uint8]
    """(height, width, 3), uint8 RGB."""
    crs: CRS | None
    transform: Affine | None
    """None where there is no CRS."""
    tags: dict[str, str]
    """Text tags, those of `Provenance.to_tags` among them."""


def read_geotiff(path: StrPath) -> Contents:
    """Read what `write_geotiff` wrote. Raises `OSError` for a file that cannot be read."""
    with _quiet_without_place(), rasterio.open(path) as dataset:
        image = np.ascontiguousarray(np.moveaxis(dataset.read((1, 2, 3)), 0, 2))
        return Contents(image, dataset.crs, dataset.transform if dataset.crs else None, dict(dataset.tags()))


@contextmanager
def _quiet_without_place() -> Iterator[None]:
    """Without rasterio's warning that an image has no georeference, which here is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
