"""The world is a pure function of its place: in one piece, in tiles, in any order, from another process, in any CRS."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
from conftest import tiny_pipeline  # the same components as the pipelines' tests

from earthgen.conditions import Conditions
from earthgen.errors import ArgumentError
from earthgen.models import EarthUNet
from earthgen.steps import FEW
from earthgen.world import Grid, Window, World
from earthgen.world.base import Image, averaged, surrounding
from earthgen.world.levelling import unrounded
from earthgen.world.projection import position_to_pixel, world_size
from earthgen.world.pyramid import Tile

pytestmark = pytest.mark.usefixtures("one_thread")

LEVEL = 4
"""The first that is made."""
SQUARE = [[[10, 0], [40, 0], [40, 30], [10, 30], [10, 0]]]


class Painted:
    """A coarse map that is smooth, closes around the world and differs everywhere."""

    levels = (2,)
    key = "painted"

    def pixels(self, window: Window) -> Image:
        def read(rows: range, columns: range) -> Image:
            turn = np.asarray(columns) * (2 * np.pi / world_size(2))
            down = np.asarray(rows)[:, None] / world_size(2)
            bands = [np.sin(turn) * down, np.cos(3 * turn) * (1 - down), np.sin(5 * turn + 9 * down)]
            return np.stack([np.rint(128 + 90 * b) for b in np.broadcast_arrays(*bands)], -1).astype(np.uint8)

        return surrounding(window, read)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline()


def opened(pipe: Any, folder: Path, **options: Any) -> World:
    given = {"seed": 7, "base": Painted(), "model": pipe, "steps": 1, "cache": folder}
    return World.open(**(given | options))


@pytest.fixture(scope="module")
def world(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> World:
    return opened(pipe, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def stepped(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> World:
    """With more than one step."""
    return opened(pipe, tmp_path_factory.mktemp("stepped"), steps=2)


WINDOW = Window(LEVEL, 900, -70, 150, 140)
"""Across the antimeridian and tiles' borders."""


