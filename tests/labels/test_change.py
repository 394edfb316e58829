"""Formats of change: what is written is read back, and is what the field's loaders expect of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from earthgen.errors import ArgumentError, DataError, OutputError
from earthgen.labels.change import FORMATS, ChangePair, bands_of, export_changes, format_of, read_bands, read_changes
from earthgen.labels.change_formats import SECOND_CLASSES, label_geotiff
from earthgen.labels.notes import LabelWarning
from earthgen.simulate.event_maps import simulate_maps
from earthgen.simulate.event_rules import EventRules

CLASSES = ("land", "building", "water")
UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}


def pairs(folder: Path, place: dict[str, object] = UTM) -> list[ChangePair]:
    labels = np.zeros((48, 40), np.uint8)
    labels[6:14, 8:18] = 1
    labels[:, 30:] = 2
    made = []
    for number, split in enumerate(("train", "train", "val", "test")):
        series = simulate_maps(labels, CLASSES, number, [{"add": 1, "transition": 1}], EventRules(smallest=16))
        for moment in ("a", "b"):
            image = np.random.default_rng(number).integers(0, 256, (48, 40, 3), np.uint8)
            Image.fromarray(image).save(folder / f"{number}{moment}.png")
        files = folder / f"{number}a.png", folder / f"{number}b.png"
        more = {"classes": CLASSES, "events": series.events[0], "sentences": tuple(series.sentences())}
        made.append(ChangePair.of_files(f"p{number}", *files, bands_of(series), split=split, **more, **place))
    return made


@pytest.fixture
def written(tmp_path: Path) -> tuple[list[ChangePair], dict[str, Path]]:
    (tmp_path / "images").mkdir()
    made = pairs(tmp_path / "images")
    return made, export_changes(made, tmp_path / "out", tuple(FORMATS))


def test_all_formats_are_read_back(written: tuple[list[ChangePair], dict[str, Path]]) -> None:
    made, folders = written
    for name, folder in folders.items():
        found = read_changes(folder, name)
        assert [(p.id, p.split) for p in found] == [(p.id, p.split) for p in made]
        assert [p.id for p in read_changes(folder, name, "val")] == ["p2"]
        for there, want in zip(found, made, strict=True):
            if name != "change-geotiff":
                assert np.array_equal(np.array(Image.open(there.first)), np.array(Image.open(want.first)))
            if name in ("change-captions", "change-coco"):
                with pytest.raises(DataError, match="single pixels"):
                    there.bands()
                continue
            assert (there.bands()[0] == want.bands()[0]).all()
    assert read_changes(folders["change-captions"], "change-captions")[0].sentences == made[0].sentences
    back = read_changes(folders["change-coco"], "change-coco")[0].events
    assert back is not None and [e.to_dict() for e in back] == [e.to_dict() for e in made[0].events or ()]
    rasters = read_changes(folders["change-geotiff"], "change-geotiff")[0]
    assert (rasters.bands() == made[0].bands()).all() and rasters.classes == CLASSES
    assert (rasters.crs, rasters.transform) == (UTM["crs"], UTM["transform"])


def test_formats_are_told_by_their_files(written: tuple[list[ChangePair], dict[str, Path]], tmp_path: Path) -> None:
    _, folders = written
    assert {name: format_of(folder) for name, folder in folders.items()} == {name: name for name in FORMATS}
    assert len(read_changes(folders["second"])) == 4
    assert format_of(folders["levir-cd-split"] / "LEVIR-CD+") == "levir-cd-split"  # as LEVIR-CD is published
    with pytest.raises(ArgumentError, match=r"one of the folders \['levir-cd', "):
        read_changes(tmp_path / "out")
    with pytest.raises(ArgumentError, match="must be one of"):
        read_changes(tmp_path / "images")


def test_second_is_read_in_its_colours_too(written: tuple[list[ChangePair], dict[str, Path]]) -> None:
    """As it is published: no binary label, and classes as colours."""
    _, folders = written
    root = folders["second"] / "train"
    before = read_changes(folders["second"], "second", "train")[0].bands()
    for number in (1, 2):
        (root / f"label{number}_rgb").joinpath("p0.png").replace(root / f"label{number}" / "p0.png")
    (root / "label/p0.png").unlink()
    pair = read_changes(folders["second"], "second", "train")[0]
    assert np.array_equal(pair.bands(), before) and before[0].any()
    odd = np.array(Image.open(root / "label1/p0.png"))
    odd[0, 0] = 7
    Image.fromarray(odd).save(root / "label1/p0.png")
    with pytest.raises(DataError, match=r"label1/p0\.png must hold SECOND's indices"):
        pair.bands()


def test_images_are_hard_links(written: tuple[list[ChangePair], dict[str, Path]]) -> None:
    made, folders = written
    assert folders["levir-cd"].joinpath("A/train_p0.png").samefile(made[0].first)
    assert folders["second"].joinpath("test/im2/p3.png").samefile(made[3].second)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_torchgeo_levircd_rules(written: tuple[list[ChangePair], dict[str, Path]], split: str) -> None:
    """It sorts three globs of the split's prefix, joins them in that order, and clamps the label to 1."""
    made, folders = written
    root = folders["levir-cd"]
    files = [sorted(root.joinpath(part).glob(f"{split}*.png")) for part in ("A", "B", "label")]
    want = [p for p in made if p.split == split]
    assert [len(f) for f in files] == [len(want)] * 3
    for first, _, label, pair in zip(*files, want, strict=True):
        assert first.name == label.name
        picture = Image.open(label)
        assert picture.mode == "L" and set(np.unique(np.array(picture))) <= {0, 255}
        assert (np.clip(np.array(picture.convert("L")), 0, 1) == pair.bands()[0]).all()
    listed = root.joinpath(f"list/{split}.txt").read_text().splitlines()  # what BIT reads
    assert listed == [f.name for f in files[0]]


