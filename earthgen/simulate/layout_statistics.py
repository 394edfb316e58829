"""What is learned from labelled layouts: their objects as exemplars, each with how it stands to a neighbour.

The objects of an image are joined into a tree that always adds the object nearest to those it has (Prim's algorithm,
with the gap between rectangles as distance). So each but the first has a neighbour it stands beside, and is remembered
by its place and heading in that neighbour's frame. Drawing such relations again keeps rows, courts and clusters,
spacing, shared headings and overlaps, and which class stands beside which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import Box
from earthgen.data.rectangles import around, visible_fraction
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledSet, Shape
from earthgen.labels.shapes import area, polygons
from earthgen.simulate.layout_geometry import Floats, enclosing, extent, framed, gaps, row_of
from earthgen.simulate.layout_masks import Mask, mask_of, own_class, standing

Ints = NDArray[np.int64]
BORDER = 1.5
"""Pixels from the border within which a box counts as cut by it."""
LONE = 3.0
"""An object farther from its neighbour than so many of its or the neighbour's longer side stands by itself."""
BANDWIDTHS = (0.01, 0.02, 0.04, 0.08, 0.15, 0.25)
"""Of logarithms of sizes and of relative headings in radians, to choose from."""


MAX_TURN_JITTER = 0.04
"""Of relative headings: what is aligned stays so to the eye."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A labelled layout."""

    height: int
    width: int
    rows: Floats
    """(n, 5): cx, cy, width, height, angle."""
    labels: Ints
    """(n,), indices of classes."""
    mask: Mask | None = None
    outlines: tuple[Floats | None, ...] = ()
    """Of each object, (k, 2) as (x, y) in pixels, None where it is its rectangle; or empty."""

    def framed(self, rows: Floats) -> tuple[Floats | None, ...]:
        """The outlines as of `framed`, in the frames of the rows (n, 5)."""
        outlines = self.outlines or (None,) * len(rows)
        return tuple(None if o is None else framed(o, row[4]) for o, row in zip(outlines, rows, strict=True))


def _to_border(scene: Scene, row: Floats) -> float:
    """Pixels between a rectangle and the border of its image, negative where it reaches beyond."""
    x0, y0, x1, y1 = extent(row)
    return min(x0, y0, scene.width - x1, scene.height - y1)


def _visible(scene: Scene, row: Floats, outline: Floats | None) -> float:
    """Share of an object that lies in its image."""
    if outline is None:
        return visible_fraction(Box("-", *row.tolist()), scene.width, scene.height)
    return sum(map(area, polygons(outline, scene.height, scene.width))) / area(outline)


@dataclass(frozen=True, slots=True)
class Convention:
    """How a set writes its rectangles, so that what is drawn is written in the same way."""

    turns: bool = True
    """Whether boxes are rotated at all."""
    period: int = 360
    """A heading is known but for multiples of this: 360, 180, or 90, where width and height trade places."""
    low: float = 0.0
    """Angles are in [low, low + period)."""
    longer: int = 0
    """1 where the width is never less than the height, -1 where never more, 0 where either may be."""
    clips: bool = False
    """Whether boxes end at the image's border."""

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> Convention:
        """The narrowest convention that all boxes follow."""
        rows = np.concatenate([scene.rows for scene in scenes])
        angles = rows[:, 4]
        # A tight rectangle around what the border left of an object still reaches a little beyond.
        seen = [
            _visible(scene, row, outline)
            for scene in scenes
            for row, outline in zip(scene.rows, scene.outlines or [None] * len(scene.rows), strict=True)
            if _to_border(scene, row) < BORDER
        ]
        clips = bool(seen) and float(np.median(seen)) > 0.9
        if not (np.mod(angles, 180) != 0).any():
            return cls(turns=False, clips=clips)
        longer = int((rows[:, 2] >= rows[:, 3]).all()) - int((rows[:, 2] <= rows[:, 3]).all())
        for period, lows in ((90, (-45.0, 0.0, -90.0)), (180, (-90.0, 0.0))):
            for low in lows:
                if angles.min() >= low and angles.max() <= low + period and not (period == 90 and longer):
                    return cls(True, period, low, longer, clips)
        return cls(True, 360, 0.0 if angles.min() >= 0 else -180.0, clips=clips)

    def inside(self, rows: Floats) -> Floats:
        """Rows as they are worked with: where the sides may trade places, the longer one is the width."""
        if self.period != 90:
            return rows
        swapped = rows[:, 3] > rows[:, 2]
        rows = np.where(swapped[:, None], rows[:, [0, 1, 3, 2, 4]], rows)
        rows[:, 4] += 90.0 * swapped
        return rows

    def outside(self, row: Floats) -> Floats:
        """A row as the set writes it."""
        if not self.turns:
            return row
        if (row[2] - row[3]) * self.longer < 0:
            row = row[[0, 1, 3, 2, 4]] + (0, 0, 0, 0, 90)
        turns, angle = divmod(row[4] - self.low, self.period)
        row = row[[0, 1, 3, 2, 4]] if self.period == 90 and turns % 2 else row.copy()
        row[4] = angle + self.low
        return row


