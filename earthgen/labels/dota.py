"""DOTA: `<split>/images/*.png` and `<split>/annfiles/*.txt` (mmrotate), or `labelTxt` as in DOTA itself.

A row is `x1 y1 x2 y2 x3 y3 x4 y4 class difficulty`, in pixels, the class without spaces. `classes.txt` keeps the order
and the names as they were. Where all classes are DOTA's own, `samples.csv` and `<split>/annotations/version*/` are
written too, by which torchgeo's `DOTA` opens the same folder.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from earthgen.errors import DataError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape, Split
from earthgen.labels.reading import Reading, is_split, pictures_in, split_of
from earthgen.labels.shapes import Points
from earthgen.labels.writing import Writing, lines, link, safe_names, splits_of, write_text

CLASSES = (
    *("plane", "ship", "storage-tank", "baseball-diamond", "tennis-court", "basketball-court", "ground-track-field"),
    *("harbor", "bridge", "large-vehicle", "small-vehicle", "helicopter", "roundabout", "soccer-ball-field"),
    *("swimming-pool", "container-crane", "airport", "helipad"),
)
"""DOTA 2.0's classes, which are all that torchgeo knows."""
FORBIDDEN = r"\s+"
"""In class names: fields are parted by it."""
_VERSIONS = ("1.0", "1.5", "2.0")
_TORCHGEO_SPLITS = ("train", "val")
_FOLDERS = ("annfiles", "labelTxt-v2.0", "labelTxt-v1.5", "labelTxt-v1.0", "labelTxt")
_HEADERS = ("imagesource:", "gsd:", "acquisition dates:")


def write(images: LabelledSet, folder: Path, job: Writing) -> None:
    """Write rotated boxes; what is cut by the border keeps its angle, so a corner may lie outside the image."""
    chosen = job.detected(images)
    names = safe_names(images.classes, FORBIDDEN)
    for_torchgeo = set(names.values()) <= set(CLASSES)
    samples = []
    for split in splits_of(chosen):
        (folder / split / "annfiles").mkdir(parents=True)
    for image in job.each(chosen, "dota"):
        place = folder / image.split
        picture = job.picture(image, place / "images", (".png",))
        rows = []
        for shape, _ in job.visible(image):
            corners = " ".join(f"{v:.2f}" for v in shape.box.corners().ravel() + 0.0)
            rows.append(f"{corners} {names[shape.label]} {int(shape.difficult)}")
        file = place / "annfiles" / f"{job.names[image.id]}.txt"
        write_text(file, lines(rows))
        if for_torchgeo and image.split in _TORCHGEO_SPLITS:
            for version in _VERSIONS:
                copy = place / "annotations" / f"version{version}" / file.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                link(file, copy)
                samples.append(
                    (f"{image.split}/images/{picture}", copy.relative_to(folder).as_posix(), image.split, version)
                )
    write_text(folder / "classes.txt", lines(images.classes))
    if samples:
        table = io.StringIO()
        header = ("image_path", "annotation_path", "split", "version")
        csv.writer(table, lineterminator="\n").writerows([header, *samples])
        write_text(folder / "samples.csv", table.getvalue())


def matches(source: Path) -> bool:
    """Whether a folder, or one of a split in it, has DOTA's rows in a folder of their usual names."""
    return source.is_dir() and bool(_parts(source))


def read(source: Path, job: Reading) -> LabelledSet:
    """Read a folder of splits, or one split. Nothing is known of an image whose file of labels is missing."""
    parts = _parts(source)
    if not parts:
        raise DataError(f"{source} has no folder of rows ({', '.join(_FOLDERS)}), nor has a split in it")
    listed = source / "classes.txt"
    names = [name for _, name in job.lines(listed)] if listed.is_file() else []
    original = {hyphened: name for name, hyphened in safe_names(names, FORBIDDEN).items()}
    job.classes.declare(names)
    images = []
    for split, folder, rows in parts:
        for path in pictures_in(job.images or folder / "images"):
            image = job.image(path, split)
            file = rows / f"{path.stem}.txt"
            if file.is_file():
                images.append(_read_image(image, file, original, job))
            elif job.images is None or len(parts) == 1:
                job.notes.add("images without a file of labels, of which nothing is known", str(path))
                images.append(image)
    return job.finish(images)


def _parts(source: Path) -> list[tuple[Split, Path, Path]]:
    """(split, its folder, its folder of rows)."""
    folders = [source, *sorted(path for path in source.iterdir() if path.is_dir() and is_split(path.name))]
    found = []
    for folder in folders:
        versions = sorted(folder.glob("annotations/version*"), reverse=True)
        rows = next((path for path in [*(folder / name for name in _FOLDERS), *versions] if path.is_dir()), None)
        if rows is not None:
            found.append((split_of(folder.name), folder, rows))
    return found


def _read_image(image: LabelledImage, file: Path, original: dict[str, str], job: Reading) -> LabelledImage:
    shapes = []
    for place, line in job.lines(file):
        if line.lower().startswith("gsd:"):
            image = _with_gsd(image, line)
        elif not line.lower().startswith(_HEADERS):
            shapes.append(_shape(line, place, original, image, job))
    return image.replace(shapes=tuple(shape for shape in shapes if shape is not None))


def _with_gsd(image: LabelledImage, line: str) -> LabelledImage:
    try:
        gsd = float(line.split(":")[1])
    except ValueError:  # DOTA itself has "gsd:null"
        return image
    return image.replace(gsd=gsd) if np.isfinite(gsd) and gsd > 0 else image


def _shape(line: str, place: str, original: dict[str, str], image: LabelledImage, job: Reading) -> Shape | None:
    fields = line.replace(",", " ").split()
    if len(fields) < 9:
        raise DataError(
            f"{place}: a row has eight numbers, a class and a difficulty, but this has {len(fields)} fields"
        )
    corners: Points = job.points(fields[:8], place)
    words, difficulty = fields[8:], 0
    if len(words) > 1 and words[-1].isdigit():  # names with spaces are taken, though other tools stumble over them
        *words, last = words
        difficulty = int(last)
    written = " ".join(words)
    name = job.classes.named(original.get(written, written), place)
    return None if name is None else job.cornered(name, corners, image, place, difficulty > 0)
