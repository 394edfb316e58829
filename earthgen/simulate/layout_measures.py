"""How alike two sets of layouts are, and how new one is: distances of distributions, and nearest layouts.

Sizes are pixels, so both sets are to be of one ground sampling distance. Objects of all classes are taken together but
for counts, co-occurrence and the comparison of single layouts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earthgen.errors import ArgumentError
from earthgen.simulate.layout_geometry import Floats, clipped, gaps, row_of
from earthgen.simulate.layouts import Layout

RADII = np.geomspace(8, 256, 13)
"""Edges in pixels of the rings over which the pair correlation is taken."""
NEAR = 0.1
"""Share of an image's diagonal over which two objects at different places count as wholly different."""


COPY_OF = 4
"""Fewer objects coincide by chance too often for one to speak of a copy."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Distances between two sets of layouts, 0 where they agree.

    All but the last three are Wasserstein-1 distances: the mean by which values would have to move.
    """

    size: float
    """Of the logarithm of √area: 0.1 is ten percent."""
    aspect: float
    """Of the logarithm of longer by shorter side."""
    heading: float
    """Degrees around the circle, directions 90 degrees apart taken as one, as the sides of a rectangle are."""
    count: float
    """Of log(1 + number of objects of a class in an image), mean over classes."""
    gap: float
    """Of the gap to the nearest object, as log(1 + pixels); overlaps are 0."""
    alignment: float
    """Degrees, of the angle to the nearest object's, 0 to 45."""
    overlap: float
    """Difference of the shares of objects that overlap another."""
    pairs: float
    """Mean absolute difference of log(0.1 + pair correlation) over rings of 8 to 256 px."""
    occurrence: float
    """Mean absolute difference of the shares of images that hold a class, or two classes together."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """Distances between single layouts, from 0 (the same) to 1 (nothing alike)."""

    nearest: float
    """Median distance of the layouts to the nearest one of the reference."""
    copies: float
    """Share of the layouts of at least `COPY_OF` objects of which half coincide with one of the reference."""
    spread: float
    """Median distance of the layouts to the nearest other one of their own set."""


def fidelity(layouts: Sequence[Layout], reference: Sequence[Layout]) -> Fidelity:
    """Compare two sets of layouts. Raises `ArgumentError` where one holds no object."""
    from scipy.stats import wasserstein_distance as moved

    a, b = _Marginals.of("layouts", layouts), _Marginals.of("reference", reference)
    classes = sorted({box.label for layout in (*layouts, *reference) for box in layout.boxes})
    counts = [
        np.log1p([[sum(x.label == c for x in y.boxes) for c in classes] for y in s]) for s in (layouts, reference)
    ]
    together = [np.einsum("ni,nj->ij", c > 0, c > 0, dtype=float) / len(c) for c in counts]
    pairs = [np.log(0.1 + pair_correlation(s)) for s in (layouts, reference)]
    return Fidelity(
        size=float(moved(a.size, b.size)),
        aspect=float(moved(a.aspect, b.aspect)),
        heading=circular_wasserstein(a.heading, b.heading, 90.0),
        count=float(np.mean([moved(counts[0][:, k], counts[1][:, k]) for k in range(len(classes))])),
        gap=float(moved(a.gap, b.gap)) if a.gap.size and b.gap.size else math.nan,
        alignment=float(moved(a.alignment, b.alignment)) if a.gap.size and b.gap.size else math.nan,
        overlap=abs(a.overlap - b.overlap),
        pairs=float(np.abs(pairs[0] - pairs[1]).mean()),
        occurrence=float(np.abs(together[0] - together[1]).mean()),
    )


def novelty(layouts: Sequence[Layout], reference: Sequence[Layout], whole: Sequence[Layout] | None = None) -> Novelty:
    """How far layouts are from those of a reference, and from each other. Empty layouts are left out of both.

    Args:
        layouts: Layouts to judge.
        reference: Layouts of the same size.
        whole: Layouts of any size to look for copies in, such as the images that the reference are windows of; None
            takes the reference.
    """
    mine, theirs = ([layout for layout in s if layout.boxes] for s in (layouts, reference))
    if len(mine) < 2 or not theirs:
        raise ArgumentError(
            "layouts", "must hold two layouts with objects, the reference one", (len(mine), len(theirs))
        )
    copied = [max(coincidence(a, b) for b in whole or theirs) >= 0.5 for a in mine if len(a.boxes) >= COPY_OF]
    nearest = np.array([min(distance(a, b) for b in theirs) for a in mine])
    within = np.ones((len(mine), len(mine)))
    for i in range(len(mine)):
        for j in range(i):
            within[i, j] = within[j, i] = distance(mine[i], mine[j])
    return Novelty(
        float(np.median(nearest)), float(np.mean(copied)) if copied else 0.0, float(np.median(within.min(1)))
    )


def distance(a: Layout, b: Layout) -> float:
    """Between two layouts, 0 to 1: their objects matched at the least cost, what finds no match costs 1.

    A pair costs 1 where classes differ; else the mean of how far apart they are (of a tenth of the diagonal), and by
    how much size (of a factor e) and angle (of 45 degrees) differ, each at most 1. Positions are relative to the image.
    """
    from scipy.optimize import linear_sum_assignment

    n, m = len(a.boxes), len(b.boxes)
    if not n or not m:
        return float(n != m)
    x, y = (np.array([row_of(box) for box in s.boxes]) for s in (a, b))
    at_x, at_y = (r[:, :2] / (s.width, s.height) for r, s in ((x, a), (y, b)))
    apart = np.linalg.norm(at_x[:, None] - at_y[None], axis=2) / (NEAR * math.sqrt(2))
    sizes = [np.log(r[:, 2:4].prod(1)) / 2 for r in (x, y)]
    size = np.abs(sizes[0][:, None] - sizes[1][None])
    turn = np.abs((x[:, None, 4] - y[None, :, 4] + 45) % 90 - 45) / 45
    cost = (np.minimum(apart, 1) + np.minimum(size, 1) + turn) / 3
    cost[apart >= 1] = 1.0
    cost[np.array([p.label for p in a.boxes])[:, None] != np.array([q.label for q in b.boxes])[None]] = 1.0
    matched = cost[linear_sum_assignment(cost)].sum()
    return float((matched + abs(n - m)) / max(n, m))


def coincidence(a: Layout, b: Layout) -> float:
    """The largest share of the objects of `a` that lie on objects of `b` when all are shifted alike, 0 to 1.

    Two objects coincide when class, size (within a fifth), angle (10 degrees) and, after the shift, place (a fifth of
    √area) agree; so a window of a layout coincides with it wholly, and one object always does.
    """
    if not a.boxes or not b.boxes:
        return 0.0
    x, y = (np.array([row_of(box) for box in s.boxes]) for s in (a, b))
    sizes = [np.log(r[:, 2:4].prod(1)) / 2 for r in (x, y)]
    alike = np.abs(sizes[0][:, None] - sizes[1][None]) < 0.2
    alike &= np.abs((x[:, None, 4] - y[None, :, 4] + 45) % 90 - 45) < 10
    alike &= np.array([p.label for p in a.boxes])[:, None] == np.array([q.label for q in b.boxes])[None]
    i, j = np.nonzero(alike)
    shifts, near = y[j, :2] - x[i, :2], 0.2 * np.exp(sizes[0][i])
    best = 0
    for shift in shifts:
        agreed = ((shifts - shift) ** 2).sum(1) <= near**2
        best = max(best, len(np.unique(i[agreed])))
    return best / len(x)


def circular_wasserstein(a: Floats, b: Floats, period: float) -> float:
    """Wasserstein-1 distance of two samples on a circle of that circumference, in its units.

    Cut anywhere, the flow of mass along the circle is the difference of the cumulative distributions but for a
    constant, the best of which is their median (Rabin, Delon and Gousseau, 2011).
    """
    a, b = np.sort(np.mod(a, period)), np.sort(np.mod(b, period))
    at = np.concatenate([a, b])
    at.sort()
    steps = np.diff(np.append(at, at[0] + period))
    flow = np.searchsorted(a, at, side="right") / len(a) - np.searchsorted(b, at, side="right") / len(b)
    order = np.argsort(flow)
    median = flow[order][np.searchsorted(np.cumsum(steps[order]), period / 2)]
    return float((np.abs(flow - median) * steps).sum())


def pair_correlation(layouts: Sequence[Layout]) -> Floats:
    """Pairs of centres by distance, (12,), over what as many points at random in images of that size would give.

    Above 1 objects seek each other, below they keep clear. One estimate for the whole set: the number of pairs in a
    ring of `RADII` against the mean square of densities times the area that image and shifted image share.
    """
    seen, expected = np.zeros(len(RADII) - 1), np.zeros(len(RADII) - 1)
    middle = np.sqrt(RADII[1:] * RADII[:-1])
    area = sum(layout.height * layout.width for layout in layouts)
    density = sum(len(layout.boxes) for layout in layouts) / area
    for layout in layouts:
        w, h = layout.width, layout.height
        # Area of the image and itself moved by r, averaged over directions.
        shared = np.maximum(w * h - 2 / math.pi * middle * (w + h) + middle**2 / math.pi, 0)
        expected += density**2 * shared * math.pi * np.diff(RADII**2)
        at = np.array([(box.cx, box.cy) for box in layout.boxes]).reshape(-1, 2)
        for k in range(len(at)):
            seen += np.histogram(np.linalg.norm(at - at[k], axis=1), RADII)[0]
    return seen / np.maximum(expected, 1e-12)


def windows(layouts: Sequence[Layout], side: int, visible: float = 0.1) -> list[Layout]:
    """Square windows beside each other out of each layout, boxes cut at their borders, without masks.

    A box of which less than `visible` of the area is left is dropped.
    """
    from earthgen.conditions import Box

    cut = []
    for layout in layouts:
        for top in range(0, layout.height - side + 1, side):
            for left in range(0, layout.width - side + 1, side):
                boxes = []
                for box in layout.boxes:
                    row = clipped(row_of(box) - (left, top, 0, 0, 0), side, side)
                    if row is not None and row[2] * row[3] >= visible * box.width * box.height:
                        boxes.append(Box(box.label, *row.tolist()))
                cut.append(Layout(side, side, tuple(boxes)))
    return cut


@dataclass(frozen=True, slots=True, eq=False)
class _Marginals:
    size: Floats
    aspect: Floats
    heading: Floats
    gap: Floats
    alignment: Floats
    overlap: float

    @classmethod
    def of(cls, name: str, layouts: Sequence[Layout]) -> _Marginals:
        rows = [np.array([row_of(box) for box in layout.boxes]).reshape(-1, 5) for layout in layouts]
        everything = np.concatenate([np.empty((0, 5)), *rows])
        if not len(everything):
            raise ArgumentError(name, "must hold layouts with objects", len(layouts))
        near, angles = [], []
        for objects in rows:
            if len(objects) < 2:
                continue
            for k in range(len(objects)):
                found = gaps(objects[k], objects)
                found[k] = np.inf
                n = int(np.argmin(found))
                near.append(found[n])
                angles.append(abs((objects[k, 4] - objects[n, 4] + 45) % 90 - 45))
        gap = np.array(near)
        return cls(
            np.log(everything[:, 2:4].prod(1)) / 2,
            np.abs(np.log(everything[:, 2] / everything[:, 3])),
            everything[:, 4],
            np.log1p(np.maximum(gap, 0)),
            np.array(angles),
            float((gap < 0).sum() / len(everything)),
        )
