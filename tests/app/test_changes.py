"""Change pairs over HTTP: labels that are exact, formats that read back, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image as Picture
from rasterio.transform import from_origin

from earthgen.labels.change import read_changes
from earthgen.output.png import read_tags
from earthgen.output.provenance import MARK_TAG

FIELD = {"kind": "polygon", "label": "grass", "points": [[0, 0], [96, 0], [96, 40], [0, 40]]}
HOUSE = {"kind": "box", "label": "building", "x": 30, "y": 60, "width": 20, "height": 14, "angle": 20}
SMALL = {"width": 96, "height": 80, "steps": 2, "seed": 3, "margin": 4}


def blocks() -> Any:
    """An image with segments that stand out."""
    image = np.full((80, 96, 3), (70, 110, 60), np.uint8)
    for n, (top, left) in enumerate(((10, 10), (10, 60), (50, 20), (48, 64))):
        image[top : top + 14, left : left + 16] = (180, 170 - 20 * n, 150)
    return image


def tiff(image: Any, **place: Any) -> bytes:
    height, width, bands = image.shape
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", height=height, width=width, count=bands, dtype=image.dtype, **place) as target:
            target.write(np.moveaxis(image, 2, 0))
        return bytes(memory.getbuffer())


def uploaded(client: Any, content: bytes) -> str:
    answer = client.post("/uploads", content=content)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def made(client: Any, finish: Any, asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    started = client.post("/jobs/change", json=asked)
    assert started.status_code == 202, started.text
    record = finish(client, started.json())
    assert record["state"] == "done", record
    return record, {file["name"]: client.get("/" + file["url"]).content for file in record["files"]}


def picture(content: bytes) -> Any:
    with Picture.open(io.BytesIO(content)) as opened:
        return np.array(opened.convert("RGB"))


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    (name,) = (name for name in files if name.endswith(".zip"))
    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        archive.extractall(folder)
    return folder


def test_a_pair_from_shapes_and_its_labels(client: Any, finish: Any, tmp_path: Path) -> None:
    asked = SMALL | {"shapes": [FIELD, HOUSE], "events": {"add": 1, "remove": 1}}
    record, files = made(client, finish, asked)
    assert sorted(files) == [
        "after.png", "before.png", "change-seed-3.zip", "change.png", "classes-after.png", "classes-before.png",
    ]  # fmt: skip
    assert record["about"]["seed"] == 3 and len(record["about"]["sentences"]) == 2
    assert set(record["about"]["classes"]) == {"grass", "background", "building"}
    (pair,) = read_changes(unpacked(files, tmp_path) / "change-geotiff", "change-geotiff")
    changed, before, after = pair.bands()
    assert (picture(files["change.png"])[..., 0] == 255 * changed).all() and changed.any()
    assert pair.classes[before[60, 30]] == "building" and pair.classes[after[60, 30]] != "building"
    assert ((before != after) <= changed.astype(bool)).all()
    colour = bytes.fromhex(record["about"]["classes"]["grass"][1:])
    assert (picture(files["classes-before.png"])[5, 5] == list(colour)).all()
    first, second = picture(files["before.png"]), picture(files["after.png"])
    assert (first != second).any(-1).sum() > 0
    far = np.ones_like(changed, bool)
    for y, x in zip(*np.nonzero(changed), strict=True):
        far[max(0, y - 5) : y + 6, max(0, x - 5) : x + 6] = False
    assert (first[far] == second[far]).all()
    told = json.loads((tmp_path / "events" / "seed-3.json").read_text())
    assert sorted(event["kind"] for event in told["events"]) == ["add", "remove"]
    again, others = made(client, finish, asked)
    assert again["id"] != record["id"] and (picture(others["after.png"]) == second).all()


def test_several_pairs_make_a_data_set(client: Any, finish: Any, tmp_path: Path) -> None:
    asked = SMALL | {"events": {"add": 1}, "count": 3, "formats": ["change-geotiff", "change-captions"]}
    record, files = made(client, finish, asked)
    assert record["about"]["pairs"] == 3
    assert [file["name"] for file in record["previews"]] == ["seed-4-after.png", "seed-5-after.png"]
    pairs = read_changes(unpacked(files, tmp_path) / "change-geotiff", "change-geotiff")
    assert sorted(pair.id for pair in pairs) == ["seed-3", "seed-4", "seed-5"]
    assert all(pair.bands()[0].any() for pair in pairs)
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == [f"seed-{n}.json" for n in (3, 4, 5)]
    alone, single = made(client, finish, SMALL | {"events": {"add": 1}, "seed": 5})
    assert alone["about"]["pairs"] == 1
    with rasterio.open(tmp_path / "change-geotiff" / "train" / "t2" / "seed-5.tif") as source:
        assert (np.moveaxis(source.read(), 0, 2) == picture(single["after.png"])).all()  # the pair of that seed


def test_segments_of_an_uploaded_image_vanish_where_it_lies(client: Any, finish: Any, tmp_path: Path) -> None:
    place = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, 2, 2)}
    name = uploaded(client, tiff(blocks(), **place))
    asked = {"image": name, "events": {"remove": 2}, "steps": 2, "seed": 1, "margin": 2}
    _, files = made(client, finish, asked | {"formats": ["change-geotiff"]})
    assert not [file for file in files if file.startswith("classes")]
    assert (picture(files["before.png"]) == blocks()).all()
    for file, marked in (("before.png", False), ("after.png", True)):
        (tmp_path / file).write_bytes(files[file])
        assert (MARK_TAG in read_tags(tmp_path / file)) is marked
    folder = unpacked(files, tmp_path / "pair") / "change-geotiff" / "train"
    with rasterio.open(folder / "label" / "seed-1.tif") as source:
        assert source.crs.to_epsg() == 32632 and source.transform.c == 500_000
        assert (255 * source.read(1) == picture(files["change.png"])[..., 0]).all() and source.read(1).any()


def test_segments_appear_when_read_backwards(client: Any, finish: Any) -> None:
    name = uploaded(client, tiff(blocks()))
    hazy = {"season": 1, "haze": 1, "rectangles": 1}
    asked = {"image": name, "events": {"add": 1}, "steps": 2, "seed": 1, "margin": 2, "nuisance": hazy}
    record, files = made(client, finish, asked)
    assert (picture(files["after.png"]) == blocks()).all()
    assert record["about"]["sentences"][0].startswith("a new object appears")


def test_places_of_an_image_become_what_a_text_says(client: Any, finish: Any, tmp_path: Path) -> None:
    asked = {"image": uploaded(client, tiff(blocks())), "become": ["a lake"], "events": 1, "steps": 2, "margin": 2}
    record, files = made(client, finish, asked | {"seed": 1})
    assert (picture(files["before.png"]) == blocks()).all()
    assert record["about"]["sentences"][0].endswith("becomes a lake")
    assert (picture(files["after.png"]) != blocks()).any(-1)[picture(files["change.png"])[..., 0] > 0].mean() > 0.5


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ({}, None),
        ({"shapes": [{**FIELD, "label": "forest"}], "events": {"transition": 1}}, "becomes"),
        ({"shapes": [FIELD], "events": {"transition": 1}, "transitions": [["grass", "sand"]]}, "becomes sand"),
        ({"shapes": [{**HOUSE, "label": "windmill"}], "events": {"move": 1}}, "moves"),
        ({"shapes": [{"kind": "brush", "label": "pier", "points": [[40, 40], [60, 40]], "radius": 5}],
          "events": {"grow": 1}}, "grows"),
    ],
)  # fmt: skip
def test_events_of_every_kind(client: Any, finish: Any, asked: dict[str, Any], kind: str | None) -> None:
    record, _ = made(client, finish, SMALL | {"formats": ["levir-cd"]} | asked)
    assert record["about"]["changed"] > 0
    assert kind is None or kind in record["about"]["sentences"][0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"events": {"explode": 1}},
        {"events": {"add": -1}},
        {"events": {"add": 0}},
        {"events": {}},
        {"events": 101},
        {"width": 2000},
        {"count": 0},
        {"count": 201},
        {"count": 20, "width": 1024, "height": 1024},
        {"image": "0" * 32},
        {"image": "../../etc/passwd"},
        {"dates": ["2024-01-02", "2024-01-01"]},
        {"dates": ["2024-01-02", None]},
        {"lat": 4},
        {"nuisance": {"haze": 2}},
        {"nuisance": {"fog": 1}},
        {"nuisance": {"noise": "NaN"}},
        {"transitions": [["grass", "grass"]]},
        {"transitions": [["grass"]]},
        {"classes": []},
        {"classes": ["building"]},
        {"classes": ["\u0000"]},
        {"formats": []},
        {"formats": ["levir-cd", "levir-cd"]},
        {"formats": ["../x"]},
        {"formats": ["second"], "shapes": [{**HOUSE, "label": "windmill"}]},
        {"shapes": [HOUSE], "events": {"transition": 1}},
        {"shapes": [{"kind": "brush", "redo": True, "points": [[1, 1]]}]},
        {"margin": 101},
        {"become": ["a lake"]},
        {"become": [""]},
        {"unknown": 1},
    ],
)
def test_what_makes_no_sense_is_refused_at_once(client: Any, wrong: dict[str, Any]) -> None:
    answer = client.post("/jobs/change", json=SMALL | wrong)
    assert answer.status_code == 422 and answer.json()["detail"], answer.text


def test_what_an_image_cannot_show_is_refused(client: Any) -> None:
    name = uploaded(client, tiff(blocks()))
    lake = {"become": ["a lake"]}
    for wrong in (
        {"events": {"move": 1}},
        {"events": {"add": 1, "remove": 1}},
        {"events": {"transition": 1}},
        {"formats": ["second"]},
        lake | {"events": {"add": 1}},
        lake | {"become": ["a lake", "a lake"]},
        lake | {"become": ["\u0000"]},
        lake | {"become": [" "]},
        lake | {"shapes": [HOUSE]},
    ):
        answer = client.post("/jobs/change", json={"image": name, "events": 1} | wrong)
        assert answer.status_code == 422, answer.text
    deep = uploaded(client, tiff(blocks().astype(np.uint16)))
    assert client.post("/jobs/change", json={"image": deep}).status_code == 422


def test_a_pair_is_cancelled_and_frees_the_model(client: Any, finish: Any) -> None:
    record = client.post("/jobs/change", json=SMALL | {"width": 128, "steps": 100}).json()
    while client.get(f"/jobs/{record['id']}").json()["state"] == "waiting":
        pass
    client.delete(f"/jobs/{record['id']}")
    assert finish(client, record)["state"] == "cancelled"
    assert client.get("/tiles/8/9/9.png?steps=1").status_code == 200
