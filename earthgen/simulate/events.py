"""Change events on label maps and layouts: which objects appear, vanish, move, grow, shrink, or become something else.

A series of states follows from (labels, seed) alone. Each event changes a place of its own within its step, so what an
event records is what the maps show. Coordinates are pixels, as in `earthgen.conditions`.

Sources: the change events of Changen2 (Zheng et al. 2024); the place of an object depends on what it may lie on.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import scipy
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes as shapes_of
from shapely.geometry.base import BaseGeometry

from earthgen.conditions import UNKNOWN, Box
from earthgen.errors import ArgumentError

Kind = Literal["add", "remove", "move", "grow", "shrink", "transition"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Plan = Mapping[Kind, int] | int
"""How many events of each kind, or how many of kinds drawn at random."""
Mask = NDArray[np.bool_]

MAX_DATES = 1_000
OBJECT = "object"
"""What the labels call a segment, of which nobody knows what it is."""

_WORDS: dict[str, str] = {
    "add": "a new {label} appears {where}, on {ground}",
    "remove": "{a} {label} {where} is gone, leaving {ground}",
    "move": "{a} {label} {where} moves {target}",
    "grow": "{a} {label} {where} grows",
    "shrink": "{a} {label} {where} shrinks, leaving {ground}",
    "transition": "{label} {where} becomes {became}",
}


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One change: of what, into what, where."""

    kind: Kind
    label: str
    """Class of the object, before the event where it changes."""
    became: str | None = None
    """Of a transition: the class after it."""
    ground: str | None = None
    """Class on which the object appeared, or that it left behind; None where that is not known."""
    before: BaseGeometry | None = None
    """Outline of the object before the event; None of an object that was not there."""
    after: BaseGeometry | None = None
    """Outline after it; None of an object that is gone."""
    area: int = 0
    """Pixels that changed."""

    def sentence(self, height: int, width: int) -> str:
        """The event in words, for an image of this size."""
        shape, target = self.before or self.after, self.after or self.before
        assert shape is not None and target is not None
        words = _WORDS[self.kind] if self.ground else _WORDS[self.kind].split(",")[0]
        unknown = self.kind == "transition" and self.label == OBJECT
        return words.format(
            a="an" if self.label[0] in "aeiouAEIOU" else "a",
            label="what is" if unknown else self.label,
            became="something else" if self.became == OBJECT else self.became,
            ground=self.ground,
            where=_where(shape, height, width, "at"),
            target=_where(target, height, width, "to"),
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record; outlines are GeoJSON in pixels. `from_dict` is its inverse."""
        record: dict[str, Any] = {k: getattr(self, k) for k in ("kind", "label", "became", "ground", "area")}
        for name in ("before", "after"):
            shape = getattr(self, name)
            record[name] = None if shape is None else _rounded(shapely.geometry.mapping(shape))
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Event:
        """The event of a record. Raises `ArgumentError` where it is none."""
        try:
            shapes: dict[str, Any] = {
                k: shapely.geometry.shape(record[k]) if record[k] else None for k in ("before", "after")
            }
            if record["kind"] not in KINDS:
                raise ValueError(f"no event is a {record['kind']!r}")
            return cls(**{k: record[k] for k in ("kind", "label", "became", "ground", "area")}, **shapes)
        except (KeyError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
            raise ArgumentError("event", f"must be a record of `Event.to_dict` ({error})", record) from error


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """States of one place at several dates, and what happened between them. Raises `ArgumentError` for bad dates."""

    scenes: tuple[NDArray[np.uint16], ...]
    """One a date, (height, width): where two dates have equal numbers, they show the same scene, pixel for pixel."""
    events: tuple[tuple[Event, ...], ...] = ()
    """One tuple a step, from each date to the next."""
    missing: tuple[Mapping[str, int], ...] = ()
    """One a step: how many events of a kind were asked for and found no place."""
    maps: tuple[NDArray[np.uint8], ...] | None = None
    """One a date, (height, width), indices into `classes`, 255 where unknown; None where there are no classes."""
    classes: tuple[str, ...] = ()
    boxes: tuple[tuple[Box, ...], ...] | None = None
    """One layout a date, where the objects are boxes."""
    dates: tuple[dt.date, ...] | None = None
    described: bool = False
    """Whether the classes are texts, each about all that a place shows, rather than labels of pixels."""

    def __post_init__(self) -> None:
        for name, want in (("events", len(self) - 1), ("missing", len(self) - 1), ("maps", len(self))):
            given = getattr(self, name)
            if given and len(given) != want:
                raise ArgumentError(name, f"must be {want} for {len(self)} dates", len(given))
        arrays: list[NDArray[Any]] = [*self.scenes, *(self.maps or ())]
        shapes = {a.shape for a in arrays}
        if len(shapes) != 1:
            raise ArgumentError("maps", "must all have one size", sorted(shapes))
        if self.dates is not None:
            check_dates(self.dates, len(self))

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.scenes[0].shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.scenes[0].shape[1])

    def changed(self, first: int = 0, second: int = -1) -> Mask:
        """Where two dates, by number, show another scene, (height, width).

        That includes places whose class is the same again: a house torn down and another built.
        """
        return self.scenes[first] != self.scenes[second]

    def between(self, first: int, second: int) -> tuple[Event, ...]:
        """All events from one date to a later one, in order."""
        return tuple(event for step in self.events[first:second] for event in step)

    def sentences(self, first: int = 0, second: int | None = None) -> list[str]:
        """Those events in words; "nothing changes" where there are none."""
        events = self.between(first, len(self) - 1 if second is None else second)
        return [e.sentence(self.height, self.width) for e in events] or ["nothing changes"]

    @classmethod
    def of_maps(cls, maps: Sequence[NDArray[np.uint8]], classes: Sequence[str]) -> Series:
        """The series of label maps that are given: a pixel is another scene from when its class changes.

        Each connected region that changes from one class to another is a transition. A pixel that is unknown at either
        of two dates counts as unchanged from one to the other.
        """
        if len(maps) < 1:
            raise ArgumentError("maps", "must be at least one", len(maps))
        for labels in maps:
            check_labels(labels, classes)
            if labels.shape != maps[0].shape:
                raise ArgumentError("maps", f"must all have the size of the first, {maps[0].shape}", labels.shape)
        scenes, events = [np.zeros(maps[0].shape, np.uint16)], []
        for number, (old, new) in enumerate(itertools.pairwise(maps), 1):
            other = (old != new) & (old != UNKNOWN) & (new != UNKNOWN)
            scenes.append(np.where(other, np.uint16(number), scenes[-1]))
            events.append(tuple(_transitions(old, new, other, classes)))
        return cls(tuple(scenes), tuple(events), maps=tuple(maps), classes=tuple(classes))

    def reversed(self) -> Series:
        """The series in the opposite order of time, without dates: what was added is removed."""
        events = tuple(tuple(_opposite(e) for e in reversed(step)) for step in reversed(self.events))
        turned: dict[str, Any] = {
            name: None if getattr(self, name) is None else tuple(reversed(getattr(self, name)))
            for name in ("scenes", "missing", "maps", "boxes")
        }
        return replace(self, events=events, dates=None, **turned)


_OPPOSITE: dict[Kind, Kind] = {"add": "remove", "remove": "add", "grow": "shrink", "shrink": "grow"}


def _opposite(event: Event) -> Event:
    label, became = (event.became or event.label, event.label if event.became else None)
    kind = _OPPOSITE.get(event.kind, event.kind)
    return replace(event, kind=kind, label=label, became=became, before=event.after, after=event.before)


def _transitions(
    old: NDArray[np.uint8], new: NDArray[np.uint8], changed: Mask, classes: Sequence[str]
) -> Iterator[Event]:
    """An event for each connected region of one class that became another."""
    for pair in np.unique(old[changed].astype(int) * 256 + new[changed]):
        first, second = divmod(int(pair), 256)
        numbered, count = scipy.ndimage.label(changed & (old == first) & (new == second))
        for number in range(1, count + 1):
            mask = numbered == number
            shape, area = outline(mask), int(np.count_nonzero(mask))
            yield Event("transition", classes[first], classes[second], None, shape, shape, area)


def outline(mask: Mask) -> BaseGeometry:
    """The outline of a mask that is not empty, along the edges of its pixels: a polygon, or several, in pixels."""
    box = scipy.ndimage.find_objects(mask.astype(np.uint8))[0]
    part = mask[box].astype(np.uint8)
    move = Affine.translation(box[1].start, box[0].start)
    found = [shapely.geometry.shape(s) for s, _ in shapes_of(part, part > 0, transform=move)]
    return found[0] if len(found) == 1 else shapely.geometry.MultiPolygon(found)


def check_dates(dates: Sequence[dt.date], count: int) -> None:
    """Raise `ArgumentError` unless there are `count` dates, each later than the one before."""
    if len(dates) != count or not all(isinstance(d, dt.date) for d in dates):
        raise ArgumentError("dates", f"must be {count} dates, one an image", list(map(str, dates)))
    for early, late in itertools.pairwise(dates):
        if not early < late:
            raise ArgumentError("dates", "must each be later than the one before", [str(early), str(late)])


def check_labels(labels: object, classes: Sequence[str]) -> None:
    """Raise `ArgumentError` unless `labels` is a uint8 array (height, width) of indices into `classes`, or 255."""
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype != np.uint8 or not labels.size:
        got = (labels.dtype, labels.shape) if isinstance(labels, np.ndarray) else labels
        raise ArgumentError("labels", "must be a uint8 array of shape (height, width)", got)
    wrong = np.setdiff1d(labels, [*range(len(classes)), UNKNOWN])
    if wrong.size:
        rule = f"must hold indices below {len(classes)} (the number of classes), or {UNKNOWN} for unknown"
        raise ArgumentError("labels", rule, wrong[:8].tolist())


def check_plan(plan: object) -> None:
    """Raise `ArgumentError` unless `plan` is a count, or counts by the names in `KINDS`."""
    counts = plan if isinstance(plan, Mapping) else {"add": plan}
    for kind, count in counts.items():
        if kind not in KINDS:
            raise ArgumentError("events", f"must be of the kinds {', '.join(KINDS)}", kind)
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 0 <= count <= 10_000:
            raise ArgumentError("events", "must be whole numbers from 0 to 10000", count)


def kinds_of(plan: Plan) -> list[str]:
    """The kinds of event that a plan asks for, "any" where it leaves them open."""
    counts: Mapping[str, int] = plan if isinstance(plan, Mapping) else {"any": plan}  # type: ignore[assignment]
    return [kind for kind, count in counts.items() if count]


def check_room(name: str, shape: tuple[int, ...], smallest: int, largest: float) -> None:
    """Raise `ArgumentError` for an image, (height, width) in pixels, too small for an event.

    Args:
        name: Of the argument.
        shape: Of the image.
        smallest: Pixels of the smallest object.
        largest: Largest share of the image that an event may change.
    """
    side = math.ceil(2 * math.sqrt(smallest))
    if min(shape) < side or smallest > largest * math.prod(shape):
        rule = f"must be at least {side} px a side, and large enough that {largest:g} of it holds an object of"
        raise ArgumentError(name, f"{rule} {smallest} px (`rules.smallest`)", shape)


def stream(seed: int, *path: int) -> np.random.RandomState:
    """Random numbers of a seed and a place below it. RandomState's methods are frozen by numpy for good."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 2**64:
        raise ArgumentError("seed", "must be a whole number from 0 to 2**64 - 1", seed)
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(int(seed), spawn_key=path)))


