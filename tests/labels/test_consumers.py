"""What is written is opened by the tools it is for; where a tool cannot be installed, by its documented rules."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from PIL import Image

from earthgen import Box
from earthgen.labels import LabelledImage, LabelledSet, LabelWarning, Shape, export, read
from earthgen.labels.rasters import FILENAME_REGEX

Horizontal = tuple[float, float, float, float]
TOWN: list[tuple[str, Horizontal]] = [
    ("storage tank", (14, 10, 26, 18)),
    ("ship", (31.572, 13.402, 48.428, 26.598)),
    ("ship", (10, 28, 30, 44)),
    ("ship", (55.036, 31.938, 64, 48)),
]
"""The objects of "town", as they can be seen."""


@pytest.fixture
def out(labelled: LabelledSet, tmp_path: Path) -> Callable[[str], Path]:
    return lambda format: export(labelled, tmp_path / "out", [format])[format]


def test_coco_by_pycocotools(out: Callable[[str], Path]) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder = out("coco")
    coco = COCO(folder / "annotations" / "instances_train.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["storage tank", "ship", "airport"]
    assert min(coco.getImgIds()) == min(coco.getCatIds()) == min(coco.getAnnIds()) == 1
    (key,) = [i for i in coco.getImgIds() if coco.loadImgs(i)[0]["file_name"] == "town.png"]
    found = coco.loadAnns(coco.getAnnIds(imgIds=key))
    for annotation, (name, (x0, y0, x1, y1)) in zip(found, TOWN, strict=True):
        assert coco.loadCats(annotation["category_id"])[0]["name"] == name
        assert annotation["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=0.002)
        assert coco.annToMask(annotation).sum() == pytest.approx(annotation["area"], rel=0.1)
    results = [{**{k: a[k] for k in ("image_id", "category_id", "bbox", "segmentation")}, "score": 0.9} for a in found]
    for result in results:
        result["segmentation"] = coco.annToRLE(result)
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:OpenCV")
@pytest.mark.parametrize("format", ["coco", "yolo", "yolo-obb", "yolo-seg", "voc"])
def test_by_supervision(out: Callable[[str], Path], format: str) -> None:
    import supervision

    folder = out(format)
    if format == "coco":
        annotations = folder / "annotations" / "instances_train.json"
        found = supervision.DetectionDataset.from_coco(str(folder / "images" / "train"), str(annotations))
    elif format == "voc":
        root = folder / "VOCdevkit" / "VOC2012"
        found = supervision.DetectionDataset.from_pascal_voc(str(root / "JPEGImages"), str(root / "Annotations"))
    else:
        places = [str(folder / name) for name in ("images/train", "labels/train", "data.yaml")]
        found = supervision.DetectionDataset.from_yolo(*places, is_obb=format == "yolo-obb")
    assert len(found) == (4 if format == "voc" else 2)
    (town,) = [labels for path, _, labels in found if Path(path).stem == "town"]
    (empty,) = [labels for path, _, labels in found if Path(path).stem == "empty"]
    assert len(empty) == 0
    assert [found.classes[k] for k in town.class_id] == [name for name, _ in TOWN]
    # The last is cut by the border: its four corners say less than its outline.
    checked = 3 if format == "yolo-obb" else 4
    edges = np.array([edges for _, edges in TOWN])[:checked]
    assert np.allclose(town.xyxy[:checked], edges, atol=1.01 if format == "voc" else 0.01)
    if format == "yolo-seg":
        star = shapely.Polygon([[10, 30], [20, 28], [30, 31], [28, 44], [12, 42]])
        assert town.mask[2].sum() == pytest.approx(star.area + star.length / 2, rel=0.05)  # of 320 px² that the box has
        assert star.area < 0.8 * 320
    if format == "yolo-obb":
        corners = town.data["xyxyxyxy"]
        assert np.allclose(corners[1], Box("ship", 40, 20, 16, 6, 30).corners(), atol=1e-3)


def test_imagefolder_by_datasets(labelled: LabelledSet, tmp_path: Path) -> None:
    import datasets

    # A split without a caption or an object must load with the types of the others.
    extra = {"date": "2024-06-01", "cloud": 0.5}
    images = [i.replace(caption=None) if i.split == "val" else i.replace(extra=extra) for i in labelled.images]
    with pytest.warns(LabelWarning, match=r"lacks are written as JSON text: cloud in val"):
        folder = export(LabelledSet(images, labelled.classes), tmp_path, ["imagefolder"])["imagefolder"]
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in found.items()} == {"train": 2, "validation": 1, "test": 1}
    town, empty = found["train"]
    assert town["image"].size == (64, 48)
    assert (town["text"], town["gsd"], town["crs"]) == ("a town seen from above", 0.5, "EPSG:32632")
    assert town["transform"] == [0.5, 0, 500_000, 0, -0.5, 5_200_000]
    assert town["objects"]["categories"] == [name for name, _ in TOWN]
    boxes = [[x0, y0, x1 - x0, y1 - y0] for _, (x0, y0, x1, y1) in TOWN]
    assert np.allclose(town["objects"]["bbox"], boxes, atol=0.002)
    assert empty["objects"]["bbox"] == [] and found["test"][0]["text"] == ""
    assert found["validation"][0]["text"] == "" and found["validation"][0]["cloud"] == "" and town["cloud"] == "0.5"
    again = {image.id: image for image in read(folder).images}
    assert again["coast"].caption is None and again["town"].extra == extra and again["coast"].extra["seed"] == 2


@pytest.mark.filterwarnings("ignore::earthgen.labels.LabelWarning")
def test_classification_by_datasets(out: Callable[[str], Path], tmp_path: Path) -> None:
    import datasets

    found = datasets.load_dataset("imagefolder", data_dir=str(out("classification")), cache_dir=str(tmp_path / "cache"))
    names = found["train"].features["label"].names
    assert names == ["harbour", "inner city"]
    assert [names[row["label"]] for row in found["train"]] == ["harbour", "inner city"]


def test_stac_by_pystac(out: Callable[[str], Path]) -> None:
    import pystac
    from pystac.extensions.projection import ProjectionExtension
    from pystac.validation import validate_dict

    catalog = pystac.Catalog.from_file(str(out("stac") / "catalog.json"))
    items = {item.id: item for item in catalog.get_items(recursive=True)}
    assert items.keys() == {"town", "empty", "coast", "port"}
    for node in (catalog, *catalog.get_children(), *items.values()):
        record = node.to_dict()
        record["stac_extensions"] = []  # their schemas are not shipped, and this is offline
        validate_dict(record, stac_object_type=node.STAC_OBJECT_TYPE)
    town = items["town"]
    assert town.get_parent().id == "train" and town.get_root().id == catalog.id
    assert ProjectionExtension.ext(town).code == "EPSG:32632"
    assert ProjectionExtension.ext(town).shape == [48, 64]
    assert town.bbox[0] < 9.001 and town.properties["gsd"] == 0.5
    assert all(Path(asset.get_absolute_href()).is_file() for asset in town.assets.values())
    labels = json.loads(Path(town.assets["labels"].get_absolute_href()).read_text())
    assert [f["properties"]["label"] for f in labels["features"]] == [name for name, _ in TOWN]
    west, south, east, north = town.bbox
    for feature in labels["features"]:
        lon, lat = np.array(feature["geometry"]["coordinates"][0]).T
        assert west <= lon.min() + 1e-7 and lon.max() <= east + 1e-7
        assert south <= lat.min() + 1e-7 and lat.max() <= north + 1e-7
        turned = (lon[:-1] * lat[1:] - lon[1:] * lat[:-1]) - west * np.diff(lat) + south * np.diff(lon)
        assert turned.sum() > 0, "counterclockwise, RFC 7946"


def test_stac_of_an_image_without_place_or_date(labelled: LabelledSet, tmp_path: Path) -> None:
    import pystac
    from pystac.validation import validate_dict

    image = labelled.images[0].replace(crs=None, transform=None, extra={})
    folder = export(LabelledSet([image], labelled.classes, labelled.mask_classes), tmp_path, ["stac"])["stac"]
    (item,) = pystac.Catalog.from_file(str(folder / "catalog.json")).get_items(recursive=True)
    record = item.to_dict()
    record["stac_extensions"] = []
    validate_dict(record, stac_object_type=pystac.STACObjectType.ITEM)
    assert item.geometry is None and item.bbox is None and item.datetime is None
    labels = json.loads((folder / "train" / "town" / "labels.geojson").read_text())
    assert [feature["geometry"] for feature in labels["features"]] == [None] * 4


def test_yolo_by_the_rules_of_trainers(out: Callable[[str], Path]) -> None:
    """The root is the YAML's folder; rows of one kind; classes below nc; no coordinate beyond 1.

    Rows of segments are told from rows of boxes by having more than 6 columns, and have any number of points.
    """
    for format, columns in (("yolo", 5), ("yolo-obb", 9), ("yolo-seg", None)):
        folder = out(format)
        config = yaml.safe_load((folder / "data.yaml").read_text())
        assert "path" not in config and config["names"] == {0: "storage tank", 1: "ship", 2: "airport"}
        for split in ("train", "val", "test"):
            images = sorted((folder / config[split]).iterdir())
            assert images
            for image in images:
                labels = Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")
                rows = [row.split() for row in labels.read_text().splitlines()]
                assert all(len(row) == columns if columns else len(row) > 6 and len(row) % 2 for row in rows)
                values = [np.array(row, float) for row in rows]
                assert all((v[1:] >= 0).all() and (v[1:] <= 1).all() and v[0] < 3 for v in values)
                assert len({tuple(row) for row in rows}) == len(rows)


def test_dota_by_the_rules_of_mmrotate(out: Callable[[str], Path]) -> None:
    """`annfiles/x.txt` beside `images/x.png`; ten fields split at white space; difficulty a whole number."""
    folder = out("dota")
    for split in ("train", "val", "test"):
        files = sorted((folder / split / "annfiles").glob("*.txt"))
        assert {file.stem for file in files} == {path.stem for path in (folder / split / "images").glob("*.png")}
        for file in files:
            for row in file.read_text().splitlines():
                fields = row.split()
                assert len(fields) == 10
                assert np.isfinite(np.array(fields[:8], np.float32)).all()
                assert fields[8] in ("storage-tank", "ship") and int(fields[9]) in (0, 1)


def test_dota_by_the_rules_of_torchgeo(out: Callable[[str], Path], labelled: LabelledSet, tmp_path: Path) -> None:
    """Rows of samples.csv by split and version; fields split at one space; only DOTA's class names."""
    folder = out("dota")
    with (folder / "samples.csv").open(newline="") as file:
        samples = list(csv.DictReader(file))
    for version in ("1.0", "1.5", "2.0"):
        for split in ("train", "val"):
            assert (folder / split / "annotations" / f"version{version}").is_dir()
            rows = [row for row in samples if (row["version"], row["split"]) == (version, split)]
            assert len(rows) == len([image for image in labelled.images if image.split == split])
            for row in rows:
                assert Image.open(folder / row["image_path"]).mode == "RGB"
                for line in (folder / row["annotation_path"]).read_text().splitlines():
                    parts = line.strip().split(" ")
                    assert len([float(part) for part in parts[:8]]) == 8 and parts[8] in ("storage-tank", "ship")
    house = LabelledImage(
        "a", labelled.images[0].path, 48, 64, shapes=(Shape(Box("house", 20, 20, 8, 8)),)
    )  # no class of DOTA's
    other = export(LabelledSet([house], ("house",)), tmp_path / "other", ["dota"])["dota"]
    assert not (other / "samples.csv").exists() and not list(other.rglob("annotations"))


