"""Images from outside: the good come through, the hostile are refused, and nothing is written elsewhere."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from rasterio.io import MemoryFile

from earthgen.app.uploads import Uploads
from earthgen.errors import ArgumentError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (20, 30, 3), dtype=np.uint8)


def encoded(kind: str, image: Any = PIXELS, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Picture.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values: Any, **options: Any) -> bytes:
    with MemoryFile() as memory:
        count, height, width = values.shape
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **options
        ) as target:
            target.write(values)
        return bytes(memory.read())


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + png_chunk(b"IDAT", zlib.compress(b""))
        + png_chunk(b"IEND", b"")
    )


VRT = (
    b"<VRTDataset rasterXSize='8' rasterYSize='8'><VRTRasterBand dataType='Byte' band='1'><SimpleSource>"
    b"<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
)
HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "html": b"<html><script>alert(1)</script></html>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "vrt": VRT,
    "vrt in a jpeg's comment": b"\xff\xd8\xff\xfe" + struct.pack(">H", 2 + len(VRT)) + VRT + b"\xff\xd9",
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
    "webp": encoded("WEBP"),
    "script as png": b"\x89PNG\r\n\x1a\n#!/bin/sh\nrm -rf /\n",
    "half a png": encoded("PNG")[:200],
    "half a jpeg": encoded("JPEG")[:150],
    "half a tiff": tiff(PIXELS.transpose(2, 0, 1))[:300],
    "bomb": png_of_size(100_000, 100_000),
    "wide bomb": png_of_size(2**31 - 1, 2),
    "no pixels": png_of_size(0, 0),
    "one pixel": encoded("PNG", PIXELS[:1, :1]),
    "big": encoded("PNG", np.zeros((300, 300, 3), np.uint8)),
    "tiff of nothing": b"II*\x00" + b"\x00" * 4,
    "tiff that loops": b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
    "tiff that ends far away": b"II*\x00\xff\xff\xff\x7f",
    "tiff of many bands": tiff(np.zeros((20, 4, 4), np.uint8)),
    "tiff of complex numbers": tiff(np.zeros((1, 4, 4), np.complex64)),
    "big tiff": b"II+\x00\x08\x00\x00\x00" + b"\xff" * 8,
    "zip": b"PK\x03\x04" + b"\x00" * 40,
    "elf": b"\x7fELF" + b"\x00" * 40,
    "pickle": b"\x80\x04\x95",
}


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", max_pixels=250 * 250)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_and_leave_nothing(name: str, uploads: Uploads, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as refused:
        uploads.put(HOSTILE[name])
    assert str(tmp_path) not in str(refused.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "TIFF"]))
def test_damaged_files_are_refused_or_read_never_more(data: Any, kind: str, uploads: Uploads) -> None:
    content = bytearray(encoded(kind))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=20)):
        content[at] = data.draw(st.integers(0, 255))
    try:
        taken = uploads.put(bytes(content))
    except ArgumentError:
        return
    assert uploads.path(taken.id).is_file()


def test_pictures_come_through(uploads: Uploads) -> None:
    taken = uploads.put(encoded("PNG"))
    assert (taken.width, taken.height, taken.georeferenced) == (30, 20, False)
    assert (uploads.rgb(taken.id) == PIXELS).all()
    assert uploads.rgb(uploads.put(encoded("JPEG")).id).shape == (20, 30, 3)
    grey = uploads.put(encoded("PNG", PIXELS[..., 0]))
    assert (uploads.rgb(grey.id)[..., 2] == PIXELS[..., 0]).all()


def test_a_turned_photograph_is_turned_and_its_place_is_dropped(uploads: Uploads) -> None:
    exif = Picture.Exif()
    exif[0x0112] = 6  # a quarter turn
    exif[0x8825] = {1: "N", 2: (46.0, 0.0, 0.0)}
    taken = uploads.put(encoded("JPEG", exif=exif))
    assert (taken.width, taken.height) == (20, 30)
    with Picture.open(uploads.path(taken.id)) as kept:
        assert not kept.getexif()


def test_a_geotiff_keeps_its_place_values_and_nodata(uploads: Uploads) -> None:
    values = RNG.integers(0, 3000, (4, 12, 10)).astype(np.uint16)
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500000, 0, -10, 5200000), "nodata": 0}
    taken = uploads.put(tiff(values, **place))
    assert taken.georeferenced
    with rasterio.open(uploads.path(taken.id)) as kept:
        assert kept.crs.to_epsg() == 32632 and kept.transform == place["transform"] and kept.nodata == 0
        assert (kept.read() == values).all()
    with pytest.raises(ArgumentError, match="8 bits"):
        uploads.rgb(taken.id)


@pytest.mark.parametrize("name", ["", "../job", "a" * 32, "A" * 32, "0" * 31, "0" * 32 + "/..", None, 7])
def test_names_are_ids_alone(name: Any, uploads: Uploads) -> None:
    with pytest.raises(ArgumentError):
        uploads.path(name)
