"""Change events on images without labels: segments are found, and some are erased.

Changen2's self-supervised route (Zheng et al. 2024): an image stands for itself by the contours of its segments; the
change is the union of segments, opened and dilated, and contours are erased there. What is made anew without contours
shows what lies around it.

The segmenter is watersheds of the gradient (Beucher and Lantuéjoul 1979), merged by the rule of Felzenszwalb and
Huttenlocher, "Efficient graph-based image segmentation", 2004. It needs nothing but SciPy.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from earthgen.conditions import check_number, check_rgb
from earthgen.errors import ArgumentError
from earthgen.simulate.events import Event, Mask, Series, check_plan, check_room, count_missing, outline, stream

OBJECT = "object"
"""What the labels call a segment, of which nobody knows what it is."""
Segments = NDArray[np.int32]
OPENING = 1
"""Pixels: threads thinner than twice that are no object."""
DILATION = 2
"""Pixels by which a segment's place is widened, so that its blurred edge goes with it."""
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
    counts: tuple[int, ...] = (2,),
    *,
    segments: Segments | None = None,
    smallest: int = 64,
    largest: float = 0.05,
    contrast: float = 12.0,
) -> Series:
    """A series of an image without labels, in which segments that stand out from what surrounds them are gone.

    Read backwards, objects appear. `Series.maps` is None, as nobody knows any class. Where fewer segments stand out
    than asked for, as many as there are go, and `Series.missing` counts the others.

    Args:
        image: RGB, (height, width, 3).
        seed: Decides which.
        counts: One a step: how many go.
        segments: (height, width), of another segmenter; None takes `segment`.
        smallest: Pixels of the smallest segment that may go.
        largest: Largest share of the image that may.
        contrast: Grey levels by which a segment's mean colour must differ from that of its surroundings: what does
            not stand out would be gone without a trace.

    Raises:
        ArgumentError: An argument is out of range, or the image too small.
    """
    check_rgb("image", image)
    for count in counts:
        check_plan(count)
    if not counts:
        raise ArgumentError("counts", "must be at least one", counts)
    check_room("image", image.shape[:2], smallest, largest)
    found = segment(image, smallest=smallest) if segments is None else segments
    if found.shape != image.shape[:2]:
        raise ArgumentError("segments", f"must have the image's size, {image.shape[:2]}", found.shape)
    free = np.ones(found.shape, np.bool_)
    scenes = [np.zeros(found.shape, np.uint16)]
    events: list[tuple[Event, ...]] = []
    missing: list[dict[str, int]] = []
    for step, count in enumerate(counts):
        scene, happened = scenes[-1].copy(), list[Event]()
        numbers = np.unique(found)
        for number in numbers[stream(seed, step).permutation(numbers.size)]:
            if len(happened) == count:
                break
            place = _place(found == number, smallest, largest * found.size)
            if place is None or not free[place].all() or _contrast(image, place) < contrast:
                continue
            free &= ~place
            scene[place] = 1 + sum(len(past) for past in events) + len(happened)
            happened.append(Event("remove", OBJECT, before=outline(place), area=int(np.count_nonzero(place))))
        scenes.append(scene)
        events.append(tuple(happened))
        missing.append(count_missing(["remove"] * count, [i < len(happened) for i in range(count)]))
    return Series(tuple(scenes), tuple(events), tuple(missing))


def _place(mask: Mask, smallest: int, largest: float) -> Mask | None:
    """The segment without threads, widened; None where too little or too much is left."""
    if not smallest <= np.count_nonzero(mask) <= largest:
        return None
    core = scipy.ndimage.binary_opening(mask, iterations=OPENING)
    place: Mask = scipy.ndimage.binary_dilation(core, iterations=DILATION)
    return place if smallest <= np.count_nonzero(core) and np.count_nonzero(place) <= largest else None


def _contrast(image: NDArray[np.uint8], place: Mask) -> float:
    """Grey levels between the mean colours of a place and of a ring around it."""
    ring = scipy.ndimage.binary_dilation(place, iterations=RING) & ~place
    return float(np.linalg.norm(image[place].mean(0) - image[ring].mean(0)) / 3**0.5) if ring.any() else 0.0
