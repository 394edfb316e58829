"""Tiny data sets in the true layouts, made by code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_bounds

Pixels = NDArray[np.uint8]


@pytest.fixture
def real_root() -> Path:
    """The full data sets; the test is skipped where there are none."""
    if not os.environ.get("EARTHGEN_DATA"):
        pytest.skip("needs the data sets in EARTHGEN_DATA")
    return Path(os.environ["EARTHGEN_DATA"])


def smooth(height: int, width: int, seed: int = 0) -> Pixels:
    """A smooth picture: neighbouring pixels differ by a few grey levels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 215, (max(2, height // 24), max(2, width // 24), 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(pixels: Pixels, path: Path) -> None:
    """Save without loss, whatever the name ends in: readers go by the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, "PNG")


@pytest.fixture
def bluemarble_root(tmp_path: Path) -> Path:
    """Zooms 0 to 2 of one picture, and two tiles of zoom 5 at the antimeridian, one with the source's black line."""
    world = smooth(1024, 1024)
    for zoom in (0, 1, 2):
        side = 256 * 2**zoom
        picture = np.array(Image.fromarray(world).resize((side, side), Image.Resampling.BOX))
        for x in range(2**zoom):
            for y in range(2**zoom):
                tile = picture[y * 256 : y * 256 + 256, x * 256 : x * 256 + 256]
                save(tile, tmp_path / "bluemarble" / str(zoom) / str(x) / f"{y}.jpeg")
    last = smooth(256, 256, 2)
    last[:, -1] = 0
    save(last, tmp_path / "bluemarble/5/31/12.jpeg")
    save(smooth(256, 256, 3), tmp_path / "bluemarble/5/0/12.jpeg")
    return tmp_path


def save_tif(pixels: Pixels, path: Path, crs: str, bounds: tuple[float, float, float, float]) -> None:
    """Save (height, width, bands) as a GeoTIFF with bounds west, south, east, north."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, bands = pixels.shape
    place = from_bounds(*bounds, width, height)
    with rasterio.open(
        path, "w", "GTiff", width=width, height=height, count=bands, dtype="uint8", crs=crs, transform=place
    ) as file:
        file.write(pixels.transpose(2, 0, 1))


@pytest.fixture
def oscd_root(tmp_path: Path) -> Path:
    """Two cities at 60 degrees north, where pixels square in degrees are half as wide as high; one is test."""
    for city, west in (("paris", 2.0), ("rio", 3.0)):
        folder = tmp_path / "oscd" / city
        for moment, size in (("t1", 100), ("t2", 98)):
            save_tif(smooth(size, size), folder / f"{moment}.tif", "EPSG:4326", (west, 59.995, west + 0.01, 60.005))
        (folder / "dates.txt").write_text("date_1: 20160105\ndate_2: 20171107\n")
    label = np.zeros((100, 100), np.uint8)
    label[:50] = 255
    save(label, tmp_path / "oscd/paris/change.png")
    (tmp_path / "oscd/test.txt").write_text("rio\n")
    return tmp_path


@pytest.fixture
def naip_root(tmp_path: Path) -> Path:
    """A picture of 400 columns at 5 m in UTM 14N."""
    pixels = np.concatenate([smooth(300, 400), smooth(300, 400, 1)[:, :, :1]], axis=2)
    bounds = (485_900.0, 5_206_000.0, 485_900.0 + 2_000, 5_206_000.0 + 1_500)
    save_tif(pixels, tmp_path / "naip/m_4709963_se_14_1_20100629.tif", "EPSG:26914", bounds)
    return tmp_path


@pytest.fixture
def dubai_root(tmp_path: Path) -> Path:
    """A training tile with an RGB mask, and a test tile with a palette mask: water around a building."""
    mask = np.full((120, 150, 3), (0xE2, 0xA9, 0x29), np.uint8)
    mask[30:60, 40:100] = (0x3C, 0x10, 0x98)
    mask[100:, :10] = (0x9B, 0x9B, 0x9B)
    mask[0, 0] = 0
    for tile in ("tile1", "tile6"):
        folder = tmp_path / "dubai_seg" / tile
        save(smooth(120, 150), folder / "images" / "image_part_001.jpg")
        save(mask, folder / "masks" / "image_part_001.png")
    colours = Image.fromarray(mask).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    colours.save(tmp_path / "dubai_seg/tile6/masks/image_part_001.png")
    return tmp_path


@pytest.fixture
def oam_root(tmp_path: Path) -> Path:
    """One tile at zoom 19 with a building of 64 x 32 px in its middle, and one far away."""
    (tmp_path / "oam").mkdir()
    save(smooth(256, 256), tmp_path / "oam/OAM-309612-261632-19.png")

    def degrees(x: float, y: float) -> list[float]:
        world = 256 * 2.0**19
        px, py = 309612 * 256 + x, 261632 * 256 + y
        return [px / world * 360 - 180, float(np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * py / world)))))]

    def ring(left: float, top: float) -> list[list[float]]:
        corners = ((0, 0), (64, 0), (64, 32), (0, 32), (0, 0))
        return [degrees(left + x, top + y) for x, y in corners]

    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring(96, 112)]}},
        {"type": "Feature", "properties": {}, "geometry": {"type": "MultiPolygon", "coordinates": [[ring(9999, 0)]]}},
    ]
    (tmp_path / "oam/labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return tmp_path


@pytest.fixture
def elevation_root(tmp_path: Path) -> Path:
    """A grid of one degree: 1000 m north of the equator from 0 to 90 east, sea of -100 m elsewhere."""
    lats, lons = np.arange(-89.5, 90), np.arange(20.5, 381)
    east = (lons % 360)[None, :]
    grid = np.where((lats[:, None] > 0) & (east < 90), 1000.0, -100.0)
    grid[:, -1] = grid[:, 0]
    lons[-1] = lons[0] + 360
    (tmp_path / "world").mkdir()
    for name, values in (("data", grid), ("lats", lats), ("lons", lons)):
        np.savetxt(tmp_path / f"world/etopo20{name}.gz", values)
    return tmp_path
