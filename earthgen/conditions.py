"""What an Earth image is asked to show: one frozen dataclass, every field of which may be absent.

Pixel coordinates have their origin at the top left corner of the image, x to the right and y down,
in pixels of the image that is generated. Angles are degrees, turning from x towards y (clockwise as seen).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from earthgen.errors import ArgumentError

UNKNOWN = 255
"""In semantic masks: nothing is said of the pixel."""
CONDITION_NAMES = ("text", "gsd", "position", "date", "cloud", "boxes", "mask", "known", "coarse")
"""The conditions a denoiser can be given or denied, each with a learned null. `position` is (lat, lon)."""

MAX_TEXT_LENGTH = 2_000
GSD_RANGE = (0.05, 200_000.0)
MAX_SIDE = 16_384
"""Pixels a side of an image; a world has none."""
COARSE_FACTOR = 4
"""A stage of the cascade refines its coarser image by this factor."""
LEAST_TOLD = 0.3
"""Of degradation: a stage that refines what a cascade gave it is told of no less. What it makes of clean images is then
nearer to real ones, on held-out images (`benchmarks/cascade.py`): clean ones were rare in training."""


def check_number(name: str, value: object, rule: str, low: float, high: float, low_open: bool = False) -> None:
    """Raise `ArgumentError` unless `value` is a finite real number in [low, high], or in (low, high]."""
    if isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and low <= number <= high and not (low_open and number == low):
            return
    raise ArgumentError(name, rule, value)


def check_rgb(name: str, image: object) -> None:
    """Raise `ArgumentError` unless `image` is a uint8 array (height, width, 3) of at least one pixel."""
    ok = isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
    if not ok or not image.size:  # type: ignore[attr-defined]
        raise ArgumentError(name, "must be a uint8 array of shape (height, width, 3)", _described(image))


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, horizontal or rotated, with the class of what stands in it.

    `width` runs along the box's own x axis, which is the image's x axis turned by `angle` degrees.
    """

    label: str
    cx: float
    cy: float
    width: float
    height: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label.strip():
            raise ArgumentError("box.label", "must be a non-empty string", self.label)
        for name in ("cx", "cy", "angle"):
            check_number(f"box.{name}", getattr(self, name), "must be a finite number", -math.inf, math.inf)
        for name in ("width", "height"):
            check_number(f"box.{name}", getattr(self, name), "must be a finite number > 0", 0, math.inf, low_open=True)

    @classmethod
    def from_xyxy(cls, label: str, x0: float, y0: float, x1: float, y1: float) -> Box:
        """A horizontal box from its left, top, right and bottom edges, in pixels."""
        return cls(label, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)

    def corners(self) -> NDArray[np.float64]:
        """The four corners, (4, 2) as (x, y): clockwise from what is the top left before the turn."""
        c, s = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (self.width / 2, self.height / 2)
        return half @ np.array([[c, s], [-s, c]]) + (self.cx, self.cy)

    def overlaps(self, height: int, width: int) -> bool:
        """Whether any of the box lies in an image of this size: neither's sides keep them apart."""
        (x0, y0), (x1, y1) = self.corners().min(0), self.corners().max(0)
        c, s = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        image = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - (self.cx, self.cy)
        u, v = image @ (c, s), image @ (-s, c)  # the image's corners along the box's own axes
        apart_for_image = x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height
        half_width, half_height = self.width / 2, self.height / 2
        apart_for_box = (
            u.max() <= -half_width or u.min() >= half_width or v.max() <= -half_height or v.min() >= half_height
        )
        return not (apart_for_image or apart_for_box)


@dataclass(frozen=True, slots=True)
class Polygon:
    """An area in pixels with the class, or a description, of what it shows. Its outline may not cross itself."""

    label: str
    points: tuple[tuple[float, float], ...]
    """At least three corners as (x, y), in order, the first not repeated at the end."""

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label.strip():
            raise ArgumentError("polygon.label", "must be a non-empty string", self.label)
        rule = "must be at least three corners (x, y), finite numbers"
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError) as error:
            raise ArgumentError("polygon.points", rule, self.points) from error
        if len(points) < 3 or not all(math.isfinite(n) for point in points for n in point):
            raise ArgumentError("polygon.points", rule, self.points)
        outline = shapely.Polygon(points)
        if not outline.is_valid or not outline.area:
            raise ArgumentError("polygon.points", "must enclose an area and not cross themselves", points)
        object.__setattr__(self, "points", points)

    def corners(self) -> NDArray[np.float64]:
        """The corners, (n, 2) as (x, y)."""
        return np.array(self.points)

    def overlaps(self, height: int, width: int) -> bool:
        """Whether any of the area lies in an image of this size."""
        return bool(shapely.Polygon(self.points).intersects(shapely.box(0, 0, width, height)))


