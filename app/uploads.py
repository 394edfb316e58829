"""Images from outside: told by their first bytes, measured before they are decoded, and written anew.

Nothing of a file is kept but its pixels and, of a GeoTIFF, its place, nodata and the meaning of its bands. Names are
made here; the sender's are never used.
"""

from __future__ import annotations

import io
import math
import os
import re
import secrets
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.warp import transform_bounds

from earthgen.errors import ArgumentError
from earthgen.output.atomic import atomic_path
from earthgen.output.geotiff import quiet_without_place

MAX_BANDS = 16
_SEEN = (2, 98)
"""Percentiles that are black and white where values of other than 8 bits are looked at."""
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PICTURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
_RULE = "must be a PNG, a JPEG or a GeoTIFF"


class Upload(NamedTuple):
    """An image that was taken in."""

    id: str
    width: int
    height: int
    georeferenced: bool
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees, of an image that says where it lies; east of 180° if it crosses that."""


class Uploads:
    """Those of a server, in one folder."""

    def __init__(self, folder: Path, max_pixels: int, kept_bytes: int = 2 << 30) -> None:
        self.folder, self.max_pixels, self.kept_bytes = folder, max_pixels, kept_bytes

    def put(self, content: bytes) -> Upload:
        """Take in a file. Raises `ArgumentError` for one that is no image, damaged or too large."""
        name = secrets.token_hex(16)
        if content.startswith(_TIFF):
            taken = self._tiff(name, content)
        else:
            kind = next((kind for magic, kind in _PICTURES.items() if content.startswith(magic)), None)
            if kind is None:
                raise ArgumentError("file", _RULE, f"a file that begins with {content[:8]!r}")
            taken = self._picture(name, content, kind)
        self._make_room(name)
        return taken

    def path(self, name: str) -> Path:
        """The file of an upload, which is kept for longer the later it was asked for.

        Raises:
            ArgumentError: There is none.
        """
        if isinstance(name, str) and re.fullmatch("[0-9a-f]{32}", name):
            for suffix in (".tif", ".png"):
                path = self.folder / (name + suffix)
                with suppress(OSError):
                    os.utime(path)
                    return path
        raise ArgumentError("image", "must be the id of an image that was uploaded and is still kept", name)

    def rgb(self, name: str) -> NDArray[np.uint8]:
        """The pixels of an upload, uint8 (height, width, 3). Raises `ArgumentError` for one that is not of 8 bits."""
        path = self.path(name)
        if path.suffix == ".png":
            with Picture.open(path) as picture:
                return np.array(picture.convert("RGB"))
        with quiet_without_place(), rasterio.open(path, driver="GTiff") as source:
            if source.dtypes[0] != "uint8" or source.count == 2:
                raise ArgumentError("image", "must be of 8 bits with one, three or four bands", source.dtypes[0])
            bands = source.read([1, 2, 3] if source.count >= 3 else [1, 1, 1])
        return np.ascontiguousarray(np.moveaxis(bands, 0, 2))

    def seen(self, name: str) -> NDArray[np.uint8]:
        """An upload to look at, uint8 (height, width, 3), of whatever numbers; what is left out in it is black."""
        path = self.path(name)
        if path.suffix == ".png":
            return self.rgb(name)
        with quiet_without_place(), rasterio.open(path, driver="GTiff") as source:
            if source.dtypes[0] == "uint8" and source.count != 2:
                return self.rgb(name)
            bands = source.read([1, 2, 3] if source.count >= 3 else [1, 1, 1], masked=True)
        values = np.ma.masked_invalid(bands.astype(np.float32))
        low, high = np.percentile(values.compressed(), _SEEN) if values.count() else (0, 0)
        grey = (values - low) * (255 / (high - low if high > low else 1))
        return np.ascontiguousarray(np.moveaxis(np.ma.filled(grey.clip(0, 255), 0).astype(np.uint8), 0, 2))

    def _make_room(self, newest: str) -> None:
        """Forget those that were not asked for longest, until the rest is within bounds."""
        files = [(path.stat(), path) for path in self.folder.glob("*") if path.stem != newest and path.is_file()]
        used = sum(about.st_size for about, _ in files)
        for about, path in sorted(files, key=lambda one: one[0].st_mtime):
            if used <= self.kept_bytes:
                break
            path.unlink(missing_ok=True)
            used -= about.st_size

    def _check_size(self, width: int, height: int, bands: int = 1) -> None:
        if not 2 <= min(width, height) or width * height > self.max_pixels or bands > MAX_BANDS:
            rule = f"must have from 2 pixels a side to {self.max_pixels} in all, and at most {MAX_BANDS} bands"
            raise ArgumentError("file", rule, f"{width} x {height} x {bands}")

    def _picture(self, name: str, content: bytes, kind: str) -> Upload:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of decompression bombs: their size is checked here
                with Picture.open(io.BytesIO(content), formats=[kind]) as opened:
                    self._check_size(*opened.size)
                    opened.load()
                    picture = ImageOps.exif_transpose(opened)
                    transparent = "A" in picture.getbands() or "transparency" in picture.info
                    picture = picture.convert("RGBA" if transparent else "RGB")
        except ArgumentError:
            raise
        except Exception as error:  # whatever a decoder says of a broken file
            raise ArgumentError("file", _RULE, f"a {kind} that cannot be read") from error
        clean = Picture.fromarray(np.asarray(picture))
        with atomic_path(self.folder / f"{name}.png") as temporary:
            clean.save(temporary, format="PNG", compress_level=1)
        return Upload(name, clean.width, clean.height, False)

    def _tiff(self, name: str, content: bytes) -> Upload:
        try:
            with quiet_without_place(), MemoryFile(content) as memory, memory.open(driver="GTiff") as source:
                self._check_size(source.width, source.height, source.count)
                kind = np.dtype(source.dtypes[0])
                if kind.kind not in "uif" or kind.itemsize > 8 or len(set(source.dtypes)) > 1:
                    raise ArgumentError("file", "must hold whole or real numbers of one kind", str(kind))
                self._check_size(source.width, source.height * kind.itemsize * source.count // 8 or 2)
                values, meaning = source.read(), source.colorinterp
                profile: dict[str, Any] = {
                    "driver": "GTiff",
                    "width": source.width,
                    "height": source.height,
                    "count": source.count,
                    "dtype": source.dtypes[0],
                    "nodata": source.nodata,
                    "tiled": True,
                    "compress": "DEFLATE",
                    "zlevel": 1,
                }
                place = {"crs": source.crs, "transform": source.transform}
                georeferenced = source.crs is not None and not source.transform.is_identity
                bounds = _degrees(source) if georeferenced else None
            with (
                quiet_without_place(),
                atomic_path(self.folder / f"{name}.tif") as temporary,
                rasterio.open(temporary, "w", **profile, **(place if georeferenced else {})) as target,
            ):
                target.write(values)
                target.colorinterp = meaning
        except ArgumentError:
            raise
        except (RasterioError, ValueError, MemoryError, OverflowError) as error:
            raise ArgumentError("file", _RULE, "a TIFF that cannot be read") from error
        return Upload(name, values.shape[2], values.shape[1], georeferenced, bounds)


def _degrees(source: Any) -> tuple[float, float, float, float] | None:
    """Where a raster lies; None where its CRS gives no place."""
    try:
        west, south, east, north = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    except (RasterioError, ValueError):
        return None
    if not all(map(math.isfinite, (west, south, east, north))):
        return None
    return west, south, east + 360 * (east < west), north
