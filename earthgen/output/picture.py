"""An image of one's own to be refined: which of its bands are red, green and blue, and what is black and white in them.

Rules, each with the error that names it:

- Three bands are red, green and blue; of more, those that the file names so. Otherwise `--bands` says which.
- One band is taken as grey where `--bands 1` says so: else heights or classes would come out as a picture.
- 8-bit values stay as they are. All others need `--scale`: the values, or percentiles, that become black and white.
- What the file's nodata value, alpha or mask leaves out, and what is not a number, stays out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthgen.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

SMALLEST = 2
"""Pixels a side: the pipeline makes images from 8 px."""
_SAMPLE = 1024
"""Percentiles are those of at most this many rows and columns, evenly spread."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What becomes black and what white: values, or percentiles of all that the chosen bands hold."""

    low: float
    high: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str | None) -> Scale | None:
        """`LOW,HIGH` in the file's values, or `LOW%,HIGH%`."""
        if text is None:
            return None
        parts = [part.strip() for part in text.split(",")]
        percent = [part.endswith("%") for part in parts]
        try:
            low, high = (float(part.removesuffix("%")) for part in parts)
            fits = math.isfinite(low) and math.isfinite(high) and low < high and percent[0] == percent[1]
            if fits and (not percent[0] or 0 <= low < high <= 100):
                return cls(low, high, percent[0])
        except ValueError:
            pass
        raise ArgumentError("scale", "must be LOW,HIGH with LOW < HIGH, or percentiles as in 2%,98%", text)


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """`4,3,2`: the numbers of the red, green and blue bands, from 1. One number: that band as grey."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) in (1, 3) and all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        return tuple(int(part) for part in parts)
    raise ArgumentError("bands", "must be the numbers of three bands as in 4,3,2, or of one for grey", text)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A file that was found to hold an image."""

    path: Path
    height: int
    width: int
    bands: tuple[int, ...]
    """Three, or one for grey."""
    black_white: tuple[float, float] | None
    """The values that become 0 and 255; None leaves them as they are."""
    nodata: int | None
    """The grey level that what is left out gets in the output, where the file has a nodata value."""
    crs: CRS | None
    transform: Affine | None
    """None where the file has none."""
    points: tuple[list[GroundControlPoint], CRS | None]
    """Ground control points and their CRS, of files that have those for a transform."""
    place: tuple[float, float] | None
    """Latitude and longitude of the centre, degrees."""
    gsd: float | None
    """Metres a pixel at the centre, by the georeference or else by what earthgen noted in the file."""

    @classmethod
    def open(cls, path: Path, bands: tuple[int, ...] | None, scale: Scale | None) -> Picture:
        """Find out all about a file without reading more of it than percentiles need.

        Raises:
            ArgumentError: Its bands or values break a rule of this module's.
            DataError: It cannot be read.
        """
        with opened(path) as source:
            if min(source.height, source.width) < SMALLEST:
                rule = f"must be an image of at least {SMALLEST} x {SMALLEST} pixels"
                raise ArgumentError("input", rule, f"{path.name} ({source.width} x {source.height})")
            chosen = _bands(source, bands, path)
            kind = np.dtype(source.dtypes[chosen[0] - 1])
            if kind.kind not in "uif":
                raise ArgumentError("input", "must hold whole or real numbers", f"{path.name} ({kind})")
            if kind != np.uint8 and scale is None:
                rule = "must say which values are black and white, as in 0,3000 or 2%,98%: the image is not of 8 bits"
                raise ArgumentError("scale", rule, f"{path.name} ({kind})")
            declared = source.nodatavals[chosen[0] - 1]
            nodata = None
            if declared is not None:
                kept = scale is None and float(declared).is_integer() and 0 <= declared <= 255
                nodata = int(declared) if kept else None if scale is None else 0
            transform = None if source.transform.is_identity else source.transform
            lat, lon, gsd = _place(source)
            return cls(
                path=path,
                height=source.height,
                width=source.width,
                bands=chosen,
                black_white=None if scale is None else _black_white(source, chosen, scale),
                nodata=nodata,
                crs=source.crs,
                transform=transform,
                points=source.gcps,
                place=None if lat is None or lon is None else (lat, lon),
                gsd=gsd if gsd is not None else _noted_gsd(source, path),
            )

    def read(self, source: DatasetReader, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A window's pixels, uint8 RGB (height, width, 3), and which of them count, (height, width)."""
        values, valid = _values(source, self.bands, window=window)
        if self.black_white is not None:
            low, high = self.black_white
            grey = (np.nan_to_num(values.astype(np.float64)) - low) * (255 / (high - low))
            values = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(values, (3, *valid.shape)).transpose(1, 2, 0)), valid

    @contextmanager
    def opened(self) -> Iterator[DatasetReader]:
        """The file, for `read`."""
        with opened(self.path) as source:
            yield source


