"""Labelled images as windows of one size, which the detector and the evaluators learn from and are tested on.

A window is a square of pixels (left, top, size) of an image; what lies outside of the image is grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.features import rasterize

from earthgen.conditions import Box, Polygon
from earthgen.errors import DataError
from earthgen.labels.base import LabelledImage
from earthgen.labels.pictures import check_indices, read_mask, read_pixels

GREY = 114
VISIBLE = 0.4
"""Share of an object's horizontal box that must lie in a window; it is difficult where less does."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Boxes of objects in pixels, with their class numbers."""

    boxes: NDArray[np.float32]
    """(n, 4) as left, top, right, bottom."""
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    """True where an evaluator is to leave the object out."""
    rotated: NDArray[np.float32] | None = None
    """(n, 5) as centre, width, height and angle in degrees, not cut at borders; None where no headings are known."""

    def within(self, left: int, top: int, size: int) -> Objects:
        """The objects of a window in its own pixels, cut at its border; difficult where little of one is left."""
        shifted = self.boxes - np.array([left, top, left, top], np.float32)
        cut = shifted.clip(0, size)
        shown = _areas(cut) / np.maximum(_areas(shifted), 1e-6)
        kept = (cut[:, 2:] - cut[:, :2] >= 1).all(1)
        rotated = None if self.rotated is None else (self.rotated - np.array([left, top, 0, 0, 0], np.float32))[kept]
        return Objects(cut[kept], self.labels[kept], (self.difficult | (shown < VISIBLE))[kept], rotated)

    def certain(self) -> Objects:
        """Those that are not difficult."""
        kept = ~self.difficult
        rotated = None if self.rotated is None else self.rotated[kept]
        return Objects(self.boxes[kept], self.labels[kept], self.difficult[kept], rotated)

    def turned(self, size: int, mirror: bool, quarters: int) -> Objects:
        """After `turned(pixels, mirror, quarters)` of the window of this size."""
        x0, y0, x1, y1 = self.boxes.T
        if mirror:
            x0, x1 = size - x1, size - x0
        for _ in range(quarters):  # a quarter counter-clockwise, as numpy.rot90: (x, y) to (y, size - x)
            x0, y0, x1, y1 = y0, size - x1, y1, size - x0
        rotated = self.rotated
        if rotated is not None:
            x, y, width, height, angle = rotated.T
            if mirror:
                x, angle = size - x, -angle
            for _ in range(quarters):
                x, y, angle = y, size - x, angle - 90
            rotated = np.stack([x, y, width, height, angle], 1)
        return Objects(np.stack([x0, y0, x1, y1], 1), self.labels, self.difficult, rotated)


def turned(pixels: Pixels, mirror: bool, quarters: int) -> Pixels:
    """One of the eight symmetries of the square: mirrored left to right, then turned by quarters."""
    return np.rot90(pixels[:, ::-1] if mirror else pixels, quarters)


def objects_of(image: LabelledImage, classes: Sequence[str]) -> Objects:
    """The objects of an image; those whose class is not among `classes` are left out."""
    number = {name: k for k, name in enumerate(classes)}
    shapes = [s for s in image.shapes or () if s.label in number]
    outlines = [s.outline() for s in shapes]
    boxes = [[*o.min(0), *o.max(0)] for o in outlines]
    rotated = [[s.box.cx, s.box.cy, s.box.width, s.box.height, s.box.angle] for s in shapes]
    return Objects(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([number[s.label] for s in shapes], np.int64),
        np.array([s.difficult for s in shapes], bool),
        np.array(rotated, np.float32).reshape(-1, 5),
    )


def class_map(image: LabelledImage, classes: Sequence[str]) -> Pixels:
    """Outlines painted by class: 0 where there is nothing, else 1 + its class; (height, width).

    Small objects lie on top of large ones.
    """
    number = {name: k + 1 for k, name in enumerate(classes)}
    shapes = sorted(image.shapes or (), key=lambda s: -s.box.width * s.box.height)
    return _painted([(s.outline(), number[s.label]) for s in shapes if s.label in number], image.height, image.width)


def box_map(boxes: Iterable[Box | Polygon], height: int, width: int) -> NDArray[np.bool_]:
    """Where boxes and polygons lie, (height, width)."""
    return _painted([(box.corners(), 1) for box in boxes], height, width).astype(bool)


def _painted(outlines: Sequence[tuple[NDArray[np.float64], int]], height: int, width: int) -> Pixels:
    """Each outline's number at the pixels whose centres it holds, later ones on top; 0 elsewhere."""
    if not outlines:
        return np.zeros((height, width), np.uint8)
    shapes = [({"type": "Polygon", "coordinates": [[*o.tolist(), o[0].tolist()]]}, k) for o, k in outlines]
    return rasterize(shapes, (height, width), dtype=np.uint8)


def mask_of(image: LabelledImage, classes: Sequence[str]) -> Pixels:
    """The semantic mask of an image that has one, (height, width) indices into `classes`, 255 unknown."""
    mask = read_mask(image)
    assert mask is not None
    check_indices(mask, tuple(classes), repr(image.id))
    return mask


class Pictures:
    """The pixels of a set's images, kept while they need less than `budget` bytes and read again otherwise."""

    def __init__(self, images: Sequence[LabelledImage], budget: int = 1 << 30) -> None:
        self.images = images
        self.left = budget
        self.kept: dict[int, Pixels] = {}

    def __getitem__(self, index: int) -> Pixels:
        if index in self.kept:
            return self.kept[index]
        image = self.images[index]
        pixels, _ = read_pixels(image.path)
        if pixels.shape[:2] != (image.height, image.width):
            raise DataError(f"{image.path} is {pixels.shape[:2]} pixels, not {(image.height, image.width)} as labelled")
        if pixels.nbytes <= self.left:
            self.left -= pixels.nbytes
            self.kept[index] = pixels
        return pixels


def window(pixels: Pixels, left: int, top: int, size: int, fill: int = GREY) -> Pixels:
    """The window's pixels, (size, size, ...), with `fill` where the image ends before it does."""
    part = pixels[top : top + size, left : left + size]
    if part.shape[:2] == (size, size):
        return part
    whole = np.full((size, size, *part.shape[2:]), fill, np.uint8)
    whole[: part.shape[0], : part.shape[1]] = part
    return whole


def resized(pixels: Pixels, side: int) -> Pixels:
    """An image (height, width, 3) as a square of `side` pixels, its proportions not kept."""
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


def random_corner(height: int, width: int, size: int, generator: np.random.Generator) -> tuple[int, int]:
    """Left and top of a window in an image, any as likely."""
    return int(generator.integers(max(width - size, 0) + 1)), int(generator.integers(max(height - size, 0) + 1))


def corners(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Left and top of windows that together show the whole image, spread evenly, overlapping no more than they must."""

    def starts(length: int) -> list[int]:
        number = -(-length // size)
        return [round(k * (length - size) / (number - 1)) for k in range(number)] if number > 1 else [0]

    return [(left, top) for top in starts(height) for left in starts(width)]


def fraction_of(images: Sequence[LabelledImage], fraction: float, seed: int) -> list[LabelledImage]:
    """That share of the images of each class, at least one; for one seed, a smaller share is part of a larger one."""
    by_label: dict[str | None, list[LabelledImage]] = {}
    for image in images:
        by_label.setdefault(image.label, []).append(image)
    generator = np.random.default_rng([seed, len(images)])
    chosen: list[LabelledImage] = []
    for members in by_label.values():
        order = generator.permutation(len(members))
        chosen += [members[k] for k in order[: max(1, round(fraction * len(members)))]]
    return chosen


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
