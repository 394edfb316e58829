"""Random crops, coarser resolutions and turns of a sample, with all that is known of it kept true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthgen.conditions import Box
from earthgen.data.base import Facts, Sample, mask_fractions, moved
from earthgen.data.rectangles import visible_fraction
from earthgen.errors import ArgumentError

VISIBLE = 0.1
"""Boxes of which less lies in the crop are dropped."""
TURN_BELOW_GSD = 100.0
"""Metres a pixel. Coarser pictures show coasts and ranges one knows, which must not be mirrored."""
KEEPS_LABEL = 0.5
"""A crop of less of the image's area may miss the object that gave the image its class."""
TEXTURES = frozenset(
    (
        *("AnnualCrop", "Forest", "HerbaceousVegetation", "Industrial", "Pasture", "PermanentCrop", "Residential"),
        *("SeaLake", "agricultural", "chaparral", "denseresidential", "forest", "harbor", "mediumresidential"),
        *("mobilehomepark", "parkinglot"),
    )
)
"""Classes that hold for any part of an image of theirs."""


def draw(
    sample: Sample,
    rng: np.random.Generator,
    size: int,
    gsd_scale: float = 1.0,
    turn: bool | None = None,
) -> Sample:
    """A random square of a sample, perhaps at a coarser GSD, perhaps turned or mirrored.

    Args:
        sample: At least `size` pixels on either side.
        rng: Decides on the place and the turn.
        size: Side of the result in pixels.
        gsd_scale: How many times coarser than the sample, at least 1. Where the sample is too small for that, as
            coarse as its size allows; the result's `gsd` says how coarse it became.
        turn: Whether to turn by a random multiple of 90 degrees and mirror. None turns unless the GSD is known to be
            100 m or coarser. North is not up in what was turned.

    Raises:
        ArgumentError: The sample is smaller than `size`, or `gsd_scale` is below 1.
    """
    if not gsd_scale >= 1:
        raise ArgumentError("gsd_scale", "must be at least 1", gsd_scale)
    shortest = min(sample.height, sample.width)
    if not 1 <= size <= shortest:
        raise ArgumentError("size", f"must be from 1 to {shortest}, the sample's shorter side", size)
    side = min(round(size * gsd_scale), shortest)
    top = int(rng.integers(sample.height - side + 1))
    left = int(rng.integers(sample.width - side + 1))
    result = resized(cropped(sample, top, left, side, side), size)
    if turn if turn is not None else sample.gsd is None or sample.gsd < TURN_BELOW_GSD:
        result = turned(result, int(rng.integers(4)), bool(rng.integers(2)))
    return result


