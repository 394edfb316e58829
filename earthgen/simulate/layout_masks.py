"""Semantic masks under layouts: what stands on what, masks without their objects, and masks cut from real ones.

A class of a mask is some objects' own where it is what they are themselves, as buildings in a mask of land cover.
Clearing a mask replaces own classes by what is nearest around them: the ground the objects stand on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.features import rasterize

from earthgen.conditions import UNKNOWN
from earthgen.data import rectangles
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import LabelledImage
from earthgen.simulate.layout_geometry import Floats, footprint, row_of

Mask = NDArray[np.uint8]
OWN_INSIDE, OWN_COVERED = 0.6, 0.5
"""A class is some objects' own where it fills so much of their boxes, and their boxes cover so much of it."""
TOLERATED = 0.1
"""Share of a box that may lie on classes on which no object of its class was seen."""
STRADDLE = 0.05
"""Least share of an object that may lie on others than its main ground, as edges of masks are no finer."""
PIECES = 24
"""Pieces of real masks to choose from for each part of a larger one."""
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


def painted(
    ground: Mask, rows: Sequence[Floats], values: Sequence[int | None], outlines: Sequence[Floats | None] = ()
) -> Mask:
    """A cleared mask with objects painted on it, each in its value; None paints nothing.

    Objects are rectangles, or what `outlines` has for them (none, or one or None a row).
    """
    mask = ground.copy()
    for row, value, outline in zip(rows, values, outlines or [None] * len(rows), strict=True):
        if value is None:
            continue
        r, c, inner = footprint(row, *mask.shape)
        if outline is not None and inner.size:
            inner = rasterize([shapely.Polygon(outline - (c.start, r.start))], inner.shape).astype(bool)
        mask[r, c][inner] = value
    return mask


def rows_on(mask: Mask, own: int, label: str) -> list[Floats]:
    """Rectangles of the objects that a mask already shows, those of its parts that are rectangles."""
    return [row_of(box) for box in rectangles.of_components(mask == own, label)[0]]