def test_torchgeo_levircdplus_and_open_cd_rules(written: tuple[list[ChangePair], dict[str, Path]]) -> None:
    made, folders = written
    root = folders["levir-cd-split"] / "LEVIR-CD+"
    for split in ("train", "val", "test"):
        names = {part: sorted(p.name for p in root.joinpath(split, part).glob("*.png")) for part in ("A", "B", "label")}
        assert names["A"] == names["B"] == names["label"] == [f"{p.id}.png" for p in made if p.split == split]
        for path in root.joinpath(split, "label").glob("*.png"):
            grey = np.array(Image.open(path).convert("L"))
            assert set(np.unique(grey)) <= {0, 255} and (grey >= 128).any()  # open-cd's `to_binary`


def test_second_rules(written: tuple[list[ChangePair], dict[str, Path]]) -> None:
    """open-cd decodes labels as grey, turns class 0 into ignored (255) and the others down by one."""
    made, folders = written
    for pair in made:
        root = folders["second"] / pair.split
        binary = np.array(Image.open(root / "label" / f"{pair.id}.png").convert("L"))
        assert (binary == pair.bands()[0]).all() and binary.max() == 1
        for number in (1, 2):
            picture = Image.open(root / f"label{number}" / f"{pair.id}.png")
            grey = np.array(picture.convert("L"))
            assert picture.mode == "L" and ((grey > 0) == (binary > 0)).all()
            reduced = np.where(grey == 0, 255, grey - 1)
            classes = pair.bands()[number]
            for index, name in ((0, "ground"), (1, "building"), (2, "water")):
                here = (classes == index) & (binary > 0)
                assert (reduced[here] == SECOND_CLASSES.index(name) - 1).all()
            rgb = np.array(Image.open(root / f"label{number}_rgb" / f"{pair.id}.png"))
            assert (rgb[binary == 0] == 255).all() and (rgb[(classes == 1) & (binary > 0)] == (128, 0, 0)).all()


def test_geotiffs_have_their_place_and_coco_its_numbers(written: tuple[list[ChangePair], dict[str, Path]]) -> None:
    made, folders = written
    with rasterio.open(folders["change-geotiff"] / "train/label/p0.tif") as label:
        assert label.count == 3 and label.crs.to_epsg() == 32632 and label.transform == UTM["transform"]
        assert json.loads(label.tags()["CLASSES"]) == list(CLASSES)
    record = json.loads((folders["change-coco"] / "annotations/changes_train.json").read_text())
    names = {c["id"]: c["name"] for c in record["categories"]}
    assert min(names) == 1 and [i["id"] for i in record["images"]] == [1, 2]
    for annotation in record["annotations"]:
        x, y, w, h = annotation["bbox"]
        assert 0 <= x and x + w <= 40 and 0 <= y and y + h <= 48 and annotation["iscrowd"] == 0
        assert all(len(ring) >= 6 and len(ring) % 2 == 0 for ring in annotation["segmentation"])
        assert names[annotation["category_id"]] == annotation["change"]["label"]
    total = sum(a["area"] for a in record["annotations"] if a["image_id"] == 1)
    assert total == made[0].bands()[0].sum()


