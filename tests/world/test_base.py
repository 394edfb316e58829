"""The map of the Earth in the package is there, is the Earth, and closes around it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.errors import ArgumentError, DataError
from earthgen.world.base import BaseMap, averaged, surrounding
from earthgen.world.projection import position_to_pixel, world_size
from earthgen.world.pyramid import Window


@pytest.fixture(scope="module")
def earth() -> BaseMap:
    return BaseMap()


@pytest.mark.parametrize(
    ("lat", "lon", "like"),
    [
        (23.0, 10.0, "sand"),
        (-3.5, -63.0, "forest"),
        (0.0, -140.0, "sea"),
        (-80.0, 90.0, "ice"),
        (75.0, -40.0, "ice"),
    ],
)
def test_it_is_the_earth(earth: BaseMap, lat: float, lon: float, like: str) -> None:
    for level in earth.levels:
        row, column = (int(c) for c in position_to_pixel(level, lat, lon))
        red, green, blue = earth.pixels(Window(level, row - 2, column - 2, 4, 4)).mean((0, 1))
        seen = {
            "sand": red > green > blue > 60,
            "forest": green > red and green > blue,
            "sea": blue > 2 * red,
            "ice": min(red, green, blue) > 200,
        }
        assert seen[like], (red, green, blue)


def test_it_goes_around_and_on_beyond_the_poles(earth: BaseMap) -> None:
    size = world_size(6)
    there = earth.pixels(Window(6, 500, size - 3, 4, 6))
    assert (there == earth.pixels(Window(6, 500, -3, 4, 6))).all()
    assert (there[:, :3] == earth.pixels(Window(6, 500, size - 3, 4, 3))).all()
    assert (there[:, 3:] == earth.pixels(Window(6, 500, 0, 4, 3))).all()
    north = earth.pixels(Window(6, -3, 100, 5, 4))
    assert (north[:4] == north[3]).all()
    assert (earth.pixels(Window(6, size + 10, 7, 2, 3)) == earth.pixels(Window(6, size - 1, 7, 1, 3))).all()
    assert earth.pixels(Window(2, 0, -5, 3, 2 * world_size(2))).shape == (3, 2 * world_size(2), 3)


def test_its_coarser_level_is_its_average(earth: BaseMap) -> None:
    fine = earth.pixels(Window(6, 16 * 400, 16 * 300, 16 * 8, 16 * 10))
    for _ in range(4):
        fine = averaged(fine)
    assert (fine == earth.pixels(Window(2, 400, 300, 8, 10))).all()


def test_threads_read_it(earth: BaseMap) -> None:
    windows = [Window(6, 700 * n, 900 * n, 80, 80) for n in range(16)]
    alone = [earth.pixels(window) for window in windows]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(earth.pixels, windows), strict=True):
            assert (one == other).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_averages_are_means_with_halves_to_even(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    means = image.reshape(3, 2, 4, 2, 3).mean((1, 3))
    assert (averaged(image) == np.rint(means)).all()


@given(st.integers(-700, 700), st.integers(-900, 900), st.integers(1, 30), st.integers(1, 700))
@settings(max_examples=40)
def test_surroundings_are_the_nearest_row_and_the_column_around(top: int, left: int, height: int, width: int) -> None:
    size = world_size(0)
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (size, size, 3), np.uint8)
    window = Window(0, top, left, height, width)
    image = surrounding(window, lambda r, c: whole[r.start : r.stop, c.start : c.stop])
    rows, columns = np.clip(np.arange(top, top + height), 0, size - 1), np.arange(left, left + width) % size
    assert (image == whole[rows[:, None], columns]).all()


def test_bad_input(earth: BaseMap, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="level"):
        earth.pixels(Window(5, 0, 0, 4, 4))
    with pytest.raises(ArgumentError, match="even"):
        averaged(np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(DataError, match="reinstall"):
        BaseMap(tmp_path)
    for name in ("blue-marble-6.tif", "blue-marble-2.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(DataError, match="reinstall"):
        BaseMap(tmp_path)