@dataclass(frozen=True, slots=True, eq=False)
class Exemplars:
    """Objects to draw from, as arrays of n. Lengths are pixels of the set, angles degrees."""

    scene: Ints
    """Index of the scene each comes from."""
    label: Ints
    size: Floats
    """(n, 2): logarithms of width and height."""
    angle: Floats
    parent: Ints
    """Index of the neighbour it stands beside; -1 for the first of a group."""
    offset: Floats
    """(n, 2): direction from the neighbour's centre to its own, in the neighbour's frame."""
    link: Floats
    """Gap to that neighbour; for the first of a group, to whatever was nearest."""
    turn: Floats
    """Angle relative to the neighbour's; NaN where its own `angle` holds."""
    gap: Floats
    """Gap to the nearest object."""
    whole: NDArray[np.bool_]
    """Whether the border left it whole."""
    size_jitter: Floats
    """(n,): bandwidth of the logarithms of sizes."""
    turn_jitter: Floats
    """(n,): bandwidth of relative angles."""
    outline: tuple[Floats | None, ...]
    """As of `layout_geometry.framed`; None for a rectangle."""


def read_scenes(images: LabelledSet, outlines: bool = True) -> list[Scene]:
    """The layouts of the images whose shapes are known, each with its mask. Raises `ArgumentError` for none.

    With `outlines`, an object that has one is the rectangle around it: of the box's heading or, as a horizontal box
    knows none, of least area.
    """
    index = {name: k for k, name in enumerate(images.classes)}
    scenes = []
    for image in images.images:
        if image.shapes is None:
            continue
        drawn = tuple(_outline(shape) if outlines else None for shape in image.shapes)
        pairs = zip(image.shapes, drawn, strict=True)
        rows = np.array([_row(shape.box, outline) for shape, outline in pairs]).reshape(-1, 5)
        labels = np.array([index[shape.label] for shape in image.shapes], np.int64)
        mask = mask_of(image)
        if mask is not None and ((mask >= len(images.mask_classes)) & (mask != 255)).any():
            rule = f"must hold masks with indices below {len(images.mask_classes)} (mask_classes), or 255"
            raise ArgumentError("images", rule, image.id)
        known = any(outline is not None for outline in drawn)
        scenes.append(Scene(image.height, image.width, rows, labels, mask, drawn if known else ()))
    if not any(len(scene.rows) for scene in scenes):
        raise ArgumentError("images", "must hold at least one object to learn from", len(images))
    return scenes


def _outline(shape: Shape) -> Floats | None:
    """The outline of an object, its largest part where it crosses itself."""
    rings = [] if shape.polygon is None else polygons(shape.polygon)
    return rings[0] if rings else None


def _row(box: Box, outline: Floats | None) -> Floats:
    if outline is None:
        return row_of(box)
    return enclosing(outline, box.angle if box.angle % 90 else around(box.label, outline).angle)


def tree_of(rows: Floats) -> tuple[Ints, Floats, Floats]:
    """Neighbour in the tree (-1 for its root), gap to it, and gap to the nearest object of all: each (n,).

    The root's gap is infinite, and so is that of an only object to the nearest.
    """
    n = len(rows)
    parent, link, nearest = np.full(n, -1), np.full(n, np.inf), np.full(n, np.inf)
    waiting = np.ones(n, bool)
    # From the middle of the crowd, where neighbours are whole.
    current = int(np.argmin(((rows[:, :2] - np.median(rows[:, :2], 0)) ** 2).sum(1))) if n else 0
    for _ in range(n):
        waiting[current] = False
        found = gaps(rows[current], rows)
        found[current] = np.inf
        nearest[current] = found.min()
        closer = waiting & (found < link)
        link[closer], parent[closer] = found[closer], current
        current = int(np.argmin(np.where(waiting, link, np.inf)))
    return parent, link, nearest


