"""STAC items, validated by pystac against the core schemas it ships; extensions' fields by their published rules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pystac
import pystac.validation
import pytest
from rasterio.crs import CRS

from earthgen.output.provenance import GENERATED, SYNTHETIC_MARK, Provenance
from earthgen.output.scene import Scene


def read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def test_is_valid_stac_and_opens_with_pystac(scene: Scene, tmp_path: Path) -> None:
    path = scene.save_all(tmp_path, "a")["stac"]
    record = read(path)
    assert record["stac_version"] == "1.1.0"
    pystac.validation.validate_dict(
        record, extensions=[]
    )  # the extensions' schemas are not shipped, and this is offline
    item = pystac.Item.from_file(str(path))
    assert item.id == "a"
    assert item.ext.has("proj")
    assert item.ext.proj.shape == [60, 90]
    for key, asset in item.get_assets().items():
        file = Path(asset.get_absolute_href() or "")
        assert file == tmp_path / f"a.{key}"
        assert asset.ext.file.checksum == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()
        assert asset.ext.file.size == file.stat().st_size


def test_says_that_it_is_synthetic(scene: Scene, tmp_path: Path) -> None:
    record = read(scene.save_all(tmp_path, "a")["stac"])
    properties = record["properties"]
    assert properties["description"] == SYNTHETIC_MARK
    assert "synthetic" in properties["keywords"]
    assert properties["earthgen:synthetic"] is True
    assert properties["earthgen:digital_source_type"] == GENERATED
    assert Provenance.from_dict(properties["earthgen:provenance"]) == scene.provenance
    assert properties["processing:software"] == {"earthgen": "0.1.0"}
    assert "0f" * 32 in properties["processing:lineage"]
    assert any("/processing/v" in uri for uri in record["stac_extensions"])


def test_projection_is_the_rasters(scene: Scene, tmp_path: Path) -> None:
    record = read(scene.save_all(tmp_path, "a")["stac"])
    properties = record["properties"]
    assert properties["proj:shape"] == [60, 90]
    assert properties.get("gsd") == scene.gsd
    if scene.crs is None:
        assert record["geometry"] is None
        assert "bbox" not in record
        assert not {"proj:code", "proj:wkt2", "proj:transform", "proj:bbox"} & set(properties)
        return
    assert properties["proj:transform"] == list(scene.transform or ())[:6]
    assert properties["proj:bbox"] == list(scene.bounds or ())
    if properties["proj:code"]:
        assert CRS.from_string(properties["proj:code"]) == scene.crs
        assert "proj:wkt2" not in properties
    else:
        assert CRS.from_wkt(properties["proj:wkt2"]) == scene.crs
    west, south, east, north = record["bbox"]
    assert south < north
    assert (west > east) == (record["geometry"]["type"] == "MultiPolygon")


def test_assets(make_scene: Callable[..., Scene], tmp_path: Path) -> None:
    assets = read(make_scene(lat=1, lon=2, gsd=3).save_all(tmp_path, "a")["stac"])["assets"]
    assert {key: (asset["href"], asset["roles"]) for key, asset in assets.items()} == {
        "tif": ("./a.tif", ["data", "visual"]),
        "png": ("./a.png", ["overview", "visual"]),
    }
    assert assets["tif"]["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert [band["name"] for band in assets["tif"]["bands"]] == ["red", "green", "blue"]


def test_datetime_is_the_day_asked_for(make_scene: Callable[..., Scene], tmp_path: Path) -> None:
    import datetime as dt

    dated = read(make_scene(date=dt.date(2024, 6, 1)).save_all(tmp_path, "a")["stac"])["properties"]
    assert dated["datetime"] == dated["start_datetime"] == "2024-06-01T00:00:00Z"
    assert dated["end_datetime"] == "2024-06-01T23:59:59Z"
    undated = read(make_scene().save_all(tmp_path, "b")["stac"])["properties"]
    assert undated["datetime"] == undated["created"] == "2026-01-02T03:04:05.000678Z"


def test_item_links_to_files_elsewhere(make_scene: Callable[..., Scene], tmp_path: Path) -> None:
    from earthgen.output.stac import write_item

    scene = make_scene()
    file = scene.write(tmp_path / "images" / "a.jpg")
    record = read(write_item(tmp_path / "items" / "a.json", scene, {"image": file}))
    assert record["assets"]["image"]["href"] == "../images/a.jpg"
    assert record["assets"]["image"]["type"] == "image/jpeg"


def test_missing_file(make_scene: Callable[..., Scene], tmp_path: Path) -> None:
    from earthgen.output.stac import write_item

    with pytest.raises(FileNotFoundError):
        write_item(tmp_path / "a.json", make_scene(), {"tif": tmp_path / "none.tif"})
    assert list(tmp_path.iterdir()) == []
