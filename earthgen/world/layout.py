"""Layouts on the world: objects as boxes and polygons, and a semantic mask, each with its class; and their events.

GeoJSON (RFC 7946): degrees WGS 84. A feature is an object: a Polygon, a MultiPolygon whose parts share its name, or a
Point with `width`, `height` (metres on the ground) and `angle` (degrees, clockwise from east), which is a box. A
Polygon of four right angles is a box, too, its heading that of its first edge, unless its `kind` is "polygon". Its
properties: `class`; `text`, what the model is told in place of the class; `id`, by which events know it (or the
feature's own `id`, or else its number).

An object counts at the levels where it is at least as large as a cell of the layout field (`SEEN`): a smaller one would
be a shade of a cell there, of no shape or heading. Of objects on the same place the smaller lies on top.

Positions are on the map's square, whose sides are 1, x to the east and y to the south, not wrapped. The pixels' centres
of every level are exact numbers there, so whether an object holds one does not depend on who asks.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from earthgen.conditions import MAX_TEXT_LENGTH, Box, check_number
from earthgen.errors import ArgumentError
from earthgen.layout import CELL
from earthgen.output.atomic import StrPath
from earthgen.world.masks import MaskRaster
from earthgen.world.projection import HALF_SIDE, MAX_LATITUDE, TILE, position_to_mercator, world_size
from earthgen.world.pyramid import Window

SEEN = CELL**2
"""Pixels of an object's area from which it counts: one cell of the layout field."""
MAX_FILE = 1 << 30
"""Bytes of a GeoJSON file."""
_SEGMENT = 0.5
"""Degrees: edges are cut so finely before they are drawn on the mercator map, where they are curves."""
_SQUARE = 0.01
"""Of a box's shorter side: as far as a corner may lie off a rectangle's."""

Floats = NDArray[np.float64]
Area = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of the map's square."""


@dataclass(frozen=True, eq=False)
class Placed:
    """An object on the map's square."""

    id: str
    label: str
    """Class."""
    text: str
    """What the model is told."""
    outline: Any
    """shapely Polygon, edges cut finely where they are curves."""
    box: Box | None = None
    """The rectangle that it is, in units of the map's square."""

    @cached_property
    def area(self) -> float:
        """Of the map's square."""
        return float(self.outline.area)

    @cached_property
    def level(self) -> int:
        """The first at which it counts."""
        return max(0, math.ceil(math.log2(math.sqrt(SEEN / self.area) / TILE) - 1e-9))

    @cached_property
    def digest(self) -> str:
        """Of all that decides about pixels and labels."""
        told = repr((self.label, self.text, self.box is not None)).encode()
        return hashlib.sha256(told + shapely.to_wkb(self.outline)).hexdigest()


class Happened(NamedTuple):
    """An event of the world (`earthgen.world.events`)."""

    date: dt.date
    kind: str
    before: tuple[Placed, ...]
    """The object's parts until that day; none for one that was not there."""
    after: tuple[Placed, ...]
    """From that day on."""


