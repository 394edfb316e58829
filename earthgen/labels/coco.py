"""COCO: `images/<split>/` and `annotations/instances_<split>.json`.

An annotation has `bbox` [x, y, width, height] in pixels, `segmentation` as polygons, `area` and `iscrowd`; ids count
from 1. What is cut by the border is cut here too. An object of which only a box is known gets the box as its polygon,
so that tools which ask for one find it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from earthgen.errors import DataError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.reading import MISSING, Reading, split_of
from earthgen.labels.shapes import Points, area, bounds
from earthgen.labels.writing import Writing, splits_of, write_json

_DECIMALS = 3


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write the images whose objects are known."""
    chosen = job.detected(images)
    number = {name: k for k, name in enumerate(images.classes, 1)}
    categories = [{"id": k, "name": name, "supercategory": ""} for name, k in number.items()]
    records: dict[str, dict[str, list[Any]]] = {
        split: {"images": [], "annotations": [], "categories": categories} for split in splits_of(chosen)
    }
    for image in job.each(chosen, "coco"):
        record = records[image.split]
        name = job.picture(image, folder / "images" / image.split)
        key = len(record["images"]) + 1
        record["images"].append({"id": key, "file_name": name, "width": image.width, "height": image.height})
        for shape, rings in job.visible(image):
            x0, y0, x1, y1 = bounds(shape, rings)
            record["annotations"].append(
                {
                    "id": len(record["annotations"]) + 1,
                    "image_id": key,
                    "category_id": number[shape.label],
                    "bbox": [round(v, _DECIMALS) for v in (x0, y0, x1 - x0, y1 - y0)],
                    "segmentation": [np.round(ring, _DECIMALS).ravel().tolist() for ring in rings],
                    "area": round(sum(map(area, rings)), _DECIMALS),
                    "iscrowd": 0,
                    **({"difficult": 1} if shape.difficult else {}),
                }
            )
    for split, record in records.items():
        write_json(folder / "annotations" / f"instances_{split}.json", record)


def matches(source: Path) -> bool:
    """Whether a file, or one in the usual places of a folder, holds COCO annotations."""
    return bool(_files(source))


def read(source: Path, job: Reading) -> LabelledSet:
    """Read one annotation file, or those of a folder; the split is told by the name of the file or its folder."""
    files = _files(source)
    if not files:
        raise DataError(f"{source} holds no JSON with `images`, `annotations` and `categories`, as COCO has")
    images: list[LabelledImage] = []
    for file in files:
        images += _read_file(file, source if source.is_dir() else file.parent, job)
    return job.finish(images)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        candidates = [source] if source.suffix.lower() == ".json" else []
    else:
        candidates = sorted(p for pattern in ("*.json", "*/*.json") for p in source.glob(pattern) if p.is_file())
    return [path for path in candidates if _is_coco(path)]


def _is_coco(path: Path) -> bool:
    content = path.read_bytes()  # searched, not parsed: that is for `read` to do, once
    return all(key in content for key in (b'"images"', b'"annotations"', b'"categories"'))


def _read_file(file: Path, root: Path, job: Reading) -> list[LabelledImage]:
    record = job.json(file)
    split = split_of(file.stem, file.parent.name)
    if not all(isinstance(record.get(key), list) for key in ("images", "annotations", "categories")):
        raise DataError(f"{file}: `images`, `annotations` and `categories` must be lists")
    categories: dict[Any, str] = {}
    for category in record["categories"]:
        name = category.get("name") if isinstance(category, dict) else None
        if not isinstance(name, str) or not name.strip() or "id" not in category:
            raise DataError(f"{file}: every category must have an id and a name, but there is {category!r}")
        categories[category["id"]] = name
    job.classes.declare(categories[key] for key in sorted(categories, key=_in_order))

    images: dict[Any, LabelledImage] = {}
    seen: set[Path] = set()
    for entry in record["images"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str) or "id" not in entry:
            raise DataError(f"{file}: every image must have an id and a file_name, but there is {entry!r}")
        if entry["id"] in images:
            raise DataError(f"{file}: two images have the id {entry['id']!r}")
        path = job.find(entry["file_name"], [root / "images" / split, root / "images", root / split, root, file.parent])
        if path is None:
            job.notes.add(MISSING, f"{entry['file_name']} of {file.name}")
            continue
        if path in seen:
            raise DataError(
                f"{file} lists the image {entry['file_name']!r} twice: objects would be divided between them"
            )
        seen.add(path)
        images[entry["id"]] = job.image(path, split)
        stated = (entry.get("height"), entry.get("width"))
        if all(stated) and stated != (images[entry["id"]].height, images[entry["id"]].width):
            job.notes.add("sizes that labels state are not those of the images, which are taken", str(path))
    missing = {entry["id"] for entry in record["images"]} - images.keys()

    shapes: dict[Any, list[Shape]] = {key: [] for key in images}
    for index, annotation in enumerate(record["annotations"]):
        key = annotation.get("image_id") if isinstance(annotation, dict) else None
        place = f"{file}, annotation {annotation.get('id', index) if isinstance(annotation, dict) else index}"
        if key in missing:
            continue
        if key not in images:
            raise DataError(f"{place}: no image has its image_id, {key!r}")
        if annotation.get("category_id") not in categories:
            raise DataError(f"{place}: no category has its category_id, {annotation.get('category_id')!r}")
        name = job.classes.named(categories[annotation["category_id"]], place)
        if name is None:
            continue
        shape = _shape(annotation, name, images[key], job, place)
        if shape is not None:
            shapes[key].append(shape)
    return [image.replace(shapes=tuple(shapes[key])) for key, image in images.items()]


def _in_order(key: object) -> tuple[int, float, str]:
    """Sorts numbers by value, then texts."""
    return (0, float(key), "") if isinstance(key, (int, float)) else (1, 0.0, str(key))


def _shape(annotation: dict[str, Any], name: str, image: LabelledImage, job: Reading, place: str) -> Shape | None:
    if annotation.get("iscrowd"):
        job.notes.add("crowds, which are regions and no objects, are left out", place)
        return None
    difficult = bool(annotation.get("difficult", annotation.get("ignore", 0)))
    outlines = annotation.get("segmentation")
    box = annotation.get("bbox")
    rings: list[Points] = []
    if isinstance(outlines, dict):
        job.notes.add("masks as run lengths are left out, their boxes kept", place)
    elif outlines:
        rings = [job.points(ring, place) for ring in outlines]
        rings = [ring for ring in rings if len(ring) > 2]
    if box is None and not rings:
        raise DataError(f"{place} has neither bbox nor segmentation")
    if box is None:
        corners = np.concatenate(rings)
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
    else:
        if not isinstance(box, list) or len(box) != 4:
            raise DataError(f"{place}: bbox must be [x, y, width, height], but is {box!r}")
        (x0, y0), (w, h) = job.points(box, place)
        x1, y1 = x0 + w, y0 + h
    if len(rings) > 1:
        job.notes.add("outlines of several parts are left out, their boxes kept", place)
        rings = []
    return job.outlined(name, (x0, y0, x1, y1), rings[0] if rings else None, image, place, difficult)
