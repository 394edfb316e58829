"""Images from outside: the good come through, the hostile are refused, and nothing is written elsewhere."""

from __future__ import annotations

import dataclasses
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from PIL import Image as Picture
from rasterio.io import MemoryFile

from earthgen.app.settings import Settings
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
ENTITIES = b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"


def tiff_of(*tags: tuple[int, int, int, int], after: bytes = b"", big_endian: bool = False) -> bytes:
    """A TIFF of one directory: (tag, type, count, value or offset) each."""
    order = ">" if big_endian else "<"
    head = (b"MM\x00*" if big_endian else b"II*\x00") + struct.pack(order + "I", 8)
    rows = b"".join(struct.pack(order + "HHII", *tag) for tag in sorted(tags))
    return head + struct.pack(order + "H", len(tags)) + rows + struct.pack(order + "I", 0) + after


def tiff_of_size(width: int, height: int, *more: tuple[int, int, int, int], bits: int = 8) -> bytes:
    usual = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, bits), 259: (3, 1, 1), 262: (3, 1, 1),
             273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, 4)}  # fmt: skip
    tags = usual | {tag: rest for tag, *rest in more}  # type: ignore[dict-item]
    return tiff_of(*((tag, *rest) for tag, rest in tags.items()))  # type: ignore[misc]


def jpeg_of_size(width: int, height: int) -> bytes:
    content = bytearray(encoded("JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


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
    "pickle that runs": b"cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "xml that reads a file": ENTITIES,
    "svg in a png's text": b"\x89PNG\r\n\x1a\n" + png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + ENTITIES),
    "gdal's network of files": b"/vsicurl/http://127.0.0.1/secret.tif",
    "gdal's wms": b"<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1/</ServerUrl></Service></GDAL_WMS>",
    "a name with a path": b"../../../../etc/passwd",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "netcdf": b"CDF\x01" + b"\x00" * 40,
    "hdf5": b"\x89HDF\r\n\x1a\n" + b"\x00" * 40,
    "jpeg 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "gzip": b"\x1f\x8b\x08" + b"\x00" * 20,
    "numpy's pickles": b"\x93NUMPY\x01\x00",
    "null bytes": b"\x00" * 4096,
    "png of zlib's bomb": b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\x00" * (80 << 20), 9))
    + png_chunk(b"IEND", b""),
    "png without an end": png_of_size(8, 8)[:-12],
    "png of a wrong sum": encoded("PNG")[:20] + b"\xff\xff\xff\xff" + encoded("PNG")[24:],
    "jpeg bomb": jpeg_of_size(65_500, 65_500),
    "jpeg of no lines": jpeg_of_size(30, 0),
    "jpeg of markers alone": b"\xff\xd8" + b"\xff\xff" * 2000,
    "tiff bomb": tiff_of_size(2**31 - 1, 2**31 - 1),
    "tiff that is all width": tiff_of_size(2**32 - 1, 2),
    "tiff of no pixels": tiff_of_size(0, 0),
    "tiff of many samples": tiff_of_size(16, 16, (277, 3, 1, 65_535)),
    "tiff of bits that are none": tiff_of_size(16, 16, bits=37),
    "tiff whose pixels are elsewhere": tiff_of_size(16, 16, (273, 4, 1, 2**31)),
    "tiff of a compression that is none": tiff_of_size(16, 16, (259, 3, 1, 34_999)),
    "tiff of endless tags": b"II*\x00\x08\x00\x00\x00\xff\xff" + b"\x00\x01\x04\x00\x01\x00\x00\x00" * 8,
    "tiff with its bytes the other way": tiff_of(big_endian=True),
    "tiff of tags of huge counts": tiff_of_size(16, 16, (258, 3, 2**32 - 1, 8)),
    "tiff whose next directory is itself": tiff_of_size(16, 16)[:-4] + struct.pack("<I", 8),
}


def test_there_are_as_many_as_promised() -> None:
    assert len(HOSTILE) >= 50


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", max_pixels=250 * 250)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_and_leave_nothing(name: str, uploads: Uploads, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as refused:
        uploads.put(HOSTILE[name])
    assert str(tmp_path) not in str(refused.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_route_that_takes_a_file_refuses_them(settings: Settings, pipe: Any, routes: Any, tmp_path: Path) -> None:
    """Those that the API's description names, whatever they are: none fails, hangs, or leaves anything."""
    with routes(dataclasses.replace(settings, upload_pixels=250 * 250), pipe) as client:
        paths = client.get("/openapi.json").json()["paths"]
        taking = [path for path, about in paths.items() if "application/octet-stream" in str(about.get("post"))]
        assert "/uploads" in taking
        for path in taking:
            for name, content in HOSTILE.items():
                answer = client.post(path, content=content)
                assert 400 <= answer.status_code < 500, (path, name, answer.text)
                assert answer.json()["detail"] and str(tmp_path) not in answer.text
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_room_is_made_for_new_ones(uploads: Uploads) -> None:
    names = [uploads.put(encoded("PNG")).id for _ in range(4)]  # some 1.8 kB each
    uploads.kept_bytes = 4500
    for age, name in enumerate(reversed(names)):
        os.utime(uploads.path(name), (1e9 - age, 1e9 - age))
    uploads.path(names[0])  # asked for now
    latest = uploads.put(encoded("PNG")).id
    assert {path.stem for path in uploads.folder.iterdir()} == {names[0], names[3], latest}


def test_where_an_image_lies_is_told(uploads: Uploads) -> None:
    place = {"crs": "EPSG:32601", "transform": Affine(10_000, 0, 100_000, 0, -10_000, 5_200_000)}
    west, south, east, north = uploads.put(tiff(PIXELS.transpose(2, 0, 1), **place)).bounds or (0, 0, 0, 0)
    assert 170 < west < 180 < east < 190 and 44 < south < north < 48  # across the antimeridian
    assert uploads.put(encoded("PNG")).bounds is None


@tried(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_what_is_not_of_8_bits_can_be_looked_at(bands: int, uploads: Uploads) -> None:
    values = np.linspace(200, 3000, bands * 400).reshape(bands, 20, 20).astype(np.float32)
    values[:, 0, 0], values[:, 0, 1] = np.nan, -9999
    seen = uploads.seen(uploads.put(tiff(values, nodata=-9999)).id)
    assert seen.shape == (20, 20, 3) and seen.dtype == np.uint8
    assert (seen[0, :2] == 0).all()  # what is left out
    assert seen.min() == 0 and seen.max() == 255 and (np.diff(seen[5:, :, 0].ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize("value", [7, 0, np.nan])
def test_an_image_of_one_value_can_be_looked_at(value: float, uploads: Uploads) -> None:
    flat = np.full((1, 8, 8), value, np.float32)
    assert uploads.seen(uploads.put(tiff(flat)).id).shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["", "../job", "a" * 32, "A" * 32, "0" * 31, "0" * 32 + "/..", None, 7])
def test_names_are_ids_alone(name: Any, uploads: Uploads) -> None:
    with pytest.raises(ArgumentError):
        uploads.path(name)