class Layout:
    """Objects and a mask on the world, at all times.

    Between two dates of events lies an epoch; epoch 0 is before the first event. What is there in an epoch is a pure
    function of the objects given, the events and its number.
    """

    def __init__(
        self, objects: Sequence[Placed], mask: MaskRaster | None = None, events: Sequence[Happened] = ()
    ) -> None:
        self.mask, self.events = mask, tuple(events)
        self.dates = tuple(sorted({event.date for event in events}))
        """On which something happens."""
        self.epochs = len(self.dates) + 1
        lives: dict[int, tuple[Placed, int, int]] = {id(one): (one, 0, self.epochs) for one in objects}
        for event in self.events:
            epoch = bisect_right(self.dates, event.date)
            for one in event.before:
                lives[id(one)] = (one, lives[id(one)][1], epoch)
            lives |= {id(one): (one, epoch, self.epochs) for one in event.after}
        self.objects = tuple(one for one, _, _ in lives.values())
        """All that ever are."""
        self._lives = [(born, gone) for _, born, gone in lives.values()]
        self._found = _Index([one.outline for one in self.objects], [one.level for one in self.objects])
        parts = [(*event.before, *event.after) for event in self.events]
        outlines = [shapely.union_all([one.outline for one in several]) for several in parts]
        self._happened = _Index(outlines, [min(one.level for one in several) for several in parts])

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Of the objects of all times, by name."""
        return tuple(sorted({one.label for one in self.objects}))

    @cached_property
    def digest(self) -> str:
        """Of all of it."""
        parts = [one.digest for one in self.objects] + [_event_digest(event) for event in self.events]
        return hashlib.sha256(json.dumps([*parts, self.mask and self.mask.digest]).encode()).hexdigest()

    def epoch(self, date: dt.date | None) -> int:
        """The number of the epoch of a day, from whose first moment its events have happened; None: before all."""
        return 0 if date is None else bisect_right(self.dates, date)

    def at(self, epoch: int) -> list[Placed]:
        """What is there in an epoch."""
        return [one for one, alive in zip(self.objects, self._lives, strict=True) if alive[0] <= epoch < alive[1]]

    def near(self, area: Area, epoch: int, level: int) -> list[tuple[Placed, int]]:
        """The objects of an epoch that count at a level and touch an area (left, top, right, bottom) of the square.

        Each with the number of worlds by which it has to be moved to the east to lie there. In order of their size, the
        largest first.
        """
        found = [
            (index, turn)
            for index, turn in self._found.near(area, level)
            if self._lives[index][0] <= epoch < self._lives[index][1]
        ]
        found.sort(key=lambda one: (-self.objects[one[0]].area, one))
        return [(self.objects[index], turn) for index, turn in found]

    def happened(self, area: Area, epochs: range, level: int) -> list[tuple[Happened, int]]:
        """The events by which those epochs began that change what counts at a level and touch an area, in order.

        Each with the number of worlds by which it has to be moved to the east.
        """
        return [
            (self.events[index], turn)
            for index, turn in sorted(self._happened.near(area, level))
            if self.epoch(self.events[index].date) in epochs
        ]

    def key(self, window: Window, epoch: int) -> list[str]:
        """What there is of it in a window, at its level, and how that came about: empty for nothing."""
        area = square_of(window)
        parts = [f"{one.digest} {turn}" for one, turn in self.near(area, 0, window.level)]
        happened = self.happened(area, range(1, epoch + 1), window.level)
        parts += [f"{_event_digest(event)} {turn}" for event, turn in happened]
        if self.mask is not None and self.mask.speaks(window.level) and self.mask.reaches(window):
            parts.append(self.mask.digest)
        return parts

    def with_events(self, events: Sequence[Happened]) -> Layout:
        """The same with these events."""
        return Layout(self.at(0), self.mask, events)


def _event_digest(event: Happened) -> str:
    parts = [event.kind, str(event.date), *(one.digest for one in event.before), "to"]
    return " ".join([*parts, *(one.digest for one in event.after)])


class _Index:
    """Shapes on the map's square, found by place: a tree for each level at which they begin to count.

    So a large window of a coarse level does not go through all the small things in it.
    """

    def __init__(self, outlines: Sequence[Any], levels: Sequence[int]) -> None:
        numbers = {level: [n for n, own in enumerate(levels) if own == level] for level in sorted(set(levels))}
        self._trees = [(level, own, shapely.STRtree([outlines[n] for n in own])) for level, own in numbers.items()]

    def near(self, area: Area, level: int) -> Iterator[tuple[int, int]]:
        """The numbers of those that count at a level and touch an area, and how many worlds to the east they do."""
        left, top, right, bottom = area
        for turn in range(math.floor(left) - 1, math.floor(right) + 2):
            box = shapely.box(left - turn, top, right - turn, bottom)
            for least, numbers, tree in self._trees:
                if least <= level:
                    yield from ((numbers[hit], turn) for hit in tree.query(box, predicate="intersects"))


def read_layout(
    source: StrPath | Mapping[str, Any] | None,
    mask: StrPath | None = None,
    mask_classes: Sequence[str] | None = None,
) -> Layout:
    """The layout of a FeatureCollection, or its file, and of a semantic mask (`earthgen.world.masks`).

    Raises:
        ArgumentError: It cannot be read, or a feature breaks a rule; the message says which.
        DataError: The mask cannot be read.
    """
    objects: dict[str, list[Placed]] = {}
    for number, feature in enumerate(() if source is None else features_of("layout", source)):
        name, key = f"layout.features[{number}]", feature_id(feature, str(number))
        if key in objects:
            raise ArgumentError(f"{name}.id", "must be another than that of the features before it", key)
        objects[key] = placed(name, feature, key)
    if mask_classes is not None and mask is None:
        raise ArgumentError("layout_mask", "must be given together with its classes", None)
    return Layout(
        [one for parts in objects.values() for one in parts], None if mask is None else MaskRaster(mask, mask_classes)
    )


def features_of(argument: str, source: StrPath | Mapping[str, Any]) -> Sequence[Any]:
    """The features of a FeatureCollection, from a file or as it is. Raises `ArgumentError`."""
    record: Any = source
    if not isinstance(source, Mapping):
        try:
            path = Path(source)
            if path.stat().st_size > MAX_FILE:
                raise ArgumentError(argument, f"must be a file of at most {MAX_FILE} bytes", str(source))
            record = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(argument, f"must be a GeoJSON file ({error})", str(source)) from error
    if not isinstance(record, Mapping) or record.get("type") != "FeatureCollection":
        kind = record.get("type") if isinstance(record, Mapping) else record
        raise ArgumentError(argument, "must be a GeoJSON FeatureCollection", kind)
    named = record.get("crs")
    if named is not None and not any(code in json.dumps(named) for code in ("CRS84", "4326")):
        raise ArgumentError(f"{argument}.crs", "must be absent: GeoJSON is in degrees WGS 84", named)
    features = record.get("features")
    if not isinstance(features, Sequence) or isinstance(features, str):
        raise ArgumentError(argument, "must have a list of `features`", features)
    return features


def properties_of(name: str, feature: Any) -> Mapping[str, Any]:
    """Of a feature. Raises `ArgumentError` for what is none."""
    properties = feature.get("properties") if isinstance(feature, Mapping) else None
    if not isinstance(properties, Mapping):
        raise ArgumentError(name, "must be a GeoJSON Feature with `properties`", feature)
    return properties


def feature_id(feature: Any, default: str) -> str:
    """By which events know the object of a feature."""
    given = None
    if isinstance(feature, Mapping):
        properties = feature.get("properties")
        given = properties.get("id") if isinstance(properties, Mapping) else None
        given = feature.get("id") if given is None else given
    return default if given is None else str(given)


def placed(name: str, feature: Any, id: str) -> list[Placed]:
    """The parts of the object of a feature. Raises `ArgumentError` with the feature's name."""
    properties = properties_of(name, feature)
    label = _words(f"{name}.properties.class", properties.get("class"))
    text = label if properties.get("text") is None else _words(f"{name}.properties.text", properties["text"])
    kind = properties.get("kind")
    if kind not in (None, "box", "polygon"):
        raise ArgumentError(f"{name}.properties.kind", 'must be "box" or "polygon", or absent', kind)
    return [Placed(id, label, text, outline, box) for outline, box in _shapes(name, feature, label, kind)]


