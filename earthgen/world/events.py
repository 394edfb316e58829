"""Events on a world's layout: what is added, removed, moved, grows, shrinks or becomes something else, and when.

A FeatureCollection, each feature an event with the properties

    event     add, remove, move, grow, shrink or transition
    date      the day from whose first moment it has happened
    id        of the object, as the layout or an earlier `add` has it

and the feature's geometry is the object's new one: of what is added (with its `class`, as in a layout), of what has
moved, grown or shrunk. In place of a geometry, `by` moves an object so many metres east and north, and `factor` makes
its sides so many times as long. A transition has the new `class`, and maybe a `text`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
import shapely.affinity

from earthgen.conditions import check_number
from earthgen.errors import ArgumentError
from earthgen.output.atomic import StrPath
from earthgen.simulate.events import KINDS
from earthgen.world.layout import Happened, Layout, Placed, feature_id, features_of, placed, properties_of, reshaped
from earthgen.world.projection import HALF_SIDE, mercator_to_position

Parts = tuple[Placed, ...]


def read_events(source: StrPath | Mapping[str, Any], layout: Layout) -> list[Happened]:
    """The events of a FeatureCollection, or its file, on a layout, in the order of their dates.

    Raises:
        ArgumentError: It cannot be read, or an event breaks a rule: of an object that is not there on its day, or is
            there already; or two of one object on one day, whose order nothing tells.
    """
    asked = []
    for number, feature in enumerate(features_of("events", source)):
        name = f"events.features[{number}]"
        properties = properties_of(name, feature)
        kind = properties.get("event")
        if kind not in KINDS:
            raise ArgumentError(f"{name}.properties.event", f"must be one of {', '.join(KINDS)}", kind)
        try:
            date = dt.date.fromisoformat(properties["date"])
        except (KeyError, TypeError, ValueError):
            rule = "must be a day as YYYY-MM-DD"
            raise ArgumentError(f"{name}.properties.date", rule, properties.get("date")) from None
        asked.append((date, number, name, feature_id(feature, ""), feature))
    there: dict[str, Parts] = {}
    for one in layout.at(0):
        there[one.id] = (*there.get(one.id, ()), one)
    last: dict[str, dt.date] = {}
    found = []
    for date, _, name, key, feature in sorted(asked, key=lambda event: event[:2]):
        kind = feature["properties"]["event"]
        if not key or (kind == "add") == (key in there):
            rule = "must be of no object that is there that day" if kind == "add" else "must be of one that is there"
            raise ArgumentError(f"{name}.id", f"{rule}, {date}", key)
        if last.get(key) == date:
            raise ArgumentError(f"{name}.date", "must differ from that of the object's other events", str(date))
        last[key] = date
        before = there.pop(key, ())
        after = _after(name, kind, feature, key, before)
        if after:
            there[key] = after
        found.append(Happened(date, kind, before, after))
    return found


def _after(name: str, kind: str, feature: Any, key: str, before: Parts) -> Parts:
    """What an event leaves of an object."""
    properties = feature["properties"]
    if kind == "add":
        return tuple(placed(name, feature, key))
    if kind == "remove":
        return ()
    if kind == "transition":
        told = {"type": "Feature", "properties": {**properties, "kind": None}, "geometry": None}
        label, text = _words_of(name, told)
        if (label, text) == (before[0].label, before[0].text):
            raise ArgumentError(f"{name}.properties.class", "must be another than before", label)
        box = [None if one.box is None else replace(one.box, label=label) for one in before]
        return tuple(replace(one, label=label, text=text, box=b) for one, b in zip(before, box, strict=True))
    by, factor = properties.get("by"), properties.get("factor")
    if feature.get("geometry") is not None:
        after = tuple(reshaped(name, before, feature))
    elif kind == "move" and by is not None:
        after = _moved(name, before, by)
    elif kind in ("grow", "shrink") and factor is not None:
        check_number(f"{name}.properties.factor", factor, "must be a number from 0.01 to 100", 0.01, 100)
        after = _scaled(before, float(factor))
    else:
        rule = "must have a geometry, or `by` metres east and north" if kind == "move" else "must have it or a `factor`"
        raise ArgumentError(f"{name}.geometry", rule, None)
    old, new = (sum(one.area for one in parts) for parts in (before, after))
    if (kind == "grow" and not new > old) or (kind == "shrink" and not new < old):
        rule = f"must be {'larger' if kind == 'grow' else 'smaller'} than before"
        raise ArgumentError(f"{name}.geometry", rule, f"{new / old:.4g} times as large")
    bottom, top = (f(one.outline.bounds[n] for one in after) for f, n in ((max, 3), (min, 1)))
    if top < 0 or bottom > 1:
        raise ArgumentError(f"{name}.geometry", "must lie on the map, which ends at 85.0511 N and S", properties)
    return after


def _words_of(name: str, feature: Any) -> tuple[str, str]:
    """Class and text, by way of an object that has them."""
    point = {"type": "Point", "coordinates": [0, 0]}
    told = {**feature["properties"], "width": 1, "height": 1, "angle": 0}
    (one,) = placed(name, {"properties": told, "geometry": point}, "")
    return one.label, one.text


def _moved(name: str, parts: Parts, by: Any) -> Parts:
    if not isinstance(by, Sequence) or isinstance(by, str) or len(by) != 2:
        raise ArgumentError(f"{name}.properties.by", "must be metres [east, north]", by)
    for value in by:
        check_number(f"{name}.properties.by", value, "must be metres [east, north]", -4e7, 4e7)
    y = shapely.union_all([one.outline for one in parts]).centroid.y
    lat, _ = mercator_to_position(0, HALF_SIDE - y * 2 * HALF_SIDE)
    scale = 1 / (2 * HALF_SIDE * math.cos(math.radians(float(lat))))
    step = np.array([by[0] * scale, -by[1] * scale])
    return tuple(
        replace(
            one,
            outline=shapely.transform(one.outline, lambda points: points + step),
            box=one.box and replace(one.box, cx=one.box.cx + step[0], cy=one.box.cy + step[1]),
        )
        for one in parts
    )


def _scaled(parts: Parts, factor: float) -> Parts:
    """About the middle of all."""
    middle = shapely.union_all([one.outline for one in parts]).centroid
    found = []
    for one in parts:
        box = one.box and replace(
            one.box,
            cx=middle.x + factor * (one.box.cx - middle.x),
            cy=middle.y + factor * (one.box.cy - middle.y),
            width=one.box.width * factor,
            height=one.box.height * factor,
        )
        scaled = shapely.affinity.scale(one.outline, factor, factor, origin=middle)
        found.append(replace(one, outline=shapely.Polygon(box.corners()) if box else scaled, box=box))
    return tuple(found)
