"""Readers of the formats of change, by name; `earthgen.labels.change` says what they are."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import SPLITS, Split
from earthgen.labels.change import Bands, ChangePair, read_bands
from earthgen.labels.change_formats import SECOND_CLASSES, SECOND_PALETTE
from earthgen.labels.pictures import by_colour, read_header, read_indices
from earthgen.simulate.events import Event

_MAX_JSON = 1 << 30  # bytes
_SIGNS: dict[str, tuple[str, ...]] = {
    "levir-cd": ("A/*.png", "B", "label"),
    "levir-cd-split": ("{split}/A/*.png", "{split}/B", "{split}/label"),
    "second": ("{split}/im1", "{split}/im2"),
    "change-geotiff": ("{split}/t1/*.tif", "{split}/t2", "{split}/label"),
    "change-captions": ("captions.jsonl",),
    "change-coco": ("annotations/changes_*.json",),
}
"""What lies in a folder of each format, and of no other, for one split at least."""


def recognised(folder: Path) -> str | None:
    """The format that a folder is laid out as; None where it is none."""
    for name, signs in _SIGNS.items():
        root = _split_root(folder) if name == "levir-cd-split" else folder
        if any(all(any(root.glob(sign.format(split=split))) for sign in signs) for split in SPLITS):
            return name
    return None


def read(folder: Path, format: str) -> list[ChangePair]:
    """All pairs of a folder, by split and then by name."""
    found: list[ChangePair] = _READERS[format](folder)
    if not found:
        raise DataError(f"{folder} holds no pairs laid out as {format}")
    return found


def _levir_flat(folder: Path) -> list[ChangePair]:
    found = []
    for split in SPLITS:
        for path in sorted((folder / "A").glob(f"{split}_*.png")):
            parts = {part: folder / part / path.name for part in ("B", "label")}
            id_ = path.stem.removeprefix(f"{split}_")
            found.append(_pair(id_, path, parts["B"], split, partial(_binary, parts["label"])))
    return found


def _levir_split(folder: Path) -> list[ChangePair]:
    root = _split_root(folder)
    return [
        _pair(
            path.stem, path, root / split / "B" / path.name, split, partial(_binary, root / split / "label" / path.name)
        )
        for split in SPLITS
        for path in sorted((root / split / "A").glob("*.png"))
    ]


def _split_root(folder: Path) -> Path:
    return folder / "LEVIR-CD+" if (folder / "LEVIR-CD+").is_dir() else folder


def _second(folder: Path) -> list[ChangePair]:
    found = []
    for split in SPLITS:
        root = folder / split
        for path in sorted((root / "im1").glob("*.png")):
            label = partial(_semantic, root, path.name)
            found.append(_pair(path.stem, path, root / "im2" / path.name, split, label, classes=SECOND_CLASSES[1:]))
    return found


def _geotiff(folder: Path) -> list[ChangePair]:
    listed = folder / "classes.txt"
    classes = tuple(listed.read_text(encoding="utf-8").splitlines()) if listed.is_file() else ()
    found = []
    for split in SPLITS:
        root = folder / split
        for path in sorted((root / "t1").glob("*.tif")):
            label = root / "label" / path.name
            header, place = read_header(path), read_header(label)
            if (header.crs, header.transform) != (place.crs, place.transform):
                raise DataError(f"{label} lies elsewhere than {path}")
            pair = _pair(path.stem, path, root / "t2" / path.name, split, partial(read_bands, label), classes=classes)
            found.append(pair)
    return found


def _captions(folder: Path) -> list[ChangePair]:
    path = folder / "captions.jsonl"
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            record = json.loads(line)
            files = folder / record["first"], folder / record["second"]
            sentences = tuple(record["sentences"])
            found.append(_pair(record["id"], *files, record["split"], _no_label, sentences=sentences))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"line {number} of {path} is no record of change captions: {error!r}") from error
    return found


def _coco(folder: Path) -> list[ChangePair]:
    found = []
    for split in SPLITS:
        path = folder / "annotations" / f"changes_{split}.json"
        if not path.is_file():
            continue
        try:
            record = json.loads(_text(path))
            events: dict[int, list[Event]] = {image["id"]: [] for image in record["images"]}
            for annotation in record["annotations"]:
                events[annotation["image_id"]].append(Event.from_dict(annotation["change"]))
            for image in record["images"]:
                first, second = (folder / "images" / image[key] for key in ("file_name_before", "file_name"))
                own = {"id", "file_name", "file_name_before", "width", "height"}
                more: dict[str, Any] = {
                    "events": tuple(events[image["id"]]),
                    "extra": {key: value for key, value in image.items() if key not in own},
                }
                found.append(_pair(second.stem, first, second, split, _no_label, **more))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no record of changed objects: {error!r}") from error
    return found


def _pair(id_: str, first: Path, second: Path, split: Split, label: Any, **more: Any) -> ChangePair:
    try:
        return ChangePair.of_files(id_, first, second, label, split=split, **more)
    except ArgumentError as error:
        raise DataError(f"{first} and {second} are no pair: {error}") from error


def _binary(path: Path) -> Bands:
    """A label of 0 and 255, or 0 and 1."""
    changed = read_indices(path)
    unknown = np.full(changed.shape[:2], UNKNOWN, np.uint8)
    if changed.ndim != 2 or np.setdiff1d(changed, [0, 1, 255]).size:
        raise DataError(f"{path} must have one channel of 0 and 255")
    return np.stack([(changed > 0).astype(np.uint8), unknown, unknown])


def _semantic(root: Path, name: str) -> Bands:
    """SECOND's indices, or its colours. Index 0 is unchanged, not a class: there nothing is known of the class."""
    labels = [_second_indices(root / f"label{number}" / name) for number in (1, 2)]
    binary = root / "label" / name
    changed = read_indices(binary) > 0 if binary.is_file() else (labels[0] > 0) | (labels[1] > 0)
    classes = [np.where(one > 0, one - np.uint8(1), np.uint8(UNKNOWN)) for one in labels]
    return np.stack([changed.astype(np.uint8), *classes]).astype(np.uint8)


def _second_indices(path: Path) -> NDArray[np.uint8]:
    """Of the pixels, (height, width): as our writer and open-cd have them, or in the colours they are published in."""
    found = read_indices(path)
    if found.ndim == 3:
        found = by_colour(found, SECOND_PALETTE)
    if found.max() >= len(SECOND_CLASSES):
        raise DataError(f"{path} must hold SECOND's indices, 0 to {len(SECOND_CLASSES) - 1}, or its colours")
    return found


def _no_label() -> Bands:
    raise DataError("this format says nothing of single pixels: read another of the same pairs")


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise DataError(f"{path} is larger than {_MAX_JSON >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {path}: {error}") from error


_READERS = {
    "levir-cd": _levir_flat,
    "levir-cd-split": _levir_split,
    "second": _second,
    "change-geotiff": _geotiff,
    "change-captions": _captions,
    "change-coco": _coco,
}
