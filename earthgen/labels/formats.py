"""The formats of labelled images, by name: written by `export`, read by `read`."""

from __future__ import annotations

import filecmp
import importlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from earthgen.errors import ArgumentError, DataError, EarthgenError, OutputError
from earthgen.labels.base import LabelledSet
from earthgen.labels.notes import Notes
from earthgen.labels.reading import Reading
from earthgen.labels.writing import Writing
from earthgen.output.atomic import StrPath, check_writable


class _Format(NamedTuple):
    """Modules are imported when they are used: pystac alone takes half a second."""

    module: str
    about: str
    write: str | None = "write"
    reads: bool = True


_ALL = {
    "coco": _Format("coco", "COCO: images/<split>/ and annotations/instances_<split>.json, boxes and outlines"),
    "yolo": _Format("yolo", "YOLO detect: images/, labels/ and data.yaml, horizontal boxes", "write_boxes"),
    "yolo-obb": _Format("yolo", "YOLO-OBB: the same with the four corners of rotated boxes", "write_corners"),
    "yolo-seg": _Format("yolo", "YOLO segment: the same with outlines", "write_outlines"),
    "dota": _Format(
        "dota", "DOTA, mmrotate and, where class names allow, torchgeo's DOTA: <split>/images, <split>/annfiles"
    ),
    "voc": _Format("voc", "Pascal VOC: VOCdevkit/VOC2012 with JPEGImages, Annotations and ImageSets, horizontal boxes"),
    "masks": _Format("masks", "semantic masks: images/ and masks/ as index PNG with a palette, and classes.csv"),
    "imagefolder": _Format(
        "imagefolder", "Hugging Face imagefolder: <split>/metadata.jsonl with captions, place, objects"
    ),
    "classification": _Format("classification", "classified images: <split>/<class>/"),
    "torchgeo": _Format("rasters", "torchgeo RasterDataset: images and masks as GeoTIFF in two folders", reads=False),
    "stac": _Format("stac", "STAC catalogue: an item an image, with its labels and mask as assets", reads=False),
    "geojson": _Format("geojson", "GeoJSON outlines over georeferenced images", write=None),
}

FORMATS: Mapping[str, str] = {name: format.about for name, format in _ALL.items() if format.write}
"""Formats that `export` writes, with a line about each."""
READABLE: Mapping[str, str] = {name: format.about for name, format in _ALL.items() if format.reads}
"""Formats that `read` reads, with a line about each. "masks" reads the rasters of "torchgeo" too."""


def export(images: LabelledSet, folder: StrPath, formats: Sequence[str], *, progress: bool = False) -> dict[str, Path]:
    """Write the set in each of `formats` (see `FORMATS`), each to the folder of its name in `folder`.

    Image files are hard links to those of the set wherever a format can hold them, so they take no room twice, and
    altering one alters all. A format appears whole or not at all, and the same set always gives the same bytes: a
    folder that already holds exactly this is left as it is. Objects are cut to their image.

    Args:
        images: What to write. Detection formats take the images whose `shapes` are known, empty ones as background,
            "masks" those with a mask, "classification" those with a class; a `LabelWarning` names what is left out.
        folder: Where; made if it is not there.
        formats: Names of formats, each once.
        progress: Whether to show progress.

    Returns:
        The folder of each format.

    Raises:
        ArgumentError: A format is unknown, or the set holds nothing for it (for "torchgeo": an image has no place).
        DataError: An image file is missing or cannot be read.
        OutputError: The folder of a format holds something else, or the system refuses.
    """
    if isinstance(formats, str) or not formats or len(set(formats)) < len(formats) or not set(formats) <= set(FORMATS):
        raise ArgumentError("formats", f"must be distinct names of {tuple(FORMATS)}", formats)
    if not len(images):
        raise ArgumentError("images", "must hold at least one image", images.images)
    root = check_writable(folder)
    notes = Notes()
    staging = fresh_folder(root / ".pictures.tmp")
    try:
        job = Writing(images, staging, notes, progress)
        folders = {name: _write(name, images, root, job) for name in formats}
    except EarthgenError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write into the folder {str(root)!r}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    notes.tell()
    return folders


def _write(name: str, images: LabelledSet, root: Path, job: Writing) -> Path:
    target = root / name
    format = _ALL[name]
    assert format.write is not None
    write = getattr(_module(format), format.write)
    temporary = fresh_folder(root / f".{name}.tmp")
    try:
        write(images, temporary, job)
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if not target.exists():
            temporary.rename(target)
        elif not same_files(temporary, target):
            raise OutputError(f"{str(target)!r} holds something else: choose another folder, or remove that one")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def fresh_folder(folder: Path) -> Path:
    """A new folder in place of what a killed run may have left."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def same_files(new: Path, old: Path) -> bool:
    """Whether two folders hold the same files, but for hidden ones and the caches that trainers leave behind."""
    files = [
        {
            path.relative_to(f)
            for path in f.rglob("*")
            if path.is_file() and path.name[0] != "." and path.suffix != ".cache"
        }
        for f in (new, old)
    ]
    return files[0] == files[1] and all(
        (new / path).samefile(old / path) or filecmp.cmp(new / path, old / path, shallow=False) for path in files[0]
    )


def read(
    source: StrPath, format: str | None = None, *, classes: Sequence[str] | None = None, images: StrPath | None = None
) -> LabelledSet:
    """Read labelled images, of the user's own making or `export`'s.

    What is wrong but clear is repaired, and told by a `LabelWarning` a kind: boxes and outlines that stick out are cut
    (rotated boxes are kept as they are), objects outside their image or without area are left out, outlines that
    cross themselves made valid. See `earthgen.labels.reading`.

    Args:
        source: A folder, or the file of labels: COCO's JSON, data.yaml, metadata.jsonl, GeoJSON.
        format: One of `READABLE`; None finds out from the files.
        classes: The classes wanted, in their order; objects of others are left out. Case, "-", "_" and " " make no
            difference. Also names the numbers of formats that have no list of their own.
        images: Folder of the images where they do not lie in their usual place.

    Raises:
        ArgumentError: The format is unknown, or cannot be told from the files.
        DataError: Files are missing, or say what cannot be understood; the message names file and line.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"there is no {str(path)!r} to read labels from")
    if format is None:
        format = _recognised(path)
    elif format not in READABLE:
        raise ArgumentError("format", f"must be one of {tuple(READABLE)}, or None to find out", format)
    if isinstance(classes, str) or (classes is not None and (not classes or len(set(classes)) < len(classes))):
        raise ArgumentError("classes", "must be a sequence of distinct names, or None", classes)
    notes = Notes()
    job = Reading(classes, None if images is None else Path(images).expanduser(), notes)
    found: LabelledSet = _module(_ALL[format]).read(path, job)
    notes.tell()
    return found


def _recognised(path: Path) -> str:
    found = [name for name in READABLE if name not in ("yolo-obb", "yolo-seg") and _module(_ALL[name]).matches(path)]
    # Folders of images are what several formats are made of, so these two count only where no other is found.
    for weak in ("classification", "masks"):
        if len(found) > 1 and weak in found:
            found.remove(weak)
    if len(found) != 1:
        what = f"must be named, as the files could be of {found}" if found else f"must be one of {tuple(READABLE)}"
        raise ArgumentError("format", f"{what} ({str(path)!r})", None)
    return found[0]


def _module(format: _Format) -> ModuleType:
    return importlib.import_module(f"earthgen.labels.{format.module}")
