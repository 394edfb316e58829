"""Known imagery is in the world as it is, at its level and coarser ones, and the world grows around it."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import Resampling, reproject

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_world import LEVEL, means, opened, tiny_pipeline

from earthgen.errors import ArgumentError, DataError
from earthgen.output.picture import Picture, Scale
from earthgen.output.provenance import Provenance
from earthgen.output.scene import Scene
from earthgen.world import Grid, Window, World
from earthgen.world.base import Image
from earthgen.world.cache import TileCache
from earthgen.world.known import REACH, KnownImagery, Raster
from earthgen.world.projection import WEB_MERCATOR, transform, world_size
from earthgen.world.pyramid import Tile

pytestmark = pytest.mark.usefixtures("one_thread")

FIRST, LAST = 2, 18
PLACE = Window(LEVEL, 930, -30, 70, 90)
"""Where most rasters of these tests lie: across the antimeridian, and not on the grid of anything."""


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline()


def content(height: int, width: int, seed: int = 0) -> Image:
    """Smooth, and unlike the painted Earth."""
    i, j = np.mgrid[:height, :width] / 9 + seed
    return np.stack([210 + 40 * np.sin(i), 60 + 40 * np.sin(j), 80 + 40 * np.cos(i + j)], -1).astype(np.uint8)


def written(path: Path, image: Image, crs: Any, place: Affine | None, **options: Any) -> Path:
    bands = image.transpose(2, 0, 1)
    profile = {"driver": "GTiff", "height": bands.shape[1], "width": bands.shape[2], "count": len(bands)}
    with rasterio.open(path, "w", dtype=bands.dtype, crs=crs, transform=place, **profile, **options) as file:
        file.write(bands)
    return path


def on_grid(folder: Path, window: Window = PLACE, seed: int = 0) -> tuple[Path, Image]:
    """A raster of the pyramid's own pixels."""
    image = content(*window.shape, seed)
    name = f"{window.level}-{window.top}-{window.left}-{seed}.tif"
    return written(folder / name, image, WEB_MERCATOR, window.transform), image


def imagery(folder: Path, *given: Any) -> KnownImagery:
    return KnownImagery([Raster(one, FIRST, LAST) for one in given], TileCache(folder / "cache"))


# Brought to the pyramid


def test_the_pyramids_own_pixels_stay_as_they_are(tmp_path: Path) -> None:
    path, image = on_grid(tmp_path)
    known = imagery(tmp_path, path)
    wide = PLACE.grown(7)
    for window in (wide, Window(LEVEL, wide.top, wide.left + world_size(LEVEL), *wide.shape)):
        found = known.pixels(window)
        assert found is not None
        assert (found[0][7:-7, 7:-7] == image).all()
        assert found[1][7:-7, 7:-7].all()
        assert found[1].sum() == image[..., 0].size
    assert known.pixels(Window(LEVEL, 3000, 500, 40, 40)) is None
    assert known.pixels(PLACE.at_level(LEVEL + 2)) is None, "finer than the raster"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 69), st.integers(0, 89), st.integers(1, 70), st.integers(1, 90), st.sampled_from([2, 3, 4]))