def wanted(plan: Plan, random: np.random.RandomState) -> list[Kind | Literal["any"]]:
    """The events of a step, in the order in which they are tried: large things are not put off, nor small ones."""
    if not isinstance(plan, Mapping):
        return ["any"] * int(plan)
    kinds: list[Kind | Literal["any"]] = [kind for kind in KINDS for _ in range(plan.get(kind, 0))]
    return [kinds[i] for i in random.permutation(len(kinds))]


def count_missing(asked: Sequence[str], found: Sequence[bool]) -> dict[str, int]:
    """How many events of a kind found no place."""
    return dict(Counter(kind for kind, there in zip(asked, found, strict=True) if not there))


def _where(shape: BaseGeometry, height: int, width: int, preposition: str) -> str:
    """Which ninth of the image a shape's centre lies in, in words."""
    x, y = shape.centroid.coords[0]
    row = ("top", "", "bottom")[min(2, max(0, int(3 * y / height)))]
    column = ("left", "", "right")[min(2, max(0, int(3 * x / width)))]
    return f"{preposition} the {' '.join(filter(None, (row, column))) or 'centre'}"


def _rounded(value: Any) -> Any:
    """GeoJSON with coordinates to a thousandth of a pixel, and whole numbers as such."""
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return round(value, 3) if isinstance(value, float) else value
