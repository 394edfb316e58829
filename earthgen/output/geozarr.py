"""Rasters as Zarr with their place, for xarray, GDAL and the readers of the GeoZarr conventions.

A group a level, `0` the finest, each half as large as the one before until it fits into a chunk. In each: `image`
(band, y, x), coordinates, and CF's grid mapping `spatial_ref`. Version 2 of the format, as GDAL up to 3.10 does not
read what the zarr package writes as version 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS as ProjCRS
from rasterio.transform import array_bounds
from tqdm.auto import tqdm

from earthgen.errors import ArgumentError
from earthgen.output.geotiff import BLOCK_SIZE, GSD_TAG
from earthgen.output.partial import Partial
from earthgen.output.provenance import SYNTHETIC_MARK
from earthgen.output.raster import Image, Put, Raster

_DIMENSIONS = "_ARRAY_DIMENSIONS"
"""Where xarray and GDAL look for the names of an array's dimensions in version 2."""
_ALL_CHUNKS = {"write_empty_chunks": True}


class ZarrWriter:
    """A group a level, the first written as blocks arrive, each of the others from the one before in the end."""

    def __init__(self, partial: Partial, raster: Raster) -> None:
        self.partial, self.raster = partial, raster
        self.folder = partial.folder / "store.zarr"
        self.shapes = [(raster.height, raster.width)]
        while max(self.shapes[-1]) > BLOCK_SIZE:
            height, width = self.shapes[-1]
            self.shapes.append((math.ceil(height / 2), math.ceil(width / 2)))
        if partial.done == 0:
            with partial.writing():
                self._create()

    def _image(self, level: int) -> Any:
        return _zarr().open_array(self.folder / str(level) / "image", mode="r+", config=_ALL_CHUNKS)

    @contextmanager
    def row(self, top: int, height: int) -> Iterator[Put]:
        image = self._image(0)

        def put(left: int, block: Image) -> None:
            with self.partial.writing():
                image[:, top : top + height, left : left + block.shape[1]] = np.moveaxis(block, 2, 0)

        yield put

    def finish(self, progress: bool) -> Path:
        chunks = [math.ceil(h / BLOCK_SIZE) * math.ceil(w / BLOCK_SIZE) for h, w in self.shapes[1:]]
        with tqdm(total=sum(chunks), desc="overviews", unit="chunk", disable=not progress) as bar:
            for level, (height, width) in enumerate(self.shapes[1:], start=1):
                finer, image = self._image(level - 1), self._image(level)
                for top in range(0, height, BLOCK_SIZE):
                    for left in range(0, width, BLOCK_SIZE):
                        rows, columns = (slice(2 * start, 2 * (start + BLOCK_SIZE)) for start in (top, left))
                        with self.partial.writing():
                            half = _halved(finer[:, rows, columns])
                            image[:, top : top + half.shape[1], left : left + half.shape[2]] = half
                        bar.update()
        with self.partial.writing():
            _zarr().consolidate_metadata(self.folder)
        return self.folder

    def _create(self) -> None:
        root = _zarr().open_group(self.folder, mode="w", zarr_format=2, attributes=self._attributes())
        for level, (height, width) in enumerate(self.shapes):
            group = root.create_group(str(level))
            crs, transform = self.raster.crs, self._transform(level)
            about: dict[str, Any] = {"long_name": "red, green, blue", "description": SYNTHETIC_MARK}
            _add(group, "band", ("band",), np.arange(1, 4), {})
            if crs is not None and transform is not None:
                projection = ProjCRS.from_wkt(crs.to_wkt(version="WKT2_2019"))
                axes = {axis.get("axis", "").lower(): axis for axis in projection.cs_to_cf()}
                xs = transform.c + transform.a * (np.arange(width) + 0.5)
                ys = transform.f + transform.e * (np.arange(height) + 0.5)
                _add(group, "x", ("x",), xs, axes.get("x", {}))
                _add(group, "y", ("y",), ys, axes.get("y", {}))
                _add(group, "spatial_ref", (), np.array(0), _grid_mapping(projection, transform))
                about |= {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}  # CF's way, and xarray's
                about["_CRS"] = {"wkt": projection.to_wkt()}  # GDAL's
            group.create_array(
                "image",
                shape=(3, height, width),
                chunks=(3, BLOCK_SIZE, BLOCK_SIZE),
                dtype="uint8",
                chunk_key_encoding={"name": "v2", "separator": "/"},  # not all chunks in one folder
                compressors={"id": "zstd", "level": 3},
                fill_value=None,  # one of 0 would make black pixels count as absent
                config=_ALL_CHUNKS,
                attributes={_DIMENSIONS: ["band", "y", "x"], **about},
            )

    def _transform(self, level: int) -> Affine | None:
        return self.raster.transform @ Affine.scale(2**level) if self.raster.transform else None

    def _attributes(self) -> dict[str, Any]:
        """Of the root: provenance, and the three conventions, each named by the identifier that its text defines."""
        raster = self.raster
        layout: list[dict[str, Any]] = []
        for level, shape in enumerate(self.shapes):
            scale = 1.0 if level == 0 else 2.0
            entry: dict[str, Any] = {"asset": str(level), "spatial:shape": list(shape)}
            entry["transform"] = {"scale": [scale, scale], "translation": [0.0, 0.0]}
            if level:
                entry |= {"derived_from": str(level - 1), "resampling_method": "average"}
            if (transform := self._transform(level)) is not None:
                entry["spatial:transform"] = list(transform)[:6]
            layout.append(entry)
        conventions = [
            {"uuid": "d35379db-88df-4056-af3a-620245f8e347", "name": "multiscales"},
            {"uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "name": "spatial"},
        ]
        attributes: dict[str, Any] = {
            **raster.provenance.to_tags(),
            **({} if raster.gsd is None else {GSD_TAG: repr(raster.gsd)}),
            "description": SYNTHETIC_MARK,
            "zarr_conventions": conventions,
            "multiscales": {"layout": layout},
            "spatial:dimensions": ["y", "x"],
        }
        if raster.crs is not None and raster.transform is not None:
            conventions.append({"uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f"})  # whose name has changed
            attributes["spatial:bbox"] = list(array_bounds(raster.height, raster.width, raster.transform))
            if epsg := raster.crs.to_epsg():
                attributes["proj:code"] = f"EPSG:{epsg}"
            else:
                attributes["proj:wkt2"] = raster.crs.to_wkt(version="WKT2_2019")
        return attributes


def _add(group: Any, name: str, dimensions: tuple[str, ...], values: NDArray[Any], about: dict[str, Any]) -> None:
    """A small array, whole."""
    attributes = {_DIMENSIONS: list(dimensions), **about}
    kind = {"shape": values.shape, "dtype": values.dtype, "fill_value": None}
    group.create_array(name, **kind, config=_ALL_CHUNKS, attributes=attributes)[...] = values


def _grid_mapping(crs: ProjCRS, transform: Affine) -> dict[str, Any]:
    """CF's grid mapping, with GDAL's geotransform as rioxarray reads it."""
    t = transform
    return {**crs.to_cf(), "spatial_ref": crs.to_wkt(), "GeoTransform": f"{t.c} {t.a} {t.b} {t.f} {t.d} {t.e}"}


def _halved(image: Image) -> Image:
    """Means of 2 × 2 pixels of (bands, rows, columns), rounded; at an odd edge, of those there are."""
    bands, rows, columns = image.shape
    even = np.pad(image, ((0, 0), (0, rows % 2), (0, columns % 2)), mode="edge")
    sums = even.reshape(bands, even.shape[1] // 2, 2, even.shape[2] // 2, 2).sum((2, 4), dtype=np.uint16)
    return ((sums + 2) // 4).astype(np.uint8)


def _zarr() -> Any:
    try:
        import zarr  # not every user wants it: an extra
    except ImportError as error:
        raise ArgumentError("path", "can end in .zarr only with `pip install earthgen[zarr]`", ".zarr") from error
    return zarr
