"""YOLO: `images/<split>/`, `labels/<split>/` and `data.yaml`, for horizontal boxes, four corners or outlines.

A row of `labels/…/x.txt` is `class cx cy width height`, or `class x1 y1 x2 y2 x3 y3 x4 y4`, or as many points as an
outline has, in fractions of the image.
`data.yaml` has no `path`, so its own folder is the root. An image whose file is empty shows no object; one whose file
is missing does not either, as trainers take it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from earthgen.errors import DataError
from earthgen.labels.base import SPLITS, LabelledImage, LabelledSet, Shape, Split
from earthgen.labels.reading import MISSING, Reading, pictures_in, split_of
from earthgen.labels.shapes import Points, bounds
from earthgen.labels.writing import Writing, lines, splits_of, write_text

_YAML = (".yaml", ".yml")


def write_boxes(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write horizontal boxes."""

    def box(shape: Shape, rings: list[Points]) -> Points:
        x0, y0, x1, y1 = bounds(shape, rings)
        return np.array([[(x0 + x1) / 2, (y0 + y1) / 2], [x1 - x0, y1 - y0]])

    _write(images, folder, job, "yolo", box)


def write_corners(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write rotated boxes. Corners that stick out are moved to the border: trainers drop images that have such."""
    _write(images, folder, job, "yolo-obb", lambda shape, _: shape.box.corners())


def write_outlines(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write outlines, a box's if no other is known; of what the border cuts into parts, the largest part."""
    _write(images, folder, job, "yolo-seg", lambda _, rings: rings[0])


def _write(
    images: LabelledSet, folder: Path, job: Writing, format: str, points: Callable[[Shape, list[Points]], Points]
) -> None:
    chosen = job.detected(images)
    number = {name: k for k, name in enumerate(images.classes)}
    for image in job.each(chosen, format):
        job.picture(image, folder / "images" / image.split)
        rows = []
        for shape, rings in job.visible(image):
            fractions = np.clip(points(shape, rings) / (image.width, image.height), 0, 1).ravel()
            rows.append(" ".join([str(number[shape.label]), *(f"{v:.6f}" for v in fractions)]))
        write_text(folder / "labels" / image.split / f"{job.names[image.id]}.txt", lines(rows))
    _write_yaml(images.classes, splits_of(chosen), folder, job)


def _write_yaml(classes: tuple[str, ...], splits: list[Split], folder: Path, job: Writing) -> None:
    # Trainers refuse a file without `train` or `val`.
    train = "train" if "train" in splits else splits[0]
    val = "val" if "val" in splits else train
    if "val" not in splits:
        job.notes.add("the set has no split 'val', so data.yaml validates on another", val)
    used = {"train": train, "val": val, **({"test": "test"} if "test" in splits else {})}
    names = [f"  {k}: {json.dumps(name, ensure_ascii=False)}" for k, name in enumerate(classes)]  # JSON is YAML
    header = [f"{split}: images/{name}" for split, name in used.items()]
    write_text(folder / "data.yaml", lines([*header, "names:" if names else "names: {}", *names]))


def matches(source: Path) -> bool:
    """Whether a YAML file, or a folder with one or with rows in `labels/`, is YOLO's."""
    if source.is_file():
        return source.suffix.lower() in _YAML
    return _yaml_in(source) is not None or bool(_label_folders(source))


def read(source: Path, job: Reading) -> LabelledSet:
    """Read a data.yaml, or a folder that has one or has `images` and `labels`; rows may be boxes, corners or outlines.

    Without a data.yaml or classes.txt, `classes` names the numbers.
    """
    file = source if source.is_file() else _yaml_in(source)
    if file is not None:
        names, pictures = _read_yaml(file, job)
    else:
        listed = next((path for path in sorted(source.rglob("classes.txt"))), None)
        names = tuple(line for _, line in job.lines(listed)) if listed else job.classes.wanted or ()
        if not names:
            raise DataError(f"{source} has neither data.yaml nor classes.txt: name the classes with `classes`")
        folders = [job.images] if job.images else [folder.parent / "images" for folder in _label_folders(source)]
        pictures = [(split_of(*_parts(path, source)), path) for folder in folders for path in pictures_in(folder)]
    job.classes.declare(names)
    images: dict[Path, LabelledImage] = {}
    for split, path in pictures:
        if path.resolve() not in images:  # a split may validate on the images of another
            images[path.resolve()] = _read_image(path, split, names, source if source.is_dir() else source.parent, job)
    return job.finish(list(images.values()))


def _yaml_in(folder: Path) -> Path | None:
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in _YAML):
        record = _load(path, path.read_text(encoding="utf-8-sig", errors="replace"))
        if isinstance(record, dict) and "names" in record and ("train" in record or "val" in record):
            return path
    return None


