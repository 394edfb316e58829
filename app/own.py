"""Labels from outside, to lay objects out as they lie there: COCO's JSON, of which names and numbers are kept.

No image of theirs is asked for. Readers of labels want some, so blank ones of the sizes that are told lie beside them.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import warnings
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from PIL import Image as Picture
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from earthgen import labels
from earthgen.app.shapes import Class, Number
from earthgen.errors import ArgumentError, EarthgenError
from earthgen.labels.writing import link
from earthgen.output.atomic import write_text

MAX_IMAGES = 5_000
MAX_OBJECTS = 100_000
_MAX_BLANK = 1 << 28
"""Pixels of all blank images that differ in size, together."""
_RULE = "must be COCO's JSON: `images` with sizes, `categories` with names, `annotations` with a bbox"

Key = int | Annotated[str, Field(max_length=200)]
Side = Annotated[int, Field(ge=8, le=16_384)]
Ring = Annotated[list[Number], Field(min_length=6, max_length=2_000)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Image(_Record):
    id: Key
    width: Side
    height: Side


class _Category(_Record):
    id: Key
    name: Class


class _Annotation(_Record):
    image_id: Key
    category_id: Key
    bbox: tuple[Number, Number, Number, Number]
    segmentation: Annotated[
        list[Ring], Field(max_length=20), BeforeValidator(lambda given: given if isinstance(given, list) else [])
    ] = []
    """Four corners of a rotated box, or an outline; run lengths are left out."""
    iscrowd: int = 0


class _Coco(_Record):
    images: Annotated[list[_Image], Field(min_length=1, max_length=MAX_IMAGES)]
    categories: Annotated[list[_Category], Field(min_length=1, max_length=64)]
    annotations: Annotated[list[_Annotation], Field(min_length=1, max_length=MAX_OBJECTS)]


class OwnLabels(NamedTuple):
    """Labels that were taken in."""

    id: str
    classes: tuple[str, ...]
    images: int
    objects: int


class OwnLabelsStore:
    """Those of a server, a folder each in one folder."""

    def __init__(self, folder: Path, kept: int = 50) -> None:
        self.folder, self.kept = folder, kept

    def put(self, content: bytes) -> OwnLabels:
        """Take in a file. Raises `ArgumentError` for one that is damaged, too large, or without any object."""
        try:
            given = _Coco.model_validate(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise ArgumentError("labels", _RULE, _said(error)) from error
        if len({image.id for image in given.images}) < len(given.images):
            raise ArgumentError("labels.images", "must have an id each", len(given.images))
        name = secrets.token_hex(16)
        draft = self.folder / f".{name}"
        try:
            _write(given, draft)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of objects that stick out: they are cut
                found = labels.read(draft, "coco")
        except EarthgenError as error:  # which names files of this server
            shutil.rmtree(draft, ignore_errors=True)
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError("labels", _RULE, "labels that do not fit together") from error
        counts = [len(image.shapes or ()) for image in found.images]
        if not sum(counts):
            shutil.rmtree(draft)
            raise ArgumentError("labels.annotations", "must have an object that lies in its image", 0)
        draft.rename(self.folder / name)
        for old in sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime)[: -self.kept]:
            shutil.rmtree(old, ignore_errors=True)
        return OwnLabels(name, found.classes, len(found), sum(counts))

    def path(self, name: str) -> Path:
        """The folder of labels, as `earthgen.labels.read` takes it. Raises `ArgumentError` where there is none."""
        if not re.fullmatch("[0-9a-f]{32}", name) or not (self.folder / name).is_dir():
            raise ArgumentError("labels", "must be an id that POST /labels gave here and that is still kept", name)
        return self.folder / name


def _said(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return "no JSON"


def _write(given: _Coco, folder: Path) -> None:
    """As COCO with blank images, all names being this server's own."""
    sizes = sorted({(image.width, image.height) for image in given.images})
    if sum(width * height for width, height in sizes) > _MAX_BLANK:
        raise ArgumentError("labels.images", f"must have sizes of at most {_MAX_BLANK} pixels in all", len(sizes))
    (folder / "images").mkdir(parents=True)
    blank: dict[tuple[int, int], Path] = {}
    numbers: dict[Key, int] = {}
    images: list[dict[str, Any]] = []
    for number, image in enumerate(given.images):
        size, path = (image.width, image.height), folder / "images" / f"{number:05}.png"
        if size in blank:
            link(blank[size], path)
        else:
            Picture.new("L", size).save(path, compress_level=1)
            blank[size] = path
        numbers[image.id] = number
        images.append({"id": number, "file_name": path.name, "width": size[0], "height": size[1]})
    categories = {category.id: category.name for category in given.categories}
    names = sorted(set(categories.values()))
    annotations: list[dict[str, Any]] = []
    for one in given.annotations:
        if one.iscrowd:
            continue
        if one.image_id not in numbers or one.category_id not in categories:
            raise ArgumentError("labels.annotations", "must name an image and a category that are there", one.image_id)
        record = {
            "id": len(annotations),
            "image_id": numbers[one.image_id],
            "category_id": names.index(categories[one.category_id]),
            "bbox": one.bbox,
        }
        annotations.append(record | ({"segmentation": one.segmentation} if one.segmentation else {}))
    coco = {
        "images": images,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": annotations,
    }
    write_text(folder / "train.json", json.dumps(coco))
