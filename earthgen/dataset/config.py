"""What a data set is asked to be: one frozen dataclass, read from YAML, completed, and written beside the output.

A data set is a pure function of its resolved configuration. How many processes made it, and when, is no part of it.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from earthgen.conditions import GSD_RANGE, MAX_TEXT_LENGTH, Guidance, check_number
from earthgen.dataset import checks
from earthgen.errors import ArgumentError
from earthgen.labels.base import SPLITS, Split
from earthgen.simulate.layout_rules import ClassRule
from earthgen.weights import BUNDLED

TASKS = ("detection", "segmentation", "classification", "captions")
MIN_SIDE, MAX_SIDE = 8, 16_384
ANY = "any"
"""Among the prompts: for images whose class has none of its own."""
CLASSES = "{classes}"
"""In prompts, stands for what is shown; those that have it are for images that show something."""
DEFAULT_FORMATS = {
    "detection": ("coco", "yolo"),
    "segmentation": ("masks",),
    "classification": ("classification",),
    "captions": ("imagefolder",),
}
DEFAULT_RULE = ClassRule(density=150.0, length=(14.0, 48.0), gap=2.0)
"""Of a class without labels to learn from and without a rule: some ten objects on 256 × 256 px."""
BACKGROUND = "background"
"""Class of the ground in masks, where it has none that says what it is."""
_WITHOUT_EFFECT = ("count", "formats", "real", "model")
"""Settings in which the runs that share a folder may differ. What is behind `real` and `model` is told by digests."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Conditions that are drawn anew for every image; None leaves one out. A single value stands for itself."""

    gsd: tuple[float, float] | None = None
    """Metres a pixel, drawn evenly on a logarithmic scale."""
    regions: tuple[tuple[float, float, float, float], ...] = ()
    """West, south, east, north in degrees, any number; W > E crosses the antimeridian. Drawn evenly by area."""
    dates: tuple[dt.date, dt.date] | None = None
    cloud: tuple[float, float] | None = None
    """Fraction of the image under cloud."""

    def __post_init__(self) -> None:
        for name, (low, high) in {"gsd": GSD_RANGE, "cloud": (0.0, 1.0)}.items():
            if (pair := checks.pair(f"conditions.{name}", getattr(self, name))) is not None:
                for value in pair:
                    check_number(f"conditions.{name}", value, f"must lie from {low:g} to {high:g}", low, high)
                object.__setattr__(self, name, checks.ordered(f"conditions.{name}", (float(pair[0]), float(pair[1]))))
        if (pair := checks.pair("conditions.dates", self.dates)) is not None:
            days = (checks.day("conditions.dates", pair[0]), checks.day("conditions.dates", pair[1]))
            object.__setattr__(self, "dates", checks.ordered("conditions.dates", days))
        regions = checks.items("conditions.regions", self.regions)
        if regions and not isinstance(regions[0], (list, tuple)):
            regions = (regions,)
        object.__setattr__(self, "regions", tuple(_region(region) for region in regions))


@dataclass(frozen=True, slots=True)
class Layouts:
    """How objects are laid out: learned from the `real` labels where there are any, by rules otherwise."""

    rules: Mapping[str, ClassRule] = field(default_factory=dict)
    """By class, see `earthgen.simulate.ClassRule`; classes without one follow `DEFAULT_RULE`."""
    background: str | None = None
    """Class of the ground on which objects are painted, in segmentation without `real` masks. Images are told of it, so
    "grass" makes them green; but of `BACKGROUND`, the default, nothing is said, and the ground is what it may be."""
    masks: bool = True
    """Whether images are told of a mask that objects stand on, where masks were learned; always in segmentation."""
    outlines: bool = True
    """Whether objects have outlines after those of the `real` labels that have one, or else boxes alone."""
    perturb: float = 0.0
    """Share of the layouts that are windows of real ones, their objects moved, turned, resized."""
    strength: float = 0.5
    """Of that: 0 to 1."""

    def __post_init__(self) -> None:
        rules = {
            name: rule if isinstance(rule, ClassRule) else checks.section(ClassRule, rule, f"layout.rules.{name}")
            for name, rule in checks.mapping("layout.rules", self.rules).items()
        }
        object.__setattr__(self, "rules", rules)
        if self.background is not None and not (isinstance(self.background, str) and self.background.strip()):
            raise ArgumentError("layout.background", "must be the name of a class", self.background)
        for name in ("masks", "outlines"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"layout.{name}", "must be true or false", getattr(self, name))
        for name in ("perturb", "strength"):
            check_number(f"layout.{name}", getattr(self, name), "must be from 0 to 1", 0, 1)