def means(image: Image, factor: int) -> NDArray[np.float64]:
    height, width, _ = image.shape
    return image.reshape(height // factor, factor, width // factor, factor, 3).mean((1, 3))


def test_one_piece_tiles_and_other_orders_are_the_same(stepped: World, pipe: Any, tmp_path: Path) -> None:
    whole = stepped.pixels(WINDOW)
    other = opened(pipe, tmp_path, steps=2)
    for part in (Window(LEVEL, 1000, 10, 50, 60), Window(LEVEL, 1030, -70, 20, 140), Window(LEVEL, 900, -70, 150, 75)):
        top, left = part.top - WINDOW.top, part.left - WINDOW.left
        assert (other.pixels(part) == whole[top : top + part.height, left : left + part.width]).all()
    around = Window(LEVEL, WINDOW.top, WINDOW.left + world_size(LEVEL), WINDOW.height, WINDOW.width)
    assert (other.pixels(around) == whole).all()
    tile = other.tile(LEVEL, 2**LEVEL - 1, 3)
    assert (tile == stepped.tile(LEVEL, -1, 3)).all()
    assert (tile[132:, -70:] == whole[:124, :70]).all()


def test_another_process_and_no_cache_give_the_same(stepped: World, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import torch; torch.set_num_threads(1);"
        "import hashlib, test_world as t; from pathlib import Path;"
        f"w = t.opened(t.tiny_pipeline(), Path({str(tmp_path)!r}), steps=2);"
        "print(hashlib.sha256(w.tile(t.LEVEL, 15, 3).tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == hashlib.sha256(stepped.tile(LEVEL, 15, 3).tobytes()).hexdigest()


def test_whole_grey_levels_are_smoothed_where_it_is_calm_and_nowhere_else() -> None:
    slope = np.repeat(np.rint(np.arange(0, 12, 0.1))[None, :, None], 40, 0).repeat(3, 2).astype(np.uint8)
    smooth = unrounded(slope)
    assert np.abs(smooth - slope).max() <= 0.5
    steps = np.abs(np.diff(smooth[:, 8:-8], axis=1))
    assert steps.max() < 0.3  # a tenth of a level a pixel, in whole levels
    part = unrounded(slope[3:, 30:60])  # a pixel depends on its surroundings alone
    assert (part[7:-7, 7:-7] == smooth[3:, 30:60][7:-7, 7:-7]).all()
    lively = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    assert np.abs(unrounded(lively) - lively).max() <= 0.5


def test_levels_average_to_those_they_are_made_from(world: World) -> None:
    for z, x, y in ((LEVEL, 3, 5), (6, 20, 24)):
        tile = world.tile(z, x, y)
        coarser = world.pixels(Tile(z, x, y).window.at_level(z - 2))
        assert np.abs(means(tile, 4) - coarser.astype(float)).max() <= 1  # half a level is free; pixels are rounded
        assert tile.std() > 0
    assert (world.tile(5, 10, 12)[:128, :128] == averaged(world.tile(6, 20, 24))).all()
    assert (world.tile(1, 0, 1) == averaged(Painted().pixels(Window(2, 512, 0, 512, 512)))).all()


def test_a_network_of_few_steps_makes_a_world_in_steps_of_its_own(pipe: Any, tmp_path: Path) -> None:
    few = tiny_pipeline()
    shape = {name: value for name, value in few.unet.config.items() if not name.startswith("_")}
    unet = EarthUNet(**shape | {"taught_guidance": 6.0})
    unet.load_state_dict(few.unet.state_dict(), strict=False)
    few.register_modules(unet=unet.eval())
    seen = []

    def note(_module: Any, given: tuple[Any, ...], options: dict[str, Any], _out: Any) -> None:
        seen.append((given[1], options["until"]))

    unet.register_forward_hook(note, with_kwargs=True)
    one = World.open(0, few, base=Painted(), cache=tmp_path / "few")
    assert one.pixels(Window(LEVEL, 256, 256, 256, 256)).std() > 0
    levels = [float(s) for s in few.scheduler.sigmas]
    assert len(levels) == 1 + FEW.world
    assert {tuple(round(float(v)) for v in pair) for pair in seen} == {
        (round(1000 * a), round(1000 * b)) for a, b in pairwise(levels)
    }


def test_without_consistency_levels_go_their_own_way(pipe: Any, tmp_path: Path) -> None:
    world = opened(pipe, tmp_path, consistent=False)
    coarser = world.pixels(Tile(LEVEL, 3, 5).window.at_level(LEVEL - 2))
    assert np.abs(means(world.tile(LEVEL, 3, 5), 4) - coarser).max() > 1


def test_seed_conditions_and_coarse_map_decide(world: World, pipe: Any, tmp_path: Path) -> None:
    tile = world.tile(LEVEL, 3, 5)
    assert (opened(pipe, tmp_path).tile(LEVEL, 3, 5) == tile).all()
    assert (opened(pipe, tmp_path, seed=8).tile(LEVEL, 3, 5) != tile).any()
    assert (opened(pipe, tmp_path, conditions=Conditions(text="sand")).tile(LEVEL, 3, 5) != tile).any()


def test_threads_see_one_world(world: World, pipe: Any, tmp_path: Path) -> None:
    other = opened(pipe, tmp_path)
    asked = [(6, 20, 24), (LEVEL, 5, 6), (6, 20, 24), (1, 0, 0)]
    with ThreadPoolExecutor(4) as pool:
        tiles = list(pool.map(lambda at: other.tile(*at), asked))
    for at, tile in zip(asked, tiles, strict=True):
        assert (world.tile(*at) == tile).all()


def test_an_imagined_planet(pipe: Any, tmp_path: Path) -> None:
    world = opened(pipe, tmp_path, base="imagined")
    assert world.base_level == 4
    tile = world.tile(4, 15, 7)
    assert tile.std() > 0
    assert (tile != opened(pipe, tmp_path, base="imagined", seed=8).tile(4, 15, 7)).any()
    assert np.abs(means(world.tile(6, 60, 28), 4) - tile[:64, :64].astype(float)).max() <= 1


def test_a_region_rules_where_it_is_and_nowhere_else(world: World, pipe: Any, tmp_path: Path) -> None:
    feature = {
        "type": "Feature",
        "properties": {"prompt": "a forest"},
        "geometry": {"type": "Polygon", "coordinates": SQUARE},
    }
    regional = opened(pipe, tmp_path, regions={"type": "FeatureCollection", "features": [feature]})
    everywhere = opened(pipe, tmp_path, conditions=Conditions(text="a forest"))
    row, column = (int(c) for c in position_to_pixel(LEVEL, 15, 25))
    inside = Window(LEVEL, row - 8, column - 8, 16, 16)
    assert (regional.pixels(inside) == everywhere.pixels(inside)).all()
    assert (regional.pixels(inside) != world.pixels(inside)).any()
    outside = Window(LEVEL, row + 1200, column - 8, 16, 16)
    assert (regional.pixels(outside) == world.pixels(outside)).all()


def test_a_part_of_a_warp_is_the_part_of_the_whole(world: World) -> None:
    grid = Grid.around(40, 179.6, 2500, (150, 170))
    whole = world.block(grid, 0, 0, 150, 170)
    assert (world.block(grid, 37, 60, 90, 31) == whole[37:127, 60:91]).all()
    moved = grid.transform @ Affine.translation(60, 37)
    assert (world.read(grid.crs, moved, 90, 31) == whole[37:127, 60:91]).all()


def test_the_pyramids_own_pixels_come_untouched(world: World) -> None:
    scene = world.window(41, 10, 7400, (40, 50), crs="EPSG:3857")
    assert scene.gsd is not None
    assert scene.gsd <= 7400 < 2 * scene.gsd
    window = Window.around(LEVEL, 41, 10, 40, 50)
    assert (scene.image == world.pixels(window)).all()


@pytest.mark.parametrize("crs", [None, "EPSG:4326", "ESRI:54009"])
def test_windows_lie_where_they_say(world: World, crs: str | None) -> None:
    """Against rasterio's own warp of the level that is read."""
    from rasterio.warp import Resampling, reproject

    from earthgen.world.projection import WEB_MERCATOR, transform

    scene = world.window(50, 30, 40_000, (40, 36), crs=crs)  # all of it level 2
    expected = np.zeros((3, 40, 36), np.uint8)
    reproject(
        np.moveaxis(world.pixels(Window(2, 0, 0, 1024, 1024)), 2, 0), expected,
        src_transform=transform(2), src_crs=WEB_MERCATOR, dst_transform=scene.transform, dst_crs=scene.crs,
        resampling=Resampling.cubic,
    )  # fmt: skip
    difference = np.abs(np.moveaxis(expected, 0, 2).astype(int) - scene.image)
    assert difference.max() <= 3


def test_a_rotated_grid(world: World) -> None:
    grid = Grid.around(20, 30, 40_000, 64)
    turned = grid.transform @ Affine.translation(32, 32) @ Affine.rotation(90) @ Affine.translation(-32, -32)
    upright, lying = world.read(grid.crs, grid.transform, 64, 64), world.read(grid.crs, turned, 64, 64)
    assert np.abs(np.rot90(upright, 1).astype(int) - lying).max() <= 1 or (
        np.abs(np.rot90(upright, -1).astype(int) - lying).max() <= 1
    )


def test_beyond_the_map(world: World) -> None:
    grid = Grid.around(84.9, 0, 40_000, 64)
    valid = world.valid(grid.crs, grid.transform, 64, 64)
    assert valid.any()
    assert not valid.all()
    image = world.read(grid.crs, grid.transform, 64, 64)
    assert (image[~valid] > 0).any()


@pytest.mark.parametrize(
    ("argument", "asked"),
    [
        ("size", {"size": 0}),
        ("size", {"size": (10, 10**9)}),
        ("size", {"size": (1, 2, 3)}),
        ("height", {"size": 2**20, "crs": "EPSG:3857"}),
        ("crs", {"crs": "EPSG:999999"}),
        ("lat", {"lat": 89.0}),
        ("lat", {"lat": float("nan")}),
        ("lon", {"lon": float("inf")}),
        ("gsd", {"gsd": 0.0}),
        ("gsd", {"gsd": 0.5}),
        ("gsd", {"gsd": 0.2, "lat": 75.0}),
    ],
)
def test_bad_windows(world: World, argument: str, asked: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        world.window(**({"lat": 10.0, "lon": 10.0, "gsd": 20_000.0, "size": 16} | asked))
    assert caught.value.argument == argument


def test_bad_tiles_and_grids(world: World) -> None:
    for z, x, y in ((19, 0, 0), (-1, 0, 0), (3, 0, 8)):
        with pytest.raises(ArgumentError):
            world.tile(z, x, y)
    with pytest.raises(ArgumentError, match=r"window\.level"):
        world.pixels(Window(20, 0, 0, 4, 4))
    with pytest.raises(ArgumentError, match="inverted"):
        world.read("EPSG:32632", Affine(1, 0, 0, 1, 0, 0), 4, 4)
    with pytest.raises(ArgumentError, match="finer than level"):
        world.read("EPSG:32632", Affine(0.1, 0, 500_000, 0, -0.1, 5_000_000), 4, 4)


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("seed", {"seed": 1.5}),
        ("base", {"base": "mars"}),
        ("steps", {"steps": 0}),
        ("steps", {"steps": {5: 3}}),
        ("steps", {"steps": {4: 0}}),
        ("tile", {"tile": 48}),
        ("tile", {"tile": 32}),
        ("halo", {"halo": 2}),
        ("halo", {"halo": -4}),
        ("conditions", {"conditions": Conditions(gsd=3.0)}),
        ("guidance", {"guidance": 3.0}),
        ("guidance", {"guidance": {4: None}}),
        ("known", {"known": "one.tif"}),
        ("model", {"model": 7}),
        ("regions", {"regions": "nowhere.geojson"}),
        ("regions", {"regions": {"type": "Feature"}}),
    ],
)
def test_bad_worlds(pipe: Any, tmp_path: Path, argument: str, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        opened(pipe, tmp_path, **options)
    assert caught.value.argument == argument