@dataclass(frozen=True, slots=True)
class Guidance:
    """How strongly each condition pulls, as weights of classifier-free guidance.

    1 follows the condition as learned, more exaggerates it, 0 ignores it. Known pixels are always followed.
    Conditions of equal weight share a network evaluation; each further distinct weight other than 0 and 1
    costs one more evaluation a step.
    """

    text: float = 4.0
    gsd: float = 4.0
    position: float = 4.0
    date: float = 4.0
    cloud: float = 4.0
    boxes: float = 4.0
    mask: float = 4.0
    coarse: float = 1.0

    def __post_init__(self) -> None:
        for f in fields(self):
            check_number(f"guidance.{f.name}", getattr(self, f.name), "must be a number from 0 to 50", 0, 50)

    @classmethod
    def uniform(cls, weight: float) -> Guidance:
        """The same weight for every condition but the coarser image, which stays at 1."""
        return cls(**{f.name: weight for f in fields(cls) if f.name != "coarse"})

    def of_refinement(self) -> Guidance:
        """For images made from a coarser one, which says most: no weight above 1 but that of the layout."""
        kept = ("boxes", "mask")
        return Guidance(**{f.name: min(getattr(self, f.name), 50 if f.name in kept else 1) for f in fields(self)})


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """Everything an image may be conditioned on. `None` means absent: the model's learned null stands in.

    Arrays are kept as read-only views, not copied.
    """

    text: str | None = None
    """A sentence. The empty string is the same as absent."""
    gsd: float | None = None
    """Ground sampling distance, metres a pixel."""
    lat: float | None = None
    """Latitude of the image centre, degrees north, WGS 84. Given with `lon` or not at all."""
    lon: float | None = None
    """Longitude of the image centre, degrees east, WGS 84, -180 to 180."""
    date: dt.date | None = None
    """Day the image shows."""
    cloud_cover: float | None = None
    """Fraction of the image covered by cloud, 0 to 1."""
    boxes: tuple[Box, ...] | None = None
    """Objects. The empty tuple says that there are none, `None` says nothing."""
    mask: NDArray[np.uint8] | None = None
    """Semantic mask, (height, width), indices into `mask_classes`; 255 says nothing of that pixel."""
    mask_classes: tuple[str, ...] = ()
    polygons: tuple[Polygon, ...] | None = None
    """Areas of the semantic mask by their outlines, over what `mask` says; later ones lie on top."""
    known: NDArray[np.uint8] | None = None
    """Pixels that are given, (height, width, 3), uint8 RGB, to be kept where `known_mask` is true."""
    known_mask: NDArray[np.bool_] | None = None
    coarse: NDArray[np.uint8] | None = None
    """The same ground at a GSD four times coarser, (ceil(height/4), ceil(width/4), 3), uint8 RGB."""
    coarse_degradation: float = field(default=0.0)
    """How far `coarse` is to be mistrusted, 0 (clean) to 1 (blurred, noisy, compressed)."""

    def __post_init__(self) -> None:
        if self.text is not None:
            if not isinstance(self.text, str):
                raise ArgumentError("text", "must be a string or None", self.text)
            if len(self.text) > MAX_TEXT_LENGTH:
                rule = f"must be at most {MAX_TEXT_LENGTH} characters long (it has {len(self.text)})"
                raise ArgumentError("text", rule, self.text)
        if self.gsd is not None:
            rule = f"must be a number of metres a pixel from {GSD_RANGE[0]} to {GSD_RANGE[1]:.0f}"
            check_number("gsd", self.gsd, rule, *GSD_RANGE)
        if (self.lat is None) != (self.lon is None):
            missing, given = ("lon", "lat") if self.lon is None else ("lat", "lon")
            raise ArgumentError(missing, f"must be given together with `{given}`", None)
        if self.lat is not None:
            check_number("lat", self.lat, "must be degrees north from -90 to 90", -90, 90)
            check_number("lon", self.lon, "must be degrees east from -180 to 180", -180, 180)
        if self.date is not None and not isinstance(self.date, dt.date):
            raise ArgumentError("date", "must be a datetime.date", self.date)
        if isinstance(self.date, dt.datetime):
            object.__setattr__(self, "date", self.date.date())
        if self.cloud_cover is not None:
            check_number("cloud_cover", self.cloud_cover, "must be a fraction from 0 to 1", 0, 1)
        check_number("coarse_degradation", self.coarse_degradation, "must be from 0 to 1", 0, 1)
        self._check_shapes("boxes", Box)
        self._check_shapes("polygons", Polygon)
        self._check_mask()
        self._check_known()
        if self.coarse is not None:
            check_rgb("coarse", self.coarse)
        for name in ("mask", "known", "known_mask", "coarse"):
            if getattr(self, name) is not None:
                view = getattr(self, name).view()
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    def _check_shapes(self, name: str, kind: type) -> None:
        given = getattr(self, name)
        if given is None:
            return
        if not isinstance(given, Iterable):
            raise ArgumentError(name, f"must be a sequence of earthgen.{kind.__name__} objects", given)
        object.__setattr__(self, name, tuple(given))
        for shape in getattr(self, name):
            if not isinstance(shape, kind):
                raise ArgumentError(name, f"must hold earthgen.{kind.__name__} objects", shape)

    def _check_known(self) -> None:
        if (self.known is None) != (self.known_mask is None):
            missing = "known_mask" if self.known_mask is None else "known"
            raise ArgumentError(missing, "must be given together with its pair (`known`, `known_mask`)", None)
        if self.known is None:
            return
        check_rgb("known", self.known)
        mask = self.known_mask
        if not isinstance(mask, np.ndarray) or mask.shape != self.known.shape[:2] or mask.dtype != np.bool_:
            rule = f"must be a boolean array of shape {self.known.shape[:2]}, as `known` has"
            raise ArgumentError("known_mask", rule, _described(mask))

    def _check_mask(self) -> None:
        names: object = self.mask_classes
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ArgumentError("mask_classes", "must be a sequence of names", names)
        object.__setattr__(self, "mask_classes", tuple(self.mask_classes))
        if self.mask is None:
            return
        if not isinstance(self.mask, np.ndarray) or self.mask.ndim != 2 or self.mask.dtype != np.uint8:
            raise ArgumentError("mask", "must be a uint8 array of shape (height, width)", _described(self.mask))
        if not self.mask_classes or not all(isinstance(c, str) and c.strip() for c in self.mask_classes):
            raise ArgumentError("mask_classes", "must name the mask's classes in words", self.mask_classes)
        wrong = np.setdiff1d(self.mask, [*range(len(self.mask_classes)), UNKNOWN])
        if wrong.size:
            rule = f"must hold indices below {len(self.mask_classes)} (len(mask_classes)), or {UNKNOWN} for unknown"
            raise ArgumentError("mask", rule, wrong[:8].tolist())

    def check_size(self, height: int, width: int) -> None:
        """Raise `ArgumentError` unless every raster and box fits an image of this size in pixels."""
        for name, array in (("mask", self.mask), ("known", self.known)):
            if array is not None and array.shape[:2] != (height, width):
                raise ArgumentError(name, f"must have the image's size, {(height, width)}", array.shape[:2])
        if self.coarse is not None:
            want = (math.ceil(height / COARSE_FACTOR), math.ceil(width / COARSE_FACTOR))
            if self.coarse.shape[:2] != want:
                rule = f"must be 1/{COARSE_FACTOR} of the image's size, rounded up: {want}"
                raise ArgumentError("coarse", rule, self.coarse.shape[:2])
        for name in ("boxes", "polygons"):
            for shape in getattr(self, name) or ():
                if not shape.overlaps(height, width):
                    raise ArgumentError(name, f"must overlap the image of {width} x {height} pixels", shape)

    def ground(self, height: int, width: int) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
        """The semantic mask with the polygons on it, for an image of this size, and its classes; None without either.

        Raises:
            ArgumentError: `mask` has another size, or there are more than 255 classes.
        """
        if not self.polygons:
            return self.mask, self.mask_classes
        from rasterio.features import rasterize

        self.check_size(height, width)
        classes = tuple(dict.fromkeys((*self.mask_classes, *(p.label for p in self.polygons))))
        if len(classes) > UNKNOWN:
            raise ArgumentError("polygons", f"must have at most {UNKNOWN} classes, with those of `mask`", len(classes))
        mask = np.full((height, width), UNKNOWN, np.uint8) if self.mask is None else self.mask.copy()
        drawn = [(shapely.Polygon(p.points), classes.index(p.label)) for p in self.polygons]
        rasterize(drawn, out=mask)
        return mask, classes

    def present(self) -> dict[str, bool]:
        """Which of `CONDITION_NAMES` are given."""
        return {
            "text": bool(self.text and self.text.strip()),
            "gsd": self.gsd is not None,
            "position": self.lat is not None,
            "date": self.date is not None,
            "cloud": self.cloud_cover is not None,
            "boxes": self.boxes is not None,
            "mask": self.mask is not None or bool(self.polygons),
            "known": self.known is not None,
            "coarse": self.coarse is not None,
        }

    def replace(self, **changes: Any) -> Conditions:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def coarser(self, height: int, width: int) -> Conditions:
        """What an image of this ground is asked to show whose pixels are four times as large, sides rounded up.

        A pixel is known where all that it covers is, and has the class of its middle. `coarse` is left out.
        """
        f = COARSE_FACTOR
        rows, columns = (np.minimum(np.arange(math.ceil(n / f)) * f + f // 2, n - 1) for n in (height, width))
        changes: dict[str, Any] = {"coarse": None, "coarse_degradation": 0.0}
        if self.gsd is not None:
            changes["gsd"] = f * self.gsd
        if self.boxes is not None:
            scaled = [(b.cx / f, b.cy / f, b.width / f, b.height / f) for b in self.boxes]
            changes["boxes"] = tuple(Box(b.label, *s, b.angle) for b, s in zip(self.boxes, scaled, strict=True))
        if self.mask is not None:
            changes["mask"] = self.mask[rows[:, None], columns]
        if self.polygons is not None:
            outlines = [(p.label, tuple((x / f, y / f) for x, y in p.points)) for p in self.polygons]
            changes["polygons"] = tuple(Polygon(*outline) for outline in outlines)
        if self.known is not None and self.known_mask is not None:
            beyond = ((0, -height % f), (0, -width % f))
            blocks = (len(rows), f, len(columns), f)
            pixels = np.pad(self.known, (*beyond, (0, 0)), "edge").reshape(*blocks, 3)
            changes["known"] = np.rint(pixels.mean((1, 3))).astype(np.uint8)
            changes["known_mask"] = np.pad(self.known_mask, beyond, "edge").reshape(blocks).all((1, 3))
        return self.replace(**changes)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready record of what was asked, for provenance. Arrays become their shape and SHA-256."""
        record: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or (f.name == "mask_classes" and not value):
                continue
            if isinstance(value, np.ndarray):
                digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
                value = {"shape": list(value.shape), "sha256": digest}
            elif f.name == "boxes":
                value = [{f.name: _plain(getattr(box, f.name)) for f in fields(Box)} for box in value]
            elif f.name == "polygons":
                value = [{"label": p.label, "points": [list(point) for point in p.points]} for p in value]
            elif isinstance(value, dt.date):
                value = value.isoformat()
            elif f.name == "mask_classes":
                value = list(value)
            record[f.name] = _plain(value)
        if self.coarse is None:
            record.pop("coarse_degradation")
        return record


def _plain(value: object) -> object:
    """A numpy number as Python's own, which JSON knows; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def check_negative_prompt(text: object, guidance: Guidance, taught: float = 1.0) -> None:
    """Raise `ArgumentError` unless text guidance can lead away from `text`; from a blank one it need not.

    It can where text weighs more than a network was `taught` of guidance (1, where it takes many steps): only then is
    there an evaluation without the text that is asked for, in which this has its place.
    """
    try:
        blank = not Conditions(text=text).present()["text"]  # type: ignore[arg-type]
    except ArgumentError as error:
        raise ArgumentError("negative_prompt", error.rule, text) from None
    if not blank and guidance.text <= taught:
        rule = f"needs a guidance weight for text above {taught:g}"
        if taught != 1:  # a model may have a network of many steps besides
            rule += ", which a network of few steps has learned, or five steps or more"
        raise ArgumentError("negative_prompt", rule, f"text={guidance.text:g}")


def _described(value: object) -> object:
    return (value.dtype, value.shape) if isinstance(value, np.ndarray) else value
