"""The six change events, done to a label map whose objects are connected components (4 neighbours) of a class.

`earthgen.simulate.event_boxes` does the same to layouts, which differ in what an object is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import scipy
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from earthgen.conditions import UNKNOWN, Box
from earthgen.simulate.event_rules import EventRules
from earthgen.simulate.events import (
    KINDS,
    Event,
    Kind,
    Mask,
    Plan,
    count_missing,
    outline,
    wanted,
)

T = TypeVar("T")

RING = 3
"""Pixels around an object in which what it leaves behind is looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """An object of a state."""

    index: int
    """Of its class."""
    mask: Mask
    """(height, width), true where it is."""
    box: Box | None = None
    number: int = -1
    """Place of the box in its layout."""


Candidate = Callable[[], Thing | None]
"""An object that is looked up when it is needed: of a large map there are too many to hold a mask of each."""


class MapEditor:
    """A label map to which events are done; each method does one and returns it, or None where there is no room."""

    def __init__(
        self, labels: NDArray[np.uint8], classes: Sequence[str], rules: EventRules, scene: NDArray[np.uint16]
    ) -> None:
        self.labels = labels.copy()
        self.classes = tuple(classes)
        self.rules = rules
        self.scene = scene
        self.number = 0
        self.random = np.random.RandomState(0)
        self.free = np.ones(labels.shape, np.bool_)

    def step(self, plan: Plan, random: np.random.RandomState) -> tuple[tuple[Event, ...], dict[str, int]]:
        """Do the events of one step, each at a place of its own. Returns them and what found no place."""
        self.random, self.scene = random, self.scene.copy()
        self.free = self.labels != UNKNOWN
        asked = wanted(plan, random)
        done: list[Event | None] = []
        exhausted: set[Kind] = set()  # places only become fewer within a step
        for kind in asked:
            event = None
            for one in self._shuffled(KINDS) if kind == "any" else [kind]:
                if event is None and one not in exhausted:
                    event = getattr(self, one)()
                    exhausted |= {one} if event is None else set()
            done.append(event)
        missing = count_missing(asked, [e is not None for e in done])
        return tuple(e for e in done if e is not None), missing

    def add(self) -> Event | None:
        """A new object of the shape of one that is there, where its class may lie."""
        for index in self._shuffled(self._object_classes()):
            allowed = self._allowed(index)
            for template in self._templates(index):
                thing = self._placed(template, allowed)
                if thing is not None:
                    ground = np.bincount(self.labels[thing.mask]).argmax()
                    return self._commit("add", None, thing, int(ground))
        return None

    def remove(self) -> Event | None:
        """An object is gone; what lies around it has its place."""
        for thing in self._drawn(self._things(self._object_classes())):
            ground = self._ground(thing)
            if ground is not None:
                return self._commit("remove", thing, None, ground)
        return None

    def move(self) -> Event | None:
        """An object goes to another place where it may lie."""
        for thing in self._drawn(self._things(self._object_classes())):
            ground = self._ground(thing)
            if ground is None or _cut(thing.mask):
                continue
            there = self._placed(thing, self._allowed(thing.index))
            if there is not None:
                return self._commit("move", thing, there, ground)
        return None

    def grow(self) -> Event | None:
        """An object becomes larger, by a tenth of its pixels or more."""
        for thing in self._drawn(self._things(self._object_classes())):
            for larger in self._grown(thing):
                area, more = np.count_nonzero(thing.mask), np.count_nonzero(larger.mask & ~thing.mask)
                if more >= 0.1 * area and area + more <= self.rules.largest * self.labels.size:
                    return self._commit("grow", thing, larger, None)
        return None

    def shrink(self) -> Event | None:
        """An object becomes smaller, by a tenth of its pixels or more."""
        for thing in self._drawn(self._things(self._object_classes())):
            ground = self._ground(thing)
            for smaller in () if ground is None else self._shrunk(thing):
                left = np.count_nonzero(smaller.mask)
                if self.rules.smallest <= left <= 0.9 * np.count_nonzero(thing.mask):
                    return self._commit("shrink", thing, smaller, ground)
        return None

    def transition(self) -> Event | None:
        """A region, or a part of a large one, becomes another class."""
        for thing in self._drawn(self._regions()):
            targets = self._targets(thing.index)
            weights = np.array(list(targets.values()))
            name = str(self.random.choice(list(targets), p=weights / weights.sum()))
            other = Thing(self.classes.index(name), thing.mask)
            return self._commit("transition", thing, other, None)
        return None

    # What an object is ------------------------------------------------------------------------------------------------

    def _object_classes(self) -> list[int]:
        return [i for i, name in enumerate(self.classes) if name in self.rules.objects]

    def _targets(self, index: int) -> dict[str, float]:
        """What a class may become, with weights."""
        return self.rules.targets(self.classes[index], self.classes)

    def _grounds(self, index: int) -> list[int]:
        """Classes on which objects of a class may lie."""
        return [self.classes.index(name) for name in self.rules.grounds(self.classes[index], self.classes)]

    def _things(self, indices: Iterable[int]) -> list[Candidate]:
        """Objects of some classes, of a size that may be changed, untouched in this step."""
        largest = self.rules.largest * self.labels.size
        found: list[Candidate] = []
        for index in indices:
            numbered, areas = self._components(index)
            touched = np.unique(numbered[~self.free])
            fit = np.flatnonzero((areas >= self.rules.smallest) & (areas <= largest))
            found += [partial(_component, index, numbered, n) for n in np.setdiff1d(fit, touched)]
        return found

    def _regions(self) -> list[Candidate]:
        """Regions that may become something else, and parts of those that are too large to."""
        indices = [i for i in range(len(self.classes)) if self._targets(i)]
        found = self._things(indices)
        free = _eroded(self.free, self.rules.gap)
        for index in indices:
            numbered, areas = self._components(index)
            large = np.flatnonzero(areas > self.rules.largest * self.labels.size)
            found += [partial(self._part, index, numbered, int(n), free) for n in large]
        return found

    def _components(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
        """Connected regions of a class, numbered from 1, and the pixels of each number, 0 for the rest."""
        numbered, count = scipy.ndimage.label(self.labels == index)
        areas = np.bincount(numbered.ravel(), minlength=count + 1)
        areas[0] = 0
        return numbered, areas

    def _part(self, index: int, numbered: NDArray[np.int32], number: int, free: Mask) -> Thing | None:
        """A roundish piece of what is free of a large region, with a wavering edge."""
        largest = self.rules.largest * self.labels.size
        mask = (numbered == number) & free
        rows, columns = np.nonzero(mask)
        if not rows.size:
            return None
        pick = self.random.randint(rows.size)
        y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
        dy, dx = y - rows[pick], x - columns[pick]
        angle = np.arctan2(dy, dx)
        waves = sum(
            self.random.uniform(0, 0.25 / k) * np.cos(k * angle + self.random.uniform(0, 2 * math.pi))
            for k in (1, 2, 3)
        )
        radius = math.sqrt(max(self.random.uniform(0.3, 0.8) * largest, self.rules.smallest) / math.pi)
        pieces, _ = scipy.ndimage.label(mask & (np.hypot(dy, dx) <= radius * (1 + waves)))
        part = pieces == pieces[rows[pick], columns[pick]]
        return Thing(index, part) if self.rules.smallest <= np.count_nonzero(part) <= largest else None

    def _templates(self, index: int) -> Iterator[Thing]:
        """Shapes for a new object of a class, at any place: some that are there, turned, then a plain rectangle."""
        for thing in islice((t for t in self._drawn(self._things([index])) if not _cut(t.mask)), 4):
            shape = np.rot90(_trimmed(thing.mask), self.random.randint(4))
            yield Thing(index, shape[:, ::-1] if self.random.randint(2) else shape)
        side = math.sqrt(self.rules.smallest)
        for scale in (self.random.uniform(1.5, 4), 1.0):
            long, short = math.ceil(side * scale * self.random.uniform(1, 1.5)), math.ceil(side * scale)
            yield Thing(index, np.ones((long, short) if self.random.randint(2) else (short, long), np.bool_))

    def _grown(self, thing: Thing) -> Iterator[Thing]:
        width = max(1, round(self.random.uniform(0.15, 0.5) * math.sqrt(np.count_nonzero(thing.mask) / math.pi)))
        yield Thing(thing.index, scipy.ndimage.binary_dilation(thing.mask, iterations=width, mask=self._room(thing)))

    def _shrunk(self, thing: Thing) -> Iterator[Thing]:
        widest = max(1, round(self.random.uniform(0.1, 0.35) * math.sqrt(np.count_nonzero(thing.mask) / math.pi)))
        for width in range(widest, 0, -1):
            core = scipy.ndimage.binary_erosion(thing.mask, iterations=width, border_value=1)
            numbered, _ = scipy.ndimage.label(core)
            areas = np.bincount(numbered.ravel())[1:]
            if areas.size:
                yield Thing(thing.index, numbered == 1 + areas.argmax())

    def _outline(self, thing: Thing) -> BaseGeometry:
        return outline(thing.mask)

    def _at(self, template: Thing, top: int, left: int) -> Thing:
        """A template with its top left corner at a pixel."""
        shape = _trimmed(template.mask)
        mask = np.zeros(self.labels.shape, np.bool_)
        mask[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
        return Thing(template.index, mask)

    # How it is done ---------------------------------------------------------------------------------------------------

    def _allowed(self, index: int) -> Mask:
        """Where an object of a class may be put."""
        return _eroded(np.isin(self.labels, self._grounds(index)) & self.free, self.rules.gap)

    def _room(self, thing: Thing) -> Mask:
        """Where an object may grow: it keeps the gap to all but the ground, as objects that meet would become one."""
        own = thing.mask
        ground = np.isin(self.labels, self._grounds(thing.index)) & self.free
        return _eroded(ground | own, self.rules.gap) | own

    def _placed(self, template: Thing, allowed: Mask) -> Thing | None:
        """The template somewhere in `allowed`, at any of the places where it fits; None where it fits nowhere."""
        shape = _trimmed(template.mask)
        if np.count_nonzero(shape) > self.rules.largest * self.labels.size:
            return None
        places = places_for(shape, allowed)
        if not places.size:
            return None
        top, left = divmod(int(places[self.random.randint(places.size)]), allowed.shape[1] - shape.shape[1] + 1)
        return self._at(template, top, left)

    def _ground(self, thing: Thing) -> int | None:
        """The most frequent class around an object on which it may lie."""
        ring = scipy.ndimage.binary_dilation(thing.mask, iterations=RING) & ~thing.mask
        around = self.labels[ring]
        around = around[np.isin(around, self._grounds(thing.index))]
        return int(np.bincount(around).argmax()) if around.size else None

    def _fill(self, mask: Mask, ground: int | None) -> None:
        """Paint what shows where an object was."""
        if mask.any():
            assert ground is not None
            self.labels[mask] = ground

    def _commit(self, kind: Kind, old: Thing | None, new: Thing | None, ground: int | None) -> Event:
        nowhere = np.zeros_like(self.free)
        before, after = old.mask if old else nowhere, new.mask if new else nowhere
        changed = before ^ after if kind != "transition" else after
        self._fill(before & ~after, ground)
        if new is not None:
            self.labels[after] = new.index
        self.number += 1
        self.scene[changed] = self.number
        self.free &= ~(before | after)
        first = old or new
        assert first is not None
        return Event(
            kind,
            self.classes[first.index],
            became=self.classes[new.index] if kind == "transition" and new else None,
            ground=None if ground is None else self.classes[ground],
            before=self._outline(old) if old else None,
            after=self._outline(new) if new else None,
            area=int(np.count_nonzero(changed)),
        )

    def _drawn(self, candidates: list[Candidate]) -> Iterator[Thing]:
        """Objects in random order, each looked up when its turn comes."""
        made = (candidates[i]() for i in self.random.permutation(len(candidates)))
        return (thing for thing in made if thing is not None)

    def _shuffled(self, items: Iterable[T]) -> list[T]:
        items = list(items)
        return [items[i] for i in self.random.permutation(len(items))]


def places_for(shape: Mask, allowed: Mask) -> NDArray[np.intp]:
    """All places at which a shape lies wholly in `allowed`, as flat indices of its top left corner.

    They index an array of (height - rows of the shape + 1, width - its columns + 1).
    """
    if shape.shape[0] > allowed.shape[0] or shape.shape[1] > allowed.shape[1] or not allowed.any():
        return np.empty(0, np.intp)
    # A count of forbidden pixels under the shape; it is whole but for rounding, so a half tells 0 from 1.
    hits = scipy.signal.fftconvolve((~allowed).astype(np.float64), shape[::-1, ::-1].astype(np.float64), mode="valid")
    return np.flatnonzero(hits < 0.5)


def _component(index: int, numbered: NDArray[np.int32], number: int) -> Thing:
    return Thing(index, numbered == number)


def _eroded(mask: Mask, width: int) -> Mask:
    return scipy.ndimage.binary_erosion(mask, iterations=width, border_value=1) if width else mask


def _trimmed(mask: Mask) -> Mask:
    found: Mask = mask[scipy.ndimage.find_objects(mask.astype(np.uint8))[0]]
    return found


def _cut(mask: Mask) -> bool:
    """Whether an object may go on beyond the image's border."""
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())
