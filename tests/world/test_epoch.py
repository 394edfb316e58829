"""Worlds with layouts, at one day and over time: pure functions of place, untouched where nothing reaches."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from conftest import tiny_pipeline
from test_world import LEVEL, opened

from earthgen.conditions import Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.simulate.margins import MARGIN
from earthgen.world import Window, World
from earthgen.world.labels import series_of
from earthgen.world.projection import pixel_to_position, world_size
from earthgen.world.pyramid import Tile

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = world_size(LEVEL)
DAYS = [dt.date(2019, 1, 1), dt.date(2020, 1, 15), dt.date(2020, 2, 15), dt.date(2022, 1, 1)]


def feature(id: str, label: str, points: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    """A polygon by (column, row) of the level, columns going on beyond the antimeridian."""
    ring = []
    for column, row in [*points, points[0]]:
        lat, _ = pixel_to_position(LEVEL, row, column)
        ring.append([column / SIZE * 360 - 180, float(lat)])
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "id": id, "properties": {"class": label, **more}, "geometry": geometry}


def square(left: float, top: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def event(kind: str, date: str, id: str, **more: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"event": kind, "date": date, "id": id, **more}, "geometry": None}


LAYOUT = collection(
    feature("house", "building", square(SIZE - 20, 1010, 45, 30)),  # over the antimeridian and a border of tiles
    feature("lake", "lake", [(SIZE - 100, 950), (SIZE - 40, 960), (SIZE - 60, 1040), (SIZE - 110, 1020)]),
    feature("far", "ship", square(2000, 3000, 40, 20)),
)
EVENTS = collection(
    event("remove", "2020-01-01", "house"),
    event("transition", "2020-02-01", "lake", **{"class": "wood"}),
    feature("new", "building", square(SIZE + 30, 1040, 24, 24), event="add", date="2021-01-01"),
    event("move", "2021-01-01", "far", by=[500_000, 0]),
)
WINDOW = Window(LEVEL, 930, SIZE - 130, 160, 210)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def world(pipe: Any, folder: Path) -> World:
    return opened(pipe, folder, layout=LAYOUT, events=EVENTS)


@pytest.fixture(scope="module")
def plain(pipe: Any, folder: Path) -> World:
    return opened(pipe, folder)


def test_one_piece_tiles_and_other_orders_are_the_same(world: World, pipe: Any, tmp_path: Path) -> None:
    other = opened(pipe, tmp_path, layout=LAYOUT, events=EVENTS)
    for day in (DAYS[3], DAYS[0]):  # later days first: they need the earlier ones
        whole = world.at(day).pixels(WINDOW)
        for part in (Window(LEVEL, 1000, SIZE - 30, 40, 50), Window(LEVEL, 940, -90, 30, 80), WINDOW.grown(-11)):
            turned = part if part.left > 0 else Window(LEVEL, part.top, part.left + SIZE, part.height, part.width)
            assert (other.at(day).pixels(part) == whole[turned.slices_in(WINDOW)]).all()


def test_a_tile_that_nothing_reaches_is_that_of_the_world_without(world: World, plain: World) -> None:
    last = world.at(DAYS[-1])
    for z, x, y in ((LEVEL, 8, 8), (6, 35, 30), (5, 20, 20)):
        tile = Tile(z, x, y)
        assert last._epoch.key(tile) == plain._epoch.key(tile)
        assert (last.tile(z, x, y) == plain.tile(z, x, y)).all()
    shown = plain.tile(LEVEL, 15, 3)
    assert (world.tile(LEVEL, 15, 3) != shown).any()
    assert world._epoch.key(Tile(LEVEL, 15, 3)) != plain._epoch.key(Tile(LEVEL, 15, 3))
    # A finer tile far from all objects, below a coarser one that is near them, is made from other pixels.
    below = Tile(6, 63, 15)
    assert world._epoch.key(below) != plain._epoch.key(below)


def test_what_reaches_a_tile_alone_counts(world: World, pipe: Any, folder: Path) -> None:
    """Another object elsewhere, other words for it, another order: the same bytes under the same key."""
    features = [*LAYOUT["features"][1::-1], feature("else", "palace of glass", square(3000, 500, 30, 50))]
    other = opened(pipe, folder, layout=collection(*features))
    tile = Tile(LEVEL, 15, 3)
    assert other._epoch.key(tile) == world._epoch.key(tile)
    assert (other._epoch._stage(LEVEL).tile(3, 15) == world._epoch._stage(LEVEL).tile(3, 15)).all()


def test_classes_texts_and_weights_decide_where_they_reach(world: World, pipe: Any, folder: Path) -> None:
    named = collection(feature("house", "building", square(SIZE - 20, 1010, 45, 30), text="a red roof"))
    tiles = []
    for layout, more in ((LAYOUT, {}), (named, {}), (LAYOUT, {"guidance": Guidance.uniform(1.0)})):
        one = opened(pipe, folder, layout=layout, **more)
        tiles.append(one.tile(LEVEL, 0, 4))
        assert (one.tile(LEVEL, 8, 8) == world.tile(LEVEL, 8, 8)).all()
    assert (tiles[0] != tiles[1]).any()
    assert (tiles[0] != tiles[2]).any()


def test_an_object_has_its_own_colours_where_it_is_new(world: World) -> None:
    tile = world.tile(LEVEL, 7, 11)  # the ship's, of which no coarser level knows
    coarser = world.pixels(Tile(LEVEL, 7, 11).window.at_level(LEVEL - 2)).astype(int)
    means = tile.reshape(64, 4, 64, 4, 3).mean((1, 3))
    differs = (np.abs(means - coarser) > 1).any(-1)  # half a level is free, and pixels are rounded
    rows, columns = np.nonzero(differs)
    assert 0 < len(rows) <= 11 * 6
    top, left = 256 * 11, 256 * 7
    assert ((4 * rows + 4 + top > 3000) & (4 * rows + top < 3020)).all()
    assert ((4 * columns + 4 + left > 2000) & (4 * columns + left < 2040)).all()


def test_days_differ_within_the_margin_of_what_changed_alone(world: World) -> None:
    grid = world.grid(*_middle(), 7400, (150, 190), "EPSG:3857")
    assert world.layout is not None
    series = series_of(world.layout, grid, DAYS)
    images = [world.window(*_middle(), 7400, (150, 190), "EPSG:3857", day).image.astype(int) for day in DAYS]
    for first in range(4):
        for second in range(first + 1, 4):
            changed = series.changed(first, second)
            assert changed.any()
            difference = np.abs(images[first] - images[second]).max(-1)
            # Through a state between, which changed elsewhere.
            near = np.logical_or.reduce([series.changed(k, k + 1) for k in range(first, second)])
            assert not difference[ndimage.distance_transform_edt(~near) > MARGIN].any()
            assert difference[changed].mean() > 1


def test_days_in_another_projection(world: World) -> None:
    lat, lon = _middle()
    grid = world.grid(lat, lon, 9000, 96)
    assert world.layout is not None
    series = series_of(world.layout, grid, DAYS[:2])
    first, second = (world.at(day).read(grid.crs, grid.transform, 96, 96).astype(int) for day in DAYS[:2])
    far = ndimage.distance_transform_edt(~series.changed()) > MARGIN + 3
    assert far.any()
    assert (first == second)[far].all()
    assert (first != second).any()


def test_coarser_levels_between_are_those_of_their_day(world: World, plain: World) -> None:
    tiles = [world.at(day).tile(LEVEL + 1, 31, 7) for day in DAYS[:2]]
    assert (tiles[0] != tiles[1]).any()
    assert (world.at(DAYS[0]).tile(LEVEL + 1, 20, 7) == world.at(DAYS[1]).tile(LEVEL + 1, 20, 7)).all()


def test_one_date(world: World, pipe: Any, folder: Path) -> None:
    """The date of the conditions is the day that is shown; other days have its season."""
    dated = opened(pipe, folder, layout=LAYOUT, events=EVENTS, conditions=Conditions(date=DAYS[1]))
    assert dated.date == DAYS[1]
    assert dated._epoch.number == 1
    assert world.date is None
    assert world._epoch.number == 0
    assert world.at(DAYS[3]).at(None)._epoch is world._epoch
    assert {shape.label for shape in world.at(DAYS[1]).labels(_grid(world)).shapes} == {"lake"}
    assert world.at(DAYS[3]).provenance().conditions["shown"] == "2022-01-01"
    with pytest.raises(ArgumentError, match="date"):
        world.at("2020-01-01")  # type: ignore[arg-type]


def test_kept_is_what_needs_no_work(world: World, pipe: Any, tmp_path: Path) -> None:
    other = opened(pipe, tmp_path, layout=LAYOUT, events=EVENTS).at(DAYS[1])
    assert other.kept(LEVEL, 15, 3) is None
    tile = other.tile(LEVEL, 15, 3)
    found = other.kept(LEVEL, -1, 3)
    assert found is not None
    assert (found == tile).all()
    assert other.kept(2, 0, 0) is not None


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("layout", {"layout": {"type": "Feature"}}),
        ("layout", {"layout": collection(feature("a", "⌘", square(0, 1000, 50, 50)))}),
        ("layout", {"layout": "nowhere.geojson"}),
        ("layout_mask", {"mask_classes": ["land"]}),
        ("events", {"layout": LAYOUT, "events": "nowhere.geojson"}),
        ("events.features[0].id", {"events": EVENTS}),
    ],
)
def test_bad_worlds(pipe: Any, tmp_path: Path, argument: str, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        opened(pipe, tmp_path, **options)
    assert caught.value.argument == argument


def _middle() -> tuple[float, float]:
    lat, _ = pixel_to_position(LEVEL, 1010, 0)
    return float(lat), 179.0


def _grid(world: World) -> Any:
    return world.grid(*_middle(), 7400, (150, 190), "EPSG:3857")
