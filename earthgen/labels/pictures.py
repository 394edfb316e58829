"""Picture files of labelled images: what their headers say, their pixels, and masks as index pictures."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pyproj import CRS, Geod, Transformer
from rasterio.errors import RasterioError

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError, DataError
from earthgen.geo import wrap_longitude
from earthgen.labels.base import LabelledImage
from earthgen.output import png
from earthgen.output.geotiff import quiet_without_place
from earthgen.output.provenance import MARK_TAG, PROVENANCE_TAG, SOURCE_TYPE_TAG

RASTERS = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", *RASTERS, ".bmp", ".webp")
_JPEG_QUALITY = 95
_MAX_JPEG_COMMENT = 65_533
_UNREADABLE = (OSError, SyntaxError, RasterioError, Image.DecompressionBombError)
"""What Pillow, to which some broken PNGs are errors of syntax, and rasterio raise for files that are damaged."""


class Header(NamedTuple):
    """What a picture says of itself before its pixels."""

    height: int
    width: int
    crs: str | None
    """An authority's code where there is one, or else WKT2."""
    transform: Affine | None
    gsd: float | None
    """Metres on the ground a pixel at the centre, where the picture has a place."""


def read_header(path: Path) -> Header:
    """Size and, of a GeoTIFF, place of a picture. Raises `DataError` where it cannot be read."""
    try:
        if path.suffix.lower() not in RASTERS:
            # Pillow refuses what is large before its pixels are asked for; GDAL, below, does not.
            with suppress(Image.DecompressionBombError), Image.open(path) as picture:
                return Header(picture.height, picture.width, None, None, None)
        with quiet_without_place(), rasterio.open(path) as dataset:
            height, width, crs, transform = dataset.height, dataset.width, dataset.crs, dataset.transform
    except _UNREADABLE as error:
        raise DataError(f"cannot read the picture {path}: {error}") from error
    if crs is None:
        return Header(height, width, None, None, None)
    name = ":".join(crs.to_authority() or ()) or crs.to_wkt(version="WKT2_2019")
    return Header(height, width, name, transform, _gsd(name, transform, height, width))


def _gsd(crs: str, transform: Affine, height: int, width: int) -> float | None:
    """Ground distance of two neighbours at the centre, metres; None where the projection does not reach."""
    middle = (width / 2, height / 2)
    lon, lat = _degrees(crs, [transform @ (middle[0] + step, middle[1]) for step in (-0.5, 0.5)])
    distance = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[2]
    return float(distance) if math.isfinite(distance) and distance > 0 else None


def centre(crs: str | None, transform: Affine | None, height: int, width: int) -> tuple[float, float] | None:
    """Latitude and longitude of a picture's middle, degrees, WGS 84, to 1e-6; None where it has no place."""
    if crs is None or transform is None:
        return None
    (lon,), (lat,) = _degrees(crs, [transform @ (width / 2, height / 2)])
    # Rounded, as the last digits of projections differ between machines.
    return (round(lat, 6), round(wrap_longitude(lon), 6)) if math.isfinite(lon) and abs(lat) <= 90 else None


