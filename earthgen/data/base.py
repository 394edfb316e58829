"""What every reader of training data gives: one `Sample`, whatever the data set.

Pixels run from the top left corner, x to the right (east in georeferenced samples) and y down (south).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthgen.conditions import UNKNOWN, Box
from earthgen.errors import ArgumentError, DataError

Split = Literal["train", "test", "all"]
Projection = Literal["local", "mercator"]
SPLITS: tuple[Split, ...] = ("train", "test", "all")
ROOT_VARIABLE = "EARTHGEN_DATA"
METRES_PER_DEGREE = 111_319.49
"""Metres along a degree of a great circle of the sphere of radius 6 378 137 m, the one Web Mercator uses."""
MERCATOR_GSD = 156_543.033928
"""Metres a pixel of Web Mercator's zoom 0 at the equator, 256 px tiles."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known to be true of a sample, which a caption may say. `None` or empty: not known."""

    label: str | None = None
    """Class of the whole image; `earthgen.data.captions.CLASS_WORDS` has words for those of the data sets."""
    regions: tuple[Box, ...] = ()
    """Rectangles in pixels whose dominant class is known, with that class: the patches of a EuroSAT scene."""
    sensor: Literal["satellite", "aerial"] | None = None
    place: str | None = None
    """Name of the place, such as a city with its country."""
    subjects: tuple[str, ...] = ()
    """Ways to say what any part of the picture shows, for pictures that have no label."""
    elevation: float | None = None
    """Metres above the sea of the centre, from a coarse grid. Negative at sea."""
    relief: float | None = None
    """Standard deviation in metres of the elevation around the centre."""
    land_fraction: float | None = None
    """Part of the surroundings on a coarse grid that is above sea level, 0 to 1."""
    mask_fractions: tuple[tuple[str, float], ...] = ()
    """Share of the known pixels of each class of the mask that occurs, largest first."""

    def label_fractions(self) -> tuple[tuple[str, float], ...]:
        """Share of each class among `regions` by area, largest first; `label` alone when there are no regions."""
        if not self.regions:
            return ((self.label, 1.0),) if self.label else ()
        areas: dict[str, float] = {}
        for box in self.regions:
            areas[box.label] = areas.get(box.label, 0.0) + box.width * box.height
        total = sum(areas.values())
        return tuple((k, v / total) for k, v in sorted(areas.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A picture of the Earth with what is known of it."""

    image: NDArray[np.uint8]
    """RGB, (height, width, 3)."""
    gsd: float | None
    """Metres on the ground a pixel at the centre; None when unknown."""
    lat: float | None
    """Latitude of the centre, degrees north, WGS 84."""
    lon: float | None
    """Longitude of the centre, degrees east, WGS 84, -180 to 180."""
    date: dt.date | None
    source: str
    """Name of the reader."""
    id: str
    """Name of the sample, unique within its source."""
    facts: Facts = field(default_factory=Facts)
    mask: NDArray[np.uint8] | None = None
    """(height, width), indices into `mask_classes`, 255 where unknown."""
    mask_classes: tuple[str, ...] = ()
    boxes: tuple[Box, ...] | None = None
    """Objects; the empty tuple says there are none, None says nothing."""
    cloud_cover: float | None = None
    """Fraction of the image under cloud, 0 to 1; None when unknown."""
    projection: Projection = "local"
    """How pixels relate to degrees: a `local` plane in metres, or Web Mercator."""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            shown = (self.image.dtype, self.image.shape)
            raise ArgumentError("image", "must be a uint8 array of shape (height, width, 3)", shown)
        if self.mask is not None and (self.mask.shape != self.image.shape[:2] or self.mask.dtype != np.uint8):
            rule = f"must be a uint8 array of shape {self.image.shape[:2]}, as `image` has"
            raise ArgumentError("mask", rule, (self.mask.dtype, self.mask.shape))
        if (self.lat is None) != (self.lon is None):
            raise ArgumentError("lat", "must be given together with `lon`", (self.lat, self.lon))

    @property
    def height(self) -> int:
        """Rows of the image."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image."""
        return int(self.image.shape[1])

    def replace(self, **changes: Any) -> Sample:
        """A copy with some fields changed."""
        return replace(self, **changes)


class Samples(Sequence[Sample], ABC):
    """Samples that are read from disk one at a time."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """The sample at `index`, 0 <= index < len(self)."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self.sample(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples of {type(self).__name__}")
        return self.sample(int(index) % len(self))


class Reader(Samples):
    """A data set as a sequence of samples, read from disk one at a time.

    Args:
        root: Folder that holds the data set's own folder. None takes the environment variable `EARTHGEN_DATA`.
        split: "train" or "test", disjoint in place, or "all".

    Raises:
        ArgumentError: `split` is none of the three.
        DataError: The folder is missing; the message says where to get the data.
    """

    name: ClassVar[str]
    folder: ClassVar[str]
    """Folder below the root."""
    licence: ClassVar[str]
    homepage: ClassVar[str]
    """Where a user gets the original."""
    may_ship_weights: ClassVar[bool]
    """Whether the licence lets weights trained on it be published."""

    def __init__(self, root: Path | str | None = None, split: Split = "train") -> None:
        if split not in SPLITS:
            raise ArgumentError("split", f"must be one of {SPLITS}", split)
        self.split: Split = split
        self.root = data_root(root)
        self.path = self.root / self.folder
        self.require(self.path)

    def require(self, path: Path) -> None:
        """Raise `DataError` naming where to get the data set unless `path` exists."""
        if not path.exists():
            raise DataError(f"{self.name} needs {path}, which is missing. Get the data set from {self.homepage}")

    def wanted(self, split: Literal["train", "test"]) -> bool:
        """Whether samples of that split belong to this reader."""
        return self.split in ("all", split)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(root={str(self.root)!r}, split={self.split!r}): {len(self)} samples"


def data_root(root: Path | str | None = None) -> Path:
    """The folder of data sets: `root`, or else what the environment variable `EARTHGEN_DATA` names."""
    chosen = root or os.environ.get(ROOT_VARIABLE)
    if not chosen:
        raise DataError(f"say where the data sets are: give `root`, or set the environment variable {ROOT_VARIABLE}")
    return Path(chosen).expanduser()


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture in a file as uint8 RGB, (height, width, 3)."""
    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except OSError as error:
        raise DataError(f"cannot read the picture {path}: {error}") from error


def mask_fractions(mask: NDArray[np.uint8], classes: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Share of the known pixels of each class that occurs in a mask, largest first."""
    counts = np.bincount(mask[mask != UNKNOWN].ravel(), minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    return tuple((classes[k], float(counts[k] / counts.sum())) for k in order if counts[k])


def split_of(key: str, test_fraction: float = 0.2) -> Literal["train", "test"]:
    """Train or test by the SHA-256 of `key`: the same on every machine, for ever."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return "test" if number < test_fraction * 2**64 else "train"


def cell_of(lat: float, lon: float) -> str:
    """Key of the 1-degree cell around a place, by its south west corner: neighbours share a cell, so also a split."""
    return f"{math.floor(lat)}_{math.floor(lon)}"


def moved(
    lat: float, lon: float, gsd: float, dx: float, dy: float, projection: Projection = "local"
) -> tuple[float, float, float]:
    """Latitude, longitude and GSD at `dx` pixels east and `dy` pixels south of a place.

    On the local plane the GSD stays; in Web Mercator it goes with the cosine of the latitude.
    """
    if projection == "local":
        new_lat = max(-90.0, min(90.0, lat - dy * gsd / METRES_PER_DEGREE))
        new_lon = lon + dx * gsd / (METRES_PER_DEGREE * max(math.cos(math.radians(lat)), 1e-6))
        return new_lat, wrapped(new_lon), gsd
    equator_gsd = gsd / math.cos(math.radians(lat))
    northing = math.asinh(math.tan(math.radians(lat))) - math.radians(dy * equator_gsd / METRES_PER_DEGREE)
    new_lat = math.degrees(math.atan(math.sinh(northing)))
    new_lon = lon + dx * equator_gsd / METRES_PER_DEGREE
    return new_lat, wrapped(new_lon), equator_gsd * math.cos(math.radians(new_lat))


def wrapped(lon: float) -> float:
    """Longitude brought into [-180, 180)."""
    return (lon + 180.0) % 360.0 - 180.0
