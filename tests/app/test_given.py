"""What a world is given: a user's GeoTIFF that it grows around, objects with a class beside regions with a prompt."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from PIL import Image as Picture
from rasterio.io import MemoryFile

from earthgen.world import Tile, World

LEVEL, X, Y = 8, 134, 90
PIXELS = np.random.default_rng(0).integers(0, 255, (100, 120, 3), dtype=np.uint8)


def geotiff(values: Any = PIXELS, **place: Any) -> bytes:
    """On the pixels of a tile of level 8, from its pixel (40, 60) on."""
    t = Tile(LEVEL, X, Y).window.transform
    place = {"crs": "EPSG:3857", "transform": t @ Affine.translation(60, 40)} | place
    height, width, count = values.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=height, width=width, count=count, dtype=values.dtype, **place
        ) as target:
            target.write(np.moveaxis(values, 2, 0))
        return bytes(memory.read())


def pixels(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    with Picture.open(io.BytesIO(answer.content)) as picture:
        return np.array(picture)


def test_the_world_grows_around_an_upload(client: Any, pipe: Any, tmp_path: Path) -> None:
    taken = client.post("/uploads", content=geotiff()).json()
    west, south, east, north = taken["bounds"]
    assert 8 < west < east < 10 and 46 < south < north < 48
    query = f"seed=3&steps=1&known={taken['id']}"
    tile = pixels(client.get(f"/tiles/{LEVEL}/{X}/{Y}.png?{query}"))
    inner = slice(40, 140), slice(60, 180)
    assert (tile[inner] == PIXELS).all()
    (tmp_path / "mine.tif").write_bytes(geotiff())
    fresh = World.open(3, pipe, steps=1, known=[tmp_path / "mine.tif"], cache=tmp_path / "fresh")
    assert (tile == fresh.tile(LEVEL, X, Y)).all()
    without = pixels(client.get(f"/tiles/{LEVEL}/{X}/{Y}.png?seed=3&steps=1"))
    assert (tile[:, 181:] != without[:, 181:]).any()  # what is around it knows of it
    preview = client.get(f"/tiles/{LEVEL + 2}/{4 * X + 1}/{4 * Y + 1}.png?{query}&finer_than=-1")
    assert np.abs(pixels(preview)[:, 128:].astype(int) - pixels(preview)[:, 128:].mean((0, 1))).mean() > 5
    assert f"known={taken['id']}" in client.get(f"/tilejson.json?{query}").json()["tiles"][0]


def test_what_is_made_of_an_image_lies_where_it_lies(client: Any, finish: Any) -> None:
    name = client.post("/uploads", content=geotiff()).json()["id"]
    redo = {"kind": "box", "redo": True, "x": 60, "y": 50, "width": 40, "height": 30}
    started = client.post("/jobs/generate", json={"image": name, "steps": 1, "shapes": [redo]}).json()
    record = finish(client, started)
    assert record["state"] == "done", record
    (url,) = (file["url"] for file in record["files"] if file["name"].endswith(".tif"))
    with MemoryFile(client.get("/" + url).content) as memory, memory.open() as made:
        assert made.crs.to_epsg() == 3857
        assert made.transform == Tile(LEVEL, X, Y).window.transform @ Affine.translation(60, 40)
        kept = np.moveaxis(made.read(), 0, 2)
        asked = json.loads(made.tags()["EARTHGEN_PROVENANCE"])["conditions"]
    assert (kept[:30] == PIXELS[:30]).all() and (kept[40:60, 50:70] != PIXELS[40:60, 50:70]).any()
    assert asked["gsd"] == pytest.approx(611.5 * np.cos(np.deg2rad(asked["lat"])), rel=0.01)
    assert 8 < asked["lon"] < 10 and 46 < asked["lat"] < 48


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (geotiff(crs=None, transform=Affine.identity()), "CRS"),
        (geotiff(PIXELS.astype(np.uint16)), "8 bits"),
        (geotiff(PIXELS[..., :2]), "band"),
        (geotiff(transform=Affine(40_000, 0, 0, 0, -40_000, 4_000_000)), "level"),
    ],
    ids=["nowhere", "16 bits", "two bands", "too coarse"],
)
def test_what_cannot_be_laid_in_is_refused_with_a_reason(
    client: Any, tmp_path: Path, content: bytes, words: str
) -> None:
    name = client.post("/uploads", content=content).json()["id"]
    answer = client.get(f"/tiles/{LEVEL}/{X}/{Y}.png?steps=1&known={name}")
    assert answer.status_code == 422 and words in answer.json()["detail"]
    assert str(tmp_path) not in answer.text


def test_an_upload_that_is_not_there(client: Any) -> None:
    for path in ("/tiles/2/1/1.png", "/tilejson.json", "/statistics"):
        answer = client.get(f"{path}?known={'0' * 32}")
        assert answer.status_code == 422 and "uploaded" in answer.json()["detail"]


def test_objects_and_regions_in_one_collection(client: Any, pipe: Any, tmp_path: Path) -> None:
    square = [[[8.0, 46.6], [9.0, 46.6], [9.0, 47.2], [8.0, 47.2], [8.0, 46.6]]]
    geometry = {"type": "Polygon", "coordinates": square}
    region, thing = (
        {"type": "Feature", "properties": properties, "geometry": geometry}
        for properties in ({"prompt": "sand"}, {"class": "water"})
    )
    tiles = []
    for features in ([], [region], [region, thing]):
        collection = {"type": "FeatureCollection", "features": features}
        kept = client.post("/regions", json=collection).json()["id"]
        tiles.append(pixels(client.get(f"/tiles/{LEVEL}/{X}/{Y}.png?seed=3&steps=1&regions={kept}")))
    plain, asked, drawn = tiles
    assert (plain != asked).any() and (asked != drawn).any()
    both = [{"type": "FeatureCollection", "features": [feature]} for feature in (region, thing)]
    fresh = World.open(3, pipe, steps=1, regions=both[0], layout=both[1], cache=tmp_path / "fresh")
    assert (drawn == fresh.tile(LEVEL, X, Y)).all()
    broken = {**thing, "properties": {"class": ""}}
    answer = client.post("/regions", json={"type": "FeatureCollection", "features": [broken]})
    assert answer.status_code == 422 and "class" in answer.json()["detail"]
