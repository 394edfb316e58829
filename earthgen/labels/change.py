"""Pairs of images of one place with what changed between them, and the formats they are written in and read from.

levir-cd         A/ B/ label/ with split_id.png, list/{train,val,test}.txt: torchgeo's LEVIRCD, BIT
levir-cd-split   LEVIR-CD+/{train,val,test}/{A,B,label}: open-cd, torchange; torchgeo's LEVIRCDPlus from above
second           <split>/{im1,im2,label1,label2,label,label1_rgb,label2_rgb}: open-cd, Bi-SRNet, torchange
change-geotiff   <split>/{t1,t2,label}/id.tif, label in three bands (change, class at t1, class at t2), with CRS
change-captions  captions.jsonl, <split>/{A,B}
change-coco      annotations/changes_<split>.json, images/<split>/{t1,t2}: objects that changed
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from earthgen.conditions import UNKNOWN
from earthgen.errors import ArgumentError, DataError, EarthgenError, OutputError
from earthgen.labels.base import SPLITS, Split
from earthgen.labels.formats import fresh_folder, same_files
from earthgen.labels.notes import Notes
from earthgen.labels.pictures import read_header
from earthgen.output.atomic import StrPath, check_writable
from earthgen.output.geotiff import quiet_without_place
from earthgen.simulate.events import Event, Series

Bands = NDArray[np.uint8]
"""(3, height, width): change (0 or 1), class before, class after (indices, 255 where unknown)."""
FORMATS: Mapping[str, str] = {
    "levir-cd": "LEVIR-CD, flat: torchgeo LEVIRCD, BIT",
    "levir-cd-split": "LEVIR-CD, by split: open-cd, torchange, torchgeo LEVIRCDPlus",
    "second": "SECOND: semantic change for open-cd, Bi-SRNet, torchange",
    "change-geotiff": "three-band GeoTIFF (change, class before, class after) with CRS",
    "change-captions": "change in words, a JSON line a pair",
    "change-coco": "objects that changed, in the manner of COCO",
}
"""Formats that `export_changes` writes and `read_changes` reads, with a line about each."""


@dataclass(frozen=True, slots=True, eq=False)
class ChangePair:
    """Two image files of one size and place, with what is known of the change. `of_files` checks that they are."""

    id: str
    """Letters, digits, ".", "_" and "-", unique in its set."""
    first: Path
    second: Path
    height: int
    width: int
    label: Bands | Callable[[], Bands]
    """The labels, or what reads them."""
    split: Split = "train"
    classes: tuple[str, ...] = ()
    """Names of the indices; empty where nothing is known of classes."""
    events: tuple[Event, ...] | None = None
    """What happened, object by object; None where that is not known."""
    sentences: tuple[str, ...] | None = None
    """The change in words."""
    crs: str | None = None
    """With `transform` or not at all."""
    transform: Affine | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """JSON-ready facts to carry along: dates, seed, nuisances and the like."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.id) or self.id.startswith("."):
            raise ArgumentError("id", 'must be of letters, digits, ".", "_" and "-"', self.id)
        if self.split not in SPLITS:
            raise ArgumentError("split", f"must be one of {SPLITS}", self.split)
        if (self.crs is None) != (self.transform is None):
            raise ArgumentError("crs", "must be given together with `transform`", self.crs)

    @classmethod
    def of_files(
        cls, id: str, first: StrPath, second: StrPath, label: Bands | Callable[[], Bands], **more: Any
    ) -> ChangePair:
        """A pair of files, with the size and the place that they say.

        Raises:
            ArgumentError: Their sizes, CRS or transforms differ.
            DataError: A file cannot be read.
        """
        headers = read_header(Path(first)), read_header(Path(second))
        sizes = [(h.height, h.width) for h in headers]
        if sizes[0] != sizes[1]:
            raise ArgumentError("second", f"must have the size of the first image, {sizes[0]}", sizes[1])
        if headers[0].crs != headers[1].crs:
            raise ArgumentError("second", f"must have the CRS of the first image, {headers[0].crs}", headers[1].crs)
        places = [h.transform for h in headers]
        if places[0] is not None and places[1] is not None and not places[0].almost_equals(places[1], 1e-6):
            raise ArgumentError("second", f"must lie where the first image does, {places[0][:6]}", places[1][:6])
        if headers[0].crs is not None:
            more = {"crs": headers[0].crs, "transform": places[0]} | more
        return cls(id, Path(first), Path(second), *sizes[0], label, **more)

    def bands(self) -> Bands:
        """The labels. Raises `DataError` for a file that cannot be read, `ArgumentError` for labels that do not fit."""
        bands = self.label() if callable(self.label) else self.label
        if bands.shape != (3, self.height, self.width) or bands.dtype != np.uint8:
            rule = f"must be uint8 of shape {(3, self.height, self.width)}"
            raise ArgumentError(f"label of {self.id}", rule, (bands.dtype, bands.shape))
        if bands[0].max() > 1:
            raise ArgumentError(f"label of {self.id}", "must be 0 or 1 where it says what changed", int(bands[0].max()))
        wrong = np.setdiff1d(bands[1:], [*range(len(self.classes)), UNKNOWN])
        if wrong.size:
            rule = f"must hold indices below {len(self.classes)}, or {UNKNOWN} for unknown"
            raise ArgumentError(f"label of {self.id}", rule, wrong[:8].tolist())
        return bands

    def replace(self, **changes: Any) -> ChangePair:
        """A copy with some fields changed."""
        return replace(self, **changes)


