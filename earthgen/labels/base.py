"""What is known of an image, whatever format it is written in: objects, semantic mask, class, caption, place.

Coordinates are pixels with the origin at the top left corner of the image (not the centre of its first pixel),
x to the right and y down, as in `earthgen.conditions`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from earthgen.conditions import Box
from earthgen.errors import ArgumentError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """An object: its rectangle with its class, and its outline if that is known to be another."""

    box: Box
    """Horizontal or rotated."""
    polygon: NDArray[np.float64] | None = None
    """Outline, (n, 2) as (x, y), n ≥ 3, not closed; None where the box is all that is known."""
    difficult: bool = False
    """Hard to see or cut by the border: evaluators may leave it out."""

    def __post_init__(self) -> None:
        p = self.polygon
        if p is not None and (not isinstance(p, np.ndarray) or p.ndim != 2 or p.shape[1] != 2 or len(p) < 3):
            raise ArgumentError("polygon", "must be an array (n, 2) of at least three points", p)

    @property
    def label(self) -> str:
        """Class of the object."""
        return self.box.label

    def outline(self) -> NDArray[np.float64]:
        """The polygon, or the four corners of the box: (n, 2) as (x, y)."""
        return self.box.corners() if self.polygon is None else self.polygon


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image file and all that is known of it. `None` means that nothing is known, empty that there is none."""

    id: str
    """Name without folder and suffix, unique in its set."""
    path: Path
    height: int
    width: int
    split: Split = "train"
    shapes: tuple[Shape, ...] | None = None
    mask: NDArray[np.uint8] | Path | None = None
    """(height, width), indices into the set's `mask_classes`, 255 where unknown; or a one-channel PNG of it."""
    label: str | None = None
    """Class of the whole image."""
    caption: str | None = None
    gsd: float | None = None
    """Metres on the ground a pixel."""
    crs: str | None = None
    """With `transform` or not at all; for instance "EPSG:32632"."""
    transform: Affine | None = None
    """(column, row) of pixel corners to `crs`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """JSON-ready facts to carry along: seed, date, model and the like."""

    def __post_init__(self) -> None:
        if not self.id or Path(self.id).name != self.id:
            raise ArgumentError("id", "must be a file name without folder", self.id)
        if self.split not in SPLITS:
            raise ArgumentError("split", f"must be one of {SPLITS}", self.split)
        if self.height < 1 or self.width < 1:
            raise ArgumentError("height, width", "must be at least 1 pixel", (self.height, self.width))
        if isinstance(self.mask, np.ndarray) and (
            self.mask.shape != (self.height, self.width) or self.mask.dtype != np.uint8
        ):
            rule = f"must be a uint8 array of shape {(self.height, self.width)}"
            raise ArgumentError("mask", rule, (self.mask.dtype, self.mask.shape))
        if (self.crs is None) != (self.transform is None):
            raise ArgumentError("crs", "must be given together with `transform`", self.crs)

    def replace(self, **changes: Any) -> LabelledImage:
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSet:
    """Labelled images with their classes, in the order that gives each its number, from 0."""

    images: Sequence[LabelledImage]
    classes: tuple[str, ...] = ()
    """Classes of the objects."""
    mask_classes: tuple[str, ...] = ()
    """Classes of the masks."""

    def __post_init__(self) -> None:
        for name in ("classes", "mask_classes"):
            names = getattr(self, name)
            if len(set(names)) != len(names) or not all(isinstance(c, str) and c.strip() for c in names):
                raise ArgumentError(name, "must be distinct non-empty strings", names)
        ids = Counter(image.id for image in self.images)
        if len(ids) < len(self.images):
            repeated = [i for i, count in ids.items() if count > 1][:8]
            raise ArgumentError("images", "must have distinct ids", repeated)
        known = set(self.classes)
        for image in self.images:
            for shape in image.shapes or ():
                if shape.label not in known:
                    raise ArgumentError("images", f"must hold objects of the classes {self.classes}", shape.label)

    def __len__(self) -> int:
        return len(self.images)

    def of_split(self, split: Split) -> LabelledSet:
        """The images of one split."""
        return replace(self, images=[image for image in self.images if image.split == split])


def class_key(name: str) -> str:
    """What is alike of two names of one class: formats differ in case and in "-", "_" and " "."""
    return re.sub(r"[\s_-]+", " ", name.strip().casefold())
