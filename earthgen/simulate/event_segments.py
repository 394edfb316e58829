"""Change events on images without labels: segments are found, and some are erased.

Changen2's self-supervised route (Zheng et al. 2024): an image stands for itself by the contours of its segments; the
change is the union of segments, opened and dilated, and contours are erased there. What is made anew without contours
shows what lies around it.

The segmenter is watersheds of the gradient (Beucher and Lantuéjoul 1979), merged by the rule of Felzenszwalb and
Huttenlocher, "Efficient graph-based image segmentation", 2004. It needs nothing but SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy
from numpy.typing import NDArray

from earthgen.conditions import UNKNOWN, check_number, check_rgb
from earthgen.errors import ArgumentError
from earthgen.simulate.events import (
    OBJECT,
    Event,
    Mask,
    Plan,
    Series,
    check_plan,
    check_room,
    count_missing,
    outline,
    stream,
    wanted,
)

Segments = NDArray[np.int32]
OPENING = 1
"""Pixels: threads thinner than twice that are no object."""
DILATION = 2
"""Pixels by which a segment's place is widened, so that its blurred edge goes with it."""
LONGEST = 2.5
"""Sides of a rectangle that becomes something else, the longer by the shorter."""
TRIES = 100
"""Rectangles drawn in search of places, each step."""
RING = 6
"""Pixels around a segment to which its colour is compared."""


def segment(image: NDArray[np.uint8], scale: float = 60.0, smallest: int = 64, sigma: float = 0.8) -> Segments:
    """Segments of an image, (height, width), numbered from 0.

    Args:
        image: RGB, (height, width, 3).
        scale: Larger gives larger segments: grey levels by which regions of one pixel may differ and be merged.
        smallest: Pixels; smaller segments are merged into the one nearest in colour.
        sigma: Pixels of the blur before gradients are taken.

    Raises:
        ArgumentError: The image is no RGB, or a number is out of range.
    """
    check_rgb("image", image)
    check_number("scale", scale, "must be a number > 0", 0, 1e6, low_open=True)
    check_number("sigma", sigma, "must be from 0 to 100 pixels", 0, 100)
    smooth = scipy.ndimage.gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))
    slope = np.sqrt(sum(scipy.ndimage.sobel(smooth[..., c], axis) ** 2 for c in range(3) for axis in (0, 1)))
    levels = np.minimum(slope / 4, 255).astype(np.uint8)
    basins, _ = scipy.ndimage.label(levels == scipy.ndimage.minimum_filter(levels, 3), structure=np.ones((3, 3)))
    regions = scipy.ndimage.watershed_ift(levels, basins.astype(np.int32)).astype(np.int32) - 1
    return _merged(regions, smooth, scale, smallest)


def _merged(regions: Segments, image: NDArray[np.float32], scale: float, smallest: int) -> Segments:
    """Neighbours joined, the most alike first, while they differ by less than they vary themselves plus scale / √size.

    Regions are watersheds of many pixels, so the size counts as the root of the area, their width.
    """
    count = int(regions.max()) + 1
    area = np.bincount(regions.ravel(), minlength=count).astype(float)
    colour = np.stack([np.bincount(regions.ravel(), image[..., c].ravel(), count) / area for c in range(3)], 1)
    pairs = np.concatenate(
        [
            np.stack([a.ravel(), b.ravel()], 1)
            for a, b in ((regions[1:], regions[:-1]), (regions[:, 1:], regions[:, :-1]))
        ]
    )
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    weight = np.linalg.norm(colour[pairs[:, 0]] - colour[pairs[:, 1]], axis=1)
    order = np.argsort(weight, kind="stable")
    parent, within, size = list(range(count)), [0.0] * count, area.tolist()

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(a: int, b: int, w: float) -> None:
        parent[b] = a
        size[a] += size[b]
        within[a] = max(w, within[a], within[b])

    edges = list(zip(pairs[order].tolist(), weight[order].tolist(), strict=True))
    for (i, j), w in edges:
        a, b = root(i), root(j)
        if a != b and w <= min(within[a] + scale / size[a] ** 0.5, within[b] + scale / size[b] ** 0.5):
            join(a, b, w)
    for (i, j), w in edges:
        a, b = root(i), root(j)
        if a != b and min(size[a], size[b]) < smallest:
            join(a, b, w)
    roots = np.array([root(i) for i in range(count)])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)[regions]


def contours(segments: Segments, erased: Mask | None = None) -> Mask:
    """Pixels whose right or lower neighbour is of another segment, (height, width), but none in `erased`."""
    lines = np.zeros(segments.shape, np.bool_)
    lines[:-1] |= segments[:-1] != segments[1:]
    lines[:, :-1] |= segments[:, :-1] != segments[:, 1:]
    return lines if erased is None else lines & ~erased