def reshaped(name: str, old: Sequence[Placed], feature: Any) -> list[Placed]:
    """An object with the geometry of another feature."""
    kind = "box" if old[0].box is not None and feature["geometry"].get("type") == "Polygon" else None
    return [replace(old[0], outline=o, box=b) for o, b in _shapes(name, feature, old[0].label, kind)]


def _words(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT_LENGTH:
        raise ArgumentError(name, f"must be words, at most {MAX_TEXT_LENGTH} characters", value)
    return value.strip()


def _shapes(name: str, feature: Any, label: str, kind: str | None) -> list[tuple[Any, Box | None]]:
    """Outlines on the map's square, and the box that each is."""
    geometry, where = feature.get("geometry"), f"{name}.geometry"
    if isinstance(geometry, Mapping) and geometry.get("type") == "Point":
        return [_from_point(name, geometry, feature["properties"], label)]
    try:
        shape = shapely.from_geojson(json.dumps(geometry))
    except (shapely.GEOSException, TypeError, ValueError) as error:
        raise ArgumentError(where, f"must be a GeoJSON geometry ({error})", geometry) from error
    if shape is None or shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
        shown = getattr(shape, "geom_type", None)
        raise ArgumentError(where, "must be a Polygon or MultiPolygon, or a Point with a size", shown)
    if not shape.is_valid:
        raise ArgumentError(where, f"must not cross itself ({shapely.is_valid_reason(shape)})", geometry)
    west, south, east, north = shape.bounds
    if not (-540 <= west and east <= 540 and -90 <= south and north <= 90):
        raise ArgumentError(where, "must be in degrees, longitude and latitude", shape.bounds)
    if max(-south, north) > MAX_LATITUDE:
        raise ArgumentError(where, "must lie on the map, which ends at 85.0511 N and S", shape.bounds)
    if east - west >= 360:
        raise ArgumentError(where, "must be narrower than the Earth is round", shape.bounds)
    # Of several copies of the same place the one on the map.
    turn = math.floor((west + east + 360) / 720) * 360
    found = []
    for part in shapely.get_parts(shape):
        outline = shapely.transform(shapely.segmentize(part, _SEGMENT), lambda p: on_square(p[:, 1], p[:, 0] - turn))
        if not outline.area > 0:
            raise ArgumentError(where, "must have an area", geometry)
        box = None if kind == "polygon" or part.interiors else _rectangle(label, part, turn)
        if kind == "box" and box is None:
            raise ArgumentError(where, "must have four right angles to be a box", geometry)
        if box is not None:
            outline = shapely.Polygon(box.corners())
        found.append((outline, box))
    return found


def _rectangle(label: str, part: Any, turn: float) -> Box | None:
    from earthgen.labels.shapes import rectangle

    ring = shapely.get_coordinates(part.exterior)[:-1]
    corners = on_square(ring[:, 1], ring[:, 0] - turn)
    if len(corners) != 4:
        return None
    middle, side = corners.mean(0), np.linalg.norm(np.roll(corners, -1, 0) - corners, axis=1).min()
    if not side > 0:
        return None
    scale = 0.1 / _SQUARE / side  # `rectangle` takes corners within 0.1
    found = rectangle(label, (corners - middle) * scale)
    if found is None:
        return None
    cx, cy, width, height = (float(v) for v in (*middle, found.width / scale, found.height / scale))
    return Box(label, cx, cy, width, height, found.angle)


def _from_point(name: str, geometry: Mapping[str, Any], properties: Mapping[str, Any], label: str) -> tuple[Any, Box]:
    sides = []
    for side in ("width", "height"):
        rule = "must be metres on the ground, from 0 to 1e7"
        check_number(f"{name}.properties.{side}", properties.get(side), rule, 0, 1e7, low_open=True)
        sides.append(float(properties[side]))
    angle = properties.get("angle", 0)
    check_number(f"{name}.properties.angle", angle, "must be a finite number of degrees", -1e6, 1e6)
    where = geometry.get("coordinates")
    if not isinstance(where, Sequence) or len(where) < 2:
        raise ArgumentError(f"{name}.geometry", "must have a longitude and a latitude", where)
    check_number(f"{name}.geometry", where[0], "must be in degrees, longitude and latitude", -540, 540)
    rule = "must lie on the map, which ends at 85.0511 N and S"
    check_number(f"{name}.geometry", where[1], rule, -MAX_LATITUDE, MAX_LATITUDE)
    ((x, y),) = on_square(np.array([where[1]], float), np.array([where[0]], float))
    scale = 1 / (2 * HALF_SIDE * math.cos(math.radians(where[1])))
    box = Box(label, float(x % 1), float(y), sides[0] * scale, sides[1] * scale, float(angle))
    corners = box.corners()
    if corners[:, 1].min() < 0 or corners[:, 1].max() > 1:
        raise ArgumentError(f"{name}.geometry", rule, where)
    return shapely.Polygon(corners), box


def square_of(window: Window) -> Area:
    """Of a window of a level."""
    size = world_size(window.level)
    return window.left / size, window.top / size, window.right / size, window.bottom / size


def on_square(lat: Floats, lon: Floats) -> Floats:
    """Degrees → positions on the map's square, (n, 2) as x, y."""
    x, y = position_to_mercator(lat, lon)
    return np.stack([(x + HALF_SIDE) / (2 * HALF_SIDE), (HALF_SIDE - y) / (2 * HALF_SIDE)], -1)
