"""Rasters as torchgeo's `RasterDataset` finds them: `images/<split>/<id>[_<date>]_image.tif`, `masks/…_mask.tif`.

Cloud-optimised GeoTIFF with CRS and a north-up transform, so images without a place are refused: none is invented.
Names have dates where every image has one, which `filename_regex` then finds (`FILENAME_REGEX`): torchgeo stumbles over
a name without. Masks have 255 as nodata, for `ignore_index`.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError
from earthgen.geo import check_georeference
from earthgen.labels.base import LabelledImage, LabelledSet
from earthgen.labels.masks import checked_mask, write_classes
from earthgen.labels.pictures import colours, read_pixels
from earthgen.labels.writing import Writing
from earthgen.output.geotiff import COG_OPTIONS, GSD_TAG

FILENAME_REGEX = r".+_(?P<date>\d{8})_(image|mask)\.tif"
"""Of sets with dates. Without, torchgeo's own `.*` does."""


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write the images, and the masks of those that have one."""
    for image in images.images:
        if image.crs is None or image.transform is None:
            rule = (
                "must have a place (`crs`, `transform`) for the format 'torchgeo': give it one, or leave the format out"
            )
            raise ArgumentError("images", rule, image.id)
        check_georeference(image.crs, image.transform, image.gsd)
    dates = [_date(image) for image in images.images]
    for image, date in zip(job.each(images.images, "torchgeo"), dates, strict=True):
        stem = job.names[image.id] + (f"_{date}" if all(dates) else "")
        pixels, tags = read_pixels(image.path)
        if image.gsd is not None:
            tags[GSD_TAG] = repr(float(image.gsd))
        _write(folder / "images" / image.split / f"{stem}_image.tif", np.moveaxis(pixels, 2, 0), image, tags)
        if image.mask is not None:
            mask = checked_mask(image, images.mask_classes)
            _write(folder / "masks" / image.split / f"{stem}_mask.tif", mask[None], image, {})
    if images.mask_classes:
        write_classes(images.mask_classes, folder)


def _date(image: LabelledImage) -> str:
    """The day as eight digits, or nothing."""
    try:
        return dt.date.fromisoformat(str(image.extra.get("date"))[:10]).strftime("%Y%m%d")
    except ValueError:
        return ""


def _write(path: Path, bands: NDArray[np.uint8], image: LabelledImage, tags: dict[str, str]) -> None:
    options: dict[str, Any] = {**COG_OPTIONS, "crs": CRS.from_user_input(image.crs), "transform": image.transform}
    is_mask = len(bands) == 1
    if is_mask:
        options |= {"nodata": UNKNOWN, "overview_resampling": "NEAREST"}
    count, height, width = bands.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through memory: on a disk that fills up at the last, GDAL cuts the file short without an error.
    with MemoryFile() as memory:
        with memory.open(driver="COG", height=height, width=width, count=count, dtype="uint8", **options) as dataset:
            dataset.write(bands)
            if is_mask:
                dataset.write_colormap(1, {k: tuple(map(int, rgb)) for k, rgb in enumerate(colours())})
            else:
                dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
            dataset.update_tags(**tags)
        path.write_bytes(memory.getbuffer())
