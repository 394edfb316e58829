"""Semantic masks under layouts: what stands on what, masks without their objects, and masks cut from real ones.

A class of a mask is some objects' own where it is what they are themselves, as buildings in a mask of land cover.
Clearing a mask replaces own classes by what is nearest around them: the ground the objects stand on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthgen.data import rectangles
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import UNKNOWN, LabelledImage
from earthgen.simulate.layout_geometry import Floats, footprint, row_of

Mask = NDArray[np.uint8]
OWN_INSIDE, OWN_COVERED = 0.6, 0.5
"""A class is some objects' own where it fills so much of their boxes, and their boxes cover so much of it."""
TOLERATED = 0.1
"""Share of a box that may lie on classes on which no object of its class was seen."""
SEEN = 0.01
"""A class of the mask counts as ground of an object class from this share of its objects on."""


def mask_of(image: LabelledImage) -> Mask | None:
    """The mask of a labelled image, read where it is a file. Raises `DataError` for one that does not fit."""
    if not isinstance(image.mask, Path):
        return image.mask
    try:
        with Image.open(image.mask) as picture:  # the size is known before anything is decoded
            if picture.size != (image.width, image.height):
                rule = f"must be {image.width} x {image.height} pixels, as its image"
                raise DataError(f"the mask {image.mask} {rule}, but is {picture.size[0]} x {picture.size[1]}")
            if picture.mode not in ("L", "P"):
                raise DataError(f"the mask {image.mask} must have one channel of 8 bits, but has {picture.mode!r}")
            return np.array(picture)
    except OSError as error:
        raise DataError(f"cannot read the mask {image.mask}: {error}") from error


def shares(mask: Mask, count: int) -> Floats:
    """Share of each of `count` classes among a mask's pixels, and last of what is unknown: (count + 1,)."""
    found = np.bincount(np.where(mask == UNKNOWN, count, mask).ravel(), minlength=count + 1)
    return found[: count + 1] / max(1, mask.size)


def own_class(masks: Sequence[Mask], rows: Sequence[Floats], count: int) -> int | None:
    """The class of masks that is the objects' own, or None. `rows`: rectangles of one class, an array a mask."""
    inside, boxed, whole, covered = np.zeros(count + 1), 0, np.zeros(count + 1), np.zeros(count + 1)
    for mask, objects in zip(masks, rows, strict=True):
        if not len(objects):
            continue
        under = np.zeros(mask.shape, bool)
        for row in objects:
            r, c, inner = footprint(row, *mask.shape)
            under[r, c] |= inner
            inside += shares(mask[r, c][inner], count) * inner.sum()
            boxed += int(inner.sum())
        whole += shares(mask, count) * mask.size
        covered += shares(mask[under], count) * under.sum()
    own = (inside / max(1, boxed) >= OWN_INSIDE) & (covered / np.maximum(whole, 1) >= OWN_COVERED)
    best = int(np.argmax(np.where(own, inside, -1.0)[:count]))
    return best if own[best] else None


def cleared(mask: Mask, own: Sequence[int]) -> Mask:
    """A mask whose pixels of the classes `own` take the nearest other class; unknown where there is no other."""
    from scipy import ndimage

    gone = np.isin(mask, list(own))
    if not gone.any():
        return mask
    if gone.all():
        return np.full_like(mask, UNKNOWN)
    nearest = ndimage.distance_transform_edt(gone, return_distances=False, return_indices=True)
    return mask[tuple(nearest)]


def painted(ground: Mask, rows: Sequence[Floats], values: Sequence[int | None]) -> Mask:
    """A cleared mask with rectangles painted on it, each in its value; None paints nothing."""
    mask = ground.copy()
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            r, c, inner = footprint(row, *mask.shape)
            mask[r, c][inner] = value
    return mask


def rows_on(mask: Mask, own: int, label: str) -> list[Floats]:
    """Rectangles of the objects that a mask already shows, those of its parts that are rectangles."""
    return [row_of(box) for box in rectangles.of_components(mask == own, label)[0]]


def carve(rng: np.random.Generator, sources: Sequence[Mask], height: int, width: int) -> Mask:
    """A crop of one of the masks, turned by quarters and flipped, (height, width).

    A larger canvas than the mask is filled by reflecting it at its borders, so that roads and shores go on.
    """
    source = sources[int(rng.integers(len(sources)))]
    source = np.rot90(source, int(rng.integers(4)))
    source = source[:, ::-1] if rng.random() < 0.5 else source

    def indices(side: int, wanted: int) -> NDArray[np.int64]:
        start = int(rng.integers(side - wanted + 1 if side >= wanted else side))
        at = np.arange(start, start + wanted) % (2 * side)
        return np.where(at < side, at, 2 * side - 1 - at)

    return np.ascontiguousarray(source[np.ix_(indices(source.shape[0], height), indices(source.shape[1], width))])