def test_voc_by_the_rules_of_torchvision(out: Callable[[str], Path]) -> None:
    """`root/VOCdevkit/VOC2012`, names in ImageSets/Main, `.jpg` and `.xml` of each name; whole numbers."""
    root = out("voc") / "VOCdevkit" / "VOC2012"
    for split, names in {"train": ["town", "empty"], "val": ["coast"], "test": ["port"]}.items():
        assert (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split() == names
        for name in names:
            picture = Image.open(root / "JPEGImages" / f"{name}.jpg")
            assert picture.format == "JPEG"
            tree = ET.parse(root / "Annotations" / f"{name}.xml")
            assert tree.findtext("filename") == f"{name}.jpg"
            assert (tree.findtext("size/width"), tree.findtext("size/height")) == tuple(map(str, picture.size))
            for box in tree.iterfind("object/bndbox"):
                left, top, right, bottom = (int(box.findtext(tag) or "") for tag in ("xmin", "ymin", "xmax", "ymax"))
                assert 1 <= left <= right <= picture.width and 1 <= top <= bottom <= picture.height


def test_rasters_by_the_rules_of_torchgeo(out: Callable[[str], Path], labelled: LabelledSet) -> None:
    """Files match the regular expression as a whole; CRS and a transform that is not the identity; dates are parsed."""
    folder = out("torchgeo")
    for kind in ("image", "mask"):
        paths = sorted(path for path in (folder / f"{kind}s").rglob("*") if path.is_file())
        assert len(paths) == len(labelled.images)
        for path in paths:
            match = re.match(re.compile(FILENAME_REGEX, re.VERBOSE), path.name)
            assert match and match["date"] == "20240601"
            with rasterio.open(path) as dataset:
                assert dataset.crs == "EPSG:32632" and not dataset.transform.is_identity
                assert dataset.count == (3 if kind == "image" else 1)
                assert dataset.nodata == (None if kind == "image" else 255)
    with rasterio.open(folder / "masks" / "train" / "town_20240601_mask.tif") as dataset:
        assert np.array_equal(dataset.read(1), labelled.images[0].mask)  # type: ignore[arg-type]


def test_rasters_without_a_date_have_none_in_their_names(labelled: LabelledSet, tmp_path: Path) -> None:
    """One name without a date would make torchgeo parse None."""
    images = [labelled.images[0].replace(extra={}), *labelled.images[1:]]
    folder = export(replace(labelled, images=images), tmp_path, ["torchgeo"])["torchgeo"]
    names = sorted(path.name for path in folder.rglob("*_image.tif"))
    assert names == [f"{name}_image.tif" for name in ("coast", "empty", "port", "town")]


def test_rasters_are_valid_cogs(out: Callable[[str], Path]) -> None:
    from rio_cogeo import cog_validate

    for path in out("torchgeo").rglob("*.tif"):
        valid, errors, _ = cog_validate(path)
        assert valid, errors


def test_masks_are_indices_with_a_palette(out: Callable[[str], Path], labelled: LabelledSet) -> None:
    folder = out("masks")
    picture = Image.open(folder / "masks" / "train" / "town.png")
    assert picture.mode == "P" and np.array_equal(np.array(picture), labelled.images[0].mask)  # type: ignore[arg-type]
    with (folder / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["water", "land", "road"]
    palette = picture.getpalette()
    assert palette is not None
    assert [int(row[c]) for row in rows for c in "rgb"] == palette[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_classes_by_the_folders_of_torchvision(out: Callable[[str], Path]) -> None:
    """`ImageFolder` refuses a folder of a class without images, so none is written."""
    with pytest.warns(LabelWarning, match="shift the numbers"):
        folder = out("classification")
    for split in folder.iterdir():
        assert all(list(name.iterdir()) for name in split.iterdir())
