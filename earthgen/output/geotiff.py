"""Scenes as cloud-optimised GeoTIFF, written by GDAL's COG driver.

Tiles of 512 pixels, DEFLATE with the horizontal predictor, averaged overviews down to one tile, no nodata value as
every pixel is valid. An image without a place gets the same file without CRS and transform: none is invented.
"""

from __future__ import annotations

import os
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
from rasterio.env import Env
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter, MemoryFile
from rasterio.shutil import copy

from earthgen.output.atomic import StrPath, write_bytes
from earthgen.output.provenance import SYNTHETIC_MARK, Provenance
from earthgen.output.xmp import xmp_packet

BLOCK_SIZE = 512
GSD_TAG = "EARTHGEN_GSD"
"""Ground sampling distance, metres a pixel, as it was asked for."""
COG_OPTIONS: dict[str, Any] = {
    "blocksize": BLOCK_SIZE,
    "compress": "DEFLATE",
    "predictor": "STANDARD",
    "overviews": "AUTO",
    "overview_resampling": "AVERAGE",
    "bigtiff": "IF_SAFER",
}
"""Of GDAL's COG driver, for every GeoTIFF of earthgen's, in memory or streamed."""


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
    shape = {"height": height, "width": width, "count": 3, "dtype": "uint8"}
    # Through memory: on a disk that fills up at the last, GDAL cuts the file short without an error.
    with quiet_without_place(), MemoryFile() as memory:
        with memory.open(driver="COG", **shape, **COG_OPTIONS, **place) as dataset:
            dataset.write(np.moveaxis(image, 2, 0))
            describe(dataset, provenance, gsd)
        return write_bytes(path, memory.getbuffer())


def describe(dataset: DatasetWriter, provenance: Provenance, gsd: float | None) -> None:
    """Give a dataset of three bands, open for writing, all that earthgen's GeoTIFFs say of themselves but the place."""
    dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    dataset.update_tags(
        **provenance.to_tags(),
        **({} if gsd is None else {GSD_TAG: repr(float(gsd))}),
        TIFFTAG_IMAGEDESCRIPTION=SYNTHETIC_MARK,
        TIFFTAG_SOFTWARE=f"earthgen {provenance.version}",
        TIFFTAG_DATETIME=provenance.created.strftime("%Y:%m:%d %H:%M:%S"),
    )
    # GDAL takes the XMP domain as one text, rasterio gives "key=value": cut the packet at its first "=".
    key, _, value = xmp_packet(provenance).partition("=")
    dataset.update_tags(ns="xml:XMP", **{key: value})


def copy_as_cog(source: StrPath, target: StrPath, provenance: Provenance, gsd: float | None, cache: int) -> None:
    """Write a dataset that GDAL can open and alter, a VRT say, of any size, as `write_geotiff` writes an image.

    Its place is that of the source; `cache` bounds GDAL's blocks in memory, bytes. Whether the file came out whole is
    for the caller to see. Raises `rasterio.errors.RasterioError` or an error of GDAL's.
    """
    # Tags are given to the open dataset: as part of its file, a VRT would lay out the XMP packet anew.
    with quiet_without_place(), Env(GDAL_CACHEMAX=cache), rasterio.open(source, "r+") as dataset:
        describe(dataset, provenance, gsd)
        copy(dataset, os.fspath(target), driver="COG", num_threads="ALL_CPUS", **COG_OPTIONS)


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
    with quiet_without_place(), rasterio.open(path) as dataset:
        image = np.ascontiguousarray(np.moveaxis(dataset.read((1, 2, 3)), 0, 2))
        return Contents(image, dataset.crs, dataset.transform if dataset.crs else None, dict(dataset.tags()))


@contextmanager
def quiet_without_place() -> Iterator[None]:
    """Without rasterio's warning that an image has no georeference, which here is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