def _degrees(crs: str, points: list[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Longitudes and latitudes of points (x, y), WGS 84; infinite where the projection does not reach."""
    x, y = zip(*points, strict=True)
    lon, lat = Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True).transform(x, y)
    return lon, lat


def read_pixels(path: Path) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """The picture as uint8 RGB (height, width, 3), and the tags of earthgen's provenance if it has them.

    Of a raster, the first three bands, or the only one as grey. Raises `DataError` for more than 8 bits or a file that
    cannot be read.
    """
    try:
        if path.suffix.lower() not in RASTERS:
            with Image.open(path) as picture:
                pixels, tags = np.array(picture if _deep(picture) else picture.convert("RGB")), png.read_tags(path)
        else:
            with quiet_without_place(), rasterio.open(path) as dataset:
                pixels = np.moveaxis(dataset.read([1, 2, 3] if dataset.count >= 3 else [1, 1, 1]), 0, 2)
                tags = {k: v for k, v in dataset.tags().items() if k in (MARK_TAG, SOURCE_TYPE_TAG, PROVENANCE_TAG)}
    except _UNREADABLE as error:
        raise DataError(f"cannot read the picture {path}: {error}") from error
    if pixels.dtype != np.uint8:
        raise DataError(f"{path} holds {pixels.dtype}, but pictures of labelled sets have 8 bits: scale them first")
    return np.ascontiguousarray(pixels), tags


def _deep(picture: Image.Image) -> bool:
    """Whether a pixel has more than 8 bits, which Pillow would cut off, not scale."""
    return picture.mode[0] in "IF"


def encoded(pixels: NDArray[np.uint8], tags: dict[str, str], suffix: str) -> bytes:
    """The bytes of a .png, without loss, or a .jpg at quality 95 without chroma subsampling."""
    options: dict[str, Any] = {"format": "PNG"}
    if suffix == ".png" and tags:
        chunks = options["pnginfo"] = PngImagePlugin.PngInfo()
        for key, value in tags.items():
            chunks.add_text(key, value)
    if suffix == ".jpg":
        options = {"format": "JPEG", "quality": _JPEG_QUALITY, "subsampling": 0}
        comment = json.dumps(tags).encode()
        if tags and len(comment) <= _MAX_JPEG_COMMENT:
            options["comment"] = comment
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def read_mask(image: LabelledImage) -> NDArray[np.uint8] | None:
    """The semantic mask of an image, (height, width) indices with 255 unknown, wherever it lies; None without one.

    Raises `DataError` for a file that cannot be read, has several channels or another size than the image.
    """
    if not isinstance(image.mask, Path):
        return image.mask
    mask = read_indices(image.mask)
    if mask.shape != (image.height, image.width):
        raise DataError(f"the mask {image.mask} has shape {mask.shape}, its image {(image.height, image.width)}")
    return mask


def read_indices(path: Path) -> NDArray[np.uint8]:
    """The indices (height, width), or the colours (height, width, 3), of a mask's picture."""
    try:
        if path.suffix.lower() in RASTERS:
            with quiet_without_place(), rasterio.open(path) as dataset:
                bands = dataset.read() if dataset.count < 3 else dataset.read([1, 2, 3])
            array = bands[0] if len(bands) == 1 else np.moveaxis(bands, 0, 2)
        else:
            with Image.open(path) as picture:
                as_it_is = picture.mode in ("P", "L", "1") or _deep(picture)
                array = np.array(picture if as_it_is else picture.convert("RGB"))
    except _UNREADABLE as error:
        raise DataError(f"cannot read the mask {path}: {error}") from error
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype != np.uint8:
        raise DataError(f"the mask {path} holds {array.dtype}, but masks are indices of 8 bits")
    return array


def is_palette(path: Path) -> bool:
    """Whether a picture's pixels are indices into colours of its own."""
    if path.suffix.lower() in RASTERS:
        return False
    with Image.open(path) as picture:
        return picture.mode == "P"


def check_indices(mask: NDArray[np.uint8], classes: tuple[str, ...], name: str) -> None:
    """Raise `ArgumentError` unless every pixel is the index of a class, or 255."""
    wrong = np.setdiff1d(mask, [*range(len(classes)), UNKNOWN])
    if wrong.size:
        rule = f"must hold indices below {len(classes)}, the number of its classes, or 255 in {name}"
        raise ArgumentError("mask", rule, wrong[:8].tolist())


def colours() -> NDArray[np.uint8]:
    """The palette of Pascal VOC, (256, 3): the bits of an index, from the lowest, are dealt to red, green and blue."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            if 3 * bit + channel < 8:
                palette[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return palette


def by_colour(rgb: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The index in the palette (n, 3) of each colour (height, width, 3), 255 where it has none."""
    weights = np.array([1 << 16, 1 << 8, 1], np.int64)
    codes, known = rgb @ weights, palette @ weights
    order = np.argsort(known)
    place = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    return np.where(known[order][place] == codes, order[place], UNKNOWN).astype(np.uint8)


def encoded_mask(mask: NDArray[np.uint8]) -> bytes:
    """A mask (height, width) as a PNG of palette indices."""
    picture = Image.fromarray(mask)
    picture.putpalette(colours().tobytes())
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
