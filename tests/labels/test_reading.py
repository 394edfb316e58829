"""Labels as people have them: wrong, foreign, half there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from earthgen.errors import ArgumentError, DataError
from earthgen.labels import LabelledImage, LabelledSet, LabelWarning, Shape, export, read, read_mask
from earthgen.labels.pictures import read_indices, read_pixels

Picture = Callable[..., Path]
SIZE = {"height": 48, "width": 64}


def shapes_of(images: LabelledSet, name: str = "a") -> list[Shape]:
    (image,) = [image for image in images.images if image.id == name]
    assert image.shapes is not None
    return list(image.shapes)


def edges(shape: Shape) -> list[float]:
    corners = shape.box.corners()
    return [*corners.min(0).tolist(), *corners.max(0).tolist()]


@pytest.fixture
def coco(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    """Writes COCO annotations of one image, "a.png"; annotations are given as what differs."""

    def write(*annotations: dict[str, Any], **changes: Any) -> Path:
        picture(tmp_path / "images" / "a.png")
        record = {
            "images": [{"id": 7, "file_name": "a.png", **SIZE}],
            "categories": [{"id": 3, "name": "swimming pool"}, {"id": 1, "name": "house"}],
            "annotations": [
                {"id": k, "image_id": 7, "category_id": 3, "bbox": [10, 10, 8, 6], "iscrowd": 0, **annotation}
                for k, annotation in enumerate(annotations)
            ],
            **changes,
        }
        file = tmp_path / "annotations" / "instances_val2017.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(record))
        return tmp_path

    return write


@pytest.fixture
def yolo(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    """Writes rows for images/train/a.png and a data.yaml."""

    def write(
        rows: str | bytes, config: str = "train: images/train\nval: images/train\nnames: [house, big pool]"
    ) -> Path:
        picture(tmp_path / "images" / "train" / "a.png")
        file = tmp_path / "labels" / "train" / "a.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        (tmp_path / "data.yaml").write_text(config)
        return tmp_path

    return write


# What every format does with what is wrong


def test_boxes_are_cut_to_the_image(coco: Callable[..., Path]) -> None:
    folder = coco({"bbox": [-6, 30, 20, 40]}, {"bbox": [50.4, 10, 14, 6]})
    with pytest.warns(LabelWarning, match=r"cut to it: .*instances_val2017.json, annotation 0$"):
        found = shapes_of(read(folder))
    assert edges(found[0]) == [0, 30, 14, 48]
    assert edges(found[1]) == pytest.approx([50.4, 10, 64, 16]), "half a pixel is rounding: cut without a word"


def test_objects_outside_or_without_area_are_left_out(coco: Callable[..., Path]) -> None:
    folder = coco({}, {"bbox": [70, 10, 5, 5]}, {"bbox": [10, 10, 0, 5]})
    with pytest.warns(LabelWarning) as warned:
        assert len(shapes_of(read(folder))) == 1
    assert sorted(str(w.message).split(":")[0] for w in warned) == [
        "objects outside their image are left out",
        "objects without area are left out",
    ]


def test_labels_of_other_images_are_refused(coco: Callable[..., Path], yolo: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="every object lies outside its image"):
        read(coco({"bbox": [700, 10, 5, 5]}))
    with pytest.raises(DataError, match=r"every object lies outside .*a\.txt, line 1"):
        read(yolo("0 320 240 20 20\n") / "data.yaml")  # pixels where fractions belong


def test_self_crossing_outlines_are_made_valid(coco: Callable[..., Path]) -> None:
    flick = [10, 10, 30, 10, 30, 30, 9, 31, 10, 32, 10, 20.5]  # a small loop at one corner
    bow = [40, 10, 60, 30, 60, 10, 40, 30]
    folder = coco({"segmentation": [flick], "bbox": [9, 10, 21, 22]}, {"segmentation": [bow], "bbox": [40, 10, 20, 20]})
    with pytest.warns(LabelWarning, match="cross themselves are made valid: .*annotation 0, .*annotation 1"):
        loop, tie = shapes_of(read(folder))
    assert loop.polygon is not None and len(loop.polygon) >= 4
    assert tie.polygon is None and edges(tie) == [40, 10, 60, 30], "neither half is the object"


def test_many_repairs_are_one_warning(coco: Callable[..., Path]) -> None:
    with pytest.warns(LabelWarning, match="and 7 more$") as warned:
        read(coco({}, *[{"bbox": [-9, 0, 20, 20]}] * 10))
    assert len(warned) == 1


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_byte_order_marks(yolo: Callable[..., Path], ends: bytes, encoding: str) -> None:
    rows = "0 0.5 0.5 0.25 0.5\r1 0.25 0.25 0.1 0.1\r\r".replace("\r", ends.decode())
    first, second = shapes_of(read(yolo(rows.encode(encoding)) / "data.yaml"))
    assert (first.label, second.label) == ("house", "big pool")
    assert edges(first) == [24, 12, 40, 36]


def test_other_encodings_are_refused(yolo: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8"):
        read(yolo(b"0 0.5 0.5 0.25 0.5 # caf\xe9\n"))


# Classes


def test_classes_that_are_asked_for(coco: Callable[..., Path]) -> None:
    folder = coco({}, {"category_id": 1})
    assert read(folder).classes == ("house", "swimming pool")
    with pytest.warns(LabelWarning, match="the class 'house', which was not asked for, are left out"):
        found = read(folder, classes=["Swimming-Pool", "shed"])
    assert found.classes == ("Swimming-Pool", "shed")
    assert [shape.label for shape in shapes_of(found)] == ["Swimming-Pool"]


def test_unknown_classes_are_refused(coco: Callable[..., Path], yolo: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="annotation 0: no category has its category_id, 9"):
        read(coco({"category_id": 9}))
    for number in ("2", "-1", "0.5", "x"):
        with pytest.raises(DataError, match=r"a\.txt, line 2: (class|expected)"):
            read(yolo(f"0 0.5 0.5 0.2 0.2\n{number} 0.5 0.5 0.2 0.2\n") / "data.yaml")


def test_empty_names_are_refused(coco: Callable[..., Path], yolo: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="every category must have an id and a name"):
        read(coco({}, categories=[{"id": 3, "name": " "}]))
    with pytest.raises(DataError, match="must list the classes"):
        read(yolo("", "train: images/train\nnames: []") / "data.yaml")
    with pytest.raises(ArgumentError, match="distinct names"):
        read(yolo("") / "data.yaml", classes=[])


# COCO


def test_coco_of_other_makers(coco: Callable[..., Path]) -> None:
    rle = {"counts": [0, 3072], "size": [48, 64]}
    parts = [[10, 10, 18, 10, 18, 12], [10, 14, 18, 14, 18, 16]]
    folder = coco({"segmentation": rle}, {"segmentation": parts}, {"iscrowd": 1, "segmentation": rle})
    with pytest.warns(LabelWarning) as warned:
        found = shapes_of(read(folder))
    assert len(warned) == 3
    assert [(edges(shape), shape.polygon) for shape in found] == [([10, 10, 18, 16], None)] * 2
    assert read(folder).images[0].split == "val"


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"image_id": 8}, "no image has its image_id, 8"),
        ({"bbox": [1, 2, 3]}, r"bbox must be \[x, y, width, height\]"),
        ({"bbox": [1, 2, 3, "wide"]}, "pairs of finite numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "pairs of finite numbers"),
        ({"bbox": None}, "neither bbox nor segmentation"),
        ({"segmentation": [[1, 2, 3]]}, "pairs of finite numbers"),
    ],
)
def test_coco_that_cannot_be_understood(coco: Callable[..., Path], annotation: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=rf"instances_val2017.json, annotation 0.*{words}"):
        read(coco(annotation))


def test_coco_files_that_are_broken(coco: Callable[..., Path]) -> None:
    folder = coco({})
    file = folder / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(DataError, match=r"val2017.json is no JSON: .*line 1"):
        read(file, "coco")
    with pytest.raises(DataError, match="two images have the id 7"):
        read(coco(images=[{"id": 7, "file_name": "a.png"}] * 2))
    with pytest.raises(DataError, match=r"lists the image 'a\.png' twice"):
        read(coco(images=[{"id": k, "file_name": "a.png"} for k in (7, 8)]))
    with pytest.raises(DataError, match="must be lists"):
        read(coco(categories={"3": "pool"}))


def test_images_that_are_not_there(coco: Callable[..., Path], picture: Picture, tmp_path: Path) -> None:
    folder = coco({}, {"image_id": 8}, images=[{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "gone.png"}])
    with pytest.warns(LabelWarning, match=r"not there are left out: gone\.png"):
        assert len(read(folder)) == 1
    (folder / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"no image was found, such as a\.png of instances_val2017\.json"):
        read(folder)
    picture(tmp_path / "else" / "deep" / "a.png")
    assert (
        len(read(coco({}, images=[{"id": 7, "file_name": "C:\\data\\a.png"}]), images=tmp_path / "else" / "deep")) == 1
    )


# YOLO


def test_yolo_rows_of_every_kind(yolo: Callable[..., Path]) -> None:
    folder = yolo("0 0.5 0.5 0.25 0.5\n1 .25 .25 .5 .25 .5 .5 .25 .5\n0 .1 .1 .5 .1 .3 .4\n")
    _, corners, outline = shapes_of(read(folder))
    assert corners.polygon is None and edges(corners) == [16, 12, 32, 24]
    assert outline.polygon is not None and len(outline.polygon) == 3
    for row in ("0 0.5 0.5 0.25", "0", "0 0.5 0.5 0.25 0.5 0.9"):
        with pytest.raises(DataError, match=r"a\.txt, line 1: a row has a class and 4 numbers"):
            read(yolo(row))


def test_an_image_without_labels(yolo: Callable[..., Path], picture: Picture) -> None:
    folder = yolo("0 0.5 0.5 0.25 0.5")
    picture(folder / "images" / "train" / "b.png")
    with pytest.warns(LabelWarning, match=r"without a file of labels are taken to show no object: .*b\.png"):
        assert shapes_of(read(folder), "b") == []


@pytest.mark.parametrize(
    "config",
    [
        "path: ../nowhere\ntrain: images/train\nval: images/val\nnames: {0: house, 1: big pool}",
        "train: ../images/train\nval: ../images/val\nnc: 2\nnames: ['house', 'big pool']",
        "train: train.txt\nval: [images/val]\nnames: [house, big pool]",
    ],
)
def test_yaml_files_of_other_makers(yolo: Callable[..., Path], picture: Picture, config: str) -> None:
    folder = yolo("1 0.5 0.5 0.25 0.5", config)
    picture(folder / "images" / "val" / "a.png", seed=1)
    (folder / "labels" / "val").mkdir()
    (folder / "labels" / "val" / "a.txt").write_text("")
    (folder / "train.txt").write_text("./images/train/a.png\n")
    with pytest.warns(LabelWarning, match=r"of the same name get another id: val_a is .*images/val/a\.png"):
        found = read(folder)
    assert {image.id: image.split for image in found.images} == {"a": "train", "val_a": "val"}
    assert found.classes == ("house", "big pool") and shapes_of(found, "val_a") == []


def test_yolo_without_yaml(yolo: Callable[..., Path]) -> None:
    folder = yolo("1 0.5 0.5 0.25 0.5")
    (folder / "data.yaml").unlink()
    with pytest.raises(DataError, match="name the classes with `classes`"):
        read(folder)
    assert shapes_of(read(folder, classes=("house", "pool")))[0].label == "pool"
    (folder / "labels" / "classes.txt").write_text("house\r\nbig pool\r\n")
    assert shapes_of(read(folder))[0].label == "big pool"


# DOTA


def test_dota_as_it_is_published(tmp_path: Path, picture: Picture) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "train" / "images" / f"{name}.png")
    file = tmp_path / "train" / "labelTxt-v1.5" / "a.txt"
    file.parent.mkdir()
    file.write_text(
        "imagesource:GoogleEarth\r\ngsd:0.146\r\n"
        "10.0 10.0 20.0 10.0 20.0 16.0 10.0 16.0 large vehicle 1\r\n"
        "10 20 30 20 30 30 10 30 ship\r\n"
        "60 10 70 10 70 20 60 20 ship 0\r\n"
        "30 30 40 40 40 30 30 40 ship 0\r\n"
        "30 10 44 12 40 18 28 17 ship 0\r\n"
    )
    with pytest.warns(LabelWarning) as warned:
        found = read(tmp_path)
    assert sorted(str(w.message).split(":")[0] for w in warned) == [
        "images without a file of labels, of which nothing is known",
        "outlines that cross themselves are made valid",
    ]
    a, b = found.images
    assert (a.gsd, b.shapes) == (0.146, None)
    shapes = shapes_of(found)
    assert [shape.label for shape in shapes] == ["large vehicle", *["ship"] * 4]
    assert [shape.difficult for shape in shapes] == [True, *[False] * 4]
    assert edges(shapes[2]) == [60, 10, 70, 20], "rotated boxes may stick out"
    assert edges(shapes[3]) == [30, 30, 40, 40]
    assert shapes[4].polygon is not None, "no rectangle: the corners are kept as the outline"
    file.write_text("10 10 20 10 20 16 10 16\n")
    with pytest.raises(DataError, match=r"a\.txt, line 1: .* has 8 fields"):
        read(tmp_path)


# VOC


def test_voc_of_other_makers(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "valid" / "a.jpg")
    (tmp_path / "valid" / "a.xml").write_bytes(
        b"\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?>\r\n<annotation><filename>other.png</filename>"
        b"<size><width>10</width><height>10</height></size>"
        b"<object><name> big pool </name><difficult>1</difficult>"
        b"<bndbox><xmin>26.0</xmin><ymin>11</ymin><xmax>15</xmax><ymax>18</ymax></bndbox></object>"
        b"<object><name>ship</name><robndbox><cx>30</cx><cy>20</cy><w>16</w><h>6</h><angle>0.5236</angle></robndbox>"
        b"</object></annotation>"
    )
    with pytest.warns(LabelWarning, match="sizes that labels state are not those of the images"):
        found = read(tmp_path)
    assert found.images[0].split == "val" and found.classes == ("big pool", "ship")
    pool, ship = shapes_of(found)
    assert pool.difficult and edges(pool) == [14, 10, 26, 18]
    assert ship.box.angle == pytest.approx(30, abs=0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation><object><name>a</name></object></annotation>", "object 1 has no bndbox"),
        ("<annotation><object><bndbox/></object></annotation>", "the name of the class is empty"),
        ("<annotation>", "is no XML: .*line 1"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", "defines entities"),
    ],
)
def test_voc_that_cannot_be_understood(tmp_path: Path, picture: Picture, text: str, words: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=rf"a\.xml.*{words}"):
        read(tmp_path, "voc")


# Masks


def test_masks_in_colours(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "img_dir" / "a.jpg")
    colours = np.zeros((48, 64, 3), np.uint8)
    colours[:, 20:] = (60, 16, 152)
    colours[:, 40:] = (1, 2, 3)
    (tmp_path / "ann_dir").mkdir()
    Image.fromarray(colours).save(tmp_path / "ann_dir" / "a_mask.png")
    with pytest.raises(DataError, match="lists no classes"):
        read(tmp_path)
    with pytest.raises(DataError, match="holds colours: say which class each is"):
        read(tmp_path, classes=["land", "house"])
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\r\nland,0,0,0\r\nbig house, 60, 16,152\r\n")
    with pytest.warns(LabelWarning, match="colours that no class has are unknown"):
        found = read(tmp_path)
    assert found.mask_classes == ("land", "big house")
    mask = read_mask(found.images[0])
    assert mask is not None and mask[0, [0, 19, 20, 39, 40]].tolist() == [0, 0, 1, 1, 255]


def test_masks_whose_palette_is_their_own(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    mask = Image.fromarray(np.repeat(np.uint8([[5, 1]]), 32, 1).repeat(48, 0))
    mask.putpalette([0, 0, 0, 60, 16, 152, *[9] * 9, 7, 7, 7])  # class 1 has index 1, class 0 index 5
    mask.save(tmp_path / "masks" / "a.png")
    (tmp_path / "classes.csv").write_text("name,r,g,b\nland,7,7,7\nhouse,60,16,152\n")
    found = read_mask(read(tmp_path).images[0])
    assert found is not None and found[0, [0, 63]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("mask", "words"),
    [(np.full((48, 64), 2, np.uint8), "indices below 2"), (np.zeros((48, 60), np.uint8), r"has shape \(48, 60\)")],
)
def test_masks_that_do_not_fit(tmp_path: Path, picture: Picture, mask: np.ndarray, words: str) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    with pytest.raises(DataError, match=words):
        read(tmp_path, classes=["land", "house"])


# Imagefolder, GeoJSON


def test_imagefolder_of_other_makers(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "train" / "a.png")
    row = {"file_name": "a.png", "caption": "[sic] a pool", "objects": {"bbox": [[10, 10, 8, 6]], "categories": [0]}}
    (tmp_path / "train" / "metadata.jsonl").write_text(json.dumps(row) + "\r\n")
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 1, object 0: class 0 is a number"):
        read(tmp_path)
    found = read(tmp_path, classes=["pool"])
    assert found.images[0].caption == "[sic] a pool" and edges(shapes_of(found)[0]) == [10, 10, 18, 16]
    (tmp_path / "train" / "metadata.jsonl").unlink()
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\na.png,a pool\n")
    assert read(tmp_path).images[0].caption == "a pool"


def test_captions_keep_every_character(labelled: LabelledSet, tmp_path: Path) -> None:
    caption = 'Küste "am Meer",\u2028港\x85 [1]\n\\ end'
    images = [labelled.images[0].replace(caption=caption, extra={"place": "12", "note": "[x"})]
    folder = export(LabelledSet(images, labelled.classes), tmp_path, ["imagefolder"])["imagefolder"]
    found = read(folder).images[0]
    assert (found.caption, found.extra) == (caption, {"place": "12", "note": "[x"})


def test_geojson_over_images(tmp_path: Path) -> None:
    for k in range(2):  # two neighbours, 64 m apart
        transform = rasterio.transform.from_origin(500_000 + 64 * k, 5_200_000, 1, 1)
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "crs": "EPSG:32632", "transform": transform, **SIZE}
        with rasterio.open(tmp_path / f"tile{k}.tif", "w", **profile) as dataset:
            dataset.write(np.zeros((3, 48, 64), np.uint8))

    def ring(*points: tuple[float, float]) -> list[list[list[float]]]:
        return [[[500_000 + x, 5_200_000 - y] for x, y in (*points, points[0])]]

    turned = ring((30, 10), (38, 16), (35, 20), (27, 14))
    across = ring((60, 30), (68, 30), (68, 40), (64, 44), (60, 40))
    sliver = ring((20, 30), (65, 30), (65, 40), (40, 46), (20, 40))
    features = [
        {"type": "Feature", "properties": {"class": "house"}, "geometry": {"type": "Polygon", "coordinates": turned}},
        {
            "type": "Feature",
            "properties": {"class": "shed"},
            "geometry": {"type": "MultiPolygon", "coordinates": [across, sliver]},
        },
        {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [0, 0]}},
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    file = tmp_path / "labels.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    with pytest.warns(LabelWarning, match="no polygons are left out: .*feature 2"):
        found = read(tmp_path)
    left, right = shapes_of(found, "tile0"), shapes_of(found, "tile1")
    assert [shape.label for shape in left] == ["house", "shed", "shed"]
    assert left[0].polygon is None and left[0].box.angle == pytest.approx(36.87, abs=0.01)
    assert edges(left[1]) == pytest.approx([60, 30, 64, 44], abs=1e-6)
    assert edges(right[0]) == pytest.approx([0, 30, 4, 44], abs=1e-6)
    assert [shape.difficult for shape in (*left, *right)] == [False, False, False, False, True]
    assert found.images[0].gsd == pytest.approx(1, rel=1e-3) and found.images[0].crs == "EPSG:32632"
    features[0]["properties"] = {}
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features[:1]}))
    with pytest.raises(DataError, match="feature 0 says no class in any of"):
        read(file)


# Which format


def test_formats_that_are_not_clear(tmp_path: Path, coco: Callable[..., Path], picture: Picture) -> None:
    with pytest.raises(ArgumentError, match="must be one of"):
        read(picture(tmp_path / "lonely" / "a.png").parent)
    coco({})
    (tmp_path / "a.xml").write_text("<annotation></annotation>")
    with pytest.raises(ArgumentError, match=r"must be named, as the files could be of \['coco', 'voc'\]"):
        read(tmp_path)
    assert len(read(tmp_path, "coco")) == 1
    with pytest.raises(ArgumentError, match="must be one of"):
        read(tmp_path, "stac")
    with pytest.raises(DataError, match="there is no"):
        read(tmp_path / "nothing")


def test_pictures_that_are_none(coco: Callable[..., Path]) -> None:
    folder = coco({})
    (folder / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot read the picture .*a\.png"):
        read(folder)


@pytest.mark.parametrize("harm", [lambda b: b[: len(b) // 2], lambda b: b.replace(b"IDAT", b"\xff\xff\xff\xff")])
def test_pixels_that_are_damaged(tmp_path: Path, picture: Picture, harm: Callable[[bytes], bytes]) -> None:
    path = picture(tmp_path / "a.png")
    path.write_bytes(harm(path.read_bytes()))
    for reads, what in ((read_pixels, "picture"), (read_indices, "mask")):
        with pytest.raises(DataError, match=rf"cannot read the {what} .*a\.png"):
            reads(path)


def test_more_than_8_bits_are_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    for reads in (read_pixels, read_indices):
        with pytest.raises(DataError, match=r"a\.png holds uint16.* 8 bits"):
            reads(path)


def test_pictures_may_be_large(coco: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses twice as much
    image = read(coco({})).images[0]
    assert (image.height, image.width) == (48, 64)


def test_masks_of_records_are_checked(tmp_path: Path, picture: Picture) -> None:
    record = LabelledImage("a", picture(tmp_path / "a.png"), 40, 64, mask=picture(tmp_path / "m.png"))
    with pytest.raises(DataError, match=r"has shape \(48, 64, 3\)"):
        read_mask(record)
