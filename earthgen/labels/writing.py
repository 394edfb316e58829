"""What writers of formats share: picture files by hard link, names that are safe, which images belong."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import SPLITS, LabelledImage, LabelledSet, Shape, Split
from earthgen.labels.notes import Notes
from earthgen.labels.pictures import encoded, read_pixels
from earthgen.labels.shapes import Points, visible

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP}


class Writing:
    """One export: pictures made once and shared between its formats, notes, progress."""

    def __init__(self, images: LabelledSet, staging: Path, notes: Notes, progress: bool) -> None:
        self.staging, self.notes, self.progress = staging, notes, progress
        self.names = _stems(images.images)
        """File name without suffix by id: ids with spaces changed, as lists of files are split at them."""

    def each(self, images: Sequence[LabelledImage], format: str) -> Iterator[LabelledImage]:
        """The images, with progress."""
        yield from tqdm(images, desc=format, unit="image", disable=not self.progress)

    def picture(self, image: LabelledImage, folder: Path, suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg")) -> str:
        """Put the image's file into `folder`, by hard link if its suffix is among `suffixes`, else converted.

        A conversion has the first of the suffixes. Returns the file's name. Raises `DataError` for an image that is
        not there or cannot be converted.
        """
        source = image.path
        suffix = source.suffix.lower()
        if suffix not in suffixes:
            suffix = suffixes[0]
            source = self._converted(image, suffix)
        name = self.names[image.id] + suffix
        folder.mkdir(parents=True, exist_ok=True)
        try:
            link(source, folder / name)
        except FileNotFoundError as error:
            raise DataError(f"the image {image.id!r} should lie at {image.path}, which is missing") from error
        return name

    def _converted(self, image: LabelledImage, suffix: str) -> Path:
        path = self.staging / (self.names[image.id] + suffix)
        if not path.exists():
            path.write_bytes(encoded(*read_pixels(image.path), suffix))
        return path

    def detected(self, images: LabelledSet) -> list[LabelledImage]:
        """The images whose objects are known. Raises `ArgumentError` where there are none.

        An image of which nothing is known is no background: detectors would learn that its objects are none.
        """
        return self.known(images, "objects", [image.shapes is not None for image in images.images])

    def known(self, images: LabelledSet, what: str, there: Sequence[bool]) -> list[LabelledImage]:
        """The images for which something is there; the others are noted, and none at all is an `ArgumentError`."""
        kept = [image for image, has in zip(images.images, there, strict=True) if has]
        if not kept:
            raise ArgumentError("images", f"must hold an image with {what} for this format", f"{len(images)} without")
        for image, has in zip(images.images, there, strict=True):
            if not has:
                self.notes.add(f"images without {what} are left out", image.id)
        return kept

    def visible(self, image: LabelledImage) -> Iterator[tuple[Shape, list[Points]]]:
        """The objects of an image as far as they lie in it, each with the rings of its outline there."""
        for shape in image.shapes or ():
            part = visible(shape, image.height, image.width)
            if part is None:
                self.notes.add("objects outside their image are left out", f"{shape.label!r} of {image.id}")
            else:
                yield part


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none between the two places."""
    try:
        os.link(source.resolve(), target)  # resolved, as a link to a symbolic link would be one
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)


def splits_of(images: Iterable[LabelledImage]) -> list[Split]:
    """The splits that occur, in the usual order."""
    present = {image.split for image in images}
    return [split for split in SPLITS if split in present]


def safe_names(names: Iterable[str], forbidden: str, argument: str = "classes") -> dict[str, str]:
    """Each name without the characters of a regular expression, which become "-".

    Raises `ArgumentError` where two names become one, or nothing is left.
    """
    safe = {name: re.sub(forbidden, "-", name.strip()).strip(".") for name in names}
    if len(set(safe.values())) < len(safe) or not all(safe.values()):
        rule = (
            f"must stay distinct when characters that this format cannot hold become '-': {sorted(safe.values())[:8]}"
        )
        raise ArgumentError(argument, rule, sorted(safe)[:8])
    return safe


def _stems(images: Iterable[LabelledImage]) -> dict[str, str]:
    stems = {image.id: re.sub(r"\s+", "_", image.id) for image in images}
    if len({stem.casefold() for stem in stems.values()}) < len(stems):
        seen: dict[str, str] = {}
        for id_, stem in stems.items():
            if stem.casefold() in seen:
                rule = f"must have ids that differ by more than spaces and case, unlike {seen[stem.casefold()]!r}"
                raise ArgumentError("images", rule, id_)
            seen[stem.casefold()] = id_
    return stems


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8 with Unix newlines on every system, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def write_json(path: Path, record: Any) -> None:
    """A JSON file, in UTF-8. Numbers that JSON does not know are an error."""
    write_text(path, json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


def lines(rows: Iterable[str]) -> str:
    """Rows as the text of a file; no row is the empty text."""
    return "".join(f"{row}\n" for row in rows)
