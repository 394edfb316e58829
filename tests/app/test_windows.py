"""What is on the screen as a labelled image."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from earthgen import labels
from earthgen.world.projection import pixel_to_position

(NORTH, SOUTH), (WEST, EAST) = pixel_to_position(6, [22 * 256, 23 * 256], [33 * 256, 34 * 256])
VIEW = {"west": WEST, "south": SOUTH, "east": EAST, "north": NORTH, "zoom": 6, "seed": 3, "steps": 1}


def drawn(client: Any, key: str, *squares: tuple[float, float, float, float]) -> str:
    """Keeps squares, each in pixels of the view (left, top, right, bottom), with words under a key."""
    features = []
    for n, (left, top, right, bottom) in enumerate(squares):
        (north, south), (west, east) = pixel_to_position(
            6, [22 * 256 + top, 22 * 256 + bottom], [33 * 256 + left, 33 * 256 + right]
        )
        ring = [[west, north], [east, north], [east, south], [west, south], [west, north]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "properties": {key: ("harbour", "lake")[n]}, "geometry": geometry})
    answer = client.post("/regions", json={"type": "FeatureCollection", "features": features})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("key", ["class", "prompt"])
def test_what_is_drawn_is_the_labels(client: Any, finish: Any, tmp_path: Path, key: str) -> None:
    regions = drawn(client, key, (40, 60, 120, 100), (200, 200, 300, 300))
    answer = client.post("/jobs/window", json=VIEW | {"regions": regions, "formats": ["coco", "masks"]})
    assert answer.status_code == 202, answer.text
    record = finish(client, answer.json())
    assert record["state"] == "done" and record["about"]["objects"] == 2, record
    file = next(file for file in record["files"] if file["name"].endswith(".zip"))
    with zipfile.ZipFile(io.BytesIO(client.get("/" + file["url"]).content)) as archive:
        archive.extractall(tmp_path)
    (image,) = labels.read(tmp_path / "coco", "coco").images
    boxes = {shape.box.label: shape.box for shape in image.shapes or ()}
    first = boxes["harbour"]
    assert (first.cx, first.cy, first.width, first.height) == pytest.approx((80, 80, 80, 40), abs=0.1)
    cut = boxes["lake"]  # at the border of the view
    assert (cut.cx, cut.cy, cut.width, cut.height) == pytest.approx((228, 228, 56, 56), abs=0.1)
    (masked,) = labels.read(tmp_path / "masks", "masks").images
    from earthgen.labels.pictures import read_mask

    mask = read_mask(masked)
    assert mask is not None and mask[80, 80] != mask[10, 10] and (mask != mask[10, 10]).sum() == 80 * 40 + 56 * 56


def test_what_makes_no_sense_is_refused(client: Any) -> None:
    beside = drawn(client, "class", (400, 60, 480, 100))
    speck = drawn(client, "class", (40, 60, 42, 62))
    inside = drawn(client, "class", (40, 60, 120, 100))
    for wrong in (
        {},
        {"regions": "0" * 32},
        {"regions": beside},
        {"regions": speck},
        {"regions": inside, "formats": []},
        {"regions": inside, "formats": ["classification"]},
        {"regions": inside, "formats": ["coco", "coco"]},
        {"regions": inside, "west": 10, "east": 0},
        {"regions": inside, "zoom": 18},
    ):
        answer = client.post("/jobs/window", json=VIEW | wrong)
        assert answer.status_code == 422 and answer.json()["detail"], (wrong, answer.text)
