"""Semantic masks: `images/<split>/` and `masks/<split>/` of the same names, index PNG with Pascal VOC's palette.

`classes.csv` (`name,r,g,b`) lists the classes by their index, with their colours; 255 is unknown. Torchgeo's rasters
(`earthgen.labels.rasters`), whose files end in `_image.tif` and `_mask.tif`, are read here too.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import LabelledImage, LabelledSet
from earthgen.labels.pictures import (
    by_colour,
    check_indices,
    colours,
    encoded_mask,
    is_palette,
    read_indices,
    read_mask,
    read_pixels,
)
from earthgen.labels.reading import Reading, pictures_in, split_of
from earthgen.labels.writing import Writing, write_text

Mask = NDArray[np.uint8]

_IMAGE_FOLDERS = ("images", "image", "img_dir", "imgs")
_MASK_FOLDERS = ("masks", "mask", "ann_dir", "labels", "annotations", "label")
_CLASS_FILES = ("classes.csv", "class_dict.csv", "classes.txt")
_ENDINGS = re.compile(r"[_-](image|img|sat|mask|label|labels|gt)$", re.IGNORECASE)


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write the images that have a mask."""
    chosen = job.known(images, "a mask", [image.mask is not None for image in images.images])
    for image in job.each(chosen, "masks"):
        job.picture(image, folder / "images" / image.split)
        path = folder / "masks" / image.split / f"{job.names[image.id]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded_mask(checked_mask(image, images.mask_classes)))
    write_classes(images.mask_classes, folder)


def checked_mask(image: LabelledImage, classes: tuple[str, ...]) -> Mask:
    """The mask of an image that has one. Raises `ArgumentError` for an index without a class."""
    mask = read_mask(image)
    if mask is None:
        raise ArgumentError("mask", "must be given", image.id)
    check_indices(mask, classes, image.id)
    return mask


def write_classes(classes: tuple[str, ...], folder: Path) -> None:
    """Write `classes.csv`."""
    table = io.StringIO()
    rows = [(name, *map(int, rgb)) for name, rgb in zip(classes, colours()[: len(classes)], strict=True)]
    csv.writer(table, lineterminator="\n").writerows([("name", "r", "g", "b"), *rows])
    write_text(folder / "classes.csv", table.getvalue())


def matches(source: Path) -> bool:
    """Whether a folder has images and masks side by side."""
    if not source.is_dir():
        return False
    folders = _folders(source)
    return folders is not None and bool(pictures_in(folders[1]))


def read(source: Path, job: Reading) -> LabelledSet:
    """Read images and masks of the same names, but for an ending such as `_image` and `_mask`.

    Masks are indices, or colours of which `classes.csv` or `class_dict.csv` (name, r, g, b) tells the classes;
    pixels of any other colour are unknown. Without a list of classes, `classes` names the indices. An image without a
    mask is kept.
    """
    folders = _folders(source)
    if folders is None:
        raise DataError(f"{source} has no two folders of images ({_IMAGE_FOLDERS}) and masks ({_MASK_FOLDERS})")
    names, palette = _read_classes(source, job)
    masks = {_key(path, folders[1]): path for path in pictures_in(folders[1])}
    images = []
    for path in pictures_in(job.images or folders[0]):
        key = _key(path, job.images or folders[0])
        image = job.image(path, split_of(*path.relative_to(job.images or folders[0]).parts[:-1]))
        if key not in masks:
            job.notes.add("images without a mask", str(path))
            images.append(image)
            continue
        mask = _read(masks[key], image, names, palette, job)
        images.append(image.replace(mask=mask))
    return job.finish(images, names)


def _folders(source: Path) -> tuple[Path, Path] | None:
    images = [source / name for name in _IMAGE_FOLDERS if (source / name).is_dir()]
    masks = [source / name for name in _MASK_FOLDERS if (source / name).is_dir()]
    return (images[0], masks[0]) if images and masks else None


def _key(path: Path, folder: Path) -> tuple[str, ...]:
    return (*path.relative_to(folder).parts[:-1], _ENDINGS.sub("", path.stem))


def _read_classes(source: Path, job: Reading) -> tuple[tuple[str, ...], Mask | None]:
    """Names by index, and their colours (n, 3) where they are known."""
    file = next((source / name for name in _CLASS_FILES if (source / name).is_file()), None)
    wanted = job.classes.wanted
    if file is None:
        if not wanted:
            raise DataError(f"{source} lists no classes (classes.csv, class_dict.csv or classes.txt): name them")
        return wanted, None
    if file.suffix == ".txt":
        names, palette = tuple(name for _, name in job.lines(file)), None
    else:
        rows = [(place, next(csv.reader([line]))) for place, line in job.lines(file)][1:]
        for place, row in rows:
            if len(row) < 4 or not all(re.fullmatch(r"\s*\d{1,3}\s*", v) and int(v) < 256 for v in row[1:4]):
                raise DataError(f"{place}: expected name,r,g,b with colours from 0 to 255, but got {row}")
        names = tuple(row[0].strip() for _, row in rows)
        palette = np.array([[int(v) for v in row[1:4]] for _, row in rows], np.uint8).reshape(-1, 3)
    if wanted and len(wanted) != len(names):
        raise ArgumentError("classes", f"must name the {len(names)} classes of {file}, in their order", wanted)
    return wanted or names, palette


def _read(path: Path, image: LabelledImage, names: tuple[str, ...], palette: Mask | None, job: Reading) -> Mask | Path:
    """The path of a mask of indices, which are checked; the indices themselves where the file holds colours."""
    found = read_indices(path)
    if found.shape[:2] != (image.height, image.width):
        raise DataError(f"the mask {path} has shape {found.shape[:2]}, its image {(image.height, image.width)}")
    if found.ndim == 2 and palette is not None and is_palette(path):
        # Some tools number the colours of a file as they please. If all are of classes, they tell what the pixels are.
        indices = by_colour(read_pixels(path)[0], palette)
        if ((indices != UNKNOWN) | (found == UNKNOWN)).all() and not np.array_equal(indices, found):
            return indices
    if found.ndim == 2:
        try:
            check_indices(found, names, str(path))
        except ArgumentError as error:
            raise DataError(str(error)) from error
        return path
    if palette is None:
        raise DataError(f"the mask {path} holds colours: say which class each is, as name,r,g,b in classes.csv")
    indices = by_colour(found, palette)
    if (indices == UNKNOWN).any():
        job.notes.add("pixels of colours that no class has are unknown", str(path))
    return indices
