"""Labels of a user's own: the good come through, the hostile are refused, and data sets lie as they do."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthgen import labels
from earthgen.app.own import OwnLabelsStore
from earthgen.app.settings import Settings
from earthgen.errors import ArgumentError

SIZE = {"width": 192, "height": 160}


def coco(images: int = 12, **changes: Any) -> dict[str, Any]:
    """Ships in a row, 20 px long, turned by 30°, in images whose names lead elsewhere."""
    turned = np.deg2rad(30)
    along, across = np.array([np.cos(turned), np.sin(turned)]), np.array([-np.sin(turned), np.cos(turned)])
    annotations = []
    for image in range(images):
        for x in (30, 60, 90, 120, 150):
            signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
            corners = [np.array([x, 80]) + i * 10 * along + j * 3 * across for i, j in signs]
            low, high = np.min(corners, 0), np.max(corners, 0)
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": f"image {image}",
                    "category_id": 7,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "segmentation": [np.concatenate(corners).tolist()],
                }
            )
    return {
        "info": {"made by": "somebody"},
        "images": [SIZE | {"id": f"image {n}", "file_name": f"../../etc/passwd{n}"} for n in range(images)],
        "categories": [{"id": 7, "name": "ship"}],
        "annotations": annotations,
    } | changes


@pytest.fixture
def store(tmp_path: Path) -> OwnLabelsStore:
    return OwnLabelsStore(tmp_path / "labels")


def test_labels_come_through_without_anything_else(store: OwnLabelsStore) -> None:
    taken = store.put(json.dumps(coco()).encode())
    assert taken[1:] == (("ship",), 12, 60)
    found = labels.read(store.path(taken.id))
    assert {(image.width, image.height) for image in found.images} == {(192, 160)}
    box = (found.images[0].shapes or ())[0].box
    assert (box.width, box.height, box.angle % 180) == pytest.approx((20, 6, 30), abs=0.01)
    kept = b"".join(path.read_bytes() for path in store.path(taken.id).rglob("*.json"))
    assert b"passwd" not in kept and b"somebody" not in kept


RUN_LENGTHS = {"segmentation": {"counts": "abc", "size": [1, 1]}}


def test_run_lengths_are_left_out_and_their_boxes_kept(store: OwnLabelsStore) -> None:
    given = coco()
    given["annotations"] = [one | RUN_LENGTHS for one in given["annotations"]]
    assert store.put(json.dumps(given).encode()).objects == 60


ONE = coco(1)["annotations"][0]
MANY = [{"id": n, "width": 16_384, "height": 9000 + n} for n in range(9)]
HOSTILE = {
    "nothing": b"",
    "no JSON": b"\x89PNG\r\n\x1a\n",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "numbers that are none": json.dumps(coco(annotations=[ONE | {"bbox": [float("nan"), 1, 2, 3]}])).encode(),
    "no images": json.dumps(coco(images=0)).encode(),
    "no objects": json.dumps(coco(annotations=[])).encode(),
    "objects elsewhere": json.dumps(coco(annotations=[ONE | {"bbox": [900, 900, 5, 5], "segmentation": []}])).encode(),
    "an image that is not there": json.dumps(coco(annotations=[ONE | {"image_id": 99}])).encode(),
    "a class that is not there": json.dumps(coco(annotations=[ONE | {"category_id": [1]}])).encode(),
    "huge images": json.dumps(coco(images=1) | {"images": [{"id": 1, "width": 10**9, "height": 10**9}]}).encode(),
    "many sizes": json.dumps(coco() | {"images": MANY}).encode(),
    "an image twice": json.dumps(coco() | {"images": coco()["images"] * 2}).encode(),
    "half a corner": json.dumps(coco(annotations=[ONE | {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}])).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_labels_are_refused_and_leave_nothing(name: str, store: OwnLabelsStore, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="labels") as refused:
        store.put(HOSTILE[name])
    assert str(tmp_path) not in str(refused.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["", "../x", "0" * 32, "0" * 31 + "/"])
def test_names_are_ids_alone(name: str, store: OwnLabelsStore) -> None:
    with pytest.raises(ArgumentError, match="id that POST /labels gave"):
        store.path(name)


def test_a_data_set_that_lies_as_ones_own(client: Any, finish: Any, settings: Settings) -> None:
    taken = client.post("/labels", content=json.dumps(coco()).encode()).json()
    assert (taken["classes"], taken["objects"]) == (["ship"], 60)
    asked = {"labels": taken["id"], "count": 2, "width": 192, "height": 160, "steps": 2, "seed": 5}
    record = finish(client, client.post("/jobs/dataset", json=asked).json())
    assert record["state"] == "done", record
    url = next(file["url"] for file in record["files"] if file["name"].endswith(".zip"))
    content = client.get(f"/{url}").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = json.loads(archive.read("coco/annotations/instances_train.json"))
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert [category["name"] for category in found["categories"]] == ["ship"] and found["annotations"]
    assert str(settings.folder.parent).encode() not in everything
    for wrong in (
        {"classes": ["airplane"]},
        {"task": "segmentation", "classes": ["ship", "water"], "background": "water"},
        {"labels": "0" * 32},
    ):
        refused = client.post("/jobs/dataset", json=asked | wrong)
        assert refused.status_code == 422 and str(settings.folder.parent) not in refused.text
