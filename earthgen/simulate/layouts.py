"""Layouts that look like a user's own and are none of them: drawn from statistics of labels, or from rules.

A layout is a pure function of the generator, of what is asked, and of the random generator that is handed in.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import Box
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledSet
from earthgen.simulate import layout_files
from earthgen.simulate import layout_masks as masks
from earthgen.simulate.layout_drawn import Layout
from earthgen.simulate.layout_files import MAX_SIDE
from earthgen.simulate.layout_geometry import Floats, extent
from earthgen.simulate.layout_placement import LEAST_SEEN, Placer, Window
from earthgen.simulate.layout_rules import ClassRule, counts_of_rules, exemplars_of_rules, rules_of, with_outlines
from earthgen.simulate.layout_statistics import Convention, Grounds, Ints, Scene, exemplars_of, read_scenes

__all__ = ["ClassRule", "Layout", "LayoutGenerator"]

FEW_IMAGES, FEW_OBJECTS = 10, 50
"""With fewer of either, rules are estimated instead of exemplars kept."""
RULE_WINDOW = 512
"""Pixels a side over which rules count objects."""
COUNT_JITTER = 0.15
"""Standard deviation of the factor by which a count differs from the one seen."""
CROPS = 24
"""Windows of real layouts that are compared with a mask, for one to be like it."""
ALIKE = 0.15
"""Bandwidth of the distance between the shares of classes in two masks."""


class LayoutGenerator:
    """Draws layouts of any size. Make one by `fit`, `from_rules` or `load`.

    A canvas is divided into windows about as large as the labelled images. Each takes the number of objects of each
    class from a random window of a random labelled image, so counts, empty images and which classes occur together are
    as they were seen. Then objects are placed one by one beside another, at a gap, in a direction, with a relative
    heading and of a size that were seen together, or by themselves as often as they were seen so; no object comes
    nearer to another than it or its like was seen to.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        scenes: Sequence[Scene] = (),
        mask_classes: tuple[str, ...] = (),
        rules: Mapping[str, ClassRule] | None = None,
    ) -> None:
        self.classes, self.mask_classes = classes, mask_classes
        self.scenes, self.rules = tuple(scenes), rules
        self.grounds = Grounds.of(scenes, len(classes), mask_classes) if scenes else None
        if scenes:
            self.convention = Convention.of(scenes)
        else:
            turns = any(rule.heading != (0.0, 0.0) for rule in (rules or {}).values())
            self.convention = Convention(turns=turns, low=-180.0)
        if rules is None:
            self.exemplars = exemplars_of(scenes, self.convention)
        else:
            self.exemplars = exemplars_of_rules([rules[name] for name in classes], self.convention.turns)
            if any(scene.outlines for scene in scenes):
                self.exemplars = with_outlines(self.exemplars, exemplars_of(scenes, self.convention))

    @classmethod
    def fit(cls, images: LabelledSet, outlines: bool = True) -> LayoutGenerator:
        """Learn from the shapes of labelled images, and from the masks of those that have one.

        Images with `shapes=None` are left out. With fewer than 10 images or 50 objects, rules are estimated from them
        (`generator.rules`). With `outlines`, objects that have one lend it to those that are drawn after them, laid
        into their boxes and mirrored at random; without, all are boxes. Raises `ArgumentError` where there is no object
        to learn from.
        """
        scenes = read_scenes(images, outlines)
        present = sorted({int(k) for scene in scenes for k in scene.labels})
        classes = tuple(images.classes[k] for k in present)
        number = {old: new for new, old in enumerate(present)}
        scenes = [replace(s, labels=np.array([number[int(k)] for k in s.labels], np.int64)) for s in scenes]
        rules = None
        if len(scenes) < FEW_IMAGES or sum(len(s.rows) for s in scenes) < FEW_OBJECTS:
            grounds = Grounds.of(scenes, len(classes), images.mask_classes)
            rules = rules_of(scenes, classes, Convention.of(scenes), grounds)
        return cls(classes, scenes, images.mask_classes, rules)

    @classmethod
    def from_rules(cls, rules: Mapping[str, ClassRule]) -> LayoutGenerator:
        """A generator that follows a rule a class."""
        if not isinstance(rules, Mapping) or not rules:
            raise ArgumentError("rules", "must map at least one class to its rule", rules)
        for name, rule in rules.items():
            if not isinstance(name, str) or not name.strip():
                raise ArgumentError("rules", "must have non-empty strings as classes", name)
            if not isinstance(rule, ClassRule):
                raise ArgumentError(f"rules[{name!r}]", "must be a ClassRule", rule)
        return cls(tuple(rules), rules=dict(rules))

    def sample(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        *,
        mask: NDArray[np.uint8] | None = None,
        mask_classes: Sequence[str] = (),
        classes: Iterable[str] | None = None,
        counts: Mapping[str, int] | None = None,
        with_mask: bool = False,
    ) -> Layout:
        """Draw a layout.

        Args:
            rng: Where all chance comes from.
            height, width: Of the image in pixels; the number of objects goes with the area.
            mask: Semantic mask to respect, (height, width), indices into `mask_classes`, 255 where unknown. Objects
                stand only where their class was seen to stand. Of a class that is objects' own (buildings in a mask of
                land cover) the mask's parts become their boxes where it has any; else the boxes are painted into it.
            mask_classes: Names of the mask's classes, in any order, with or without those that were learned.
            classes: The classes that occur, each at least once; None draws them too.
            counts: Exactly so many of each class, others none. What finds no room is left out, with a warning and in
                `Layout.missing`.
            with_mask: Also make a mask: cut from a real one, turned, flipped, its objects taken away and new ones put.

        Raises:
            ArgumentError: A size, mask, class or count makes no sense, or no masks were learned.
        """
        self._check_size(height, width)
        only = self._indices("classes", self.classes if classes is None else classes)
        asked = self._counts(counts)
        if mask is not None:
            masks.check_mask(mask, mask_classes, height, width)
            if with_mask:
                raise ArgumentError("with_mask", "must not be asked for together with `mask`", with_mask)
        elif with_mask:
            mask, mask_classes = self._carved(rng, height, width), self.mask_classes
        ground, bare, own = self._ground(mask, mask_classes)
        placer = Placer(rng, height, width, self.exemplars, self.convention, ground)
        shown = np.zeros(len(self.classes), bool)
        if mask is not None and not with_mask:
            shown = self._shown(placer, mask, own, only)
            if asked is not None and (asked[shown] > 0).any():
                names = [self.classes[k] for k in np.flatnonzero(shown & (asked > 0))]
                raise ArgumentError("counts", "must not name classes that the mask already shows", names)
        given = len(placer.labels)
        plan = self._plan(rng, height, width, None if ground is None else bare, mask_classes)
        wanted = np.stack([numbers for _, _, numbers in plan])
        if asked is not None:
            wanted = _divided(rng, wanted, asked)
        else:
            wanted[:, [k for k in range(len(self.classes)) if k not in only]] = 0
            if classes is not None:
                for label in only:
                    wanted[int(rng.integers(len(plan))), label] += not wanted[:, label].any()
        wanted[:, shown] = 0
        missing = np.zeros(len(self.classes), np.int64)
        for (window, scene, _), numbers in zip(plan, wanted, strict=True):
            missing += placer.fill(window, numbers, scene)
        lost: tuple[tuple[str, int], ...] = ()
        if asked is not None:
            missing = placer.top_up(missing)
            lost = tuple((self.classes[k], int(missing[k])) for k in np.flatnonzero(missing))
            if lost:
                shortage = ", ".join(f"{n} of {int(asked[self.classes.index(c)])} {c}" for c, n in lost)
                warnings.warn(f"the layout of {width} x {height} pixels has no room for {shortage}", stacklevel=2)
        if mask is not None and bare is not None:
            values = [own[k] for k in placer.labels[given:]]
            rows, outlines = placer.crowd.rows[given:], placer.outlines[given:]
            mask = masks.painted(bare if with_mask else mask, rows, values, outlines)
        told = () if mask is None else tuple(mask_classes)
        return replace(self._drawn(placer), mask=mask, mask_classes=told, missing=lost)

    def perturb(self, rng: np.random.Generator, height: int, width: int, strength: float = 0.5) -> Layout:
        """Windows of real layouts whose objects are moved, turned and resized, some left out and new ones added.

        Args:
            rng: Where all chance comes from.
            height, width: In pixels.
            strength: 0 leaves the objects as they are; at 1 they move by a quarter of their size, turn by 5 degrees,
                change by a tenth (standard deviations), and a fifth are replaced by others elsewhere.
        """
        self._check_size(height, width)
        if not self.scenes:
            raise ArgumentError(
                "strength", "asks for labelled layouts to perturb, and this generator has rules alone", 0
            )
        if not 0 <= strength <= 1:
            raise ArgumentError("strength", "must be from 0 to 1", strength)
        placer = Placer(rng, height, width, self.exemplars, self.convention)
        moves = np.array([0.25, 0.25, 0.1, 0.1, 5.0 * self.convention.turns]) * strength
        for window in self._windows(height, width):
            scene, top, left = self._crop(rng, window)
            real = self.scenes[scene]
            again = np.zeros(len(self.classes), np.int64)
            rows = self.convention.inside(real.rows) + _shift(window, top, left)
            framed = real.framed(rows)
            for k in np.flatnonzero(self._within(rows, window, height, width)):
                row, label = rows[k], int(real.labels[k])
                if rng.random() < 0.2 * strength:
                    again[label] += 1
                    continue
                noise = moves * rng.standard_normal(5)
                scale = np.array([row[2:4].min(), row[2:4].min(), row[2], row[3], 1.0])
                room = placer.least[label]
                if placer.put(row + noise * scale, label, room, theirs=False, outline=framed[k]) is None:
                    placer.put(row, label, -math.inf, theirs=False, outline=framed[k])
            placer.fill(window, again, scene)
        return self._drawn(placer)

    def save(self, path: Path | str) -> Path:
        """Write the generator as JSON: the layouts it learned from with their masks, and its rules."""
        return layout_files.write(path, self.classes, self.scenes, self.mask_classes, self.rules)

    @classmethod
    def load(cls, path: Path | str) -> LayoutGenerator:
        """Read what `save` wrote. Raises `DataError` for any other file."""
        return cls(*layout_files.read(path))

    def _drawn(self, placer: Placer) -> Layout:
        rows = [map(float, self.convention.outside(row)) for row in placer.crowd.rows]
        boxes = tuple(Box(self.classes[label], *row) for label, row in zip(placer.labels, rows, strict=True))
        known = any(outline is not None for outline in placer.outlines)
        return Layout(placer.height, placer.width, boxes, outlines=tuple(placer.outlines) if known else ())

    @staticmethod
    def _check_size(height: int, width: int) -> None:
        for name, side in (("height", height), ("width", width)):
            if not isinstance(side, (int, np.integer)) or isinstance(side, bool) or not 1 <= side <= MAX_SIDE:
                raise ArgumentError(name, f"must be a whole number of pixels from 1 to {MAX_SIDE}", side)

    def _indices(self, argument: str, names: Iterable[str]) -> list[int]:
        names = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            raise ArgumentError(argument, f"must be among the classes of the generator, {self.classes}", unknown)
        return sorted({self.classes.index(name) for name in names})

    def _counts(self, counts: Mapping[str, int] | None) -> Ints | None:
        if counts is None:
            return None
        self._indices("counts", counts)
        for name, n in counts.items():
            if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 0:
                raise ArgumentError(f"counts[{name!r}]", "must be a whole number ≥ 0", n)
        return np.array([counts.get(name, 0) for name in self.classes], np.int64)

    def _carved(self, rng: np.random.Generator, height: int, width: int) -> masks.Mask:
        sources = [scene.mask for scene in self.scenes if scene.mask is not None]
        if self.grounds is None or not sources:
            raise ArgumentError("with_mask", "needs a generator that learned from images with masks", True)
        return masks.carve(rng, sources, height, width)

    def _ground(
        self, mask: masks.Mask | None, mask_classes: Sequence[str]
    ) -> tuple[masks.Ground | None, masks.Mask | None, list[int | None]]:
        """Where objects may stand, the mask without them, and the index of each class's own class in it."""
        nothing: list[int | None] = [None] * len(self.classes)
        if mask is None:
            return None, None, nothing
        straddle = np.ones(len(self.classes))
        if self.grounds is not None:
            straddle = self.grounds.straddle
            known, names = self.mask_classes, [None if k is None else self.mask_classes[k] for k in self.grounds.own]
            liking = masks.renumbered(self.grounds.liking, known, mask_classes)
        elif self.rules is not None:
            names = [self.rules[name].own for name in self.classes]
            liking = masks.liking_by_rule([self.rules[name].mask_classes for name in self.classes], mask_classes)
        else:  # labels without masks say nothing of where objects stand
            names = [None] * len(self.classes)
            liking = np.ones((len(self.classes), len(mask_classes) + 1))
        own = [mask_classes.index(name) if name is not None and name in mask_classes else None for name in names]
        bare = masks.cleared(mask, sorted({k for k in own if k is not None}))
        return masks.Ground(bare, liking, straddle), bare, own

    def _shown(
        self, placer: Placer, mask: masks.Mask, own: Sequence[int | None], only: Sequence[int]
    ) -> NDArray[np.bool_]:
        """Take in the objects that a mask shows already; for which classes it shows any."""
        shown = np.zeros(len(self.classes), bool)
        for label, value in enumerate(own):
            if value is not None and (mask == value).any():
                shown[label] = True
                if label in only:
                    for row in masks.rows_on(mask, value, self.classes[label]):
                        placer.keep(row, label, -math.inf)
        return shown

    def _windows(self, height: int, width: int) -> list[Window]:
        """The canvas in parts about as large as a labelled image."""
        by_rule = self.rules is not None
        tall = RULE_WINDOW if by_rule else np.median([scene.height for scene in self.scenes])
        wide = RULE_WINDOW if by_rule else np.median([scene.width for scene in self.scenes])
        rows = np.linspace(0, height, max(1, round(height / tall)) + 1).round().astype(int).tolist()
        columns = np.linspace(0, width, max(1, round(width / wide)) + 1).round().astype(int).tolist()
        return [(top, left, bottom, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]

    def _crop(self, rng: np.random.Generator, window: Window) -> tuple[int, int, int]:
        """A random scene and the top and left of a window of that size in it, 0 where the scene is smaller."""
        height, width = window[2] - window[0], window[3] - window[1]
        weights = np.maximum(1, np.array([scene.height * scene.width for scene in self.scenes]) / (height * width))
        k = int(rng.choice(len(weights), p=weights / weights.sum()))  # a scene holds so many windows
        scene = self.scenes[k]
        top = int(rng.integers(max(0, scene.height - height) + 1))
        left = int(rng.integers(max(0, scene.width - width) + 1))
        return k, top, left

    def _within(self, rows: Floats, window: Window, height: int, width: int) -> NDArray[np.bool_]:
        """Which rows (n, 5) belong to a window: by their centre, or by what the canvas's border leaves of them."""
        half = np.zeros((len(rows), 2))
        if self.convention.clips and len(rows):
            half = np.array([(x1 - x0, y1 - y0) for x0, y0, x1, y1 in map(extent, rows)]) * (0.5 - LEAST_SEEN)
        top, left, bottom, right = window
        x, y = rows[:, 0], rows[:, 1]
        inside = (x >= left - half[:, 0] * (left == 0)) & (x < right + half[:, 0] * (right == width))
        return inside & (y >= top - half[:, 1] * (top == 0)) & (y < bottom + half[:, 1] * (bottom == height))

    def _plan(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        bare: masks.Mask | None,
        mask_classes: Sequence[str],
    ) -> list[tuple[Window, int | None, Ints]]:
        """For each window of the canvas the scene it is to be like and the number of objects of each class."""
        plan: list[tuple[Window, int | None, Ints]] = []
        for window in self._windows(height, width):
            h, w = window[2] - window[0], window[3] - window[1]
            if self.rules is not None:
                rules = [self.rules[name] for name in self.classes]
                plan.append((window, None, counts_of_rules(rng, rules, h * w)))
                continue
            if bare is not None and self.grounds is not None:
                part = bare[window[0] : window[2], window[1] : window[3]]
                k, top, left = self._alike(rng, window, part, mask_classes)
            else:
                k, top, left = self._crop(rng, window)
            scene = self.scenes[k]
            rows = scene.rows + _shift(window, top, left)
            seen = scene.labels[self._within(rows, window, height, width)]
            counts = np.bincount(seen, minlength=len(self.classes)).astype(float)
            counts *= h * w / (min(h, scene.height) * min(w, scene.width))
            counts *= math.exp(COUNT_JITTER * rng.standard_normal() - COUNT_JITTER**2 / 2)
            plan.append((window, k, np.floor(counts + rng.random(len(counts))).astype(np.int64)))
        return plan

    def _alike(
        self, rng: np.random.Generator, window: Window, part: masks.Mask, mask_classes: Sequence[str]
    ) -> tuple[int, int, int]:
        """A crop as of `_crop`, the more likely the more its mask has the same shares of classes as `part`."""
        assert self.grounds is not None
        count = len(mask_classes)
        wanted = dict(zip(mask_classes, masks.shares(part[::4, ::4], count), strict=False))
        names = self.mask_classes
        target = np.array([wanted.get(name, 0.0) for name in names])
        crops, distances = [], []
        for _ in range(CROPS):
            k, top, left = self._crop(rng, window)
            mask = self.grounds.cleared[k]
            crops.append((k, top, left))
            if mask is None:
                distances.append(1.0)
                continue
            seen = mask[top : top + window[2] - window[0] : 4, left : left + window[3] - window[1] : 4]
            distances.append(float(np.abs(masks.shares(seen, len(names))[:-1] - target).sum()) / 2)
        weights = np.exp(-((np.array(distances) - min(distances)) ** 2) / (2 * ALIKE**2))
        return crops[int(rng.choice(CROPS, p=weights / weights.sum()))]


def _shift(window: Window, top: int, left: int) -> Floats:
    """What brings a row of a scene into a window of the canvas, when that window was cut there."""
    return np.array([window[1] - left, window[0] - top, 0, 0, 0], float)


def _divided(rng: np.random.Generator, drawn: Ints, asked: Ints) -> Ints:
    """`asked` of each class (classes,) over the windows, in proportion to what was drawn (windows, classes)."""
    weights = drawn + 0.02 * drawn.sum(1, keepdims=True) + 1e-6
    shares = weights / weights.sum(0)
    return np.stack([rng.multinomial(n, shares[:, k]) for k, n in enumerate(asked)], 1)
