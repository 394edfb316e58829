"""The pyramid against morecantile, pyproj and rasterio; windows against sets of pixels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import morecantile
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import array_bounds
from rasterio.warp import transform as warp

from earthgen.errors import ArgumentError
from earthgen.geo import mercator_gsd, mercator_zoom
from earthgen.world import projection, pyramid
from earthgen.world.projection import HALF_SIDE, MAX_LATITUDE, MAX_LEVEL
from earthgen.world.pyramid import Tile, Window

often = settings(max_examples=50, deadline=None)
QUAD = morecantile.tms.get("WebMercatorQuad")
PYPROJ = Transformer.from_crs(4326, 3857, always_xy=True)

levels = st.integers(0, MAX_LEVEL)
latitudes = st.floats(-89, 89)
longitudes = st.floats(-180, 180, exclude_max=True)
gsds = st.floats(0.01, 200_000)
places = st.integers(-(2**39), 2**39) | st.integers(-3000, 3000)
sides = st.integers(1, 2**30) | st.integers(1, 700)
windows = st.builds(Window, levels, places, places, sides, sides)
small = st.builds(
    Window, st.just(3), st.integers(-90, 90), st.integers(-90, 90), st.integers(1, 60), st.integers(1, 60)
)


def pixels(window: Window) -> set[tuple[int, int]]:
    return set(itertools.product(window.rows, window.columns))


# Levels


@pytest.mark.parametrize("level", range(25))
def test_levels_are_those_of_web_mercator_quad(level: int) -> None:
    matrix = QUAD.matrix(level)
    assert (
        projection.world_size(level) == matrix.matrixWidth * matrix.tileWidth == matrix.matrixHeight * matrix.tileHeight
    )
    assert projection.resolution(level) == pytest.approx(matrix.cellSize, rel=1e-12)
    origin = projection.transform(level) @ (0, 0)
    assert origin == pytest.approx(tuple(matrix.pointOfOrigin), abs=1e-6)


def test_known_figures() -> None:
    assert projection.resolution(0) == pytest.approx(156543.0339280410, rel=1e-12)
    assert projection.MAX_LATITUDE == pytest.approx(85.05112877980659, abs=1e-13)
    assert projection.world_size(14) == 4_194_304
    assert projection.WEB_MERCATOR.to_epsg() == 3857


@often
@given(levels, st.floats(-1000, 2**38), st.floats(-1000, 2**38))
def test_the_transform_is_what_pixels_follow(level: int, row: float, column: float) -> None:
    x, y = projection.pixel_to_mercator(level, row, column)
    assert projection.transform(level) @ (column, row) == pytest.approx((float(x), float(y)), rel=1e-12, abs=1e-6)
    assert projection.transform(level, row, column) @ (0, 0) == pytest.approx((float(x), float(y)), rel=1e-12, abs=1e-6)


# Positions


@often
@given(latitudes, longitudes)
@example(0, -180)
@example(MAX_LATITUDE, 0)
def test_positions_agree_with_pyproj(lat: float, lon: float) -> None:
    x, y = projection.position_to_mercator(lat, lon)
    assert (float(x), float(y)) == pytest.approx(PYPROJ.transform(lon, lat), rel=1e-9, abs=1e-6)
    back_lat, back_lon = (float(c) for c in projection.mercator_to_position(x, y))
    its_lon, its_lat = PYPROJ.transform(float(x), float(y), direction="INVERSE")
    assert back_lat == pytest.approx(its_lat, abs=1e-9)
    assert (back_lon - its_lon + 180) % 360 == pytest.approx(180, abs=1e-9)  # the same meridian


def test_positions_agree_with_rasterio_on_a_grid() -> None:
    lats, lons = (a.ravel() for a in np.meshgrid(np.linspace(-88, 88, 60), np.linspace(-180, 179, 60)))
    xs, ys = warp("EPSG:4326", "EPSG:3857", lons.tolist(), lats.tolist())
    x, y = projection.position_to_mercator(lats, lons)
    np.testing.assert_allclose(x, xs, rtol=0, atol=1e-5)
    np.testing.assert_allclose(y, ys, rtol=0, atol=1e-5)


@often
@given(levels, latitudes, longitudes)
def test_pixels_and_positions_return(level: int, lat: float, lon: float) -> None:
    rows, columns = projection.position_to_pixel(level, lat, lon)
    back_lat, back_lon = projection.pixel_to_position(level, rows, columns)
    assert float(back_lat) == pytest.approx(lat, abs=1e-9)
    assert (float(back_lon) - lon + 180) % 360 == pytest.approx(180, abs=1e-9)
    assert projection.on_map(level, rows) == (abs(lat) <= MAX_LATITUDE) or abs(abs(lat) - MAX_LATITUDE) < 1e-9


@often
@given(levels, st.floats(0, 1), st.floats(-3, 3))
def test_positions_and_pixels_return(level: int, v: float, u: float) -> None:
    """To a fraction of a pixel also at the finest level, and after a wrap of the columns."""
    size = projection.world_size(level)
    row, column = v * size, u * size
    back = projection.position_to_pixel(level, *projection.pixel_to_position(level, row, column))
    precision = size * 2**-38 * 5e-4
    assert float(back[0]) == pytest.approx(row, abs=precision)
    assert (float(back[1]) - column + size / 2) % size == pytest.approx(size / 2, abs=precision)


def test_poles_lie_beyond_every_row() -> None:
    rows, columns = projection.position_to_pixel(5, [90, -90, 86, -86, 85], 0)
    assert rows[:2].tolist() == [-math.inf, math.inf]
    assert projection.on_map(5, rows).tolist() == [False, False, False, False, True]
    assert columns.tolist() == 4096.0
    lat, _ = projection.mercator_to_position(0, [math.inf, -math.inf, 1e12])
    assert lat.tolist() == [90, -90, 90]


@pytest.mark.parametrize("lat", [90.1, -91, math.nan, math.inf, [0, 100]])
def test_latitudes_that_are_none(lat: Any) -> None:
    with pytest.raises(ArgumentError, match="`lat` must be degrees north"):
        projection.position_to_pixel(3, lat, 0)


def test_longitudes_that_are_none() -> None:
    with pytest.raises(ArgumentError, match="`lon` must be finite"):
        projection.position_to_mercator(0, [0, math.nan])


@often
@given(longitudes, st.integers(-3, 3))
def test_longitudes_wrap(lon: float, turns: int) -> None:
    x, _ = projection.position_to_mercator(0, lon + 360 * turns)
    back = float(projection.mercator_to_position(x, 0)[1])
    assert -180 <= back < 180
    assert (back - lon + 180) % 360 == pytest.approx(180, abs=1e-9)


def test_a_longitude_just_west_of_the_antimeridian_does_not_become_180() -> None:
    assert float(projection.mercator_to_position(np.nextafter(-HALF_SIDE, -np.inf), 0)[1]) < 180


def test_columns_wrap() -> None:
    wrapped = projection.wrap_columns(1, np.array([-1, 0, 511, 512, 1025]))
    assert wrapped.tolist() == [511, 0, 511, 0, 1]
    assert wrapped.dtype == np.int64
    assert projection.wrap_columns(1, [-0.5, 512.25]).tolist() == [511.5, 0.25]


def test_rows_on_the_map() -> None:
    assert projection.on_map(0, [-1, 0, 255, 256]).tolist() == [False, True, True, False]
    assert projection.on_map(0, [-0.1, 255.9]).tolist() == [False, True]


# Resolution


@often
@given(levels, st.floats(-MAX_LATITUDE, MAX_LATITUDE))
def test_true_gsd(level: int, lat: float) -> None:
    row, _ = projection.position_to_pixel(level, lat, 0)
    assert float(projection.gsd_at(level, row)) == pytest.approx(mercator_gsd(level, lat), rel=1e-9)


def test_gsd_far_beyond_the_poles_is_zero() -> None:
    assert projection.gsd_at(0, [2.0**40, -(2.0**40)]).tolist() == [0, 0]


@often
@given(gsds, st.floats(-85, 85))
def test_level_for_is_the_coarsest_that_is_fine_enough(gsd: float, lat: float) -> None:
    level = projection.level_for(gsd, lat)
    assert mercator_gsd(level, lat) <= gsd * (1 + 1e-9)
    assert level == 0 or mercator_gsd(level - 1, lat) > gsd
    assert level == max(0, math.ceil(mercator_zoom(gsd, lat) - 1e-9))


@often
@given(levels, st.floats(-85, 85))
def test_level_for_its_own_gsd_as_printed(level: int, lat: float) -> None:
    assert projection.level_for(mercator_gsd(level, lat), lat) == level
    assert projection.level_for(float(f"{mercator_gsd(level, lat):.10g}"), lat) == level


@pytest.mark.parametrize(
    ("gsd", "lat", "message"),
    [
        (0, 0, "`gsd` must be"),
        (-1, 0, "`gsd` must be"),
        (math.nan, 0, "`gsd` must be"),
        (1e-5, 0, "`gsd` must not be finer than level 30"),
        (10, 85.1, "`lat` must be degrees from -85.0511"),
        (10, math.nan, "`lat` must be degrees from -85.0511"),
    ],
)
def test_level_for_bad_input(gsd: float, lat: float, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        projection.level_for(gsd, lat)


# The cascade


@pytest.mark.parametrize(
    ("target", "base", "chain"),
    [
        (14, 8, (8, 10, 12, 14)),
        (13, 8, (8, 10, 12, 14)),
        (9, 8, (8, 10)),
        (8, 8, (8,)),
        (3, 8, (8,)),
        (17, 5, (5, 7, 9, 11, 13, 15, 17)),
        (30, 0, tuple(range(0, 31, 2))),
    ],
)
def test_cascade(target: int, base: int, chain: tuple[int, ...]) -> None:
    assert pyramid.cascade_levels(target, base) == chain


@often
@given(levels, levels)
def test_cascades_share_their_levels(target: int, base: int) -> None:
    """One world: a level is made from the same coarser one whatever was asked for."""
    assume(target <= base or (target - base) % 2 == 0 or target < MAX_LEVEL)
    chain = pyramid.cascade_levels(target, base)
    assert chain[0] == base
    assert all(fine - coarse == 2 for coarse, fine in itertools.pairwise(chain))
    assert max(target, base) <= chain[-1] <= max(target + 1, base)
    assert chain == tuple(range(base, MAX_LEVEL + 1, 2))[: len(chain)]


def test_cascade_bad_input() -> None:
    with pytest.raises(ArgumentError, match="`target` must lie an even number of levels above base 9"):
        pyramid.cascade_levels(30, 9)
    with pytest.raises(ArgumentError, match="`target` must be a whole number from 0 to 30"):
        pyramid.cascade_levels(31, 9)
    with pytest.raises(ArgumentError, match="`base` must be a whole number"):
        pyramid.cascade_levels(14, -1)


@pytest.mark.parametrize("level", [-1, 31, 2.5, True, "3"])
def test_levels_that_are_none(level: Any) -> None:
    with pytest.raises(ArgumentError, match="`level` must be a whole number from 0 to 30"):
        projection.resolution(level)


# Tiles


@often
@given(st.integers(0, 24), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_tiles_lie_where_morecantile_has_them(z: int, u: float, v: float) -> None:
    tile = Tile(z, int(u * 2**z), int(v * 2**z))
    assert tuple(tile.window.bounds) == pytest.approx(
        tuple(QUAD.xy_bounds(morecantile.Tile(tile.x, tile.y, z))), abs=1e-5
    )
    centre = tile.window.latitudes(256)[0], tile.window.longitudes(256)[0]
    found = QUAD.tile(centre[1], centre[0], z)
    assert (found.z, found.x, found.y) == tile
    assert list(tile.window.tiles()) == [tile]


@often
@given(st.integers(0, 30), st.integers(0, 2**30 - 1))
def test_tms_rows_count_from_the_south(z: int, y: int) -> None:
    y %= 2**z
    tile = Tile(z, 0, y)
    assert 0 <= tile.tms_y < 2**z
    assert Tile(z, 0, tile.tms_y).tms_y == y


def test_tms_of_the_north() -> None:
    assert Tile(3, 0, 0).tms_y == 7


@often
@given(
    st.integers(0, 4), st.integers(-1500, 4000), st.integers(-9000, 9000), st.integers(1, 1500), st.integers(1, 1500)
)
def test_tiles_are_those_that_meet_the_window(level: int, top: int, left: int, height: int, width: int) -> None:
    window = Window(level, top, left, height, width)
    tiles = list(window.tiles())
    rows = {r // 256 for r in window.rows if 0 <= r < projection.world_size(level)}
    columns = {c // 256 for c in window.columns}
    assert tiles == [Tile(level, x, y) for y in sorted(rows) for x in sorted(columns)]
    assert all(window.intersect(t.window) for t in tiles)
    assert all(0 <= t.wrapped.x < 2**level and (t.wrapped.x - t.x) % 2**level == 0 for t in tiles)


def test_tiles_over_the_antimeridian() -> None:
    window = Window(2, 100, -10, 20, 20)
    assert list(window.tiles()) == [Tile(2, -1, 0), Tile(2, 0, 0)]
    assert [t.wrapped for t in window.tiles()] == [Tile(2, 3, 0), Tile(2, 0, 0)]
    assert next(iter(window.tiles())).window.intersect(window) == Window(2, 100, -10, 20, 10)


# Windows


@often
@given(windows)
def test_bounds_and_transform(window: Window) -> None:
    bounds = window.bounds
    expected = array_bounds(window.height, window.width, window.transform)
    pixel = projection.resolution(window.level)
    assert tuple(bounds) == pytest.approx(expected, rel=1e-12, abs=1e-4 * pixel + 1e-8)
    assert bounds.left < bounds.right and bounds.bottom < bounds.top


@often
@given(windows)
def test_a_windows_bounds_give_it_back(window: Window) -> None:
    assume(max(abs(b) for b in window.bounds) < 2 * HALF_SIDE)
    assert Window.covering(window.level, *window.bounds) == window


@often
@given(levels, *[st.floats(-1, 1)] * 2, *[st.floats(1e-12, 1)] * 2)
def test_covering_is_the_smallest_that_holds(
    level: int, west: float, south: float, width: float, height: float
) -> None:
    west, south = west * HALF_SIDE, south * HALF_SIDE
    east, north = west + width * HALF_SIDE, south + height * HALF_SIDE
    assume(east > west and north > south)
    window = Window.covering(level, west, south, east, north)
    pixel = projection.resolution(level)
    b, tolerance = window.bounds, 2e-4 * pixel
    assert b.left <= west + tolerance and b.right >= east - tolerance
    assert b.bottom <= south + tolerance and b.top >= north - tolerance
    assert b.left + pixel > west - tolerance and b.bottom + pixel > south - tolerance
    assert b.right - pixel < east + tolerance and b.top - pixel < north + tolerance


@pytest.mark.parametrize("edges", [(1, 0, 0, 1), (0, 1, 1, 0), (0, 0, 0, 0), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)])
def test_covering_nothing(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ArgumentError, match="must be finite metres"):
        Window.covering(3, *edges)


@often
@given(levels, st.floats(-85, 85), longitudes, st.integers(1, 5000), st.integers(1, 5000))
def test_around_a_place(level: int, lat: float, lon: float, height: int, width: int) -> None:
    window = Window.around(level, lat, lon, height, width)
    row, column = (float(c) for c in projection.position_to_pixel(level, lat, lon))
    assert window.shape == (height, width)
    assert abs(window.top + height / 2 - row) <= 0.5
    assert abs(window.left + width / 2 - column) <= 0.5


@pytest.mark.parametrize("lat", [85.06, -90, math.nan])
def test_around_a_place_beyond_the_map(lat: float) -> None:
    with pytest.raises(ArgumentError, match=r"`lat` must be degrees from -85\.0511"):
        Window.around(5, lat, 0, 10, 10)


@often
@given(small, small)
def test_intersections_are_of_pixels(a: Window, b: Window) -> None:
    both = a.intersect(b)
    assert both == b.intersect(a)
    assert (pixels(both) if both else set()) == pixels(a) & pixels(b)
    assert (b in a) == (pixels(b) <= pixels(a))


@often
@given(small, st.integers(0, 9))
def test_slices_find_a_window_in_a_larger_one(window: Window, margin: int) -> None:
    outer = window.grown(margin)
    rows, columns = np.meshgrid(outer.rows, outer.columns, indexing="ij")
    cut = window.slices_in(outer)
    assert rows[cut].shape == window.shape
    assert rows[cut][:, 0].tolist() == list(window.rows)
    assert columns[cut][0].tolist() == list(window.columns)
    assert outer.grown(-margin) == window
    if margin:
        with pytest.raises(ArgumentError, match="`outer` must contain"):
            outer.slices_in(window)


def test_two_levels_do_not_meet() -> None:
    with pytest.raises(ArgumentError, match="must be of level 3"):
        Window(3, 0, 0, 5, 5).intersect(Window(4, 0, 0, 5, 5))


@often
@given(windows, st.integers(1, 300))
def test_aligned_is_the_smallest_on_the_grid(window: Window, multiple: int) -> None:
    aligned = window.aligned(multiple)
    assert window in aligned
    assert all(n % multiple == 0 for n in (aligned.top, aligned.left, aligned.height, aligned.width))
    assert 0 <= window.top - aligned.top < multiple and 0 <= aligned.bottom - window.bottom < multiple
    assert 0 <= window.left - aligned.left < multiple and 0 <= aligned.right - window.right < multiple


@often
@given(small, st.integers(4, 40))
def test_cells_cover_the_window_once(window: Window, size: int) -> None:
    cells = list(window.cells(size))
    parts = [window.intersect(c) for c in cells]
    assert all(c.shape == (size, size) and c.top % size == 0 and c.left % size == 0 for c in cells)
    assert sum(len(pixels(p)) for p in parts if p) == window.height * window.width
    assert set().union(*(pixels(p) for p in parts if p)) == pixels(window)
    assert cells == sorted(cells, key=lambda c: (c.top, c.left))


@often
@given(windows, levels)
def test_shifting_levels(window: Window, level: int) -> None:
    edges = (window.top, window.left, window.bottom, window.right)
    assume(max(map(abs, edges)) << max(level - window.level, 0) <= 2**40)
    shifted = window.at_level(level)
    assert shifted.level == level
    if level >= window.level:
        assert shifted.at_level(window.level) == window
        assert tuple(shifted.bounds) == pytest.approx(tuple(window.bounds), rel=1e-12, abs=1e-6)
    else:
        back = shifted.at_level(window.level)
        assert window in back
        assert back == window.aligned(2 ** (window.level - level))


@often
@given(windows)
def test_wrapping_stays_in_place(window: Window) -> None:
    size = projection.world_size(window.level)
    assume(abs(window.left) + window.width + size < 2**40)
    wrapped = window.wrapped()
    assert 0 <= wrapped.left < size and (wrapped.left - window.left) % size == 0
    assert wrapped.rows == window.rows and wrapped.width == window.width


def test_clipping_to_the_map() -> None:
    assert Window(0, -10, -5, 20, 300).clipped() == Window(0, 0, -5, 10, 300)
    assert Window(0, 250, 0, 20, 3).clipped() == Window(0, 250, 0, 6, 3)
    assert Window(0, 10, 0, 20, 3).clipped() == Window(0, 10, 0, 20, 3)
    for top in (-20, 256):
        with pytest.raises(ArgumentError, match=r"must reach the map, which ends at 85\.0511"):
            Window(0, top, 0, 20, 3).clipped()


@often
@given(st.integers(-(2**36), 2**36), st.integers(-(2**36), 2**36), st.integers(1, 50), st.integers(1, 50))
def test_latents(top: int, left: int, height: int, width: int) -> None:
    rows, columns = Window(9, 4 * top, 4 * left, 4 * height, 4 * width).latents()
    assert (rows, columns) == (range(top, top + height), range(left, left + width))
    assert Window(9, 8 * top, 8 * left, 8 * height, 8 * width).latents(8) == (rows, columns)


@pytest.mark.parametrize("window", [(2, 0, 8, 8), (0, 1, 8, 8), (0, 0, 6, 8), (0, 0, 8, 7)])
def test_latents_that_are_cut(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(ArgumentError, match="`window` must have its edges on multiples of 4 px"):
        Window(9, *window).latents()


@often
@given(small, st.sampled_from([1, 2, 4]))
def test_coordinates_of_rows_and_columns(window: Window, step: int) -> None:
    window = window.aligned(step)
    rows = np.array(window.rows).reshape(-1, step).mean(1) + 0.5
    columns = np.array(window.columns).reshape(-1, step).mean(1) + 0.5
    lat, lon = projection.pixel_to_position(3, rows[:, None], columns)
    np.testing.assert_allclose(window.latitudes(step), lat[:, 0])
    np.testing.assert_allclose(window.longitudes(step), lon)
    np.testing.assert_allclose(window.gsds(step), [mercator_gsd(3, v) for v in window.latitudes(step)], rtol=1e-9)


def test_groups_must_divide() -> None:
    with pytest.raises(ArgumentError, match="`height` must be a multiple of step 4"):
        Window(3, 0, 0, 6, 8).gsds(4)
    with pytest.raises(ArgumentError, match="`width` must be a multiple of step 4"):
        Window(3, 0, 0, 8, 6).longitudes(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 31}, "`level` must be a whole number from 0 to 30"),
        ({"level": 1.0}, "`level` must be a whole number"),
        ({"top": 0.5}, "`top` must be a whole number"),
        ({"left": "0"}, "`left` must be a whole number"),
        ({"height": 0}, "`height` must be a whole number from 1"),
        ({"width": -4}, "`width` must be a whole number from 1"),
        ({"width": True}, "`width` must be a whole number from 1"),
        ({"top": 2**40}, r"`top \+ height` must be"),
        ({"left": 2**40}, r"`left \+ width` must be"),
        ({"left": -(2**40) - 1}, "`left` must be"),
    ],
)
def test_windows_that_are_none(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Window(**{"level": 3, "top": 0, "left": 0, "height": 8, "width": 8, **change})


def test_numpys_numbers_make_the_same_window() -> None:
    window = Window(np.int64(3), np.int32(1), np.int64(2), np.uint8(3), np.int16(4))
    assert window == Window(3, 1, 2, 3, 4)
    assert hash(window) == hash(Window(3, 1, 2, 3, 4))
    assert repr(window) == "Window(level=3, top=1, left=2, height=3, width=4)"
    assert len({window, Window(3, 1, 2, 3, 4)}) == 1
