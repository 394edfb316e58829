"""Change events on layouts: the objects are boxes, horizontal or rotated, on a map of what the ground is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from earthgen.conditions import UNKNOWN, Box
from earthgen.errors import ArgumentError
from earthgen.simulate.event_editor import Candidate, MapEditor, Thing
from earthgen.simulate.event_maps import check_request
from earthgen.simulate.event_rules import EventRules
from earthgen.simulate.events import Event, Kind, Mask, Plan, Series, check_labels, stream

BACKGROUND = "background"
"""Class of the ground where none is given."""


def simulate_boxes(
    boxes: Sequence[Box],
    height: int,
    width: int,
    seed: int,
    plans: Sequence[Plan] = ({"add": 1, "remove": 1},),
    rules: EventRules | None = None,
    *,
    classes: Sequence[str] = (),
    ground: NDArray[np.uint8] | None = None,
    ground_classes: Sequence[str] = (),
) -> Series:
    """A series of layouts, the first `boxes`, by change events; as `simulate_maps`, whose label maps it gives too.

    A box that overlaps another stays as it is. Classes of which the rules say nothing may lie on any ground.

    Args:
        boxes: Objects, in pixels of an image (height, width).
        height: Pixels.
        width: Pixels.
        seed: Decides on everything, together with the layout.
        plans: One a step: how many events of which kind.
        rules: Tables and limits.
        classes: Classes that objects may have beside those of `boxes`.
        ground: (height, width), indices into `ground_classes`, 255 where unknown: what is under the boxes. None: all
            is "background", on which anything may lie.
        ground_classes: Names. A class of both is one.

    Raises:
        ArgumentError: as `simulate_maps`, and for a ground of another size.
    """
    names = sorted({*classes, *(box.label for box in boxes)})
    if ground is None:
        ground, ground_classes = np.zeros((height, width), np.uint8), (BACKGROUND,)
    check_labels(ground, ground_classes)
    if ground.shape != (height, width):
        raise ArgumentError("ground", f"must have the image's size, {(height, width)}", ground.shape)
    for box in boxes:
        if not box.overlaps(height, width):
            raise ArgumentError("boxes", f"must overlap the image of {width} x {height} pixels", box)
    all_classes, rules = classes_on(ground_classes, names, rules or EventRules())
    if len(all_classes) > UNKNOWN:
        raise ArgumentError("classes", f"must be at most {UNKNOWN} with those of the ground", len(all_classes))
    check_request(ground.shape, all_classes, plans, rules)
    editor = BoxEditor(boxes, ground, all_classes, names, rules)
    scenes, maps, layouts, events, missing = [editor.scene], [editor.labels.copy()], [editor.boxes], [], []
    for number, plan in enumerate(plans):
        happened, lacking = editor.step(plan, stream(seed, number))
        events.append(happened)
        missing.append(lacking)
        scenes.append(editor.scene)
        maps.append(editor.labels.copy())
        layouts.append(editor.boxes)
    return Series(tuple(scenes), tuple(events), tuple(missing), tuple(maps), all_classes, tuple(layouts))


def classes_on(
    ground_classes: Sequence[str], names: Sequence[str], rules: EventRules
) -> tuple[tuple[str, ...], EventRules]:
    """All classes of layouts on a ground, and the rules for them: `names` alone are objects, and become one another."""
    classes = (*ground_classes, *(name for name in names if name not in ground_classes))
    rules = rules.spelled(classes)
    everywhere = tuple(name for name in ground_classes if name not in names)
    objects = {name: (*rules.objects.get(name, everywhere), BACKGROUND) for name in names}
    transitions = {name: rules.targets(name, names) for name in names}
    return classes, replace(rules, objects=objects, transitions=transitions)


class BoxEditor(MapEditor):
    """A layout to which events are done. `labels` is the ground with the boxes painted on it."""

    def __init__(
        self,
        boxes: Sequence[Box],
        ground: NDArray[np.uint8],
        classes: Sequence[str],
        names: Sequence[str],
        rules: EventRules,
    ) -> None:
        super().__init__(ground, classes, rules, np.zeros(ground.shape, np.uint16))
        self.names = tuple(names)
        self.boxes = tuple(boxes)
        self.ground = ground.copy()
        for box in sorted(boxes, key=lambda b: -b.width * b.height):
            self.labels[self._mask(box)] = self.classes.index(box.label)

    def _object_classes(self) -> list[int]:
        return [self.classes.index(name) for name in self.names]

    def _things(self, indices: Iterable[int]) -> list[Candidate]:
        wanted = {self.classes[i] for i in indices}
        return [partial(self._thing, number) for number, box in enumerate(self.boxes) if box.label in wanted]

    def _regions(self) -> list[Candidate]:
        return self._things(i for i in self._object_classes() if self._targets(i))

    def _thing(self, number: int) -> Thing | None:
        box = self.boxes[number]
        mask = self._mask(box)
        area = np.count_nonzero(mask)
        others = (b for i, b in enumerate(self.boxes) if i != number)
        own = shapely.Polygon(box.corners())
        alone = not any(own.intersects(shapely.Polygon(b.corners())) for b in others)
        fits = self.rules.smallest <= area <= self.rules.largest * self.labels.size
        free = bool(self.free[mask].all())
        return Thing(self.classes.index(box.label), mask, box, number) if alone and fits and free else None

    def _templates(self, index: int) -> Iterator[Thing]:
        """Boxes of the class, at any angle and nearly their size; then a square of the smallest size."""
        models = [box for box in self.boxes if box.label == self.classes[index]]
        for box in self._shuffled(models)[:4]:
            size, angle = self.random.uniform(0.8, 1.25), self.random.uniform(-90, 90)
            yield self._template(index, replace(box, width=box.width * size, height=box.height * size, angle=angle))
        for scale in (self.random.uniform(1.5, 4), 1.1):
            side = math.sqrt(self.rules.smallest) * scale
            ratio, angle = self.random.uniform(1, 1.5), self.random.uniform(-90, 90)
            yield self._template(index, Box(self.classes[index], 0, 0, side * ratio, side, angle))

    def _template(self, index: int, box: Box) -> Thing:
        """A box as a shape of its own, its corner at the origin."""
        box = replace(box, cx=0.0, cy=0.0)
        reach = np.ceil(box.corners().max(0))
        box = replace(box, cx=float(reach[0]), cy=float(reach[1]))
        return Thing(index, box_mask(box, int(2 * reach[1]), int(2 * reach[0])), box)

    def _at(self, template: Thing, top: int, left: int) -> Thing:
        rows, columns = np.nonzero(template.mask)
        assert template.box is not None
        box = replace(
            template.box,
            cx=template.box.cx + left - float(columns.min()),
            cy=template.box.cy + top - float(rows.min()),
        )
        return Thing(template.index, self._mask(box), box, template.number)

    def _resized(self, thing: Thing, factors: Iterable[float]) -> Iterator[Thing]:
        assert thing.box is not None
        for factor in factors:
            box = replace(thing.box, width=thing.box.width * factor, height=thing.box.height * factor)
            yield Thing(thing.index, self._mask(box), box, thing.number)

    def _grown(self, thing: Thing) -> Iterator[Thing]:
        room = self._room(thing)
        larger = self._resized(thing, (self.random.uniform(1.2, 1.6), 1.2, 1.1))
        return (other for other in larger if room[other.mask].all())

    def _shrunk(self, thing: Thing) -> Iterator[Thing]:
        return self._resized(thing, (self.random.uniform(0.5, 0.85), 0.8, 0.9))

    def _outline(self, thing: Thing) -> BaseGeometry:
        assert thing.box is not None
        return shapely.Polygon(thing.box.corners())

    def _ground(self, thing: Thing) -> int | None:
        """The class that is under a box; where that is its own, what lies around it."""
        under = self.ground[thing.mask]
        under = under[np.isin(under, self._grounds(thing.index))]
        return int(np.bincount(under).argmax()) if under.size else super()._ground(thing)

    def _fill(self, mask: Mask, ground: int | None) -> None:
        under = self.ground[mask]
        if ground is not None:
            fits = np.isin(under, [i for i, name in enumerate(self.classes) if name not in self.names])
            under = np.where(fits, under, np.uint8(ground))
        self.ground[mask] = self.labels[mask] = under

    def _commit(self, kind: Kind, old: Thing | None, new: Thing | None, ground: int | None) -> Event:
        if kind == "transition" and old is not None and old.box is not None and new is not None:
            box = replace(old.box, label=self.classes[new.index])
            new = Thing(new.index, new.mask, box, old.number)
        event = super()._commit(kind, old, new, ground)
        kept = [box for i, box in enumerate(self.boxes) if old is None or i != old.number]
        self.boxes = (*kept, *([new.box] if new is not None and new.box is not None else []))
        return event

    def _mask(self, box: Box) -> Mask:
        return box_mask(box, *self.labels.shape)


def box_mask(box: Box, height: int, width: int) -> Mask:
    """The pixels whose centres lie in a box, (height, width)."""
    c, s = math.cos(math.radians(box.angle)), math.sin(math.radians(box.angle))
    x = np.arange(width) + 0.5 - box.cx
    y = np.arange(height)[:, None] + 0.5 - box.cy
    inside: Mask = (np.abs(c * x + s * y) <= box.width / 2) & (np.abs(c * y - s * x) <= box.height / 2)
    return inside
