"""Series of label maps by change events, and label maps from nothing to begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from earthgen.errors import ArgumentError
from earthgen.simulate.event_editor import MapEditor
from earthgen.simulate.event_rules import EventRules
from earthgen.simulate.events import (
    MAX_DATES,
    Plan,
    Series,
    check_labels,
    check_plan,
    check_room,
    kinds_of,
    stream,
)

MAX_EVENTS = 65_535
"""Of a series: as many scenes as 16 bits tell apart."""


def simulate_maps(
    labels: NDArray[np.uint8],
    classes: Sequence[str],
    seed: int,
    plans: Sequence[Plan] = ({"add": 1, "remove": 1},),
    rules: EventRules | None = None,
) -> Series:
    """A series of label maps, the first `labels`, by change events.

    Where more events are asked for than find a place, as many happen as fit; `Series.missing` counts the others.

    Args:
        labels: (height, width), indices into `classes`, 255 where unknown: those pixels never change.
        classes: Names, which the rules go by.
        seed: Decides on everything, together with `labels`; from 0 to 2⁶⁴ - 1. The first steps of a longer series are
            those of a shorter one.
        plans: One a step: how many events of which kind.
        rules: Tables and limits; by default those of `earthgen.simulate.event_rules`.

    Raises:
        ArgumentError: unknown values or kinds, an image too small for an event, no class that takes part in a kind.
    """
    rules = (rules or EventRules()).spelled(classes)
    check_labels(labels, classes)
    check_request(labels.shape, classes, plans, rules)
    editor = MapEditor(labels, classes, rules, np.zeros(labels.shape, np.uint16))
    scenes, maps, events, missing = [editor.scene], [editor.labels.copy()], [], []
    for number, plan in enumerate(plans):
        happened, lacking = editor.step(plan, stream(seed, number))
        events.append(happened)
        missing.append(lacking)
        scenes.append(editor.scene)
        maps.append(editor.labels.copy())
    return Series(tuple(scenes), tuple(events), tuple(missing), tuple(maps), tuple(classes))


def draw_map(
    height: int, width: int, classes: Sequence[str], seed: int, rules: EventRules | None = None, objects: int = 8
) -> NDArray[np.uint8]:
    """A label map from nothing: regions of the classes that are no objects, and up to `objects` objects where they fit.

    Regions are where one of several smooth random fields is largest.

    Raises:
        ArgumentError: as `simulate_maps`, and where every class is an object.
    """
    rules = (rules or EventRules()).spelled(classes)
    random = stream(seed, MAX_DATES)
    grounds = [classes.index(name) for name in grounds_of(classes, rules)]
    sigma = max(height, width) / 8
    noise = [random.standard_normal((height, width)) for _ in grounds]
    fields = [scipy.ndimage.gaussian_filter(field, sigma, mode="wrap") for field in noise]
    labels = np.array(grounds, np.uint8)[np.argmax(fields, axis=0)]
    if not objects or not rules.changing(classes, ["add"]):
        return labels
    series = simulate_maps(labels, classes, seed, [{"add": objects}], rules)
    assert series.maps is not None
    return series.maps[1]


def grounds_of(classes: Sequence[str], rules: EventRules) -> list[str]:
    """Classes that are no objects, so that a map can be drawn of them. Raises `ArgumentError` where there are none."""
    grounds = [name for name in classes if name not in rules.spelled(classes).objects]
    if not grounds:
        raise ArgumentError("classes", "must hold one that is no object, for the ground", tuple(classes))
    return grounds


def check_request(shape: tuple[int, ...], classes: Sequence[str], plans: Sequence[Plan], rules: EventRules) -> None:
    """Raise `ArgumentError` unless events of the plans can happen in images of this size with these classes."""
    if not isinstance(plans, Sequence) or not 1 <= len(plans) < MAX_DATES:
        raise ArgumentError("events", f"must be plans of 1 to {MAX_DATES - 1} steps", plans)
    for plan in plans:
        check_plan(plan)
        rules.check(classes, kinds_of(plan))
    total = sum(sum(plan.values()) if isinstance(plan, Mapping) else plan for plan in plans)
    if total > MAX_EVENTS:
        raise ArgumentError("events", f"must be at most {MAX_EVENTS} in all", total)
    check_room("labels", shape, rules.smallest, rules.largest)
