"""`earthgen dataset change` with a real but tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from PIL import Image
from pyproj import Transformer

from earthgen.conditions import Box
from earthgen.errors import DataError
from earthgen.labels import export
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.change import read_changes
from earthgen.output.provenance import Provenance

Run = Any


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        image = random.integers(60, 70, (80, 72, 3), np.uint8)
        image[20:44, 20:44] = random.integers(150, 255, 3)
        where = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
        shape = {"height": 80, "width": 72, "count": 3, "dtype": "uint8"}
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", **shape, **where) as file:
            file.write(np.moveaxis(image, 2, 0))
    return folder


@pytest.fixture
def masks(tmp_path: Path, images: Path) -> Path:
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("a", "b"):
        mask = np.zeros((80, 72), np.uint8)
        mask[20:44, 20:44] = 1
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def options(model: Path, output: Path, *more: object) -> list[object]:
    return ["dataset", "change", "--model", model, "--steps", 1, "--size", 64, "--device", "cpu", "-o", output, *more]


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".lock"
    }


def test_masks_to_pairs_and_on_where_it_was_stopped(
    run: Run, tiny_model: Path, tmp_path: Path, masks: Path, images: Path
) -> None:
    out = tmp_path / "out"
    asked = options(
        tiny_model, out, "--source", images, "--masks", masks, "--class", "land", "--class", "building", "--events",
        "remove=1,add=1", "--nuisance", "haze=0.5", "-f", "second", "-f", "change-geotiff", "--json",
    )  # fmt: skip
    result = run(*asked, "-n", 2, "--start", "2020-01-01")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["series_made"], report["pairs"]) == (2, 2) and 0 < report["changed"] < 0.5
    pairs = read_changes(out / "change-geotiff", "change-geotiff")
    place = Provenance.from_tags(Image.open(out / "source/s0-000000/t1.png").info).conditions
    assert place["date"] == "2020-12-31"
    middle = pairs[0].transform @ (32, 32)
    there = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(place["lon"], place["lat"])
    assert there == pytest.approx(middle, abs=0.2)  # metres
    assert len(pairs) == 2 and all(p.crs == "EPSG:32632" and p.bands()[0].any() for p in pairs)
    record = json.loads((out / "source/s0-000000/series.json").read_text())
    assert record["dates"] == ["2020-01-01", "2020-12-31"] and set(record["nuisances"][1]) == {"haze"}
    first = files(out)
    shutil.rmtree(out / "source/s0-000001")
    shutil.rmtree(out / "second")
    again = run(*asked, "-n", 2, "--start", "2020-01-01")
    assert json.loads(again.stdout)["series_made"] == 1
    assert files(out) == first  # byte for byte
    grown = run("dataset", "change", "--config", out / "resolved.yaml", "-n", 3, "-o", out, "--json")
    assert json.loads(grown.stdout)["series_made"] == 1
    other = run(*asked, "-n", 3, "--start", "2020-01-01", "--seed", 4)
    assert other.exit_code == 2 and "(another seed)" in other.stderr


def test_boxes_of_labelled_images_change_and_are_told_as_objects(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path
) -> None:
    shapes = (Shape(Box("building", 34, 38, 16, 18)), Shape(Box("ship", 60, 64, 20, 8, 30)))
    found = [LabelledImage(name, images / f"{name}.tif", 80, 72, shapes=shapes) for name in ("a", "b")]
    export(LabelledSet(found, ("building", "ship")), tmp_path / "labelled", ("dota",))
    out = tmp_path / "out"
    asked = options(tiny_model, out, "--labels", tmp_path / "labelled/dota", "--class", "building", "-n", 2)
    result = run(*asked, "--events", "remove=1,add=1", "-f", "change-geotiff", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["events_without_place"] == 0
    for pair in read_changes(out / "change-geotiff", "change-geotiff"):
        assert pair.classes == ("background", "building") and pair.bands()[0].any()
    other = run(*options(tiny_model, tmp_path / "none", "--labels", images, "--source", images))
    assert other.exit_code == 2 and "`labels` must be absent" in other.stderr


def test_images_without_labels_lose_or_gain_what_stands_out(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        yaml.safe_dump({"rules": {"largest": 0.3}, "events": {"add": 1}, "formats": ["change-captions", "levir-cd"]})
    )
    out = tmp_path / "out"
    result = run(*options(tiny_model, out, "--source", images, "-n", 2, "--config", config))
    assert result.exit_code == 0, result.output
    for pair in read_changes(out / "change-captions", "change-captions"):
        assert pair.sentences is not None and pair.sentences[0].startswith("a new object appears at the ")
    for pair in read_changes(out / "levir-cd", "levir-cd"):
        first, second = (np.array(Image.open(p)).astype(int) for p in (pair.first, pair.second))
        changed = pair.bands()[0] > 0
        assert 300 < changed.sum() < 1500 and np.abs(first - second).max(-1)[changed].mean() > 20
        assert "SYNTHETIC" in Image.open(pair.first).info and "SYNTHETIC" not in Image.open(pair.second).info


def test_places_of_images_without_labels_become_what_texts_say(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path
) -> None:
    out, text = tmp_path / "out", "an industrial area"
    asked = ["--source", images, "-n", 2, "--become", text, "--events", "transition=2", "--prompt", "fields"]
    result = run(*options(tiny_model, out, *asked, "-f", "change-geotiff", "-f", "change-captions", "--json"))
    assert result.exit_code == 0, result.output
    for pair in read_changes(out / "change-geotiff", "change-geotiff"):
        changed, before, after = pair.bands()
        assert pair.classes == (text,) and changed.any()
        assert (before == 255).all() and ((after == 0) == (changed > 0)).all()
    for pair in read_changes(out / "change-captions", "change-captions"):
        assert pair.sentences is not None and all(s.endswith(f"becomes {text}") for s in pair.sentences)
    told = Provenance.from_tags(Image.open(out / "source/s0-000000/t1.png").info)
    assert told.conditions["become"] == [text] and told.conditions["text"] == "fields"
    again = run("dataset", "change", "--config", out / "resolved.yaml", "-n", 3, "-o", out, "--json")
    assert again.exit_code == 0 and json.loads(again.stdout)["series_made"] == 1


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--events", "transition=1"], "`become` must say"),
        (["--become", "a lake", "--events", "add=1,transition=1"], "for images without masks"),
        (["--become", "a lake", "--become", "a lake"], "distinct"),
        (["--become", "a lake", "--class", "land", "--class", "building", "--masks", "masks"], "must be absent"),
        (["--become", "a lake", "-f", "second"], "second"),
    ],
)
def test_what_nothing_can_become_is_refused(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path, more: list[object], word: str
) -> None:
    result = run(*options(tiny_model, tmp_path / "out", "--source", images, *more))
    assert result.exit_code == 2 and word in " ".join(result.stderr.split()), result.stderr


def test_series_from_nothing(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    classes = [w for name in ("land", "vegetation", "building") for w in ("--class", name)]
    result = run(*options(tiny_model, out, *classes, "-n", 1, "--dates", 3, "-f", "change-coco"))
    assert result.exit_code == 0, result.output
    assert [p.id for p in read_changes(out / "change-coco", "change-coco")] == ["s0-000000-0-1", "s0-000000-1-2"]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ([], "classes"),
        (["--class", "land", "--events", "x=1"], "kinds"),
        (["--class", "land", "--events", "one"], "NAME=NUMBER"),
        (["--class", "land", "--nuisance", "rain=1"], "rain"),
        (["--class", "land", "--start", "soon"], "YYYY-MM-DD"),
        (["--class", "land", "-f", "png"], "formats"),
        (["--class", "land", "--dates", 1], "dates"),
        (["--masks", "m", "--class", "land"], "source"),
        (["--source", "nowhere"], "no images"),
        (["--class", "Igloo", "--class", "Snow"], "`classes` must hold"),
        (["--class", "land"], "`classes` must hold"),
        (["--class", "building", "--class", "house", "--events", "transition=1"], "rules.transitions"),
        (["--class", "building", "--class", "tree"], "for the ground"),
        (["--class", "land", "--class", "vehicle", "-f", "second"], "{'vehicle': None}"),
        (["--class", "land", "--class", "building", "--second-class", "building"], "NAME=CLASS"),
        (["--class", "land", "--class", "building", "--size", 20], "`size` must be at least"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(
    run: Run, tiny_model: Path, tmp_path: Path, more: list[object], word: str
) -> None:
    result = run(*options(tiny_model, tmp_path / "out", *more))
    assert result.exit_code in (1, 2) and word in result.stderr and not (tmp_path / "out").exists()


def test_what_is_wrong_with_sources_is_found_before_any_work_and_leaves_nothing(
    run: Run, tiny_model: Path, tmp_path: Path, masks: Path, images: Path
) -> None:
    out, good = tmp_path / "out", Image.open(masks / "b.png")
    asked = options(
        tiny_model, out, "--source", images, "--masks", masks, "--class", "Land", "--class", "Building", "-n", 2,
        "--events", "add=1", "-f", "levir-cd",
    )  # fmt: skip
    beyond = np.array(good)
    beyond[79, 71] = 7
    for wrong, word in ((good.resize((72, 79)), "shape (79, 72)"), (Image.fromarray(beyond), "[7]")):
        wrong.save(masks / "b.png")
        result = run(*asked)
        assert result.exit_code in (1, 2) and not out.exists()
        assert word in result.stderr and str(masks / "b.png") in result.stderr
    good.save(masks / "b.png")
    Image.new("RGB", (72, 60)).save(images / "c.png")
    Image.new("L", (72, 60)).save(masks / "c.png")
    small = run(*asked)
    assert small.exit_code == 2 and "72x60" in small.stderr and "c.png" in small.stderr and not out.exists()
    (images / "c.png").unlink()
    result = run(*asked, "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["changed"] > 0, result.output


@pytest.mark.parametrize("suffix", [".tif", ".png"])  # read by rasterio and by Pillow
@pytest.mark.parametrize("harm", ["cut short", "empty", "of 16 bits"])
def test_pixels_that_cannot_be_read_are_found_before_any_work(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path, harm: str, suffix: str
) -> None:
    path = images / f"c{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (80, 72, 3), np.uint8)
    Image.fromarray(pixels if harm != "of 16 bits" else np.full((80, 72), 40_000, np.uint16)).save(path)
    path.write_bytes(path.read_bytes()[: {"empty": 0, "cut short": 9_000}.get(harm)])  # a header that is sound
    result = run(*options(tiny_model, tmp_path / "out", "--source", images, "-n", 3, "-f", "levir-cd"))
    assert result.exit_code == 1 and str(path) in result.stderr and not (tmp_path / "out").exists()


def test_images_of_one_name_are_not_dropped_in_silence(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path
) -> None:
    Image.new("RGB", (72, 80)).save(images / "a.png")
    result = run(*options(tiny_model, tmp_path / "out", "--source", images, "-n", 2, "-f", "levir-cd"))
    assert result.exit_code == 1 and "a.png and" in result.stderr and not (tmp_path / "out").exists()


def test_a_run_that_failed_before_its_first_series_leaves_the_folder_free(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DataError("no luck")

    out = tmp_path / "out"
    asked = options(tiny_model, out, "--source", images, "-n", 1, "-f", "levir-cd")
    with monkeypatch.context() as patch:
        patch.setattr("earthgen.dataset.change._Maker.make", fails)
        assert run(*asked).exit_code == 1 and (out / "resolved.yaml").exists()
    result = run(*asked, "--seed", 1)  # another configuration
    assert result.exit_code == 0, result.output


def test_classes_of_boxes_are_checked_against_the_events_and_formats(
    run: Run, tiny_model: Path, tmp_path: Path, images: Path
) -> None:
    shapes = (Shape(Box("igloo", 34, 38, 16, 18)),)
    found = [LabelledImage(n, images / f"{n}.tif", 80, 72, shapes=s) for n, s in (("a", shapes), ("b", ()))]
    export(LabelledSet(found, ("igloo",)), tmp_path / "labelled", ("coco",))
    out = tmp_path / "out"
    asked = options(tiny_model, out, "--labels", tmp_path / "labelled/coco", "-n", 2, "-f", "second")
    for more, word in ((("--events", "transition=1"), "rules.transitions"), (("--events", "add=1"), "igloo")):
        result = run(*asked, *more)
        assert result.exit_code == 2 and word in result.stderr and not out.exists()
    # The second image has no box, and yet the classes of all.
    result = run(*asked, "--events", "add=1", "--second-class", "igloo=building", "-f", "change-geotiff")
    assert result.exit_code == 0, result.output
    pairs = read_changes(out / "change-geotiff", "change-geotiff")
    assert [p.classes for p in pairs] == [("background", "igloo")] * 2 and all(p.bands()[0].any() for p in pairs)