def exemplars_of(scenes: Sequence[Scene], convention: Convention) -> Exemplars:
    """Every object of the scenes with its relation to a neighbour."""
    parts: dict[str, list[NDArray[np.generic]]] = {}
    outlines: list[Floats | None] = []
    start = 0
    for number, scene in enumerate(scenes):
        rows = convention.inside(scene.rows)
        n = len(rows)
        if not n:
            continue
        parent, link, nearest = tree_of(rows)
        beside = np.maximum(rows[:, 2:4].max(1), rows[parent, 2:4].max(1))
        parent = np.where(link <= LONE * beside, parent, -1)
        a = np.radians(rows[parent, 4])
        d = rows[:, :2] - rows[parent, :2]
        offset = np.stack([d[:, 0] * np.cos(a) + d[:, 1] * np.sin(a), d[:, 1] * np.cos(a) - d[:, 0] * np.sin(a)], 1)
        cut = [min(x0, y0, scene.width - x1, scene.height - y1) < BORDER for x0, y0, x1, y1 in map(extent, scene.rows)]
        columns: dict[str, NDArray[np.generic]] = {
            "scene": np.full(n, number),
            "label": scene.labels,
            "size": np.log(rows[:, 2:4]),
            "angle": rows[:, 4],
            "parent": np.where(parent >= 0, parent + start, -1),
            "offset": offset,
            "link": link,
            "turn": np.where(parent >= 0, _wrapped(rows[:, 4] - rows[parent, 4], convention.period), np.nan),
            "gap": nearest,
            "whole": ~np.array(cut),
        }
        for name, column in columns.items():
            parts.setdefault(name, []).append(column)
        outlines += scene.framed(rows)
        start += n
    arrays = {name: np.concatenate(columns) for name, columns in parts.items()}
    size_jitter, turn_jitter = np.zeros(start), np.zeros(start)
    for label in np.unique(arrays["label"]):
        of = arrays["label"] == label
        size_jitter[of] = bandwidth(arrays["size"][of], arrays["scene"][of])
        turned = of & (arrays["parent"] >= 0)
        if turned.any() and convention.turns:
            turns = np.radians(arrays["turn"][turned].astype(float))[:, None]
            turn_jitter[of] = math.degrees(min(bandwidth(turns, arrays["scene"][turned]), MAX_TURN_JITTER))
    return Exemplars(**arrays, size_jitter=size_jitter, turn_jitter=turn_jitter, outline=tuple(outlines))


def _wrapped(angles: Floats, period: int) -> Floats:
    """Angles brought into half a period around 0; a rectangle with a longer side looks the same after half a turn."""
    full = max(period, 180)
    return (angles + full / 2) % full - full / 2


def bandwidth(values: Floats, groups: Ints) -> float:
    """The one of `BANDWIDTHS` with the best leave-one-out likelihood, (n, d) values seen from others of their group."""
    best, chosen = -np.inf, BANDWIDTHS[2]
    for h in BANDWIDTHS:
        total, members = 0.0, 0
        for group in np.unique(groups):
            x = values[groups == group][:400]
            if len(x) < 3:
                continue
            squared = ((x[:, None] - x[None]) ** 2).sum(2) / h**2
            np.fill_diagonal(squared, np.inf)
            # A twentieth of a broad kernel keeps one stray object from deciding.
            kernel = 0.95 * np.exp(-squared / 2) / h ** x.shape[1] + 0.05 * np.exp(-squared * h**2 / 2)
            total += float(np.log(kernel.sum(1) / (len(x) - 1) + 1e-300).sum())
            members += len(x)
        if members and total > best:
            best, chosen = total, h
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Grounds:
    """What the scenes' masks teach: what objects stand on, and masks without objects to cut from."""

    mask_classes: tuple[str, ...]
    own: tuple[int | None, ...]
    """For each object class, the mask class that is its own."""
    liking: Floats
    """(classes, mask classes + 1), see `layout_masks.Ground`."""
    straddle: Floats
    """(classes,), likewise."""
    cleared: tuple[Mask | None, ...]
    """A mask a scene."""

    @classmethod
    def of(cls, scenes: Sequence[Scene], classes: int, mask_classes: tuple[str, ...]) -> Grounds | None:
        """From the scenes that have a mask; None where none has."""
        having = [scene for scene in scenes if scene.mask is not None]
        if not having or not mask_classes:
            return None
        masks = [scene.mask for scene in having if scene.mask is not None]
        count = len(mask_classes)
        own = tuple(
            own_class(masks, [scene.rows[scene.labels == label] for scene in having], count) for label in range(classes)
        )
        kinds = [scene.labels for scene in having]
        liking, straddle, bare = standing(masks, [scene.rows for scene in having], kinds, own, count)
        rest = iter(bare)
        return cls(mask_classes, own, liking, straddle, tuple(None if s.mask is None else next(rest) for s in scenes))