@dataclass(frozen=True, slots=True)
class Screening:
    """How images are judged, and what happens to those that do not show what was asked."""

    judge: str | None = None
    """Folder of an evaluator; None learns one from the `real` labels, or keeps every image where there are none."""
    enabled: bool = True
    draws: int = 3
    """Images drawn of a layout before another layout is tried."""
    layouts: int = 2
    """Layouts tried before a row is given up."""
    keep_rejected: bool = True
    """Whether rejected images are written too, into a folder of their own."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By name, in place of the evaluator's own."""

    def __post_init__(self) -> None:
        for name in ("draws", "layouts"):
            checks.whole(f"filter.{name}", getattr(self, name), 1, 1000)
        for name in ("enabled", "keep_rejected"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"filter.{name}", "must be true or false", getattr(self, name))
        if self.judge is not None and not isinstance(self.judge, str):
            raise ArgumentError("filter.judge", "must be a folder's path", self.judge)
        for name, value in checks.mapping("filter.thresholds", self.thresholds).items():
            check_number(f"filter.thresholds.{name}", value, "must be a number", -math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Tiles:
    """How an image larger than a network reads is cut after it was made whole."""

    size: int = 512
    """Pixels a side."""
    overlap: int = 0
    """Pixels that neighbours share."""

    def __post_init__(self) -> None:
        checks.whole("tiles.size", self.size, MIN_SIDE, MAX_SIDE)
        checks.whole("tiles.overlap", self.overlap, 0, self.size - 1)


@dataclass(frozen=True, slots=True)
class Config:
    """A data set's configuration. `resolved` says what is left to defaults."""

    task: str
    classes: tuple[str, ...] = ()
    """Names in words; learned from the `real` labels where empty."""
    count: int = 100
    """Rows: images, or canvases where `tiles` cuts them."""
    seed: int = 0
    size: tuple[int, int] = (256, 256)
    """Height and width in pixels; in YAML one number, or WIDTHxHEIGHT."""
    real: str | None = None
    """Folder or file of labelled real images to learn layouts and the filter from."""
    formats: tuple[str, ...] = ()
    prompts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Sentences by class, or for `any`; one is drawn for each image. `{classes}` stands for what it shows."""
    conditions: Ranges = field(default_factory=Ranges)
    layout: Layouts = field(default_factory=Layouts)
    filter: Screening = field(default_factory=Screening)
    tiles: Tiles | None = None
    min_visible: float = 0.25
    """Objects of which a smaller fraction lies in the image get no label there."""
    splits: Mapping[Split, float] = field(default_factory=lambda: {"train": 0.9, "val": 0.1})
    guidance: Guidance | None = None
    """A number, or numbers by condition; None is the model's."""
    steps: int | None = None
    """Sampling steps; None is the model's."""
    model: str = BUNDLED
    device: str = "auto"
    threads: int = 1
    """Threads of a worker: part of the result, as sums of another number of threads round otherwise."""
    created: dt.date | None = None
    """The day that files say they were made on; None is the day of the first run."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Written, not read: version, digests of the model and of what was learned from the real labels."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ArgumentError(
                "task", f"must be one of {', '.join(TASKS)}{checks.nearest(self.task, TASKS)}", self.task
            )
        for name, high in (("count", 10_000_000), ("threads", 1024), ("steps", 1000)):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), 1, high)
        checks.whole("seed", self.seed, 0, 2**63 - 1)
        check_number("min_visible", self.min_visible, "must be a fraction from 0 to 1", 0, 1)
        for name in ("real", "model", "device"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise ArgumentError(name, "must be a string", getattr(self, name))
        classes = checks.names("classes", self.classes)
        tiles = {"size": self.tiles} if isinstance(self.tiles, int) else self.tiles
        values = {
            "classes": classes,
            "formats": checks.names("formats", self.formats),
            "size": size_of(self.size),
            "prompts": _prompts(self.prompts, classes),
            "conditions": _as(Ranges, self.conditions, "conditions"),
            "layout": _as(Layouts, self.layout, "layout"),
            "filter": _as(Screening, self.filter, "filter"),
            "tiles": None if tiles is None else _as(Tiles, tiles, "tiles"),
            "splits": splits_of(self.splits),
            "guidance": _guidance(self.guidance),
            "created": None if self.created is None else checks.day("created", self.created),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        if self.tiles is not None and self.task in ("classification", "captions"):
            raise ArgumentError("tiles", f"must be absent, as {self.task} describes whole images", self.tiles.size)
        for name in self.layout.rules:
            if self.classes and name not in self.classes:
                rule = f"is for no class{checks.nearest(name, self.classes)}"
                raise ArgumentError(f"layout.rules.{name}", rule, self.classes)
        if self.layout.perturb and (self.real is None or self.task != "detection"):
            rule = "must be 0 but for detection with `real` labels to take windows of"
            raise ArgumentError("layout.perturb", rule, self.layout.perturb)
        if self.real is None and not self.classes and not (self.task == "captions" and self.prompts):
            raise ArgumentError("classes", "must name what is shown, or `real` labels that do be given", ())
        if self.task == "captions" and not self.captioned:
            if not self.prompts:
                raise ArgumentError("prompts", "must hold sentences, or `classes` name what is shown", {})
            for text in self.prompts[ANY]:
                if CLASSES in text:
                    raise ArgumentError("prompts", f"must do without {CLASSES} where no `classes` are named", text)
        if self.task != "segmentation" and self.layout.background is not None:
            raise ArgumentError("layout.background", "must be absent but for segmentation", self.layout.background)
        if self.task == "segmentation" and self.classes and not self.objects:
            raise ArgumentError("classes", "must name more than `layout.background`", self.classes)

    @property
    def objects(self) -> tuple[str, ...]:
        """The classes without that of the ground."""
        return tuple(name for name in self.classes if name != self.layout.background)

    @property
    def captioned(self) -> tuple[str, ...]:
        """What captions name in turn: the classes, or those that prompts are for; empty where any prompt will do."""
        return self.classes or tuple(name for name in self.prompts if name != ANY)

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """Of masks whose ground is `layout.background`, which comes first unless `classes` has a place for it."""
        ground = self.layout.background
        return self.classes if ground is None or ground in self.classes else (ground, *self.classes)

    def to_dict(self) -> dict[str, Any]:
        """The configuration in YAML's own types; `from_dict` is its inverse."""
        record = _plain(asdict(self))
        record["size"] = f"{self.size[1]}x{self.size[0]}"
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], **changes: Any) -> Config:
        """A configuration from YAML's types, some settings replaced. Raises `ArgumentError` where one breaks a rule."""
        return checks.section(cls, {**checks.mapping("configuration", record), **changes}, "")

    def resolved(self, **changes: Any) -> Config:
        """A copy that leaves nothing to defaults that another day or version may change, with further changes."""
        defaults = {
            "formats": self.formats or DEFAULT_FORMATS[self.task],
            "guidance": self.guidance or Guidance(),
            "created": self.created or dt.datetime.now(dt.timezone.utc).date(),
        }
        return replace(self, **{**defaults, **changes})

    def differences(self, other: Config) -> list[str]:
        """Names of the settings on which the images depend and in which two resolved configurations differ."""
        mine, others = _flat(self.to_dict()), _flat(other.to_dict())
        names = [name for name in {**mine, **others} if name not in _WITHOUT_EFFECT]
        return [name for name in names if mine.get(name) != others.get(name)]


