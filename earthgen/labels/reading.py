"""What readers of formats share: text as it comes, pictures, class names, and objects repaired.

The rules for labels that are wrong, alike in every format:

- horizontal boxes and outlines are cut to the image; rotated boxes may stick out, as cutting would turn them
- objects outside their image, or without area, are left out; where that is all there are, `DataError` is raised
- outlines that cross themselves are made valid; where they fall into parts, the box alone is kept
- what cannot be understood is a `DataError` that names file and line

Each kind of repair is told by one `LabelWarning`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from earthgen.conditions import Box
from earthgen.errors import DataError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape, Split, class_key
from earthgen.labels.notes import Notes
from earthgen.labels.pictures import SUFFIXES, read_header
from earthgen.labels.shapes import Points, area, around, inside, polygons, rectangle

_MAX_BYTES = 1 << 30
_SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MISSING = "images that are not there are left out"
"""A kind of note, for every reader that finds images by their names in the labels."""
_OUTSIDE = "objects outside their image are left out"
_EMPTY = "objects without area are left out"
_CUT = "objects that stick out of their image are cut to it"
_CROSSING = "outlines that cross themselves are made valid"
_TOLERANCE = 1.0
"""Pixels by which labels stick out for their rounding alone: cut without a word."""
_UPRIGHT = 0.01
"""Degrees by which the sides of a horizontal box may turn."""
_MAIN_PART = 0.9
"""Of its area: an outline in parts is its largest if that is so much of it."""


class Classes:
    """Class names in their order: that of the caller, or of the format's own list, or of the alphabet."""

    def __init__(self, wanted: Sequence[str] | None, notes: Notes) -> None:
        self.wanted = None if wanted is None else tuple(wanted)
        self._notes = notes
        self._by_key = {class_key(name): name for name in self.wanted or ()}
        self._declared: dict[str, None] = {}
        self._found: set[str] = set()

    def declare(self, names: Iterable[str]) -> None:
        """Take up the format's own list."""
        self._declared.update(dict.fromkeys(name.strip() for name in names))

    def named(self, name: str, place: str) -> str | None:
        """The class of an object; None, noted, for one that was not asked for.

        Where classes were asked for, case and "-", "_" and " " make no difference, as formats differ in them.
        """
        name = name.strip()
        if not name:
            raise DataError(f"{place}: the name of the class is empty")
        if self.wanted is None:
            self._found.add(name)
            return name
        known = name if name in self.wanted else self._by_key.get(class_key(name))
        if known is None:
            self._notes.add(f"objects of the class {name!r}, which was not asked for, are left out", place)
        return known

    def final(self) -> tuple[str, ...]:
        """All classes, those without objects too."""
        if self.wanted is not None:
            return self.wanted
        return (*self._declared, *sorted(self._found - self._declared.keys()))


