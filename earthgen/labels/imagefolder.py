"""Hugging Face `imagefolder`: `<split>/metadata.jsonl` beside the images, a line an image.

Columns are `file_name`, `text`, `label`, `gsd`, `crs`, `transform`, `objects` (`bbox` [x, y, width, height] in pixels,
`categories`, `corners` of rotated boxes, `difficult`) and what the images carry in `extra`; those that no image has
are left out. Lists and records in `extra` are JSON text, and so is a column that a whole split lacks or that has
several types: the loader guesses types split by split, and refuses columns of several.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from earthgen.errors import DataError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.reading import MISSING, Reading, is_split, split_of
from earthgen.labels.shapes import bounds
from earthgen.labels.writing import Writing, lines, write_text

_OWN = ("file_name", "text", "label", "gsd", "crs", "transform", "objects")
_WORDS = ("text", "label")
_DECIMALS = 3
_NAMES = ("metadata.jsonl", "metadata.csv")
_CAPTIONS = ("text", "caption", "captions", "prompt")


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write all images."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for image in job.each(images.images, "imagefolder"):
        name = job.picture(image, folder / image.split)
        rows.setdefault(image.split, []).append({"file_name": name, **_own(image, job), **_extra(image)})
    everything = [row for of_split in rows.values() for row in of_split]
    present = {key: None for row in everything for key, value in row.items() if value is not None}
    as_text = {key for key in present if _untyped(key, rows, job)}
    for split, of_split in rows.items():
        table = [{key: _cell(key, row.get(key), key in as_text) for key in present} for row in of_split]
        text = lines(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in table)
        write_text(folder / split / "metadata.jsonl", text)


def _untyped(key: str, rows: Mapping[str, Sequence[Mapping[str, Any]]], job: Writing) -> bool:
    """Whether the loader, which guesses the types of a column in each split, would guess several."""
    values = {split: [row.get(key) for row in of_split] for split, of_split in rows.items()}
    kinds = {_kind(value) for of_split in values.values() for value in of_split if value is not None}
    texts = [value for of_split in values.values() for value in of_split if isinstance(value, str)]
    if key not in _OWN and (len(kinds) > 1 or kinds & {list, dict, tuple} or any(_loaded(t) is not t for t in texts)):
        return True
    bare = [split for split, of_split in values.items() if not any(map(_says_something, of_split))]
    if bare and key not in _WORDS:
        job.notes.add("columns that a whole split lacks are written as JSON text", f"{key} in {', '.join(bare)}")
    return bool(bare)


def _kind(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def _says_something(value: Any) -> bool:
    return any(value.values()) if isinstance(value, Mapping) else value is not None


def _cell(key: str, value: Any, as_text: bool) -> Any:
    if not as_text:
        return value
    if value is None:
        return ""
    return value if key in _WORDS else json.dumps(value, ensure_ascii=False)


def _own(image: LabelledImage, job: Writing) -> dict[str, Any]:
    return {
        "text": image.caption,
        "label": image.label,
        "gsd": None if image.gsd is None else float(image.gsd),
        "crs": image.crs,
        "transform": None if image.transform is None else [float(v) for v in image.transform[:6]],
        "objects": None if image.shapes is None else _objects(image, job),
    }


def _objects(image: LabelledImage, job: Writing) -> dict[str, list[Any]]:
    objects: dict[str, list[Any]] = {"bbox": [], "categories": [], "corners": [], "difficult": []}
    for shape, rings in job.visible(image):
        x0, y0, x1, y1 = bounds(shape, rings)
        objects["bbox"].append([round(v, _DECIMALS) for v in (x0, y0, x1 - x0, y1 - y0)])
        objects["categories"].append(shape.label)
        objects["corners"].append(np.round(shape.box.corners(), _DECIMALS).ravel().tolist())
        objects["difficult"].append(bool(shape.difficult))
    return objects


def _extra(image: LabelledImage) -> dict[str, Any]:
    return {(f"extra_{key}" if key in _OWN else key): value for key, value in image.extra.items()}


def matches(source: Path) -> bool:
    """Whether a file, or one in a folder or its splits, is an imagefolder's metadata."""
    return bool(_files(source))


