"""Rasters far larger than memory, asked for block by block and written as cloud-optimised GeoTIFF or Zarr.

The work on `alps.tif` lies in `alps.tif.partial` until it is whole. An export that was interrupted, even killed, goes
on after the last whole row of blocks when it is asked for again. No step holds more than a few blocks.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.env import Env
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window
from tqdm.auto import tqdm

from earthgen.conditions import check_rgb
from earthgen.errors import ArgumentError, OutputError
from earthgen.output.atomic import StrPath
from earthgen.output.geotiff import BLOCK_SIZE, quiet_without_place
from earthgen.output.geozarr import ZarrWriter
from earthgen.output.partial import Partial, check_space, resumable
from earthgen.output.provenance import Provenance
from earthgen.output.raster import Blocks, Image, Put, Raster, RasterWriter

SUFFIXES = (".tif", ".tiff", ".zarr")
_CACHE_BYTES = 16 << 20
"""Of GDAL's blocks. Its own default, a share of the machine's memory, is for those who read again what they read."""
_LEAST_BYTES, _TYPICAL_BYTES = 1.0, 5.0
"""On disk for a pixel, work and result together. NAIP and OpenAerialMap tiles take 5.3 and 6.4, Blue Marble 1.3."""


def stream_raster(
    path: StrPath,
    blocks: Blocks,
    height: int,
    width: int,
    crs: CRS | None,
    transform: Affine | None,
    provenance: Provenance,
    gsd: float | None = None,
    *,
    block_size: int = 2 * BLOCK_SIZE,
    progress: bool = False,
) -> Path:
    """Write a raster as COG (`.tif`, `.tiff`) or Zarr (`.zarr`), calling `blocks` for its windows in row-major order.

    The GeoTIFF is, byte for byte, the one that `write_geotiff` makes of the whole image; what the Zarr store holds is
    said in `earthgen.output.geozarr`.

    Args:
        path: A file is replaced at the last moment; a Zarr store must not be there yet.
        blocks: Must give the same pixels whenever it is asked, as the work may be split over several runs.
        height: Rows of pixels.
        width: Columns of pixels.
        crs: CRS, or None for an image without a place.
        transform: (column, row) of pixel corners to `crs`, north-up; given with `crs` or not at all.
        provenance: A later run goes on with the work of an earlier one if this is equal but for the time, and so are
            size, place and `block_size`; otherwise the work starts anew, with a warning.
        gsd: Metres on the ground a pixel, for the tags.
        block_size: Side of the windows, a multiple of 512; those at the right and lower edge are smaller.
        progress: Whether to show progress and the time left.

    Raises:
        ArgumentError: an argument is out of range, or `blocks` gives something else than the pixels asked for.
        OutputError: the output cannot be written, the disk is too small, or another process is writing it.
    """
    path = Path(path)
    raster = Raster(height, width, crs, transform, provenance, gsd)
    if not isinstance(block_size, int) or block_size < 1 or block_size % BLOCK_SIZE:
        raise ArgumentError("block_size", f"must be a positive multiple of {BLOCK_SIZE} pixels", block_size)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ArgumentError("path", f"must end in one of {', '.join(SUFFIXES)}", str(path))
    if path.is_dir() if suffix != ".zarr" else path.exists():
        raise ArgumentError("path", "must not be there yet, as a folder is not replaced", str(path))
    rows, columns = math.ceil(raster.height / block_size), math.ceil(raster.width / block_size)
    request = {"format": suffix.replace("tiff", "tif"), "block_size": block_size, **raster.request()}
    with resumable(path, request) as partial:
        left = 1 - partial.done / rows
        pixels = raster.height * raster.width
        check_space(path, _LEAST_BYTES * pixels * left, _TYPICAL_BYTES * pixels * left)
        writer: RasterWriter = (ZarrWriter if suffix == ".zarr" else _Cog)(partial, raster)
        total, before = rows * columns, partial.done * columns
        with tqdm(total=total, initial=before, desc=path.name, unit="block", disable=not progress) as bar:
            for row in range(partial.done, rows):
                top = row * block_size
                tall = min(block_size, raster.height - top)
                with writer.row(top, tall) as put:
                    for start in range(0, raster.width, block_size):
                        wide = min(block_size, raster.width - start)
                        block = blocks(top, start, tall, wide)
                        check_rgb("blocks", block)
                        if block.shape != (tall, wide, 3):
                            rule = f"must give the pixels asked for, here of shape {(tall, wide, 3)}"
                            raise ArgumentError("blocks", rule, block.shape)
                        put(start, block)
                        bar.update()
                partial.advance(row + 1)
        partial.publish(writer.finish(progress))
    return path


class _Cog:
    """A strip of GeoTIFF for each row of blocks; in the end GDAL's COG driver reads them all through a VRT."""

    def __init__(self, partial: Partial, raster: Raster) -> None:
        self.partial, self.raster = partial, raster
        self.strips = partial.folder / "strips"
        self.strips.mkdir(exist_ok=True)

    @contextmanager
    def row(self, top: int, height: int) -> Iterator[Put]:
        strip = self.strips / f"{top:012d}.tif"
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "height": height,
            "width": self.raster.width,
            "count": 3,
            "dtype": "uint8",
            "photometric": "RGB",
            "interleave": "pixel",
            "tiled": True,
            "blockxsize": BLOCK_SIZE,
            "blockysize": BLOCK_SIZE,
            "compress": "DEFLATE",
            "predictor": 2,
            "zlevel": 1,
            "bigtiff": "IF_SAFER",
        }

        def put(left: int, block: Image) -> None:
            with self.partial.writing(), Env(GDAL_CACHEMAX=_CACHE_BYTES):
                dataset.write(np.moveaxis(block, 2, 0), window=Window(left, 0, block.shape[1], height))

        with quiet_without_place(), self.partial.writing():
            dataset = rasterio.open(strip, "w", **profile)
        try:
            yield put
        except BaseException:
            with suppress(Exception):  # the first error is the one to report
                dataset.close()
            raise
        with self.partial.writing():
            dataset.close()
            check_whole(strip)
            with strip.open("rb+") as file:
                os.fsync(file.fileno())

    def finish(self, progress: bool) -> Path:
        mosaic = self.partial.folder / "mosaic.vrt"
        finished = self.partial.folder / f"cog-{secrets.token_hex(4)}.tif"  # a killed run's copy may not be dead yet
        self._remove_copies()
        sources = sum(strip.stat().st_size for strip in self.strips.iterdir())
        try:
            with self.partial.writing(), quiet_without_place():
                mosaic.write_text(self._vrt())
                if self.raster.crs is not None:
                    with rasterio.open(mosaic, "r+") as dataset:
                        dataset.crs, dataset.transform = self.raster.crs, self.raster.transform
                _copy_as_cog(mosaic, finished, self.raster, sources, progress)
                check_whole(finished)
        except BaseException:
            self._remove_copies()
            raise
        return finished

    def _remove_copies(self) -> None:
        for half in self.partial.folder.glob("cog-*"):  # with GDAL's temporary file
            half.unlink()

    def _vrt(self) -> str:
        """The strips below one another, without place and tags."""
        width = str(self.raster.width)
        root = ET.Element("VRTDataset", rasterXSize=width, rasterYSize=str(self.raster.height))
        side = str(BLOCK_SIZE)
        strips = sorted(self.strips.iterdir())
        tops = [int(strip.stem) for strip in strips]
        for index in ("1", "2", "3"):
            band = ET.SubElement(
                root, "VRTRasterBand", {"dataType": "Byte", "band": index, "blockXSize": side, "blockYSize": side}
            )
            for strip, top, bottom in zip(strips, tops, [*tops[1:], self.raster.height], strict=True):
                height = str(bottom - top)
                source = ET.SubElement(band, "SimpleSource")
                name = f"{self.strips.name}/{strip.name}"
                ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = name
                ET.SubElement(source, "SourceBand").text = index
                # Said here so that GDAL need not open every strip to find out.
                about = {"RasterXSize": width, "RasterYSize": height, "BlockXSize": side, "BlockYSize": side}
                ET.SubElement(source, "SourceProperties", {**about, "DataType": "Byte"})
                ET.SubElement(source, "SrcRect", xOff="0", yOff="0", xSize=width, ySize=height)
                ET.SubElement(source, "DstRect", xOff="0", yOff=str(top), xSize=width, ySize=height)
        return ET.tostring(root, encoding="unicode")


