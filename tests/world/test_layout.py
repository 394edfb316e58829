"""Layouts in degrees: boxes, polygons, points; found by place; what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer

from earthgen.errors import ArgumentError, DataError
from earthgen.world.layout import Layout, read_layout
from earthgen.world.masks import MaskRaster
from earthgen.world.projection import MAX_LEVEL, position_to_pixel
from earthgen.world.pyramid import Window


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def feature(coordinates: Any, form: str = "Polygon", **properties: Any) -> dict[str, Any]:
    given = {"class": "house", **properties}
    return {"type": "Feature", "properties": given, "geometry": {"type": form, "coordinates": coordinates}}


def collection(*features: Any, **more: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features), **more}


def test_rectangles_are_boxes_whichever_way_round() -> None:
    outer = ring(10, 40, 10.002, 40.001)
    layout = read_layout(collection(feature([outer]), feature([outer[::-1]]), feature([outer], kind="box")))
    for one in layout.objects:
        assert one.box is not None
        assert abs(one.box.angle) % 90 < 1e-6
        assert one.area == pytest.approx(one.box.width * one.box.height)
    first = layout.objects[0].box
    assert first is not None
    assert (first.angle, first.width / 0.002 * 360) == pytest.approx((0, 1))


def test_a_point_with_a_size_is_a_box_in_metres() -> None:
    layout = read_layout(collection(feature([10, 60], "Point", width=30, height=10, angle=30)))
    box = layout.objects[0].box
    assert box is not None
    metres = 40_075_016.7 * math.cos(math.radians(60))
    assert box.width * metres == pytest.approx(30, rel=1e-5)
    assert box.height * metres == pytest.approx(10, rel=1e-5)
    assert box.angle == 30


def test_a_rotated_rectangle_keeps_the_heading_of_its_first_edge() -> None:
    (given,) = read_layout(collection(feature([0, 0], "Point", width=900, height=300, angle=25))).objects
    # On the equator degrees are alike both ways.
    points = [[(x - 0.5) * 360, (0.5 - y) * 360] for x, y in shapely.get_coordinates(given.outline)]
    (one,) = read_layout(collection(feature([points]))).objects
    assert one.box is not None
    assert one.box.angle == pytest.approx(25, abs=1e-3)
    (area,) = read_layout(collection(feature([points], kind="polygon"))).objects
    assert area.box is None


def test_parts_share_a_name_and_texts_stand_for_classes(tmp_path: Path) -> None:
    parts = [[ring(0, 0, 1, 1)], [[[5, 5], [7, 5], [6, 8], [5, 5]]]]
    path = tmp_path / "layout.geojson"
    path.write_text("\ufeff" + json.dumps(collection({"id": "m", **feature(parts, "MultiPolygon", text="a red roof")})))
    layout = read_layout(path)
    assert [one.id for one in layout.objects] == ["m", "m"]
    assert {one.text for one in layout.objects} == {"a red roof"}
    assert layout.classes == ("house",)


def test_objects_are_found_where_they_are_as_by_looking_at_all() -> None:
    random = np.random.default_rng(0)
    places = random.uniform((-180, -80), (180, 80), (3000, 2))
    layout = read_layout(collection(*(feature(list(p), "Point", width=20000, height=9000) for p in places)))
    for _ in range(20):
        x, y, side = *random.uniform(-0.5, 1.5, 1), random.uniform(0.1, 0.9), random.uniform(0.001, 0.1)
        area = (float(x), float(y), float(x + side), float(y + side))
        expected = {
            (one.digest, turn)
            for one in layout.objects
            for turn in (-1, 0, 1)
            if shapely.box(area[0] - turn, area[1], area[2] - turn, area[3]).intersects(one.outline)
        }
        assert {(one.digest, turn) for one, turn in layout.near(area, 0, MAX_LEVEL)} == expected


def test_only_what_reaches_a_window_is_in_its_key() -> None:
    one, other = feature([ring(10, 10, 11, 11)]), feature([ring(50, 10, 51, 11)])
    first, both = read_layout(collection(one)), read_layout(collection(one, {**other, "id": "b"}))
    window = Window.around(6, 10.5, 10.5, 100, 100)
    assert first.key(window, 0) == both.key(window, 0) != []
    assert both.key(Window.around(6, 30, 30, 100, 100), 0) == []
    assert both.key(Window.around(0, 10.5, 10.5, 4, 4), 0) == [], "too small to be seen"


BOW = [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ([feature(BOW)], "layout.features[0].geometry"),
        ([feature([ring(0, 80, 1, 86)])], "layout.features[0].geometry"),
        ([feature([ring(5000, 0, 5001, 1)])], "layout.features[0].geometry"),
        ([feature([ring(0, 0, 1, 1)], kind="Line")], "layout.features[0].properties.kind"),
        ([feature([[0, 0], [1, 1]], "LineString")], "layout.features[0].geometry"),
        ([feature([[[0, 0], [1, 1], [2, 2], [0, 0]]])], "layout.features[0].geometry"),
        ([feature([[[0, 0], [3, 0], [1, 1], [0, 0]]], kind="box")], "layout.features[0].geometry"),
        ([feature([ring(0, 0, 1, 1)], **{"class": " "})], "layout.features[0].properties.class"),
        ([feature([ring(0, 0, 1, 1)], **{"class": 3})], "layout.features[0].properties.class"),
        ([feature([ring(0, 0, 1, 1)], text="")], "layout.features[0].properties.text"),
        ([feature([1, 1], "Point")], "layout.features[0].properties.width"),
        ([feature([1, 89], "Point", width=3, height=3)], "layout.features[0].geometry"),
        ([feature([1], "Point", width=3, height=3)], "layout.features[0].geometry"),
        ([{"type": "Feature", "properties": None, "geometry": None}], "layout.features[0]"),
        ([None], "layout.features[0]"),
        ([feature([ring(0, 0, 1, 1)], id="a"), feature([ring(2, 0, 3, 1)], id="a")], "layout.features[1].id"),
    ],
)
def test_bad_features(features: list[Any], named: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        read_layout(collection(*features))
    assert caught.value.argument == named


def test_bad_collections(tmp_path: Path) -> None:
    for source in ({"type": "Feature"}, {"type": "FeatureCollection"}, tmp_path / "none.geojson"):
        with pytest.raises(ArgumentError, match="layout"):
            read_layout(source)
    with pytest.raises(ArgumentError, match="crs"):
        read_layout(collection(crs={"type": "name", "properties": {"name": "EPSG:3857"}}))
    (tmp_path / "broken.geojson").write_text("{")
    with pytest.raises(ArgumentError, match="GeoJSON file"):
        read_layout(tmp_path / "broken.geojson")


def raster(path: Path, values: Any, **more: Any) -> Path:
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    profile = {"height": 8, "width": 8, "count": 1, "dtype": values.dtype, **place, **more}
    tags = profile.pop("tags", {})
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        for band in range(1, file.count + 1):
            file.write(values, band)
        file.update_tags(**tags)
    return path


def test_masks_say_their_classes_or_are_told(tmp_path: Path) -> None:
    values = np.zeros((8, 8), np.uint8)
    values[0, 0] = 7
    path = raster(tmp_path / "m.tif", values, nodata=7, tags={"CLASSES": '["land"]'})
    mask = MaskRaster(path)
    assert mask.classes == ("land",)
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform([500_005, 500_015, 400_000], [4_999_995] * 3)
    row, column = position_to_pixel(18, np.array(lat), np.array(lon))
    assert mask.at(18, row, column).tolist() == [255, 0, 255]
    assert mask.digest != MaskRaster(path, ["sea"]).digest
    assert isinstance(read_layout(None, path), Layout)


@pytest.mark.parametrize(
    ("values", "more", "classes", "named"),
    [
        (np.zeros((8, 8), np.uint8), {"crs": None, "transform": None}, ["a"], "layout_mask"),
        (np.zeros((8, 8), np.uint8), {}, None, "mask_classes"),
        (np.zeros((8, 8), np.uint8), {}, ["a", "a"], "mask_classes"),
        (np.zeros((8, 8), np.uint8), {"count": 3}, ["a"], "layout_mask"),
        (np.zeros((8, 8), np.uint16), {}, ["a"], "layout_mask"),
        (np.full((8, 8), 5, np.uint8), {}, ["a"], "layout_mask"),
    ],
)
def test_bad_masks(tmp_path: Path, values: Any, more: dict[str, Any], classes: Any, named: str) -> None:
    path = raster(tmp_path / "m.tif", values, **more)
    with pytest.raises(ArgumentError) as caught:
        read_layout(None, path, classes)
    assert caught.value.argument == named


def test_masks_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_layout(None, tmp_path / "none.tif", ["a"])
    with pytest.raises(ArgumentError, match="layout_mask"):
        read_layout(None, None, ["a"])