def test_a_window_is_the_part_of_a_larger_one(
    tmp_path_factory: pytest.TempPathFactory, top: int, left: int, h: int, w: int, level: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    grid = Grid.around(60, 179.9, 4200, (70, 60))
    known = imagery(folder, written(folder / "utm.tif", content(70, 60), grid.crs, grid.transform))
    whole = Window.around(level, 60, 179.9, 160, 180)
    part = Window(level, whole.top + top, whole.left + left, h, w)
    all_of_it, found = known.pixels(whole), known.pixels(part)
    assert all_of_it is not None
    at = part.slices_in(whole)
    if found is None:
        assert not all_of_it[1][at].any()
    else:
        assert (found[1] == all_of_it[1][at]).all()
        assert (found[0][found[1]] == all_of_it[0][at][found[1]]).all()


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "ESRI:54009", "EPSG:3035"])
def test_any_crs_against_rasterios_warp(tmp_path: Path, crs: str) -> None:
    grid = Grid.around(50, 9, 5000, (90, 80), crs)
    image = content(90, 80)
    known = imagery(tmp_path, written(tmp_path / "a.tif", image, grid.crs, grid.transform))
    window = Window.around(LEVEL, 50, 9, 100, 100)
    found = known.pixels(window)
    assert found is not None
    assert found[1].sum() > 500
    expected = np.zeros((3, 100, 100), np.uint8)
    reproject(
        image.transpose(2, 0, 1), expected, src_transform=grid.transform, src_crs=grid.crs,
        dst_transform=window.transform, dst_crs=WEB_MERCATOR, resampling=Resampling.cubic,
    )  # fmt: skip
    assert np.abs(found[0].astype(int) - expected.transpose(1, 2, 0))[found[1]].mean() < 2


def test_a_rotated_transform(tmp_path: Path) -> None:
    grid = Grid.around(50, 9, 5000, 60, "EPSG:3857")
    turned = grid.transform @ Affine.translation(60, 0) @ Affine.rotation(90)
    image = content(60, 60)
    upright = imagery(tmp_path, written(tmp_path / "a.tif", image, grid.crs, grid.transform))
    lying = imagery(tmp_path, written(tmp_path / "b.tif", np.rot90(image, 1), grid.crs, turned))
    window = Window.around(5, 50, 9, 90, 90)
    a, b = upright.pixels(window), lying.pixels(window)
    assert a is not None and b is not None
    assert a[1].any()
    assert (a[1] == b[1]).all()
    assert (a[0][a[1]] == b[0][a[1]]).all()


def test_coarser_levels_are_averages(tmp_path: Path) -> None:
    window = Window(LEVEL, 896, 64, 64, 96)
    path, image = on_grid(tmp_path, window)
    known = imagery(tmp_path, path)
    found = known.pixels(window.at_level(LEVEL - 2))
    assert found is not None
    assert found[1].all()
    assert np.abs(found[0] - means(image, 4)).max() <= 1
    odd = known.pixels(Window(LEVEL, 897, 65, 40, 40).at_level(LEVEL - 2))
    assert odd is not None


@pytest.mark.parametrize(("factor", "level"), [(1.0, 4), (0.6, 4), (1.9, 4), (2.1, 2), (0.45, 6), (0.25, 6)])
def test_its_level_is_the_generated_one_nearest_to_its_pixels(tmp_path: Path, factor: float, level: int) -> None:
    place = transform(LEVEL, 900, 100) @ Affine.scale(factor)
    assert Raster(written(tmp_path / "a.tif", content(30, 30), WEB_MERCATOR, place), FIRST, LAST).level == level


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_what_a_file_leaves_out_is_not_known(tmp_path: Path, kind: str) -> None:
    image = content(*PLACE.shape)
    left_out = np.zeros(PLACE.shape, bool)
    left_out[20:31, 40:60] = True
    path = tmp_path / "a.tif"
    if kind == "nodata":
        written(path, np.where(left_out[..., None], 0, image).astype(np.uint8), WEB_MERCATOR, PLACE.transform, nodata=0)
    elif kind == "alpha":
        rgba = np.dstack([image, np.where(left_out, 0, 255).astype(np.uint8)])
        written(path, rgba, WEB_MERCATOR, PLACE.transform, photometric="RGB", alpha="YES")
    else:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            written(path, image, WEB_MERCATOR, PLACE.transform)
            with rasterio.open(path, "r+") as file:
                file.write_mask(~left_out)
    found = imagery(tmp_path, path).pixels(PLACE)
    assert found is not None
    assert (found[1] == ~left_out).all()
    assert (found[0][~left_out] == image[~left_out]).all()