def cropped(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The window of `height` x `width` pixels whose north west corner is at row `top`, column `left`."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    image = sample.image[rows, columns]
    if top < 0 or left < 0 or image.shape[:2] != (height, width) or image.size == 0:
        rule = f"must lie within the sample of {sample.width} x {sample.height} px"
        raise ArgumentError("window", rule, (top, left, height, width))
    lat, lon, gsd = sample.lat, sample.lon, sample.gsd
    if lat is not None and lon is not None and gsd is not None:
        dx, dy = left + width / 2 - sample.width / 2, top + height / 2 - sample.height / 2
        lat, lon, gsd = moved(lat, lon, gsd, dx, dy, sample.projection)
    mask = None if sample.mask is None else sample.mask[rows, columns]
    boxes = None
    if sample.boxes is not None:
        shifted = (replace(b, cx=b.cx - left, cy=b.cy - top) for b in sample.boxes)
        boxes = tuple(b for b in shifted if visible_fraction(b, width, height) >= VISIBLE)
    facts = _facts_of_crop(sample, top, left, height, width)
    if mask is not None:
        facts = replace(facts, mask_fractions=mask_fractions(mask, sample.mask_classes))
    return sample.replace(image=image, mask=mask, boxes=boxes, lat=lat, lon=lon, gsd=gsd, facts=facts)


def _facts_of_crop(sample: Sample, top: int, left: int, height: int, width: int) -> Facts:
    facts = sample.facts
    if facts.regions:
        regions = []
        for box in facts.regions:
            x0, y0 = max(box.cx - box.width / 2 - left, 0), max(box.cy - box.height / 2 - top, 0)
            x1, y1 = min(box.cx + box.width / 2 - left, width), min(box.cy + box.height / 2 - top, height)
            if x0 < x1 and y0 < y1:
                regions.append(Box.from_xyxy(box.label, x0, y0, x1, y1))
        labels = {box.label for box in regions}
        return replace(facts, regions=tuple(regions), label=labels.pop() if len(labels) == 1 else None)
    share = height * width / (sample.height * sample.width)
    if facts.label is not None and facts.label not in TEXTURES and share < KEEPS_LABEL:
        return replace(facts, label=None)
    return facts


def resized(sample: Sample, size: int) -> Sample:
    """A square sample at `size` pixels, no more than it has: the mean over the area of each new pixel."""
    side = sample.width
    if side == size:
        return sample
    if sample.height != side or size > side:
        raise ArgumentError("size", f"must be at most {side}, for a square sample", (sample.height, side, size))
    factor = side / size
    image = np.array(Image.fromarray(sample.image).resize((size, size), Image.Resampling.BOX))
    mask = sample.mask
    if mask is not None:
        mask = np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
    return sample.replace(
        image=image,
        mask=mask,
        boxes=None if sample.boxes is None else tuple(_scaled(b, factor) for b in sample.boxes),
        gsd=None if sample.gsd is None else sample.gsd * factor,
        facts=replace(sample.facts, regions=tuple(_scaled(b, factor) for b in sample.facts.regions)),
    )


def _scaled(box: Box, factor: float) -> Box:
    return Box(box.label, box.cx / factor, box.cy / factor, box.width / factor, box.height / factor, box.angle)


def turned(sample: Sample, quarters: int, mirrored: bool) -> Sample:
    """A square or oblong sample turned counterclockwise by quarters, then mirrored left to right."""

    def pixels(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        array = np.rot90(array, quarters)
        return np.ascontiguousarray(array[:, ::-1] if mirrored else array)

    def box(b: Box) -> Box:
        cx, cy, angle = b.cx, b.cy, b.angle
        width = sample.width
        height = sample.height
        for _ in range(quarters % 4):
            cx, cy, angle = cy, width - cx, angle - 90.0
            width, height = height, width
        if mirrored:
            cx, angle = width - cx, -angle
        w, h = b.width, b.height
        angle = (angle + 90.0) % 180.0 - 90.0
        if not -45.0 <= angle < 45.0:  # the same rectangle with its sides named the other way round
            w, h, angle = h, w, (angle + 135.0) % 90.0 - 45.0
        return Box(b.label, cx, cy, w, h, angle)

    return sample.replace(
        image=pixels(sample.image),
        mask=None if sample.mask is None else pixels(sample.mask),
        boxes=None if sample.boxes is None else tuple(box(b) for b in sample.boxes),
        facts=replace(sample.facts, regions=tuple(box(b) for b in sample.facts.regions)),
    )


def coarser(image: NDArray[np.uint8], factor: int = 4) -> NDArray[np.uint8]:
    """The mean over blocks of `factor` x `factor` pixels, (ceil(height / factor), ceil(width / factor), 3), rounded.

    Blocks at the right and the bottom that are not full are averaged over the pixels they have.
    """
    if factor < 1:
        raise ArgumentError("factor", "must be at least 1", factor)
    height, width = image.shape[:2]
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    total = np.add.reduceat(np.add.reduceat(image.astype(np.int64), rows, axis=0), columns, axis=1)
    count = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))[:, :, None]
    mean: NDArray[np.uint8] = ((2 * total + count) // (2 * count)).astype(np.uint8)
    return mean