class Reading:
    """One call of `read`."""

    def __init__(self, classes: Sequence[str] | None, images: Path | None, notes: Notes) -> None:
        self.notes = notes
        self.classes = Classes(classes, notes)
        self.images = images
        """A folder that holds the images, where they do not lie beside their labels."""
        self._ids: set[str] = set()
        self._shapes = 0
        self._stems: dict[Path, dict[str, Path]] = {}

    def text(self, path: Path) -> str:
        """A text file, UTF-8 or UTF-16, without its byte-order mark. Raises `DataError`."""
        try:
            size = path.stat().st_size
            if size > _MAX_BYTES:
                raise DataError(f"{path} has {size} bytes, and label files have at most {_MAX_BYTES}")
            content = path.read_bytes()
            utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
            return content.decode("utf-16" if utf16 else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing") from error

    def lines(self, path: Path) -> list[tuple[str, str]]:
        """(place, line) of the lines that are not blank, whatever their ends."""
        # Not `splitlines`, which also ends lines at U+2028 and the like, as captions may hold them.
        rows = enumerate(re.split(r"\r\n|\n|\r", self.text(path)), 1)
        return [(f"{path}, line {number}", row.strip()) for number, row in rows if row.strip()]

    def json(self, path: Path) -> Any:
        """A JSON file. Raises `DataError` with the line of a fault."""
        return self.parsed(self.text(path), str(path))

    def parsed(self, text: str, place: str) -> Any:
        """A JSON text. Raises `DataError` with the line of a fault."""
        try:
            return json.loads(text)
        except ValueError as error:
            raise DataError(f"{place} is no JSON: {error}") from error

    def find(self, name: str, folders: Iterable[Path]) -> Path | None:
        """The picture that labels name, with its folders or without, in the first of `folders` that has it."""
        plain = Path(name.replace("\\", "/"))
        for folder in [self.images] if self.images else folders:
            for path in (folder / plain, folder / plain.name):
                if path.suffix.lower() in SUFFIXES and path.is_file():
                    return path
        return None

    def find_stem(self, stem: str, folders: Iterable[Path]) -> Path | None:
        """The picture of that name whatever its suffix, in the first of `folders` that has it."""
        for folder in [self.images] if self.images else folders:
            if folder not in self._stems:
                pictures = pictures_in(folder, deep=False) if folder.is_dir() else []
                self._stems[folder] = {path.stem: path for path in pictures}
            if stem in self._stems[folder]:
                return self._stems[folder][stem]
        return None

    def image(self, path: Path, split: Split, **fields: Any) -> LabelledImage:
        """The record of a picture with its size and place. A name that is taken gets split or folder before it."""
        stem = path.name[: -len(path.suffix)] if path.suffix else path.name
        id_ = stem
        for prefix in chain((split, path.parent.name), count(2)):
            if id_ not in self._ids:
                break
            id_ = f"{prefix}_{stem}"
        if id_ != stem:
            self.notes.add("images of the same name get another id", f"{id_} is {path}")
        self._ids.add(id_)
        header = read_header(path)
        place = {} if header.crs is None else {"gsd": header.gsd, "crs": header.crs, "transform": header.transform}
        return LabelledImage(id_, path, header.height, header.width, split, **{**place, **fields})

    def points(self, numbers: Sequence[Any], place: str) -> Points:
        """Numbers x1 y1 x2 y2 … as (n, 2). Raises `DataError` for what is no number, not finite, or no pair."""
        try:
            flat = np.array([float(number) for number in numbers])
        except (TypeError, ValueError):
            flat = np.array([np.nan])
        if len(flat) % 2 or not np.isfinite(flat).all():
            raise DataError(f"{place}: expected pairs of finite numbers, but got {str(numbers)[:80]}")
        return flat.reshape(-1, 2)

    def outlined(
        self,
        name: str,
        edges: Sequence[float],
        ring: Points | None,
        image: LabelledImage,
        place: str,
        difficult: bool = False,
        told: bool = True,
    ) -> Shape | None:
        """An object from the left, top, right and bottom of its box, and its outline if that is known.

        An outline that is a rectangle becomes the box, rotated if it is. `told`: whether cutting it is worth a note.
        """
        x0, x1 = sorted((float(edges[0]), float(edges[2])))
        y0, y1 = sorted((float(edges[1]), float(edges[3])))
        if ring is not None:
            ring = self._valid(_distinct(ring), place)
        if ring is not None:
            of_ring = rectangle(name, ring)
            if of_ring is not None and abs((of_ring.angle + 45) % 90 - 45) > _UPRIGHT:
                return self.cornered(name, ring, image, place, difficult)
            if of_ring is not None:
                ring = None
            elif x0 == x1 or y0 == y1:
                (x0, y0), (x1, y1) = ring.min(0), ring.max(0)
        if x0 == x1 or y0 == y1:
            self.notes.add(_EMPTY, place)
            return None
        out = max(-x0, -y0, x1 - image.width, y1 - image.height)
        x0, x1 = np.clip((x0, x1), 0, image.width).tolist()
        y0, y1 = np.clip((y0, y1), 0, image.height).tolist()
        if x0 == x1 or y0 == y1:
            self.notes.add(_OUTSIDE, place)
            return None
        if ring is not None and not inside(ring, image.height, image.width):
            rings = polygons(ring, image.height, image.width)
            ring = rings[0] if rings else None
        if told and out > _TOLERANCE:
            self.notes.add(_CUT, place)
        self._shapes += 1
        return Shape(Box.from_xyxy(name, x0, y0, x1, y1), ring, difficult)

    def cornered(
        self, name: str, corners: Points, image: LabelledImage, place: str, difficult: bool = False
    ) -> Shape | None:
        """An object from four corners, the first edge being its heading; the outline is kept if it is no rectangle."""
        hull = shapely.MultiPoint(corners).convex_hull
        if hull.area <= 0:
            self.notes.add(_EMPTY, place)
            return None
        if not hull.intersection(shapely.box(0, 0, image.width, image.height)).area > 0:
            self.notes.add(_OUTSIDE, place)
            return None
        box = rectangle(name, corners)
        ring = None
        if box is None:
            box = around(name, corners)
            if shapely.Polygon(corners).is_valid:
                ring = corners
            else:
                self.notes.add(_CROSSING, place)
        self._shapes += 1
        return Shape(box, ring, difficult)

    def finish(self, images: Sequence[LabelledImage], mask_classes: tuple[str, ...] = ()) -> LabelledSet:
        """The set. Raises `DataError` where no image was found, or every object lies outside its image."""
        if not images:
            missed = "".join(f", such as {place}" for place in [*self.notes.places[MISSING]][:1])
            raise DataError(f"no image was found{missed}. Say where they are with `images`, the folder that holds them")
        if self.notes.count(_OUTSIDE) and not self._shapes:
            first = next(iter(self.notes.places[_OUTSIDE]))
            raise DataError(f"every object lies outside its image, so these labels are of others (see {first})")
        return LabelledSet(images, self.classes.final(), mask_classes)

    def _valid(self, ring: Points, place: str) -> Points | None:
        if len(ring) < 3:
            return None
        if shapely.Polygon(ring).is_valid:
            return ring
        parts = polygons(ring)
        if parts:
            self.notes.add(_CROSSING, place)
        return parts[0] if parts and area(parts[0]) >= _MAIN_PART * sum(map(area, parts)) else None


def split_of(*names: str) -> Split:
    """The split that the first of the names tells in one of its words ("instances_val2017"); "train" if none does."""
    for name in names:
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return "train"


def is_split(name: str) -> bool:
    """Whether a folder's name is that of a split."""
    return name.lower() in _SPLIT_WORDS


def pictures_in(folder: Path, deep: bool = True) -> list[Path]:
    """The pictures in a folder, and in those below it, by name."""
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith("."))


def _distinct(ring: Points) -> Points:
    """Without points that repeat the one before, or at the end the first."""
    return ring[np.any(ring != np.roll(ring, 1, 0), 1)]