def simulate_segments(
    image: NDArray[np.uint8],
    seed: int,
    plans: Sequence[Plan] = (2,),
    *,
    become: Sequence[str] = (),
    segments: Segments | None = None,
    smallest: int = 64,
    largest: float = 0.05,
    contrast: float = 12.0,
) -> Series:
    """A series of an image without labels, in which segments are gone, or places become what a text says.

    Segments that stand out from what surrounds them may go ("remove"); read backwards, they appear. Any place may
    become something else ("transition"): a rectangle, snapped to the segments. `Series.maps` is None where nothing
    can, as nobody knows any class; else its classes are the texts. Where fewer places are found than events asked
    for, as many as there are happen, and `Series.missing` counts the others.

    Args:
        image: RGB, (height, width, 3).
        seed: Decides on what happens where, together with the image; from 0 to 2⁶⁴ - 1.
        plans: One a step: how many of "remove" and "transition"; a number is of transitions if there is a `become`,
            else of removals.
        become: What places may become, in words that the model knows; each transition draws one.
        segments: (height, width), of another segmenter; None takes `segment`.
        smallest: Pixels of the smallest segment or place that may change.
        largest: Largest share of the image that one event may change.
        contrast: Grey levels by which the mean colour of a segment that goes must differ from that of its
            surroundings: what does not stand out would be gone without a trace.

    Raises:
        ArgumentError: An argument is out of range, the image too small, or there are transitions into nothing.
    """
    check_rgb("image", image)
    if not plans:
        raise ArgumentError("plans", "must be at least one", plans)
    check_become(plans, become)
    check_room("image", image.shape[:2], smallest, largest)
    found = segment(image, smallest=smallest) if segments is None else segments
    if found.shape != image.shape[:2]:
        raise ArgumentError("segments", f"must have the image's size, {image.shape[:2]}", found.shape)
    free = np.ones(found.shape, np.bool_)
    scenes, maps = [np.zeros(found.shape, np.uint16)], [np.full(found.shape, UNKNOWN, np.uint8)]
    events: list[tuple[Event, ...]] = []
    missing: list[dict[str, int]] = []
    for step, plan in enumerate(plans):
        random = stream(seed, step)
        asked = [("transition" if become else "remove") if kind == "any" else kind for kind in wanted(plan, random)]
        numbers = np.unique(found)
        order = numbers[random.permutation(numbers.size)]
        candidates = {
            "remove": (_gone(image, found == n, smallest, largest, contrast) for n in order),
            "transition": (_block(found, smallest, largest, random) for _ in range(TRIES)),
        }
        scene, shown, happened = scenes[-1].copy(), maps[-1].copy(), list[Event | None]()
        for kind in asked:
            place = next((p for p in candidates[kind] if p is not None and free[p].all()), None)
            if place is None:
                happened.append(None)
                continue
            free &= ~place
            scene[place] = scene.max() + 1
            shape, area = outline(place), int(np.count_nonzero(place))
            if kind == "remove":
                happened.append(Event("remove", OBJECT, before=shape, area=area))
            else:
                index = int(random.randint(len(become)))
                shown[place] = index
                happened.append(Event("transition", OBJECT, become[index], before=shape, after=shape, area=area))
        scenes.append(scene)
        maps.append(shown)
        events.append(tuple(e for e in happened if e is not None))
        missing.append(count_missing(asked, [e is not None for e in happened]))
    series = Series(tuple(scenes), tuple(events), tuple(missing))
    return replace(series, maps=tuple(maps), classes=tuple(become), described=True) if become else series


def check_become(plans: Sequence[Plan], become: Sequence[str]) -> None:
    """Raise `ArgumentError` unless images without labels can change by these plans, into these texts."""
    if isinstance(become, str) or not all(isinstance(text, str) and text.strip() for text in become):
        raise ArgumentError("become", "must be texts that are not empty", become)
    if len(set(become)) < len(become) or len(become) >= UNKNOWN:
        raise ArgumentError("become", f"must be fewer than {UNKNOWN} texts, each once", become)
    for plan in plans:
        check_plan(plan)
        if isinstance(plan, Mapping) and set(plan) - {"remove", "transition"}:
            raise ArgumentError("events", 'must be of "remove" and "transition" where no class is known', dict(plan))
        if isinstance(plan, Mapping) and plan.get("transition") and not become:
            raise ArgumentError("become", "must say what places become where there are transitions", become)


def _gone(image: NDArray[np.uint8], mask: Mask, smallest: int, largest: float, contrast: float) -> Mask | None:
    """The segment without threads, widened; None where too little or too much is left, or it does not stand out."""
    most = largest * mask.size
    if not smallest <= np.count_nonzero(mask) <= most:
        return None
    core = scipy.ndimage.binary_opening(mask, iterations=OPENING)
    place: Mask = scipy.ndimage.binary_dilation(core, iterations=DILATION)
    if np.count_nonzero(core) < smallest or np.count_nonzero(place) > most:
        return None
    return place if _contrast(image, place) >= contrast else None


def _block(segments: Segments, smallest: int, largest: float, random: np.random.RandomState) -> Mask | None:
    """A rectangle somewhere, snapped to segments: it has all of those that lie in it by half or more.

    Of the segment in its middle it has what lies in it, so it is a part of a field, or a union of plots.
    """
    most = largest * segments.size
    row, column = (random.randint(side) for side in segments.shape)
    angle, aspect = random.uniform(0, math.pi), random.uniform(1, LONGEST)
    area = math.exp(random.uniform(math.log(smallest), math.log(most)))
    y, x = np.ogrid[: segments.shape[0], : segments.shape[1]]
    dy, dx = y - row, x - column
    along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    inside = (np.abs(along) <= math.sqrt(area * aspect) / 2) & (np.abs(across) <= math.sqrt(area / aspect) / 2)
    share = np.bincount(segments.ravel(), inside.ravel()) / np.bincount(segments.ravel())
    snapped = (share >= 0.5)[segments] | (inside & (segments == segments[row, column]))
    pieces, count = scipy.ndimage.label(scipy.ndimage.binary_opening(snapped, iterations=OPENING))
    if not count:
        return None
    place = scipy.ndimage.binary_fill_holes(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())
    return place if smallest <= np.count_nonzero(place) <= most else None


def _contrast(image: NDArray[np.uint8], place: Mask) -> float:
    """Grey levels between the mean colours of a place and of a ring around it."""
    ring = scipy.ndimage.binary_dilation(place, iterations=RING) & ~place
    return float(np.linalg.norm(image[place].mean(0) - image[ring].mean(0)) / 3**0.5) if ring.any() else 0.0