def test_a_format_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    made = pairs(tmp_path)
    made[2].second.unlink()
    with pytest.raises(DataError, match="2b"):
        export_changes(made, tmp_path / "out", ["levir-cd"])
    assert not list((tmp_path / "out").iterdir())
    os.link(made[1].second, made[2].second)
    first = export_changes(made, tmp_path / "out", ["levir-cd"])["levir-cd"]
    assert export_changes(made, tmp_path / "out", ["levir-cd"])["levir-cd"] == first  # the same again is no error
    (first / "list" / "val.txt").write_text("else\n")
    with pytest.raises(OutputError, match="something else"):
        export_changes(made, tmp_path / "out", ["levir-cd"])


def test_labels_survive_as_geotiff_without_a_place(tmp_path: Path) -> None:
    pair = pairs(tmp_path, {})[0]
    path = tmp_path / "label.tif"
    path.write_bytes(label_geotiff(pair.bands(), pair))
    assert (read_bands(path) == pair.bands()).all()
    with pytest.warns(LabelWarning, match="no CRS"):
        export_changes([pair], tmp_path / "out", ["change-geotiff"])
    with pytest.raises(DataError, match="labels"):
        read_bands(tmp_path / "0a.png.none")


def test_pairs_of_different_size_or_place_are_refused(tmp_path: Path) -> None:
    nothing = np.zeros((3, 8, 8), np.uint8)

    def raster(name: str, size: int = 8, code: int = 32632, east: float = 0.0) -> Path:
        where = {"crs": f"EPSG:{code}", "transform": Affine(10, 0, east, 0, -10, 0)}
        with rasterio.open(tmp_path / name, "w", driver="GTiff", height=8, width=size, count=3, dtype="uint8", **where):
            pass
        return tmp_path / name

    a = raster("a.tif")
    assert ChangePair.of_files("x", a, raster("same.tif"), nothing).crs == "EPSG:32632"
    for other, word in (
        (raster("b.tif", 9), "size"),
        (raster("c.tif", code=32633), "CRS"),
        (raster("d.tif", east=5), "lie"),
    ):
        with pytest.raises(ArgumentError, match=word):
            ChangePair.of_files("x", a, other, nothing)


def test_wrong_labels_and_requests_are_refused(tmp_path: Path) -> None:
    good = pairs(tmp_path)
    bands = good[0].bands()
    for label, word in (
        (bands[:2], "shape"),
        (bands * 255, "0 or 1"),
        (bands + np.uint8([[[0]], [[3]], [[0]]]), "indices"),
    ):
        with pytest.raises(ArgumentError, match=word):
            good[0].replace(label=label).bands()
    for change, word in (({"id": "a b"}, "id"), ({"split": "x"}, "split"), ({"crs": None}, "crs")):
        with pytest.raises(ArgumentError, match=word):
            good[0].replace(**change)
    strange = good[0].replace(classes=("land", "igloo", "water"))
    for call, word in (
        (lambda: export_changes(good, tmp_path / "o", ["png"]), "formats"),
        (lambda: export_changes([], tmp_path / "o", ["second"]), "pairs"),
        (lambda: export_changes([good[0], good[0]], tmp_path / "o", ["second"]), "ids"),
        (lambda: export_changes([strange], tmp_path / "o", ["second"]), "igloo"),
        (lambda: export_changes([good[0].replace(events=None)], tmp_path / "o", ["change-coco"]), "events"),
        (lambda: export_changes([good[0].replace(sentences=None)], tmp_path / "o", ["change-captions"]), "sentences"),
        (lambda: read_changes(tmp_path, "png"), "format"),
    ):
        with pytest.raises(ArgumentError, match=word):
            call()
    assert export_changes([strange], tmp_path / "o", ["second"], second_classes={"Igloo": "building"})
    capitals = good[0].replace(classes=("Land", "BUILDING", "Water"))
    assert export_changes([capitals], tmp_path / "capitals", ["second"])
    with pytest.raises(DataError, match="no pairs"):
        read_changes(tmp_path, "second")
    with pytest.raises(DataError, match="no folder"):
        read_changes(tmp_path / "nowhere", "second")
