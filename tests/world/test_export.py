"""Windows and series of a world as files: read back by the formats' readers, resumed, refused."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from conftest import tiny_pipeline
from test_world import opened

from earthgen import labels as label_formats
from earthgen.errors import ArgumentError, OutputError
from earthgen.labels import read_mask
from earthgen.labels.change import read_changes
from earthgen.world import World
from earthgen.world.export import export_series, export_windows, tiles_of
from earthgen.world.labels import labels_of, series_of

pytestmark = pytest.mark.usefixtures("one_thread")

PLACE = (30.0, 20.0, 30_000.0, 96, "EPSG:3857")
"""Of level 2, which needs no network."""
DAYS = [dt.date(2019, 6, 1), dt.date(2020, 6, 1), dt.date(2021, 6, 1)]


def feature(id: str, label: str, lon: float, lat: float, **more: Any) -> dict[str, Any]:
    properties = {"class": label, "width": 600_000, "height": 400_000, "angle": 25, **more}
    geometry = {"type": "Point", "coordinates": [lon, lat]}
    return {"type": "Feature", "id": id, "properties": properties, "geometry": geometry}


LAYOUT = {
    "type": "FeatureCollection",
    "features": [feature("a", "ship", 18, 31), feature("b", "large ship", 24, 28, angle=0)],
}
EVENTS = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"event": "remove", "date": "2020-01-01", "id": "a"}, "geometry": None},
        feature("c", "ship", 18, 26, event="add", date="2021-01-01"),
    ],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return opened(tiny_pipeline(), tmp_path_factory.mktemp("cache"), layout=LAYOUT, events=EVENTS)


def test_tiles_of_a_window_in_formats(world: World, tmp_path: Path) -> None:
    grid = world.grid(*PLACE)
    tiles = tiles_of(grid, 64, 16)
    assert [tile.height for tile in tiles.values()] == [64] * 4
    found = export_windows(world, tiles, tmp_path, ["coco", "masks", "torchgeo"], splits={"y000000-x000000": "val"})
    assert set(found) == {"images", "coco", "masks", "torchgeo"}
    assert world.layout is not None
    coco, masks = label_formats.read(found["coco"]), label_formats.read(found["masks"])
    assert set(coco.classes) == {"ship", "large ship"}
    by_id = {image.id: image for image in coco.images}
    for name, tile in tiles.items():
        labels = labels_of(world.layout, 0, tile)
        shown = sorted(shape.label for shape in labels.shapes)
        assert sorted(shape.label for shape in by_id[name].shapes or ()) == shown
        (image,) = (image for image in masks.images if image.id == name)
        mask = read_mask(image)
        assert mask is not None
        assert (mask == labels.mask).all()
        with rasterio.open(tmp_path / "images" / f"{name}.tif") as file:
            assert (file.crs, file.transform) == (tile.crs, tile.transform)
            pixels = world.read(tile.crs, tile.transform, tile.height, tile.width)
            assert (file.read().transpose(1, 2, 0) == pixels).all()
    assert by_id["y000000-x000000"].split == "val"


def test_a_series_in_formats(world: World, tmp_path: Path) -> None:
    grid = world.grid(*PLACE)
    formats = ["yolo-obb", "levir-cd", "change-geotiff", "change-captions", "change-coco"]
    series, found = export_series(world, grid, DAYS, tmp_path, formats, id="port", pairs="all")
    assert set(found) == {"images", "maps", "changes", *formats}
    assert world.layout is not None
    expected = series_of(world.layout, grid, DAYS)
    assert [e.kind for step in series.events for e in step] == ["remove", "add"]
    pairs = {pair.id: pair for pair in read_changes(found["change-geotiff"], "change-geotiff")}
    assert len(pairs) == 3
    for first, second in ((0, 1), (1, 2), (0, 2)):
        pair = pairs[f"port-{DAYS[first]:%Y%m%d}-{DAYS[second]:%Y%m%d}"]
        assert pair.classes == ("background", "large ship", "ship")
        assert (pair.bands()[0] == expected.changed(first, second)).all()
        assert expected.maps is not None
        assert (pair.bands()[1:] == [expected.maps[first], expected.maps[second]]).all()
    record = json.loads((tmp_path / "series.json").read_text())
    assert record["dates"] == ["2019-06-01", "2020-06-01", "2021-06-01"]
    assert record["sentences"][0] == ["a ship at the centre is gone"]
    with rasterio.open(tmp_path / "maps" / "port-20190601.tif") as file:
        assert json.loads(file.tags()["CLASSES"]) == record["classes"]
        assert expected.maps is not None
        assert (file.read(1) == expected.maps[0]).all()
        assert file.transform == grid.transform
    assert len(list((tmp_path / "yolo-obb" / "images").rglob("*.*"))) == 3


def test_run_again_it_goes_on_and_another_world_is_refused(world: World, tmp_path: Path) -> None:
    grid = world.grid(*PLACE)
    export_series(world, grid, DAYS[:2], tmp_path, ["levir-cd"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "images" / "window-20200601.tif").touch()
    stamp = (tmp_path / "images" / "window-20200601.tif").stat().st_mtime_ns
    export_series(world, grid, DAYS[:2], tmp_path, ["levir-cd"])
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert (tmp_path / "images" / "window-20200601.tif").stat().st_mtime_ns == stamp
    with pytest.raises(OutputError, match="another world or window"):
        export_series(world, world.grid(31.0, *PLACE[1:]), DAYS[:2], tmp_path)
    (tmp_path / "images" / "window-20190601.tif").write_text("no image")
    with pytest.raises(OutputError, match="another world or window"):
        export_series(world, grid, DAYS[:2], tmp_path)


def test_bad_requests(world: World, tmp_path: Path) -> None:
    grid = world.grid(*PLACE)
    for formats in (["levir-cd"], ["coco", "coco"], "coco"):
        with pytest.raises(ArgumentError, match="formats"):
            export_windows(world, {"one": grid}, tmp_path, formats)
    with pytest.raises(ArgumentError, match="grids"):
        export_windows(world, {}, tmp_path, ["coco"])
    with pytest.raises(ArgumentError, match="dates"):
        export_series(world, grid, DAYS[::-1], tmp_path)
    with pytest.raises(ArgumentError, match="pairs"):
        export_series(world, grid, DAYS, tmp_path, pairs="some")
    assert not list(tmp_path.iterdir())


def test_pixels_are_masks_of_their_day(world: World) -> None:
    grid = world.grid(*PLACE)
    first, second = world.at(DAYS[0]).labels(grid).mask, world.at(DAYS[1]).labels(grid).mask
    assert np.count_nonzero(first == 2) > np.count_nonzero(second == 2) == 0
