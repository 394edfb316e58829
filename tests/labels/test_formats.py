"""What is written is read back; folders are whole, deterministic, and share their images."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from earthgen import Box
from earthgen.errors import ArgumentError, DataError, OutputError
from earthgen.labels import FORMATS, READABLE, LabelledImage, LabelledSet, LabelWarning, Shape, export, read, read_mask
from earthgen.labels.shapes import bounds, visible

DETECTION = ("coco", "yolo", "yolo-obb", "yolo-seg", "dota", "voc", "imagefolder")
WIDTH, HEIGHT = 120, 90


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def by_id(images: LabelledSet) -> dict[str, LabelledImage]:
    return {image.id: image for image in images.images}


def edges(shape: Shape) -> tuple[float, ...]:
    part = visible(shape, HEIGHT, WIDTH)
    assert part is not None
    return bounds(*part)


numbers = st.floats(4, 40)
objects = st.lists(
    st.builds(
        Shape,
        st.builds(
            Box,
            st.sampled_from(["storage tank", "ship"]),
            st.floats(0, WIDTH),
            st.floats(0, HEIGHT),
            numbers,
            numbers,
            st.one_of(st.just(0.0), st.floats(-179, 179)),
        ),
        difficult=st.booleans(),
    ),
    max_size=5,
)


@settings(max_examples=10, deadline=None, phases=[Phase.generate])  # each example is 20 files: no shrinking
@given(st.lists(objects, min_size=1, max_size=3))
def test_objects_come_back(picture: Callable[..., Path], shapes: list[list[Shape]]) -> None:
    shapes = [[s for s in of_image if visible(s, HEIGHT, WIDTH)] for of_image in shapes]
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)
        folder = Path(name)
        source = picture(folder / "source.png", 0, HEIGHT, WIDTH)
        images = [
            LabelledImage(f"i{k}", source, HEIGHT, WIDTH, split=("train", "val", "test")[k], shapes=tuple(of_image))  # type: ignore[arg-type]
            for k, of_image in enumerate(shapes)
        ]
        folders = export(LabelledSet(images, ("storage tank", "ship")), folder / "out", DETECTION)
        for format in DETECTION:
            found = by_id(read(folders[format]))
            for image in images:
                pairs = list(zip(image.shapes or (), found[image.id].shapes or (), strict=True))
                assert found[image.id].split == image.split
                for asked, came in pairs:
                    compare(format, asked, came)


def compare(format: str, asked: Shape, came: Shape) -> None:
    assert came.label == asked.label
    if format in ("dota", "voc", "imagefolder", "coco"):
        assert came.difficult == asked.difficult
    part = visible(asked, HEIGHT, WIDTH)
    assert part is not None
    whole = np.allclose(part[0].box.corners(), asked.box.corners())
    if format in ("yolo", "yolo-seg", "voc", "coco"):
        tolerance = {"voc": 1.01, "coco": 0.15, "yolo-seg": 0.15}.get(format, 0.01)
        assert edges(came) == pytest.approx(edges(asked), abs=tolerance)
    if format in ("dota", "imagefolder") or (format == "yolo-obb" and whole and asked.box.angle % 90):
        corners = came.box.corners()
        start = int(np.argmin(np.linalg.norm(corners - part[0].box.corners()[0], axis=1)))
        inside = (part[0].box.corners() >= 0).all() and (part[0].box.corners() <= (WIDTH, HEIGHT)).all()
        if format != "yolo-obb" or inside:
            assert np.allclose(np.roll(corners, -start, 0), part[0].box.corners(), atol=0.03)
            assert start == 0, "the heading is kept"


def test_every_format_is_written_and_its_images_are_shared(labelled: LabelledSet, tmp_path: Path) -> None:
    with pytest.warns(LabelWarning, match="classes without an image in a split"):
        folders = export(labelled, tmp_path / "out", tuple(FORMATS))
    assert folders == {name: tmp_path / "out" / name for name in FORMATS}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FORMATS)
    source = labelled.images[0].path
    town = [path for path in (tmp_path / "out").rglob("town.png") if Image.open(path).mode == "RGB"]
    assert len(town) == 9 and all(path.samefile(source) for path in town)


@pytest.mark.filterwarnings("ignore::earthgen.labels.LabelWarning")
def test_the_same_set_gives_the_same_bytes(labelled: LabelledSet, tmp_path: Path) -> None:
    export(labelled, tmp_path / "a", tuple(FORMATS))
    export(labelled, tmp_path / "b", tuple(FORMATS))
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    (tmp_path / "a" / "yolo" / "labels" / "train.cache").write_bytes(b"a trainer's")
    export(labelled, tmp_path / "a", tuple(FORMATS))
    assert {path: path.stat().st_mtime_ns for path in before if path.is_file()}.items() <= before.items()


@pytest.mark.filterwarnings("ignore::earthgen.labels.LabelWarning")
@pytest.mark.parametrize("format", [name for name in FORMATS if name in READABLE])
def test_the_format_is_recognised(labelled: LabelledSet, tmp_path: Path, format: str) -> None:
    folder = export(labelled, tmp_path, [format])[format]
    found, asked = by_id(read(folder)), by_id(labelled)
    assert found.keys() == asked.keys()
    for name, image in found.items():
        assert image.split == asked[name].split
        assert (image.height, image.width) == (asked[name].height, asked[name].width)
        assert read(folder, format).classes == read(folder).classes


def test_masks_come_back(labelled: LabelledSet, tmp_path: Path) -> None:
    for format in ("masks", "torchgeo"):
        found = read(export(labelled, tmp_path, [format])[format])
        assert found.mask_classes == labelled.mask_classes
        for image in found.images:
            (asked,) = [i for i in labelled.images if image.id.startswith(i.id)]
            assert np.array_equal(read_mask(image), asked.mask)  # type: ignore[arg-type]
            if format == "torchgeo":
                assert (image.crs, image.transform) == (asked.crs, asked.transform)
                assert image.gsd == pytest.approx(0.5, rel=1e-3)


def test_facts_come_back(labelled: LabelledSet, tmp_path: Path) -> None:
    found = by_id(read(export(labelled, tmp_path, ["imagefolder"])["imagefolder"], classes=labelled.classes))
    for asked in labelled.images:
        image = found[asked.id]
        for name in ("caption", "gsd", "crs", "transform", "label", "extra"):
            assert getattr(image, name) == getattr(asked, name), name


def test_outlines_come_back_from_coco(labelled: LabelledSet, tmp_path: Path) -> None:
    found = read(export(labelled, tmp_path, ["coco"])["coco"])
    assert found.classes == labelled.classes
    shapes = by_id(found)["town"].shapes
    assert shapes is not None and labelled.images[0].shapes is not None
    assert np.array_equal(shapes[2].outline(), labelled.images[0].shapes[2].outline())
    assert shapes[1].polygon is None and shapes[1].box.angle == pytest.approx(30, abs=0.02)


def test_labels_of_classified_images_come_back(labelled: LabelledSet, tmp_path: Path) -> None:
    with pytest.warns(LabelWarning, match="harbour in val"):
        folder = export(labelled, tmp_path, ["classification"])["classification"]
    assert {i.id: i.label for i in read(folder).images} == {i.id: i.label for i in labelled.images}
    with pytest.warns(LabelWarning, match="'harbour', which was not asked for"):
        assert {i.label for i in read(folder, classes=["Inner_City"]).images} == {"Inner_City"}


def test_unknown_is_not_empty(labelled: LabelledSet, tmp_path: Path) -> None:
    """An image of which nothing is known would be taught as background."""
    images = [labelled.images[0].replace(shapes=None), *labelled.images[1:]]
    with pytest.warns(LabelWarning, match="images without objects are left out: town"):
        folder = export(LabelledSet(images, labelled.classes), tmp_path, ["coco"])["coco"]
    assert by_id(read(folder)).keys() == {"empty", "coast", "port"}
    unknown = LabelledSet([image.replace(shapes=None, mask=None, label=None) for image in images])
    for format in ("coco", "yolo", "dota", "voc", "masks", "classification"):
        with pytest.raises(ArgumentError, match="must hold an image with"):
            export(unknown, tmp_path / "none", [format])


def test_without_a_split_for_validation_yolo_has_one_still(labelled: LabelledSet, tmp_path: Path) -> None:
    with pytest.warns(LabelWarning, match="no split 'val'"):
        folder = export(labelled.of_split("test"), tmp_path, ["yolo"])["yolo"]
    assert (folder / "data.yaml").read_text().startswith("train: images/test\nval: images/test\ntest: images/test\n")
    assert len(read(folder)) == 1


def test_ids_with_spaces_become_names_without(labelled: LabelledSet, tmp_path: Path) -> None:
    images = [image.replace(id=f"my {image.id} 1.5") for image in labelled.images]
    folders = export(LabelledSet(images, labelled.classes), tmp_path, ["voc", "yolo"])
    for folder in folders.values():
        assert by_id(read(folder)).keys() == {f"my_{image.id}_1.5" for image in labelled.images}
    two = [labelled.images[0].replace(id="a b"), labelled.images[1].replace(id="A_b")]
    with pytest.raises(ArgumentError, match="differ by more than spaces and case"):
        export(LabelledSet(two, labelled.classes), tmp_path / "two", ["yolo"])


def test_names_of_classes_that_a_format_cannot_hold(labelled: LabelledSet, tmp_path: Path) -> None:
    images = [image.replace(label="land / sea") for image in labelled.images]
    folder = export(LabelledSet(images, labelled.classes), tmp_path, ["classification"])["classification"]
    assert {path.name for path in folder.glob("*/*")} == {"land - sea"}
    clash = LabelledSet([labelled.images[3]], ("storage tank", "storage-tank"))
    with pytest.raises(ArgumentError, match="must stay distinct"):
        export(clash, tmp_path, ["dota"])


def test_images_of_other_kinds_are_converted(labelled: LabelledSet, tmp_path: Path) -> None:
    rasters = export(labelled, tmp_path, ["torchgeo"])["torchgeo"] / "images"
    images = [i.replace(path=next(rasters.rglob(f"{i.id}_*"))) for i in labelled.images]
    folders = export(replace(labelled, images=images), tmp_path, ["yolo", "voc", "stac"])
    for image in labelled.images:
        pixels = np.array(Image.open(image.path), int)
        assert np.array_equal(Image.open(next(folders["yolo"].rglob(f"{image.id}.png"))), pixels)
        assert np.abs(np.array(Image.open(next(folders["voc"].rglob(f"{image.id}.jpg"))), int) - pixels).max() < 12
        assert next(folders["stac"].rglob(f"{image.id}.tif")).samefile(next(rasters.rglob(f"{image.id}_*")))


def test_images_are_copied_where_links_are_not_possible(
    labelled: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "link", no_link)
    folder = export(labelled, tmp_path, ["yolo"])["yolo"]
    copy, source = folder / "images" / "train" / "town.png", labelled.images[0].path
    assert copy.read_bytes() == source.read_bytes() and not copy.samefile(source)


@pytest.mark.filterwarnings("ignore::earthgen.labels.LabelWarning")
def test_a_folder_that_holds_something_else_is_refused(labelled: LabelledSet, tmp_path: Path) -> None:
    export(labelled, tmp_path, ["yolo"])
    before = bytes_of(tmp_path / "yolo")
    with pytest.raises(OutputError, match="holds something else: choose another folder, or remove"):
        export(labelled.of_split("train"), tmp_path, ["yolo"])
    assert bytes_of(tmp_path / "yolo") == before
    shutil.rmtree(tmp_path / "yolo")
    (tmp_path / "yolo").mkdir()  # an empty folder is none
    export(labelled.of_split("train"), tmp_path, ["yolo"])


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_format_appears_whole_or_not_at_all(
    labelled: LabelledSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    done = 0
    whole = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        nonlocal done
        done += 1
        if done == 8:  # in the second format: the first has six files of text
            raise failure
        return whole(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises((OutputError, KeyboardInterrupt), match="No space left" if done else None):
        export(labelled, tmp_path / "out", ["yolo", "coco"])
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["yolo"]
    (tmp_path / "out" / ".coco.tmp" / "images").mkdir(parents=True)  # as a killed run leaves it
    export(labelled, tmp_path / "out", ["yolo", "coco"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["coco", "yolo"]
    assert sorted(path.name for path in (tmp_path / "out" / "coco").iterdir()) == ["annotations", "images"]


def test_wrong_arguments(labelled: LabelledSet, tmp_path: Path) -> None:
    for formats in (["coc"], [], "coco", ["coco", "coco"], ["geojson"]):
        with pytest.raises(ArgumentError, match="formats"):
            export(labelled, tmp_path / "out", formats)
    with pytest.raises(ArgumentError, match="at least one image"):
        export(LabelledSet([]), tmp_path / "out", ["coco"])
    gone = LabelledSet([labelled.images[0].replace(path=tmp_path / "gone.png")], labelled.classes)
    with pytest.raises(DataError, match=r"'town' should lie at .*gone\.png"):
        export(gone, tmp_path / "out", ["coco"])
    nowhere = LabelledSet([labelled.images[0].replace(crs=None, transform=None)], labelled.classes)
    with pytest.raises(ArgumentError, match="must have a place"):
        export(nowhere, tmp_path / "out", ["torchgeo"])
    wrong = LabelledSet([labelled.images[0]], labelled.classes, ("water",))
    with pytest.raises(ArgumentError, match="indices below 1"):
        export(wrong, tmp_path / "out", ["masks"])
    assert not any((tmp_path / "out").iterdir())
