"""What a data set of change is asked to be: a frozen dataclass, read from YAML and written beside the output."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from earthgen.conditions import Conditions, check_number
from earthgen.dataset.checks import day, mapping, names, section, whole
from earthgen.dataset.config import size_of, splits_of
from earthgen.errors import ArgumentError
from earthgen.labels.change import FORMATS
from earthgen.labels.change_formats import second_names
from earthgen.simulate.event_maps import check_request, grounds_of
from earthgen.simulate.event_rules import EventRules
from earthgen.simulate.event_segments import check_become
from earthgen.simulate.events import Plan, check_plan, check_room, kinds_of
from earthgen.simulate.nuisance import Nuisance
from earthgen.weights import BUNDLED

WITHOUT_EFFECT = ("count", "formats", "source", "masks", "labels", "second_classes", "model")
"""Settings in which runs that share a folder may differ; what is behind source and model is told by digests."""


@dataclass(frozen=True, slots=True)
class ChangeConfig:
    """What a data set of change is asked to be. Raises `ArgumentError` for what breaks a rule."""

    source: str | None = None
    """Folder of images; None makes the first date too."""
    masks: str | None = None
    """Folder of index masks, each named as its image; None takes segments of the images instead."""
    labels: str | None = None
    """Labelled images in any format that `earthgen.labels.read` knows, in place of `source`: their boxes change."""
    classes: tuple[str, ...] = ()
    """Names of the masks' indices, or of what a map drawn from nothing holds, or of the objects of `labels`."""
    count: int = 100
    """Series."""
    seed: int = 0
    size: tuple[int, int] = (256, 256)
    """Height and width in pixels; in YAML one number, or WIDTHxHEIGHT."""
    dates: int = 2
    """Images of a series."""
    start: dt.date | None = None
    """Day of the first; None leaves dates out."""
    interval: int = 365
    """Days between two dates."""
    events: Plan = 4
    """Events from each date to the next: a number, or numbers by kind."""
    become: tuple[str, ...] = ()
    """Texts: what places of images without labels become, one each "transition"; a number of `events` is of those."""
    rules: EventRules = field(default_factory=EventRules)
    nuisance: Nuisance = field(default_factory=Nuisance)
    nuisance_first: bool = False
    """Whether the first date has nuisances too."""
    margin: int = 12
    """Pixels around a change that may differ."""
    pairs: str = "next"
    """"next": of each date with the next; "all": of each two dates."""
    prompt: str | None = None
    gsd: float | None = None
    lat: float | None = None
    """With `lon`, the place of all images; None takes that of each source image, where it says."""
    lon: float | None = None
    formats: tuple[str, ...] = ("levir-cd", "levir-cd-split", "change-geotiff", "change-captions", "change-coco")
    second_classes: Mapping[str, str] = field(default_factory=dict)
    """Class → class of SECOND, beyond the well-known names."""
    splits: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1})
    """Shares; all series of one source image are of one split."""
    guidance: float | None = None
    steps: int | None = None
    model: str = BUNDLED
    device: str = "cpu"
    created: dt.date | None = None
    """The day that files say they were made on; None is the day of the first run."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Written, not read: version and digests."""

    def __post_init__(self) -> None:
        made: dict[str, Any] = {name: names(name, getattr(self, name)) for name in ("classes", "become", "formats")}
        made |= {"size": size_of(self.size), "splits": splits_of(self.splits)}
        for name, cls in (("rules", EventRules), ("nuisance", Nuisance)):
            if not isinstance(getattr(self, name), cls):
                made[name] = section(cls, getattr(self, name) or {}, name)
        for name, value in made.items():
            object.__setattr__(self, name, value)
        for name, low, high in (
            ("count", 1, 10**7),
            ("seed", 0, 2**63 - 1),
            ("dates", 2, 999),
            ("interval", 1, 36_500),
        ):
            whole(name, getattr(self, name), low, high)
        check_plan(self.events)
        check_number("margin", self.margin, "must be a number of pixels from 0 to 1000", 0, 1000)
        if self.pairs not in ("next", "all"):
            raise ArgumentError("pairs", 'must be "next" or "all"', self.pairs)
        unknown = set(self.formats) - set(FORMATS)
        if unknown or not self.formats:
            raise ArgumentError("formats", f"must be among {', '.join(FORMATS)}", sorted(unknown))
        if self.masks is not None and (self.source is None or not self.classes):
            raise ArgumentError("masks", "must be given together with `source` and `classes`", self.masks)
        if self.labels is not None and self.source is not None:
            raise ArgumentError("labels", "must be absent where `source` is given", self.labels)
        if self.source is None and self.labels is None and not self.classes:
            raise ArgumentError("classes", "must name what is shown where there is no `source`", ())
        if self.labelled and self.become:
            raise ArgumentError("become", "must be absent where classes are known: `rules.transitions`", self.become)
        if not self.labelled:
            kinds = set(kinds_of(self.events))
            if kinds - {"add", "remove", "transition", "any"} or kinds >= {"add", "transition"}:
                rule = 'must be a number, or of "add" or "transition" and "remove", for images without masks'
                raise ArgumentError("events", rule, self.events)
            check_become(self.segment_plans, self.become)
        if not self.labelled and "second" in self.formats:
            raise ArgumentError("formats", "must leave out second where there are no classes", self.formats)
        for name in ("start", "created"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, day(name, getattr(self, name)))
        Conditions(text=self.prompt, gsd=self.gsd, lat=self.lat, lon=self.lon)
        mapping("second_classes", self.second_classes)
        check_room("size", self.size, self.rules.smallest, self.rules.largest)
        if self.labelled and self.labels is None:
            self.check_classes(self.classes, self.rules)
            if self.masks is None:
                grounds_of(self.classes, self.rules)

    def check_classes(self, classes: Sequence[str], rules: EventRules) -> None:
        """Raise `ArgumentError` unless the events can happen to these classes, and the formats know them."""
        check_request(self.size, classes, self.plans, rules)
        if "second" in self.formats:
            second_names(sorted(rules.changing(classes, kinds_of(self.events))), self.second_classes)

    @property
    def plans(self) -> list[Plan]:
        """The events from each date to the next."""
        return [self.events] * (self.dates - 1)

    @property
    def segment_plans(self) -> list[Plan]:
        """Those of images without labels, where what is to appear vanishes, in series that are read backwards."""
        if not isinstance(self.events, Mapping):
            return self.plans
        counts = {"add": 0, "remove": 0, "transition": 0} | dict(self.events)
        return [{"remove": counts["add"] + counts["remove"], "transition": counts["transition"]}] * (self.dates - 1)

    @property
    def backwards(self) -> float:
        """Share of the series of images without labels that are read backwards."""
        if not isinstance(self.events, Mapping):
            return 0.0 if self.become else 0.5
        return self.events.get("add", 0) / max(sum(self.events.values()), 1)

    @property
    def labelled(self) -> bool:
        """Whether classes are known: of boxes, of masks, or of maps drawn from nothing."""
        return self.source is None or self.masks is not None

    def to_dict(self) -> dict[str, Any]:
        """The configuration in YAML's own types; `from_dict` is its inverse."""
        record: dict[str, Any] = json.loads(json.dumps(asdict(self), default=dt.date.isoformat))
        record["size"] = f"{self.size[1]}x{self.size[0]}"
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], **changes: Any) -> ChangeConfig:
        """A configuration from YAML's types, some settings replaced."""
        return section(cls, {**record, **changes}, "")
