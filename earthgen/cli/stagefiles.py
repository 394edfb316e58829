"""The files between the stages of `earthgen upscale`, 8-bit RGB with the image's place, and the output they end in."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import RasterioError
from rasterio.windows import Window

from earthgen.conditions import COARSE_FACTOR
from earthgen.errors import EarthgenError, OutputError
from earthgen.output import geotiff, png
from earthgen.output.atomic import atomic_path
from earthgen.output.picture import Picture
from earthgen.output.provenance import Provenance
from earthgen.output.stream import check_whole

COG_SUFFIXES = (".tif", ".tiff")
_CACHE_BYTES = 64 << 20
"""Of GDAL's blocks."""

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@contextmanager
def created(path: Path, picture: Picture, number: int, output: Path) -> Iterator[Any]:
    """A GeoTIFF of RGB to write the result of a stage into, with the picture's place, finer.

    Raises `OutputError`, which names `output`, for whatever keeps it from being written.
    """
    factor = COARSE_FACTOR**number
    place = {} if picture.crs is None else {"crs": picture.crs}
    if picture.transform is not None:
        place["transform"] = picture.transform @ Affine.scale(1 / factor)
    options = {"GDAL_TIFF_INTERNAL_MASK": True, "GDAL_CACHEMAX": _CACHE_BYTES}
    try:
        with (
            geotiff.quiet_without_place(),
            rasterio.Env(**options),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                height=picture.height * factor,
                width=picture.width * factor,
                count=3,
                dtype="uint8",
                nodata=picture.nodata,
                photometric="RGB",
                interleave="pixel",
                tiled=True,
                blockxsize=geotiff.BLOCK_SIZE,
                blockysize=geotiff.BLOCK_SIZE,
                bigtiff="IF_SAFER",
                **place,
            ) as dataset,
        ):
            points, crs = picture.points
            if points:
                dataset.gcps = [_finer_point(point, factor) for point in points], crs
            yield dataset
    except EarthgenError:
        raise
    except (OSError, RasterioError) as error:
        raise OutputError(f"cannot write {str(output)!r}: {error}") from error


def _finer_point(point: GroundControlPoint, factor: int) -> GroundControlPoint:
    return GroundControlPoint(point.row * factor, point.col * factor, point.x, point.y, point.z, point.id, point.info)


def write(dataset: Any, image: Image, valid: Mask, window: Window, nodata: int | None, masked: bool) -> None:
    """Write a window. Only what is left out has the nodata value: colours that equal it move by one grey level."""
    if nodata is None:
        if masked:
            dataset.write_mask(valid, window=window)
    else:
        image = np.where(image == nodata, nodata + (1 if nodata < 255 else -1), image).astype(np.uint8)
        image[~valid] = nodata
    dataset.write(image.transpose(2, 0, 1), window=window)


def blocks(height: int, width: int, side: int = 2048) -> Iterator[Window]:
    """An image cut into squares, from left to right and top to bottom."""
    for top, left in itertools.product(range(0, height, side), range(0, width, side)):
        yield Window(left, top, min(side, width - left), min(side, height - top))


def check_space(path: Path, pixels: int) -> None:
    """Raise `OutputError` where the disk is too small for the last stage, the one before, and the output."""
    need, free = 3 * pixels * 1.1 + pixels, shutil.disk_usage(path.parent).free
    if free < need:
        amounts = f"it takes about {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        raise OutputError(f"cannot write {str(path)!r}: {amounts}")


def publish(source: Path, output: Path, provenance: Provenance, gsd: float, holes: bool) -> None:
    """Give the last stage's file its final form, place and name."""
    if output.suffix.lower() in COG_SUFFIXES:
        with atomic_path(output) as draft:
            try:
                geotiff.copy_as_cog(source, draft, provenance, gsd, _CACHE_BYTES)
                check_whole(draft)
            except RasterioError as error:
                raise OutputError(f"cannot write {str(output)!r}: {error}") from error
        return
    with geotiff.quiet_without_place(), rasterio.open(source) as dataset:
        image = np.ascontiguousarray(dataset.read().transpose(1, 2, 0))
        valid = (dataset.read_masks() > 0).any(0)
    tags = {geotiff.GSD_TAG: repr(float(gsd))}
    if output.suffix.lower() == ".png":
        alpha = [np.where(valid, 255, 0).astype(np.uint8)[..., None]] if holes else []
        png.write_png(output, np.concatenate([image, *alpha], -1), provenance, tags)
    else:
        png.write_jpeg(output, image, provenance, tags)