def carve(rng: np.random.Generator, sources: Sequence[Mask], height: int, width: int) -> Mask:
    """A crop of one of the masks, turned by quarters and flipped, (height, width).

    A canvas that none of them covers is quilted (Efros and Freeman, 2001): of many pieces the one that best continues
    what is there already, joined along the cut through their overlap that crosses the fewest differences.
    """
    if any(_fits(source, height, width) for source in sources):
        return _piece(rng, sources, height, width)
    side = max(4, int(0.75 * np.median([min(source.shape) for source in sources])))
    overlap = max(1, side // 5)
    canvas = np.full((height, width), UNKNOWN, np.uint8)
    for top in range(0, max(1, height - overlap), side - overlap):
        for left in range(0, max(1, width - overlap), side - overlap):
            there = canvas[top : top + side, left : left + side]
            kept = np.zeros(there.shape, bool)
            strips = [(slice(None), slice(0, overlap))] * (left > 0) + [(slice(0, overlap), slice(None))] * (top > 0)
            pieces = (_piece(rng, sources, side, side)[: there.shape[0], : there.shape[1]] for _ in range(PIECES))
            best = min(pieces, key=lambda piece: sum(int((piece[s] != there[s]).sum()) for s in strips))
            if left > 0:
                kept[:, :overlap] |= _cut((best != there)[:, :overlap])
            if top > 0:
                kept[:overlap] |= _cut((best != there)[:overlap].T).T
            canvas[top : top + side, left : left + side] = np.where(kept, there, best)
    return canvas


def _fits(source: Mask, height: int, width: int) -> bool:
    return (source.shape[0] >= height and source.shape[1] >= width) or (
        source.shape[1] >= height and source.shape[0] >= width
    )


def _piece(rng: np.random.Generator, sources: Sequence[Mask], height: int, width: int) -> Mask:
    """A crop, (height, width), of one of the masks that hold one, the more likely the larger."""
    holding = [source for source in sources if _fits(source, height, width)]
    areas = np.array([source.size for source in holding], float)
    source = holding[int(rng.choice(len(holding), p=areas / areas.sum()))]
    upright = [
        source.shape[0] >= height and source.shape[1] >= width,
        source.shape[1] >= height and source.shape[0] >= width,
    ]
    quarters = [k for k in range(4) if upright[k % 2]]
    source = np.rot90(source, quarters[int(rng.integers(len(quarters)))])
    source = source[:, ::-1] if rng.random() < 0.5 else source
    top = int(rng.integers(source.shape[0] - height + 1))
    left = int(rng.integers(source.shape[1] - width + 1))
    return np.ascontiguousarray(source[top : top + height, left : left + width])


def _cut(differs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True left of the path from top to bottom that crosses the fewest differences, (height, width)."""
    cost = differs.astype(np.int32)
    for y in range(1, len(cost)):
        above = np.pad(cost[y - 1], 1, constant_values=1 << 30)
        cost[y] += np.minimum(np.minimum(above[:-2], above[1:-1]), above[2:])
    path = np.empty(len(cost), np.int64)
    path[-1] = int(np.argmin(cost[-1]))
    for y in range(len(cost) - 2, -1, -1):
        low = max(0, path[y + 1] - 1)
        path[y] = low + int(np.argmin(cost[y, low : path[y + 1] + 2]))
    return np.arange(cost.shape[1]) < path[:, None]


class Ground:
    """Where objects may stand on a cleared mask.

    Args:
        mask: (height, width), indices, 255 where unknown.
        liking: For each object class, how dense its objects stand on each class of the mask and, last, on what is
            unknown: (classes, mask classes + 1), 0 where none was seen.
        straddle: For each object class, the share of an object that may lie on others than its main class of the mask.
    """

    def __init__(self, mask: Mask, liking: Floats, straddle: Floats) -> None:
        self.straddle = straddle
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
        main = int(np.argmax(part))
        return bool(
            part[liking == 0].sum() <= TOLERATED and 1 - part[main] <= self.straddle[label] and chance < liking[main]
        )

    def place(
        self, rng: np.random.Generator, label: int, window: tuple[int, int, int, int]
    ) -> tuple[float, float] | None:
        """A random pixel (x, y) of a window (top, left, bottom, right), by liking; None where there is none."""
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


def standing(
    masks: Sequence[Mask],
    rows: Sequence[Floats],
    labels: Sequence[NDArray[np.int64]],
    own: Sequence[int | None],
    count: int,
) -> tuple[Floats, Floats, list[Mask]]:
    """What objects stand on, from masks of `count` classes with the rectangles on each.

    Returns:
        How dense the objects of each class stand on each class of the cleared masks and on what is unknown:
        (classes, count + 1); the share of an object that lies on others than its main ground and its own class, as a
        95 % quantile for each class: (classes,); and the cleared masks.
    """
    owned = sorted({k for k in own if k is not None})
    bare = [cleared(mask, owned) for mask in masks]
    area, seen = np.zeros(count + 1), np.zeros((len(own), count + 1))
    straddling: list[list[float]] = [[STRADDLE] for _ in own]
    for mask, ground, objects, kinds in zip(masks, bare, rows, labels, strict=True):
        area += shares(ground, count) * ground.size
        for row, label in zip(objects, kinds, strict=True):
            r, c, inner = footprint(row, *mask.shape)
            if inner.any():
                main = int(np.argmax(shares(ground[r, c][inner], count)))
                seen[label, main] += 1
                part = shares(mask[r, c][inner], count)
                part[[main, *owned]] = 0
                straddling[label].append(float(part.sum()))
    seen[seen < SEEN * seen.sum(1, keepdims=True)] = 0
    return seen / np.maximum(area, 1), np.array([max(STRADDLE, np.quantile(s, 0.95)) for s in straddling]), bare


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