@contextmanager
def opened(path: Path) -> Iterator[DatasetReader]:
    """A file to read. Raises `DataError` where it cannot be."""
    import rasterio
    from rasterio.errors import RasterioError

    from earthgen.output.geotiff import quiet_without_place

    try:
        with quiet_without_place(), rasterio.open(path) as source:
            yield source
    except RasterioError as error:
        raise DataError(f"cannot read the image {path}: {error}") from error


def _bands(source: DatasetReader, wanted: tuple[int, ...] | None, path: Path) -> tuple[int, ...]:
    """The bands of red, green and blue."""
    from rasterio.enums import ColorInterp

    kinds = source.colorinterp
    if wanted is not None:
        if max(wanted) > source.count:
            raise ArgumentError("bands", f"must be among the {source.count} of {path.name}", wanted)
        chosen = wanted
    else:
        rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        colours = [number for number, kind in enumerate(kinds, 1) if kind != ColorInterp.alpha]
        if all(kinds.count(colour) == 1 for colour in rgb):
            chosen = tuple(kinds.index(colour) + 1 for colour in rgb)
        elif len(colours) == 3:
            chosen = tuple(colours)
        else:
            rule = "must say which bands are red, green and blue, as in 4,3,2, or which one is grey, as in 1"
            raise ArgumentError("bands", rule, f"nothing for the {len(colours)} of {path.name}")
    if any(kinds[number - 1] == ColorInterp.palette for number in chosen):
        raise ArgumentError("input", "must hold colours or grey levels, not indices into a palette", path.name)
    if len({source.dtypes[number - 1] for number in chosen}) > 1:
        raise ArgumentError("bands", "must all be of one type of number", [source.dtypes[n - 1] for n in chosen])
    return chosen


def _values(source: DatasetReader, bands: tuple[int, ...], **how: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values (bands, height, width), and which pixels count."""
    from rasterio.errors import RasterioError

    try:
        values, masks = source.read(bands, **how), source.read_masks(bands, **how)
    except RasterioError as error:
        raise DataError(f"cannot read the image {source.name}: {error}") from error
    # A pixel whose red alone has the nodata value is a colour, as in GDAL's mask of a whole image.
    valid = (masks > 0).any(0)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values).all(0)
    return values, valid


def _black_white(source: DatasetReader, bands: tuple[int, ...], scale: Scale) -> tuple[float, float]:
    """One pair for all bands, so that colours keep their balance."""
    if not scale.percent:
        return scale.low, scale.high
    shape = (len(bands), min(source.height, _SAMPLE), min(source.width, _SAMPLE))
    values, valid = _values(source, bands, out_shape=shape)
    if not valid.any():
        raise ArgumentError("input", "must have pixels that are not left out by its nodata value or mask", source.name)
    low, high = np.percentile(values[:, valid].astype(np.float64), [scale.low, scale.high])
    if not low < high:
        rule = f"must span different values of the image; both percentiles are {low:g}"
        raise ArgumentError("scale", rule, f"{scale.low:g}%,{scale.high:g}%")
    return float(low), float(high)


def _place(source: DatasetReader) -> tuple[float | None, float | None, float | None]:
    """Latitude, longitude and GSD of the centre by the georeference, rotated or not; None where it says nothing."""
    from pyproj import Geod
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError
    from rasterio.transform import from_gcps
    from rasterio.warp import transform as project

    crs, transform = source.crs, source.transform
    if transform.is_identity and source.gcps[0]:
        crs, transform = source.gcps[1], from_gcps(source.gcps[0])
    if crs is None or transform.is_identity:
        return None, None, None
    row, column = source.height / 2, source.width / 2
    points = [transform @ point for point in ((column, row), (column + 1, row), (column, row + 1))]
    try:
        lons, lats = project(crs, "EPSG:4326", *(list(axis) for axis in zip(*points, strict=True)))
    except (RasterioError, CPLE_BaseError):  # a local or vertical system
        return None, None, None
    if not np.isfinite([*lons, *lats]).all() or not all(-90 <= lat <= 90 for lat in lats):
        return None, None, None
    geod = Geod(ellps="WGS84")
    sides = [geod.inv(lons[0], lats[0], lons[i], lats[i])[2] for i in (1, 2)]
    return lats[0], (lons[0] + 180) % 360 - 180, math.sqrt(sides[0] * sides[1])


def _noted_gsd(source: DatasetReader, path: Path) -> float | None:
    """What earthgen noted in a file that it made."""
    from earthgen.output.geotiff import GSD_TAG
    from earthgen.output.png import read_tags

    tags = read_tags(path) if source.driver == "JPEG" else source.tags()
    try:
        return float(tags[GSD_TAG])
    except (KeyError, ValueError):
        return None