class Ground:
    """Where objects may stand on a cleared mask.

    Args:
        mask: (height, width), indices, 255 where unknown.
        liking: For each object class, how dense its objects stand on each class of the mask and, last, on what is
            unknown: (classes, mask classes + 1), 0 where none was seen.
    """

    def __init__(self, mask: Mask, liking: Floats) -> None:
        self.count = liking.shape[1] - 1
        self.mask = np.where(mask == UNKNOWN, self.count, mask).astype(np.uint8)
        self.liking = liking / np.maximum(liking.max(1, keepdims=True), 1e-300)
        self._places: dict[tuple[int, int, int, int, int], NDArray[np.int64]] = {}

    def bears(self, row: Floats, label: int, chance: float) -> bool:
        """Whether an object may stand there; `chance`, from 0 to 1, decides where its class stands less often."""
        r, c, inner = footprint(row, *self.mask.shape)
        under = self.mask[r, c][inner]
        if not under.size:
            return False
        part = np.bincount(under, minlength=self.count + 1) / under.size
        liking = self.liking[label]
        return bool(part[liking == 0].sum() <= TOLERATED and chance < liking[int(np.argmax(part))])

    def place(
        self, rng: np.random.Generator, label: int, window: tuple[int, int, int, int]
    ) -> tuple[float, float] | None:
        """A random pixel's centre (x, y) in a window (top, left, bottom, right), by liking; None where there is none."""
        top, left, bottom, right = window
        view = self.mask[top:bottom, left:right]
        weights = shares(view, self.count) * self.liking[label]
        if weights.sum() == 0:
            return None
        kind = int(rng.choice(len(weights), p=weights / weights.sum()))
        key = (*window, kind)
        if key not in self._places:
            self._places[key] = np.flatnonzero(view == kind)
        places = self._places[key]
        y, x = divmod(int(places[int(rng.integers(len(places)))]), right - left)
        return left + x + rng.random(), top + y + rng.random()


def liking_of(
    masks: Sequence[Mask], rows: Sequence[Floats], labels: Sequence[NDArray[np.int64]], classes: int, count: int
) -> Floats:
    """How dense the objects of each class stand on each class of cleared masks: (classes, count + 1)."""
    area, standing = np.zeros(count + 1), np.zeros((classes, count + 1))
    for mask, objects, kinds in zip(masks, rows, labels, strict=True):
        area += shares(mask, count) * mask.size
        for row, label in zip(objects, kinds, strict=True):
            r, c, inner = footprint(row, *mask.shape)
            if inner.any():
                standing[label, int(np.argmax(shares(mask[r, c][inner], count)))] += 1
    standing[standing < SEEN * standing.sum(1, keepdims=True)] = 0
    return standing / np.maximum(area, 1)


def liking_by_rule(allowed: Sequence[tuple[str, ...] | None], mask_classes: Sequence[str]) -> Floats:
    """1 where a class of objects may stand, 0 elsewhere: (classes, mask classes + 1). None may stand anywhere."""
    return np.array(
        [[names is None or name in names for name in mask_classes] + [names is None] for names in allowed], float
    ).reshape(len(allowed), len(mask_classes) + 1)


def renumbered(liking: Floats, known: Sequence[str], mask_classes: Sequence[str]) -> Floats:
    """Columns of `liking`, one a class of `known`, put in the order of another mask's classes; 0 for new ones."""
    index: Mapping[str, int] = {name: k for k, name in enumerate(known)}
    columns = [liking[:, index[name]] if name in index else np.zeros(len(liking)) for name in mask_classes]
    return np.stack([*columns, liking[:, -1]], 1)


def check_mask(mask: object, mask_classes: Sequence[str], height: int, width: int) -> None:
    """Raise `ArgumentError` unless a mask has the canvas's size and indices of its classes or 255."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.shape != (height, width):
        shown = (mask.dtype, mask.shape) if isinstance(mask, np.ndarray) else mask
        raise ArgumentError("mask", f"must be a uint8 array of shape {(height, width)}", shown)
    if not mask_classes or len(set(mask_classes)) != len(mask_classes):
        raise ArgumentError("mask_classes", "must name the mask's classes, each once", mask_classes)
    wrong = np.setdiff1d(mask, [*range(len(mask_classes)), UNKNOWN])
    if wrong.size:
        raise ArgumentError("mask", f"must hold indices below {len(mask_classes)}, or 255", wrong[:8].tolist())