def test_13_bands_of_16_bits_where_it_is_said_what_they_are(tmp_path: Path) -> None:
    image = content(*PLACE.shape)
    bands = np.zeros((*PLACE.shape, 13), np.uint16)
    bands[..., [3, 2, 1]] = image.astype(np.uint16) * 10
    path = written(tmp_path / "s2.tif", bands, WEB_MERCATOR, PLACE.transform)
    found = imagery(tmp_path, Picture.open(path, (4, 3, 2), Scale(0, 2550))).pixels(PLACE)
    assert found is not None
    assert (found[0] == image).all()


def test_a_file_larger_than_what_is_read_of_it(tmp_path: Path) -> None:
    side = 12_000
    place = transform(12, 400_000, 500_000)
    path = tmp_path / "large.tif"
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "crs": WEB_MERCATOR}
    with rasterio.open(path, "w", **profile, transform=place, tiled=True, sparse_ok=True) as file:
        file.write(np.full((3, 256, 256), 7, np.uint8), window=((5120, 5376), (5120, 5376)))
    known = imagery(tmp_path, path)
    tracemalloc.start()
    found = known.pixels(Window(12, 405_120, 505_120, 300, 300))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None
    assert (found[0][:256, :256] == 7).all()
    assert found[1].all()
    assert peak < 3 * side * side / 10


def test_later_rasters_lie_over_earlier_ones(tmp_path: Path) -> None:
    below, image = on_grid(tmp_path)
    inner = Window(LEVEL, PLACE.top + 10, PLACE.left + 20, 30, 30)
    above, other = on_grid(tmp_path, inner, seed=3)
    found = imagery(tmp_path, below, above).pixels(PLACE)
    assert found is not None
    expected = image.copy()
    expected[inner.slices_in(PLACE)] = other
    assert (found[0] == expected).all()


def test_the_colours_around_come_near_the_known_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", np.full((40, 40, 3), 200, np.uint8), WEB_MERCATOR, transform(LEVEL, 600, 600))
    known = imagery(tmp_path, path)

    def grey(window: Window) -> Image:
        return np.full((*window.shape, 3), 100, np.uint8)

    window = Window(LEVEL, 570, 570, 100, 100)
    line = known.blended(grey, window)[50, :, 0].astype(int)
    assert (line[30:70] == 200).all()
    assert (line[: 30 - REACH] == 100).all()
    assert line[29] > 180
    assert (np.diff(line[:30]) >= 0).all()
    part = Window(LEVEL, 600, 580, 30, 40)
    assert (known.blended(grey, part) == known.blended(grey, window)[part.slices_in(window)]).all()
    assert (known.laid(grey, window)[30:70, 30:70] == 200).all()


# In a world


@pytest.fixture(scope="module")
def grown(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Image, Path]:
    folder = tmp_path_factory.mktemp("grown")
    path, image = on_grid(folder)
    return opened(pipe, folder / "tiles", steps=2, known=[path]), image, path


def test_known_pixels_are_there_as_they_are(grown: tuple[World, Image, Path]) -> None:
    world, image, _ = grown
    assert (world.pixels(PLACE) == image).all()
    coarser = PLACE.at_level(2)
    found = world.request.known.pixels(coarser)
    assert found is not None
    assert (world.pixels(coarser)[found[1]] == found[0][found[1]]).all()
    inner = Window(LEVEL, 936, -24, 32, 32)
    finer = world.pixels(inner.at_level(LEVEL + 2))
    assert np.abs(means(finer, 4) - world.pixels(inner).astype(float)).max() <= 1, "the finer level is made from it"


def test_one_piece_tiles_and_other_orders_are_the_same(
    grown: tuple[World, Image, Path], pipe: Any, tmp_path: Path
) -> None:
    world, _, path = grown
    window = PLACE.grown(20)
    whole = world.pixels(window)
    other = opened(pipe, tmp_path, steps=2, known=[path])
    for part in (Window(LEVEL, 990, 20, 25, 30), Window(LEVEL, 915, -45, 30, 100)):
        assert (other.pixels(part) == whole[part.slices_in(window)]).all()