def _label_folders(source: Path) -> list[Path]:
    folders = [source / "labels", *sorted(source.glob("*/labels"))]
    return [folder for folder in folders if next(folder.rglob("*.txt"), None)]


def _load(path: Path, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {error}") from error


def _read_yaml(file: Path, job: Reading) -> tuple[tuple[str, ...], list[tuple[Split, Path]]]:
    record = _load(file, job.text(file))
    names = record.get("names") if isinstance(record, dict) else None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{file}: `names` must number the classes from 0 on, but has {sorted(names, key=str)[:8]}")
        names = [names[k] for k in range(len(names))]
    if not isinstance(names, list) or not names or not all(str(name).strip() for name in names):
        raise DataError(f"{file}: `names` must list the classes, but is {names!r}")
    roots = [file.parent / str(record["path"])] if record.get("path") else []
    pictures: list[tuple[Split, Path]] = []
    for split in SPLITS:
        entries = record.get(split, record.get("valid") if split == "val" else None) or []
        for entry in [entries] if isinstance(entries, str) else entries:
            pictures += [(split, path) for path in _listed(str(entry), [*roots, file.parent], file, job)]
    return tuple(str(name).strip() for name in names), pictures


def _listed(entry: str, roots: list[Path], file: Path, job: Reading) -> list[Path]:
    if job.images is not None:
        roots = [job.images, *roots]
    # Some exporters write "../train/images" for a folder that lies beside the file.
    for path in [root / name for name in (entry, entry.removeprefix("../")) for root in roots]:
        if path.is_dir():
            return pictures_in(path)
        if path.is_file():
            found = [(place, line, job.find(line, [path.parent, *roots])) for place, line in job.lines(path)]
            for place, line, picture in found:
                if picture is None:
                    job.notes.add(MISSING, f"{line} ({place})")
            return [picture for _, _, picture in found if picture]
    raise DataError(f"{file}: there is no {entry!r}, neither in its folder nor in its `path`")


def _parts(path: Path, source: Path) -> tuple[str, ...]:
    return path.relative_to(source).parts[:-1] if path.is_relative_to(source) else path.parts[-3:-1]


def _labels_of(picture: Path, source: Path) -> Path | None:
    name = picture.stem + ".txt"
    parts = list(picture.parts[:-1])
    places = [picture.with_name(name), source / "labels" / name, *(f / name for f in _splits(source / "labels"))]
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        places.insert(0, Path(*parts[:last], "labels", *parts[last + 1 :], name))
    return next((place for place in places if place.is_file()), None)


def _splits(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _read_image(path: Path, split: Split, names: tuple[str, ...], source: Path, job: Reading) -> LabelledImage:
    image = job.image(path, split)
    file = _labels_of(path, source)
    if file is None:
        job.notes.add("images without a file of labels are taken to show no object", str(path))
        return image.replace(shapes=())
    found = (_shape(line, place, names, image, job) for place, line in job.lines(file))
    return image.replace(shapes=tuple(shape for shape in found if shape is not None))


def _shape(line: str, place: str, names: tuple[str, ...], image: LabelledImage, job: Reading) -> Shape | None:
    first, *rest = line.split()
    if not (len(rest) == 4 or (len(rest) >= 6 and len(rest) % 2 == 0)):
        raise DataError(f"{place}: a row has a class and 4 numbers, 8, or another even number from 6, not {len(rest)}")
    number = job.points([first, 0], place)[0, 0]
    if number != int(number) or not 0 <= number < len(names):
        raise DataError(f"{place}: class {first} is none of the {len(names)} there are")
    points = job.points(rest, place)
    name = job.classes.named(names[int(number)], place)
    if name is None:
        return None
    points = points * (image.width, image.height)
    if len(points) == 2:
        (cx, cy), (w, h) = points
        return job.outlined(name, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), None, image, place)
    if len(points) == 4:
        return job.cornered(name, points, image, place)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return job.outlined(name, (x0, y0, x1, y1), points, image, place)
