"""Labels of windows: against pyproj and rasterio, the same across borders, and exact between days."""

from __future__ import annotations

import datetime as dt
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.features import rasterize

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError
from earthgen.labels.change import bands_of
from earthgen.world.events import read_events
from earthgen.world.labels import labels_of, series_of
from earthgen.world.layout import Layout, read_layout
from earthgen.world.warp import Grid

PLACE = (45.4, 9.2)
GRID = Grid.around(*PLACE, 1.0, (200, 240))
TO_DEGREES = Transformer.from_crs(GRID.crs.to_string(), "EPSG:4326", always_xy=True)


def degrees(points: Any, grid: Grid = GRID) -> list[list[float]]:
    x, y = grid.transform @ np.array(points, float).T
    return np.column_stack(TO_DEGREES.transform(x, y)).tolist()


def feature(id: str, label: str, points: Any, **more: Any) -> dict[str, Any]:
    """A polygon in pixels of `GRID`."""
    ring = degrees([*points, points[0]])
    return {
        "type": "Feature",
        "id": id,
        "properties": {"class": label, **more},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def square(left: float, top: float, width: float, height: float) -> list[tuple[float, float]]:
    return [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


HOUSE, ROTATED = square(20, 30, 40, 18), [(110, 60), (150, 83), (143, 95), (103, 72)]
LAKE = [(90.5, 120), (180, 110), (263, 190), (150, 230), (100, 170)]
FEATURES = (
    feature("house", "house", HOUSE),
    feature("ship", "ship", ROTATED),
    feature("lake", "lake", LAKE),
    feature("dot", "house", square(5, 5, 3, 3)),
)
LAYOUT = read_layout(collection(*FEATURES))


def test_objects_are_where_they_were_drawn() -> None:
    labels = labels_of(LAYOUT, 0, GRID)
    assert labels.classes == ("house", "lake", "ship")
    assert labels.mask_classes == ("background", "house", "lake", "ship")
    found = {shape.label: shape for shape in labels.shapes}
    assert len(found) == len(labels.shapes) == 3, "what is too small to be drawn has no label"
    box = found["house"].box
    assert (box.cx, box.cy, box.width, box.height, box.angle) == pytest.approx((40, 39, 40, 18, 0), abs=1e-2)
    assert found["house"].polygon is None
    np.testing.assert_allclose(found["ship"].outline(), ROTATED, atol=0.2)
    whole = shapely.Polygon(LAKE).intersection(shapely.box(0, 0, 240, 200))
    lake = found["lake"].polygon
    assert lake is not None
    assert shapely.Polygon(lake).symmetric_difference(whole).area < 0.2
    assert labels.ids == ("lake", "house", "ship") or labels.ids == ("lake", "ship", "house")


def test_the_mask_is_that_of_rasterio() -> None:
    labels = labels_of(LAYOUT, 0, GRID)
    for name, points in (("house", HOUSE), ("ship", ROTATED), ("lake", LAKE)):
        expected = rasterize([shapely.Polygon(points)], (200, 240)) > 0
        found = labels.mask == labels.mask_classes.index(name)
        assert (found != expected).sum() <= 2, name  # centres that lie on an edge


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 150), st.integers(0, 190), st.integers(8, 100), st.integers(8, 100))
def test_labels_are_the_same_across_borders(top: int, left: int, height: int, width: int) -> None:
    whole = labels_of(LAYOUT, 0, GRID)
    height, width = min(height, 200 - top), min(width, 240 - left)
    part = labels_of(LAYOUT, 0, Grid(GRID.crs, GRID.transform @ Affine.translation(left, top), height, width))
    assert (part.mask == whole.mask[top : top + height, left : left + width]).all()
    outlines = {whole.ids[p.index]: p.shape.outline() for p in whole.parts}
    frame = shapely.box(left, top, left + width, top + height)
    there = {name for name, o in outlines.items() if shapely.Polygon(o).intersection(frame).area > 1e-5}
    assert {part.ids[p.index] for p in part.parts} == there
    for p in part.parts:
        expected = shapely.Polygon(outlines[part.ids[p.index]]).intersection(frame)
        found = shapely.Polygon(p.shape.outline() + np.array([left, top]))
        assert found.symmetric_difference(expected).area < 1e-3


@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "EPSG:32660"])
def test_across_the_antimeridian(crs: str) -> None:
    house = {"class": "house", "width": 400, "height": 200, "angle": 20}
    point = {"type": "Feature", "properties": house, "geometry": {"type": "Point", "coordinates": [-179.9999, 10]}}
    layout = read_layout(collection(point))
    for lon in (180, -179.99):
        labels = labels_of(layout, 0, Grid.around(10, lon, 10, (300, 300), crs))
        (shape,) = labels.shapes
        assert 0 < shape.box.cx < 300
        assert shape.box.width / shape.box.height == pytest.approx(2, rel=0.03)
        assert (labels.mask == 1).sum() == pytest.approx(shape.box.width * shape.box.height, rel=0.05)
    assert not labels_of(layout, 0, Grid.around(10, 0, 10, (300, 300), crs)).shapes


def test_windows_without_anything() -> None:
    labels = labels_of(Layout(()), 0, GRID)
    assert labels.shapes == ()
    assert not labels.mask.any()
    with pytest.raises(ArgumentError, match="min_visible"):
        labels_of(LAYOUT, 0, GRID, 2.0)