# Buffers come and go; left to itself, the C library's heap grows with the raster (by 17 % from 2,048 to 8,192 pixels).
_STEADY_HEAP = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "100000", "MALLOC_TRIM_THRESHOLD_": "100000"}
_COPY = """
import json, os, sys, threading
source, target, provenance, gsd, cache = json.loads(sys.stdin.readline())
def end_with_the_parent():
    os.read(0, 1)  # returns when the other end is closed, which the system does for those that are killed
    os._exit(1)
threading.Thread(target=end_with_the_parent, daemon=True).start()
from earthgen.output.geotiff import copy_as_cog
from earthgen.output.provenance import Provenance
copy_as_cog(source, target, Provenance.from_dict(provenance), gsd, cache)
"""


def _copy_as_cog(source: Path, target: Path, raster: Raster, sources: int, progress: bool) -> None:
    """`copy_as_cog` in a process of its own, as GDAL's copy may take minutes and could not be interrupted in this one.

    `sources` is the bytes there are to copy, for the progress shown.
    """
    # By way of stdin: a provenance with thousands of boxes is too long for a command line.
    arguments = [str(source), str(target), raster.provenance.to_dict(), raster.gsd, _CACHE_BYTES]
    command = [sys.executable, "-W", "ignore", "-c", _COPY]
    environment = {**os.environ, **_STEADY_HEAP, "PYTHONPATH": os.pathsep.join(sys.path)}
    growing = (target, target.with_name(target.name + ".ovr.tmp"))  # the latter is GDAL's
    bar = tqdm(
        total=sources * 5 // 3,  # overviews are a third, and are written twice
        desc="overviews and layout",
        unit="B",
        unit_scale=True,
        disable=not progress,
    )
    with bar, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=errors, stderr=errors, env=environment)
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it has ended already, and will be asked why
                process.stdin.write(json.dumps(arguments).encode() + b"\n")
                process.stdin.flush()
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                size = sum(file.stat().st_size for file in growing if file.exists())
                bar.update(max(min(size, bar.total) - bar.n, 0))
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise OutputError(f"cannot write {str(target)!r}: {lines[-1] if lines else 'GDAL was killed'}")


def check_whole(path: Path) -> None:
    """Raise `OutputError` unless every tile of a GeoTIFF and its overviews lies within the file.

    On a disk that fills up as the last bytes are written, GDAL cuts the file short without an error.
    """
    try:
        with quiet_without_place(), rasterio.open(path) as dataset:
            whole = _is_whole(dataset, path)
    except RasterioError as error:
        raise OutputError(f"cannot write {str(path)!r}: what the disk took of it cannot be read") from error
    if not whole:
        raise OutputError(f"cannot write {str(path)!r}: the disk took only part of it")


def _is_whole(dataset: DatasetReader, path: Path) -> bool:
    size = path.stat().st_size
    if dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG":
        size -= 4  # each tile is followed by a repetition of its last 4 bytes
    for level in (None, *range(len(dataset.overviews(1)))):
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as image:
            tiles = np.ndindex(math.ceil(image.height / BLOCK_SIZE), math.ceil(image.width / BLOCK_SIZE))
        for row, column in tiles:
            start, length = (
                int(dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1, ovr=level) or 0)
                for what in ("OFFSET", "SIZE")
            )
            if not 0 < start < start + length <= size:
                return False
    return True