def read(source: Path, job: Reading) -> LabelledSet:
    """Read metadata.jsonl or metadata.csv, of a folder and its splits. Columns of no meaning here become `extra`."""
    images = []
    for file in _files(source):
        for place, row in _rows(file, job):
            name = row.pop("file_name", None)
            if not isinstance(name, str):
                raise DataError(f"{place}: expected a column `file_name`, but there are {sorted(row)}")
            path = job.find(name, [file.parent])
            if path is None:
                job.notes.add(MISSING, f"{name} ({place})")
                continue
            images.append(_read_image(path, row, place, job, split_of(*Path(name).parts[:-1], file.parent.name)))
    return job.finish(images)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source] if source.name in _NAMES else []
    folders = [source, *sorted(path for path in source.iterdir() if path.is_dir() and is_split(path.name))]
    return [folder / name for folder in folders for name in _NAMES if (folder / name).is_file()]


def _rows(file: Path, job: Reading) -> list[tuple[str, dict[str, Any]]]:
    if file.suffix == ".csv":
        table = csv.DictReader(io.StringIO(job.text(file)))
        return [(f"{file}, line {table.line_num}", {k: v for k, v in row.items() if k and v}) for row in table]
    rows = [(place, job.parsed(line, place)) for place, line in job.lines(file)]
    for place, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected a JSON object, but got {str(row)[:80]}")
    return rows


def _read_image(path: Path, row: dict[str, Any], place: str, job: Reading, split: Any) -> LabelledImage:
    facts: dict[str, Any] = {}
    for name in _CAPTIONS:
        if isinstance(row.get(name), str) and "caption" not in facts:
            facts["caption"] = row.pop(name) or None
    label = row.pop("label", None)
    facts["label"] = None if label in (None, "") else str(label)
    row = {key: _loaded(value) for key, value in row.items()}
    if isinstance(row.get("gsd"), (int, float)) and 0 < row["gsd"] < math.inf:
        facts["gsd"] = float(row.pop("gsd"))
    if row.get("crs") is not None and isinstance(row.get("transform"), list):
        (a, b), (c, d), (e, f) = job.points(row.pop("transform"), place)
        facts |= {"crs": str(row.pop("crs")), "transform": Affine(a, b, c, d, e, f)}
    objects = row.pop("objects", None)
    extra = {key: value for key, value in row.items() if value not in (None, "")}
    image = job.image(path, split, **facts, extra=extra)
    return image if objects is None else image.replace(shapes=_shapes(objects, image, place, job))


def _loaded(value: Any) -> Any:
    """What `write` had to write as JSON text; any other text as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            pass
    return value


def _shapes(objects: Any, image: LabelledImage, place: str, job: Reading) -> tuple[Shape, ...]:
    names = objects.get("categories", objects.get("category")) if isinstance(objects, Mapping) else None
    boxes = objects.get("bbox") if isinstance(objects, Mapping) else None
    if not isinstance(names, list) or not isinstance(boxes, list) or len(names) != len(boxes):
        raise DataError(f"{place}: `objects` must have `bbox` and `categories` of the same length")
    corners = objects.get("corners") or [None] * len(boxes)
    difficult = objects.get("difficult") or [False] * len(boxes)
    shapes: list[Shape | None] = []
    for k, (label, box, quad, hard) in enumerate(zip(names, boxes, corners, difficult, strict=True)):
        at = f"{place}, object {k}"
        number = isinstance(label, int)
        if number and not (job.classes.wanted and 0 <= label < len(job.classes.wanted)):
            raise DataError(f"{at}: class {label} is a number: name the classes with `classes`")
        name = job.classes.named(job.classes.wanted[label] if number else str(label), at)  # type: ignore[index]
        if name is None:
            continue
        if quad is not None:
            shapes.append(job.cornered(name, job.points(quad, at), image, at, bool(hard)))
        else:
            (x, y), (w, h) = job.points(box, at)
            shapes.append(job.outlined(name, (x, y, x + w, y + h), None, image, at, bool(hard)))
    return tuple(shape for shape in shapes if shape is not None)