EVENTS = collection(
    {"type": "Feature", "properties": {"event": "remove", "date": "2020-01-01", "id": "house"}, "geometry": None},
    feature("new", "house", square(60, 150, 30, 30), event="add", date="2020-03-01"),
    {"type": "Feature", "properties": {"event": "move", "date": "2020-03-01", "id": "ship", "by": [-20, 0]},
     "geometry": None},
    {"type": "Feature", "properties": {"event": "grow", "date": "2020-06-01", "id": "new", "factor": 1.5},
     "geometry": None},
    {"type": "Feature", "properties": {"event": "transition", "date": "2020-06-01", "id": "lake", "class": "mud"},
     "geometry": None},
    feature("house", "house", HOUSE, event="add", date="2021-01-01"),
    {"type": "Feature", "properties": {"event": "shrink", "date": "2021-01-01", "id": "new", "factor": 0.5},
     "geometry": None},
)  # fmt: skip
DATES = [dt.date(2019, 1, 1), dt.date(2020, 2, 1), dt.date(2020, 4, 1), dt.date(2020, 6, 1), dt.date(2021, 2, 1)]


def happened() -> Layout:
    return LAYOUT.with_events(read_events(EVENTS, LAYOUT))


def test_change_is_what_the_labels_of_two_days_differ_by() -> None:
    layout = happened()
    series = series_of(layout, GRID, DATES)
    assert [[event.kind for event in step] for step in series.events] == [
        ["remove"], ["add", "move"], ["grow", "transition"], ["add", "shrink"],
    ]  # fmt: skip
    assert series.maps is not None
    for number, date in enumerate(DATES):
        assert (labels_of(layout, layout.epoch(date), GRID).mask == series.maps[number]).all()
    for first, second in combinations(range(len(DATES)), 2):
        # No object takes the place of another of its class here but the house, which comes back as it was.
        expected = series.maps[first] != series.maps[second]
        assert (series.changed(first, second) == expected).all(), (first, second)
        assert (bands_of(series, first, second)[0] == expected).all()
    assert not series.changed(0, 4)[25:50, 15:65].any()
    (removed,), (added, _) = series.events[:2]
    assert removed.area == pytest.approx(40 * 18, rel=0.05)
    assert added.after is not None
    assert added.after.area == pytest.approx(900, rel=0.01)
    assert series.sentences(0, 1) == ["a house at the top left is gone"]
    assert (series.maps[0] != UNKNOWN).all()


def test_another_object_of_the_class_is_a_change() -> None:
    events = collection(
        {"type": "Feature", "properties": {"event": "remove", "date": "2020-01-01", "id": "house"}, "geometry": None},
        feature("rebuilt", "house", HOUSE, event="add", date="2020-02-01"),
    )
    layout = LAYOUT.with_events(read_events(events, LAYOUT))
    series = series_of(layout, GRID, [dt.date(2019, 1, 1), dt.date(2021, 1, 1)])
    assert series.changed().sum() == pytest.approx(40 * 18, rel=0.05)


def test_dates_run_forwards() -> None:
    for dates in (DATES[::-1], [DATES[0], DATES[0]], []):
        with pytest.raises(ArgumentError) as caught:
            series_of(happened(), GRID, dates)
        assert caught.value.argument == "dates"


def test_epochs() -> None:
    layout = happened()
    assert layout.epochs == 5
    assert [layout.epoch(day) for day in (None, dt.date(2020, 1, 1), dt.date(2020, 2, 29), DATES[-1])] == [0, 1, 1, 4]
    ids = [{one.id for one in layout.at(epoch)} for epoch in range(5)]
    assert ids[0] == {"house", "ship", "lake", "dot"}
    assert ids[1] == ids[0] - {"house"}
    assert ids[4] == ids[0] | {"new"}


def event(kind: str, date: str = "2020-01-01", id: str | None = "house", geometry: Any = None, **more: Any) -> Any:
    properties = {"event": kind, "date": date, **({} if id is None else {"id": id}), **more}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


@pytest.mark.parametrize(
    ("events", "named"),
    [
        ([event("burn")], "events.features[0].properties.event"),
        ([event("remove", date="tomorrow")], "events.features[0].properties.date"),
        ([event("remove", id="nobody")], "events.features[0].id"),
        ([event("remove", id=None)], "events.features[0].id"),
        ([event("remove"), event("move", "2020-02-01", by=[1, 1])], "events.features[1].id"),
        ([event("move", "2020-02-01", by=[1, 1]), event("move", "2020-02-01", by=[1, 1])], "events.features[1].date"),
        ([feature("house", "house", HOUSE, event="add", date="2020-01-01")], "events.features[0].id"),
        ([event("move")], "events.features[0].geometry"),
        ([event("move", by=3)], "events.features[0].properties.by"),
        ([event("move", by=[0, 2e7])], "events.features[0].geometry"),
        ([event("grow")], "events.features[0].geometry"),
        ([event("grow", factor=0.5)], "events.features[0].geometry"),
        ([event("shrink", factor=2)], "events.features[0].geometry"),
        ([event("grow", factor="big")], "events.features[0].properties.factor"),
        ([event("transition")], "events.features[0].properties.class"),
        ([event("transition", **{"class": "house"})], "events.features[0].properties.class"),
        ([None], "events.features[0]"),
    ],
)
def test_bad_events(events: list[Any], named: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_events(collection(*events), LAYOUT)
    assert caught.value.argument == named