def bands_of(series: Series, first: int = 0, second: int = -1) -> Bands:
    """The labels between two dates of a series, by number."""
    nothing = np.full((series.height, series.width), UNKNOWN, np.uint8)
    maps = [nothing, nothing] if series.maps is None else [series.maps[first], series.maps[second]]
    return np.stack([series.changed(first, second).astype(np.uint8), *maps])


def read_bands(path: StrPath) -> Bands:
    """The three bands of a label's GeoTIFF. Raises `DataError` where it is none."""
    try:
        with quiet_without_place(), rasterio.open(path) as dataset:
            if dataset.count != 3 or dataset.dtypes[0] != "uint8":
                raise DataError(f"{path} has {dataset.count} bands of {dataset.dtypes[0]}, but labels are 3 of uint8")
            bands: Bands = dataset.read()
            return bands
    except (OSError, RasterioError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read the labels {path}: {error}") from error


def export_changes(
    pairs: Sequence[ChangePair],
    folder: StrPath,
    formats: Sequence[str],
    *,
    second_classes: Mapping[str, str] | None = None,
    progress: bool = False,
) -> dict[str, Path]:
    """Write the pairs in each of `formats` (see `FORMATS`), each to the folder of its name in `folder`.

    PNG images are hard links, so they take no room twice, and altering one alters all. A format appears whole or not
    at all; a folder that holds exactly this already is left as it is.

    Args:
        pairs: What to write.
        folder: Made if it is not there.
        formats: Names.
        second_classes: Class → class of SECOND, where `earthgen.labels.change_formats.SECOND_OF` does not say.
        progress: Whether to show progress.

    Raises:
        ArgumentError: A format is unknown, or ids repeat, or a pair has not what the format is made of.
        DataError: An image is missing or cannot be read.
        OutputError: The folder of a format holds something else, or the system refuses.
    """
    if isinstance(formats, str) or not formats or len(set(formats)) < len(formats) or not set(formats) <= set(FORMATS):
        raise ArgumentError("formats", f"must be distinct names of {tuple(FORMATS)}", formats)
    if not pairs:
        raise ArgumentError("pairs", "must be at least one", pairs)
    repeated = [i for i, n in Counter(pair.id.casefold() for pair in pairs).items() if n > 1]
    if repeated:
        raise ArgumentError("pairs", "must have ids that differ by more than case", repeated[:8])
    writers = import_module("earthgen.labels.change_formats")
    root, notes = check_writable(folder), Notes()
    found: dict[str, Path] = {}
    for name in formats:
        target, temporary = root / name, fresh_folder(root / f".{name}.tmp")
        try:
            writers.write(name, pairs, temporary, writers.Job(target, notes, second_classes or {}, progress))
            if not target.exists():
                temporary.rename(target)
            elif not same_files(temporary, target):
                raise OutputError(f"{str(target)!r} holds something else: choose another folder, or remove that one")
        except EarthgenError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write {str(target)!r}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        found[name] = target
    notes.tell()
    return found


def read_changes(folder: StrPath, format: str | None = None, split: Split | None = None) -> list[ChangePair]:
    """The pairs of a folder in one of `FORMATS`, those of a split or all; labels are read when they are asked for.

    Args:
        folder: Of the format's own files.
        format: None finds out from the files.
        split: None takes all.

    Raises:
        ArgumentError: The format is unknown, or cannot be told from the files.
        DataError: Files are missing, or say what cannot be understood.
    """
    if format not in (None, *FORMATS):
        raise ArgumentError("format", f"must be one of {tuple(FORMATS)}, or None to find out", format)
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DataError(f"there is no folder {str(path)!r} to read changes from")
    format = format or format_of(path)
    if format is None:
        inside = [name for name in FORMATS if (path / name).is_dir()]
        what = f"give one of the folders {inside} in it" if inside else f"must be one of {tuple(FORMATS)}"
        raise ArgumentError("format", f"cannot be told from the files in {str(path)!r}: {what}", None)
    found: list[ChangePair] = import_module("earthgen.labels.change_reading").read(path, format)
    found = [pair for pair in found if split in (None, pair.split)]
    return found


def format_of(folder: StrPath) -> str | None:
    """The one of `FORMATS` that a folder is laid out as; None where it is none."""
    found: str | None = import_module("earthgen.labels.change_reading").recognised(Path(folder).expanduser())
    return found