def _as(cls: type[Any], value: object, name: str) -> Any:
    return value if isinstance(value, cls) else checks.section(cls, {} if value is None else value, name)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping with sections' settings as `section.name`."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def _region(value: object) -> tuple[float, ...]:
    bounds = checks.items("conditions.regions", value)
    rule = "must be boxes [west, south, east, north] in degrees"
    if len(bounds) != 4:
        raise ArgumentError("conditions.regions", rule, value)
    for bound, limit in zip(bounds, (180, 90, 180, 90), strict=True):
        check_number("conditions.regions", bound, rule, -limit, limit)
    if bounds[1] > bounds[3]:
        raise ArgumentError("conditions.regions", f"{rule}, south below north", value)
    return tuple(float(bound) for bound in bounds)


def size_of(value: object) -> tuple[int, int]:
    """`SIDE`, `WIDTHxHEIGHT` or (height, width) as (height, width) in pixels."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        value = f"{value[1]}x{value[0]}"
    match = re.fullmatch(r"\s*(\d{1,9})(?:[xX×](\d{1,9}))?\s*", str(value))
    sides = [int(side) for side in match.groups() if side] if match else []
    if not sides or not all(MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise ArgumentError(
            "size", f"must be SIDE or WIDTHxHEIGHT in pixels, each from {MIN_SIDE} to {MAX_SIDE}", value
        )
    return sides[-1], sides[0]


def _prompts(value: object, classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    given = value if isinstance(value, Mapping) else {ANY: value}
    prompts = {key: checks.items(f"prompts.{key}", texts) for key, texts in checks.mapping("prompts", given).items()}
    prompts = {key: texts for key, texts in prompts.items() if texts}  # none is as good as no key
    for key, texts in prompts.items():
        if classes and key not in (*classes, ANY):
            names = (*classes, ANY)
            raise ArgumentError(f"prompts.{key}", f"is no class{checks.nearest(key, names)}", names)
        for text in texts:
            if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT_LENGTH:
                rule = f"must hold sentences of 1 to {MAX_TEXT_LENGTH} characters"
                raise ArgumentError(f"prompts.{key}", rule, text)
    return prompts


def _guidance(value: object) -> Guidance | None:
    if value is None or isinstance(value, Guidance):
        return value
    if isinstance(value, Mapping):
        return checks.section(Guidance, value, "guidance")
    check_number("guidance", value, "must be a number from 0 to 50, or numbers by condition", 0, 50)
    return Guidance.uniform(float(value))  # type: ignore[arg-type]


def splits_of(value: object) -> dict[Split, float]:
    """Shares of the splits, which add up to 1."""
    shares = checks.mapping("splits", value)
    for name, share in shares.items():
        if name not in SPLITS:
            raise ArgumentError(
                f"splits.{name}", f"must be one of {', '.join(SPLITS)}{checks.nearest(name, SPLITS)}", share
            )
        check_number(f"splits.{name}", share, "must be a fraction from 0 to 1", 0, 1)
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ArgumentError("splits", "must add up to 1", dict(shares))
    return {name: float(shares[name]) for name in SPLITS if name in shares}
