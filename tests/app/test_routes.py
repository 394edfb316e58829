"""The HTTP interface: tiles that are the world's, previews, works with their results, and what is refused."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image as Picture

from earthgen.app.settings import Settings
from earthgen.output.provenance import MARK_TAG, Provenance
from earthgen.world import World
from earthgen.world.projection import pixel_to_position

SQUARE = [[[0, 40], [20, 40], [20, 55], [0, 55], [0, 40]]]
REGIONS = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"prompt": "sand"}, "geometry": {"type": "Polygon", "coordinates": SQUARE}}
    ],
}


def pixels(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    with Picture.open(io.BytesIO(answer.content)) as picture:
        assert picture.info[MARK_TAG].startswith("SYNTHETIC")
        return np.array(picture)


def finished(client: Any, record: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        record = client.get(f"/jobs/{record['id']}").json()
        if record["state"] not in ("waiting", "running"):
            return record
        time.sleep(0.02)
    raise AssertionError(record)


@pytest.fixture(scope="module")
def world(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.open(3, pipe, steps=1, cache=tmp_path_factory.mktemp("cache"))


def test_tiles_are_the_worlds(client: Any, world: World) -> None:
    for z, x, y in ((1, 0, 1), (6, 33, 22), (8, 134, 90)):
        assert (pixels(client.get(f"/tiles/{z}/{x}/{y}.png?seed=3&steps=1")) == world.tile(z, x, y)).all()


def test_a_preview_comes_first_and_then_the_tile(client: Any, world: World) -> None:
    url = "/tiles/10/536/361.png?seed=3&steps=1"
    levels, images = [], []
    level = -1
    while level < 10:
        answer = client.get(f"{url}&finer_than={level}")
        level = int(answer.headers["earthgen-level"])
        levels.append(level)
        images.append(pixels(answer))
        assert answer.headers["earthgen-preview"] == ("false" if level == 10 else "true")
        assert answer.headers["cache-control"] == "no-store"
    assert levels == [6, 8, 10]
    assert (images[-1] == world.tile(10, 536, 361)).all()
    coarse = images[1].reshape(4, 64, 4, 64, 3).mean((1, 3)) - images[2].reshape(4, 64, 4, 64, 3).mean((1, 3))
    assert np.abs(coarse).mean() < 8  # the same place
    whole = client.get(url)
    assert (pixels(whole) == images[-1]).all()
    again = client.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert again.status_code == 304 and not again.content
    other = client.get(
        url.replace("seed=3", "seed=4") + "&finer_than=-1", headers={"If-None-Match": whole.headers["etag"]}
    )
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tiles/19/0/0.png", 404),
        ("/tiles/2/4/0.png", 404),
        ("/tiles/2/0/4.png", 404),
        ("/tiles/-1/0/0.png", 422),
        ("/tiles/a/0/0.png", 422),
        ("/tiles/1/0/0.png?seed=-1", 422),
        ("/tiles/1/0/0.png?steps=0", 422),
        ("/tiles/1/0/0.png?date=yesterday", 422),
        ("/tiles/1/0/0.png?clouds=2", 422),
        ("/tiles/1/0/0.png?clouds=nan", 422),
        ("/tiles/1/0/0.png?guidance=love=3", 422),
        ("/tiles/1/0/0.png?base=moon", 422),
        ("/tiles/1/0/0.png?regions=../../etc/passwd", 422),
        ("/tiles/1/0/0.png?regions=" + "0" * 32, 422),
        ("/tiles/1/0/0.png?prompt=" + "x" * 501, 422),
        ("/bbox.png?bounds=10,10,0,20&zoom=2", 422),
        ("/bbox.png?bounds=1,2,3&zoom=2", 422),
        ("/bbox.png?bounds=1.1.1,2,3,4&zoom=2", 422),
        ("/bbox.png?bounds=-180,-85,180,85&zoom=12", 422),
        ("/jobs/../../etc/passwd", 404),
        ("/jobs/" + "0" * 32, 404),
        ("/jobs/" + "0" * 32 + "/files/job.json", 404),
        ("/uploads/" + "0" * 32 + ".png", 422),
        ("/nothing", 404),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(client: Any, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_tilejson_and_statistics_and_frames(client: Any, world: World) -> None:
    record = client.get("/tilejson.json?seed=3&prompt=a%20lake").json()
    assert record["tilejson"] == "3.0.0" and record["maxzoom"] == 18
    assert record["tiles"] == ["http://testserver/tiles/{z}/{x}/{y}.png?seed=3&prompt=a+lake"]
    image = pixels(client.get("/bbox.png?bounds=0,0,45,40.97989806962013&zoom=3&seed=3&steps=1"))
    assert image.shape == (256, 256, 3) and (image == world.tile(3, 4, 3)).all()
    tif = client.get("/bbox.tif?bounds=0,0,45,40.97989806962013&zoom=3&seed=3&steps=1")
    with rasterio.MemoryFile(tif.content) as memory, memory.open() as source:
        assert source.crs.to_epsg() == 3857 and source.bounds.left == pytest.approx(0, abs=1e-6)
        assert (np.moveaxis(source.read(), 0, 2) == image).all() and Provenance.from_tags(source.tags()).seed == 3
    statistics = client.get("/statistics?bounds=0,0,45,40.97989806962013&zoom=3&seed=3&steps=1").json()
    red = statistics["bands"]["red"]
    assert red["mean"] == pytest.approx(image[..., 0].mean()) and red["max"] == image[..., 0].max()
    assert sum(red["histogram"][0]) == 256 * 256


def test_regions_are_kept_and_change_what_is_seen(client: Any) -> None:
    kept = client.post("/regions", json=REGIONS).json()["id"]
    assert client.post("/regions", json=REGIONS).json()["id"] == kept
    assert client.get(f"/regions/{kept}").json() == REGIONS
    with_them, without = (pixels(client.get(f"/tiles/8/134/88.png?steps=1{q}")) for q in (f"&regions={kept}", ""))
    assert (with_them != without).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "Feature"},
        {"type": "FeatureCollection"},
        {"type": "FeatureCollection", "features": [1]},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": None}]},
        {"type": "FeatureCollection", "features": REGIONS["features"] * 201},  # type: ignore[operator]
    ],
)
def test_broken_regions_are_refused(client: Any, wrong: Any) -> None:
    assert client.post("/regions", json=wrong).status_code == 422
    deep = '{"type":"FeatureCollection","features":' + "[" * 3000 + "]" * 3000 + "}"
    assert client.post("/regions", content=deep, headers={"Content-Type": "application/json"}).status_code in (400, 422)


def test_a_busy_server_says_when_to_come_again(settings: Settings, pipe: Any, routes: Any) -> None:
    import dataclasses

    with routes(dataclasses.replace(settings, waiting=1, wait_s=0.3, jobs_waiting=1), pipe) as client:
        worker, go = client.app.engine.worker, threading.Event()
        held = worker.ask("held", lambda: go.wait(20), "someone")
        while worker.waiting[0]:
            time.sleep(0.01)
        try:
            late = client.get("/tiles/8/1/1.png?steps=1")
            assert late.status_code == 503 and int(late.headers["retry-after"]) > 0
            assert worker.waiting[0] == 0  # who waits no longer is out of the line
            assert client.get("/tiles/8/1/1.png?steps=1&finer_than=-1").status_code == 200
            worker.ask("waits", lambda: None, "someone")
            assert client.get("/tiles/8/1/1.png?steps=1").status_code == 503
            asked = {"west": 0, "south": 0, "east": 1, "north": 1, "zoom": 2}
            assert client.post("/jobs/export", json=asked).status_code == 202
            full = client.post("/jobs/export", json=asked)
            assert full.status_code == 503 and full.headers["retry-after"]
        finally:
            go.set()
            held.future.result(10)


def test_generating_images(client: Any) -> None:
    box = {"kind": "box", "label": "ship", "x": 30, "y": 30, "width": 20, "height": 10, "angle": 20}
    stroke = {"kind": "brush", "label": "water", "points": [[5, 5], [50, 9]], "radius": 4}
    asked = {
        "prompt": "a lake",
        "gsd": 10,
        "lat": 46,
        "lon": 8,
        "width": 64,
        "height": 48,
        "steps": 2,
        "seed": 9,
        "count": 2,
    }
    started = client.post("/jobs/generate", json=asked | {"shapes": [box, stroke]})
    assert started.status_code == 202 and started.json()["about"]["seed"] == 9
    record = finished(client, started.json())
    assert (record["state"], record["progress"], record["error"]) == ("done", 1.0, None)
    names = [file["name"] for file in record["files"]]
    assert names == [f"{n}-seed-{8 + n}.{suffix}" for n in (1, 2) for suffix in ("json", "png", "tif")]
    tif = client.get("/" + record["files"][2]["url"])
    assert tif.headers["content-type"] == "image/tiff" and "attachment" in tif.headers["content-disposition"]
    with rasterio.MemoryFile(tif.content) as memory, memory.open() as source:
        assert (source.width, source.height, source.crs.to_epsg()) == (64, 48, 32632)
        provenance = Provenance.from_tags(source.tags())
    assert provenance.seed == 9 and provenance.conditions["boxes"][0]["label"] == "ship"
    assert provenance.conditions["mask_classes"] == ["water"]
    again = finished(client, client.post("/jobs/generate", json=asked | {"shapes": [box, stroke]}).json())
    first, second = (client.get("/" + r["files"][1]["url"]) for r in (record, again))
    with Picture.open(io.BytesIO(first.content)) as a, Picture.open(io.BytesIO(second.content)) as b:
        assert (np.asarray(a) == np.asarray(b)).all()
    assert client.delete(f"/jobs/{record['id']}").status_code == 200
    assert client.get(f"/jobs/{record['id']}").status_code == 404


def uploaded(client: Any, image: Any) -> str:
    buffer = io.BytesIO()
    Picture.fromarray(image).save(buffer, "PNG")
    answer = client.post("/uploads", content=buffer.getvalue())
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_inpainting_keeps_what_is_not_painted(client: Any) -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    name = uploaded(client, image)
    assert (np.asarray(Picture.open(io.BytesIO(client.get(f"/uploads/{name}.png").content))) == image).all()
    redo = {"kind": "brush", "redo": True, "points": [[32, 24]], "radius": 8}
    record = finished(client, client.post("/jobs/generate", json={"image": name, "steps": 2, "shapes": [redo]}).json())
    assert record["state"] == "done", record
    png = next(f for f in record["files"] if f["name"].endswith(".png"))
    made = np.asarray(Picture.open(io.BytesIO(client.get("/" + png["url"]).content)))
    changed = (made != image).any(-1)
    rows, columns = np.nonzero(changed)
    assert changed[24, 32] and abs(rows - 24).max() <= 9 and abs(columns - 32).max() <= 9


def test_refining_an_image(client: Any) -> None:
    image = np.random.default_rng(0).integers(60, 200, (16, 20, 3), dtype=np.uint8)
    asked = {"image": uploaded(client, image), "gsd": 10, "steps": 2, "stages": 2, "seed": 1}
    record = finished(client, client.post("/jobs/upscale", json=asked).json())
    assert record["state"] == "done", record
    assert record["about"]["size"] == [320, 256] and record["about"]["gsd"] == 10 / 16
    assert [f["name"] for f in record["files"]] == ["finer-seed-1.png", "finer-seed-1.tif"]
    missing = client.post("/jobs/upscale", json=asked | {"gsd": None})
    assert missing.status_code == 422 and "gsd" in missing.json()["detail"]
    assert client.post("/jobs/upscale", json=asked | {"image": "0" * 32}).status_code == 422


@pytest.mark.parametrize("utm", [False, True])
def test_exporting_a_view(client: Any, world: World, utm: bool) -> None:
    (north, south), (west, east) = pixel_to_position(6, [22 * 256, 23 * 256], [33 * 256, 34 * 256])
    frame = {"west": west, "south": south, "east": east, "north": north}
    asked = {**frame, "zoom": 6, "seed": 3, "steps": 1, "utm": utm}
    record = finished(client, client.post("/jobs/export", json=asked).json())
    assert record["state"] == "done", record
    tif = next(f for f in record["files"] if f["name"].endswith(".tif"))
    with rasterio.MemoryFile(client.get("/" + tif["url"]).content) as memory, memory.open() as source:
        assert (source.width, source.height) == (256, 256)
        assert (source.crs.to_epsg() == 3857) is not utm
        if not utm:
            assert (np.moveaxis(source.read(), 0, 2) == world.tile(6, 33, 22)).all()
        assert Provenance.from_tags(source.tags()).seed == 3


def test_a_job_is_cancelled_and_frees_the_model(client: Any) -> None:
    started = client.post("/jobs/generate", json={"width": 64, "height": 64, "steps": 100, "count": 8}).json()
    waiting = client.post("/jobs/generate", json={"width": 64, "height": 64, "steps": 1}).json()
    assert client.delete(f"/jobs/{waiting['id']}").json()["state"] == "cancelled"
    while client.get(f"/jobs/{started['id']}").json()["state"] == "waiting":
        time.sleep(0.01)
    client.delete(f"/jobs/{started['id']}")
    record = finished(client, started)
    assert record["state"] == "cancelled" and record["files"] == []
    assert pixels(client.get("/tiles/8/9/9.png?steps=1")).shape == (256, 256, 3)


def test_a_tile_does_not_wait_for_a_long_job(client: Any) -> None:
    started = client.post("/jobs/generate", json={"width": 64, "height": 64, "steps": 100, "count": 8}).json()
    pixels(client.get("/tiles/8/20/20.png?steps=1"))
    assert client.get(f"/jobs/{started['id']}").json()["state"] == "running"
    client.delete(f"/jobs/{started['id']}")


def test_jobs_survive_the_server_and_old_ones_make_room(settings: Settings, pipe: Any, routes: Any) -> None:
    import dataclasses

    settings = dataclasses.replace(settings, kept_jobs=2)
    asked = {"width": 32, "height": 32, "steps": 1}
    with routes(settings, pipe) as client:
        first = finished(client, client.post("/jobs/generate", json=asked).json())
    with routes(settings, pipe) as client:
        assert client.get(f"/jobs/{first['id']}").json() == first
        assert client.get("/" + first["files"][0]["url"]).status_code == 200
        for _ in range(3):
            time.sleep(0.02)
            last = finished(client, client.post("/jobs/generate", json=asked).json())
        assert client.get(f"/jobs/{first['id']}").status_code == 404
        assert client.get(f"/jobs/{last['id']}").status_code == 200
    assert len([f for f in (settings.folder / "jobs").iterdir() if f.is_dir()]) <= 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 10_000},
        {"width": 2000, "height": 64},
        {"steps": 0},
        {"count": 99},
        {"lat": 3},
        {"gsd": 0},
        {"image": "../../x"},
        {"strength": 0},
        {"unknown": 1},
        {"shapes": [{"kind": "brush", "redo": True, "points": [[1, 1]]}]},
        {"guidance": "text=1e9"},
    ],
)
def test_works_that_make_no_sense_are_refused_at_once(client: Any, wrong: dict[str, Any]) -> None:
    answer = client.post("/jobs/generate", json=wrong)
    assert answer.status_code == 422 and answer.json()["detail"]


def test_no_answer_shows_a_path_of_the_server(client: Any, settings: Settings) -> None:
    root = str(settings.folder.parent)
    upload = client.post("/uploads", content=b"\x89PNG\r\n\x1a\n")
    record = finished(client, client.post("/jobs/generate", json={"width": 32, "height": 32, "steps": 1}).json())
    item = next(f for f in record["files"] if f["name"].endswith(".json"))
    texts = [upload.text, json.dumps(record), client.get("/" + item["url"]).text, client.get("/health").text]
    texts += [client.get("/openapi.json").text, client.get("/docs").text, client.get("/regions/x").text]
    assert not [text for text in texts if root in text or str(Path.home()) in text]


def test_the_page_of_routes_needs_nothing_else(client: Any) -> None:
    page = client.get("/docs").text
    assert "/tiles/{z}/{x}/{y}.png" in page and "POST /jobs/generate" in page
    assert not re.search(r"(src|href)=.?https?:", page)