def test_the_world_sees_what_is_known_and_only_near_it(
    grown: tuple[World, Image, Path], pipe: Any, tmp_path: Path
) -> None:
    world, _, path = grown
    without = opened(pipe, tmp_path, steps=2)
    beside = Window(LEVEL, PLACE.bottom + 2, -10, 12, 40)
    assert (world.pixels(beside) != without.pixels(beside)).any()
    far = Tile(LEVEL, 8, 3)
    assert (world.tile(*far) == without.tile(*far)).all()
    assert world.request.key != without.request.key
    (noted,) = world.provenance().conditions["world"]["known"]
    assert noted["name"] == path.name
    assert len(noted["sha256"]) == 64


def test_content_decides_not_the_name(grown: tuple[World, Image, Path], pipe: Any, tmp_path: Path) -> None:
    world, image, _ = grown
    same = written(tmp_path / "same.tif", image, WEB_MERCATOR, PLACE.transform)
    digest = Raster(same, FIRST, LAST).digest
    written(tmp_path / "same.tif", image // 2, WEB_MERCATOR, PLACE.transform)
    assert Raster(same, FIRST, LAST).digest != digest
    written(tmp_path / "same.tif", image, WEB_MERCATOR, PLACE.transform @ Affine.translation(1, 0))
    assert Raster(same, FIRST, LAST).digest != digest
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(same, "r+") as file:
        file.write_mask(np.ones(PLACE.shape, bool))
    moved = Raster(same, FIRST, LAST).digest
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(same, "r+") as file:
        file.write_mask(np.zeros(PLACE.shape, bool))
    assert Raster(same, FIRST, LAST).digest != moved, "the mask lies in a file beside it"
    scene = Scene(image, WEB_MERCATOR, PLACE.transform, None, Provenance(0, {}, {}, "", "", "", 1, ""))
    of_scene = opened(pipe, tmp_path, steps=2, known=[scene])
    assert (of_scene.pixels(PLACE.grown(9)) == world.pixels(PLACE.grown(9))).all()


def test_an_imagined_planet_grows_around_it_too(pipe: Any, tmp_path: Path) -> None:
    path, image = on_grid(tmp_path, Window(4, 1800, 1800, 60, 60))
    world = opened(pipe, tmp_path, base="imagined", steps=1, known=[path])
    assert (world.pixels(Window(4, 1800, 1800, 60, 60)) == image).all()


# Bad input


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("known", lambda f: written(f / "x.tif", content(9, 9), None, None)),
        ("known", lambda f: written(f / "x.tif", content(9, 9), "EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 89))),
        ("known", lambda f: written(f / "x.tif", content(9, 9), WEB_MERCATOR, transform(0))),
        ("bands", lambda f: written(f / "x.tif", content(9, 9)[..., :1], WEB_MERCATOR, PLACE.transform)),
        ("bands", lambda f: written(f / "x.tif", np.zeros((9, 9, 13), np.uint8), WEB_MERCATOR, PLACE.transform)),
        ("scale", lambda f: written(f / "x.tif", np.zeros((9, 9, 3), np.uint16), WEB_MERCATOR, PLACE.transform)),
        ("input", lambda f: written(f / "x.tif", content(1, 9), WEB_MERCATOR, PLACE.transform)),
        ("crs", lambda f: written(f / "x.tif", content(9, 9), 'LOCAL_CS["here",UNIT["m",1]]', PLACE.transform)),
    ],
)
def test_rasters_that_cannot_be_laid_in(tmp_path: Path, name: str, make: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        Raster(make(tmp_path), FIRST, LAST)
    assert caught.value.argument == name


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"II*\0 nothing")
    for path in (tmp_path / "x.tif", tmp_path / "nowhere.tif"):
        with pytest.raises(DataError):
            Raster(path, FIRST, LAST)
