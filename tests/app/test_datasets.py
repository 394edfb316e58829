"""Data sets over HTTP: made, watched, cancelled and gone on with, fetched, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from earthgen import labels
from earthgen.app.settings import Settings

SMALL = {"classes": ["building"], "count": 2, "width": 64, "height": 64, "steps": 2, "seed": 5, "length": [6, 14]}


def begun(client: Any, asked: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/jobs/dataset", json=asked)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def archive(client: Any, record: dict[str, Any]) -> zipfile.ZipFile:
    assert record["state"] == "done", record
    file = next(file for file in record["files"] if file["name"].endswith(".zip"))
    return zipfile.ZipFile(io.BytesIO(client.get("/" + file["url"]).content))


def contents(archive: zipfile.ZipFile) -> dict[str, bytes]:
    return {name: archive.read(name) for name in archive.namelist()}


def test_a_data_set_for_detection(client: Any, finish: Any, tmp_path: Path, settings: Settings) -> None:
    asked = SMALL | {"formats": ["coco", "yolo-obb"], "gsd": [0.3, 0.6], "objects": 4}
    record = finish(client, begun(client, asked))
    archive(client, record).extractall(tmp_path / "set")
    assert record["about"]["images"] == 2 and record["about"]["objects"] > 0
    found = labels.read(tmp_path / "set" / "coco", "coco")
    assert len(found) == 2 and sum(len(image.shapes or ()) for image in found.images) == record["about"]["objects"]
    assert (tmp_path / "set" / "yolo-obb" / "data.yaml").exists() and (tmp_path / "set" / "SHA256SUMS").exists()
    assert [file["name"] for file in record["previews"]] == ["s5-000000.png", "s5-000001.png"]
    assert client.get("/" + record["previews"][0]["url"]).headers["content-type"] == "image/png"
    page = client.get(next("/" + file["url"] for file in record["files"] if file["name"] == "summary.html"))
    assert "<h2>Images</h2>" in page.text and "inline" in page.headers["content-disposition"]
    assert "sandbox" in page.headers["content-security-policy"]
    assert not list((settings.folder / "datasets").iterdir())  # it lies in the zip
    everything = b"".join(contents(archive(client, record)).values()) + page.content
    assert str(settings.folder.parent).encode() not in everything


@pytest.mark.parametrize(
    "asked",
    [
        {"task": "segmentation", "classes": ["grass", "building"], "background": "grass"},
        {"task": "segmentation", "classes": ["building"]},
        {"task": "classification", "classes": ["forest", "river"]},
        {"task": "captions", "classes": [], "prompts": ["a lake", "a dam"], "region": [7, 46, 8, 47], "gsd": [10, 10]},
    ],
)
def test_the_other_tasks(client: Any, finish: Any, asked: dict[str, Any]) -> None:
    record = finish(client, begun(client, SMALL | asked))
    assert record["about"]["images"] == 2 and archive(client, record).namelist()


def test_a_cancelled_one_is_gone_on_with(client: Any, finish: Any, settings: Settings) -> None:
    asked = SMALL | {"count": 4, "steps": 20}
    started = begun(client, asked)
    while not client.get(f"/jobs/{started['id']}").json()["previews"]:
        time.sleep(0.01)
    client.delete(f"/jobs/{started['id']}")
    stopped = finish(client, started)
    assert stopped["state"] == "cancelled" and stopped["files"] == []
    assert client.get("/" + stopped["previews"][0]["url"]).status_code == 200
    client.delete(f"/jobs/{started['id']}")
    assert client.get("/" + stopped["previews"][0]["url"]).status_code == 404
    (folder,) = (settings.folder / "datasets").iterdir()
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "source" / "images").iterdir()}
    assert kept
    again = begun(client, stopped["about"]["request"])
    while not (now := client.get(f"/jobs/{again['id']}").json())["previews"]:
        time.sleep(0.01)
    assert now["progress"] > 0.2  # not from the beginning
    done = contents(archive(client, finish(client, again)))
    whole = contents(archive(client, finish(client, begun(client, asked))))
    assert done == whole


def test_only_so_many_are_kept_unfinished(settings: Settings, pipe: Any, routes: Any, finish: Any) -> None:
    with routes(dataclasses.replace(settings, kept_datasets=1), pipe) as client:
        for seed in (1, 2):
            started = begun(client, SMALL | {"seed": seed, "count": 4, "steps": 100})
            while client.get(f"/jobs/{started['id']}").json()["progress"] == 0:
                time.sleep(0.01)
            client.delete(f"/jobs/{started['id']}")
            finish(client, started)
        assert len(list((settings.folder / "datasets").iterdir())) == 1


def test_a_model_of_ones_own_is_named_without_its_path(
    settings: Settings, pipe: Any, routes: Any, finish: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "secret" / "tiny"
    pipe.save_pretrained(folder)
    with routes(dataclasses.replace(settings, model=str(folder)), pipe) as client:
        files = contents(archive(client, finish(client, begun(client, SMALL))))
    assert b"secret" not in b"".join(files.values())
    assert yaml.safe_load(files["resolved.yaml"])["model"] == "tiny"


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": 201},
        {"count": 10**9},
        {"width": 2000},
        {"width": 1024, "height": 1024, "count": 100},
        {"classes": []},
        {"classes": ["a", "a"]},
        {"classes": [" "]},
        {"task": "everything"},
        {"task": "segmentation", "classes": ["grass"], "background": "grass"},
        {"task": "captions", "classes": [], "prompts": []},
        {"task": "classification", "formats": ["coco"]},
        {"formats": ["torchgeo"]},
        {"formats": ["coco", "coco"]},
        {"formats": ["../x"]},
        {"gsd": [2, 1]},
        {"gsd": ["NaN", 1]},
        {"clouds": [0, 2]},
        {"dates": ["2024-01-01", None]},
        {"region": [0, 50, 10, 40]},
        {"region": [0, 100, 10, 120]},
        {"length": [20, 10]},
        {"objects": 0},
        {"screened": True},
        {"guidance": "love=3"},
        {"real": "/etc"},
        {"model": "/etc"},
    ],
)
def test_what_makes_no_sense_is_refused_at_once(client: Any, wrong: dict[str, Any]) -> None:
    answer = client.post("/jobs/dataset", json=SMALL | wrong)
    assert answer.status_code == 422 and answer.json()["detail"], answer.text


def test_hostile_classes_stay_words(client: Any, finish: Any, settings: Settings) -> None:
    names = ["../../escape", "<script>alert(1)</script>"]
    asked = SMALL | {"task": "classification", "classes": names, "formats": ["classification", "imagefolder"]}
    record = finish(client, begun(client, asked))
    assert all(not name.startswith(("/", "..")) and "/../" not in name for name in archive(client, record).namelist())
    page = client.get(next("/" + file["url"] for file in record["files"] if file["name"] == "summary.html")).text
    assert "<script" not in page
    assert {path.name for path in settings.folder.parent.iterdir()} <= {"out", "tiles"}
