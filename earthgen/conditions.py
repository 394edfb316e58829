"""What an Earth image is asked to show: one frozen dataclass, every field of which may be absent.

Pixel coordinates have their origin at the top left corner of the image, x to the right and y down,
in pixels of the image that is generated. Angles are degrees, turning from x towards y (clockwise as seen).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthgen.errors import ArgumentError

CONDITION_NAMES = ("text", "gsd", "position", "date", "cloud", "boxes", "mask", "known", "coarse")
"""The conditions a denoiser can be given or denied, each with a learned null. `position` is (lat, lon)."""

MAX_TEXT_LENGTH = 2_000
GSD_RANGE = (0.05, 200_000.0)
COARSE_FACTOR = 4
"""A stage of the cascade refines its coarser image by this factor."""


def _number(name: str, value: object, rule: str, low: float, high: float, low_open: bool = False) -> None:
    """Raise `ArgumentError` unless `value` is a finite real number in [low, high], or in (low, high]."""
    ok = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or not low <= value <= high or (low_open and value == low):  # type: ignore[operator, arg-type]
        raise ArgumentError(name, rule, value)


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
            _number(f"box.{name}", getattr(self, name), "must be a finite number", -math.inf, math.inf)
        for name in ("width", "height"):
            _number(f"box.{name}", getattr(self, name), "must be a finite number > 0", 0, math.inf, low_open=True)

    @classmethod
    def from_xyxy(cls, label: str, x0: float, y0: float, x1: float, y1: float) -> Box:
        """A horizontal box from its left, top, right and bottom edges, in pixels."""
        return cls(label, (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)

    def corners(self) -> NDArray[np.float64]:
        """The four corners, shape (4, 2) as (x, y): top left, top right, bottom right, bottom left of the unturned box."""
        c, s = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (self.width / 2, self.height / 2)
        return half @ np.array([[c, s], [-s, c]]) + (self.cx, self.cy)


@dataclass(frozen=True, slots=True)
class Guidance:
    """How strongly each condition pulls, as weights of classifier-free guidance.

    1 follows the condition as learned, more exaggerates it, 0 ignores it. Known pixels are always followed.
    Conditions of equal weight share a network evaluation; each further distinct weight other than 0 and 1
    costs one more evaluation a step.
    """

    text: float = 2.0
    gsd: float = 2.0
    position: float = 2.0
    date: float = 2.0
    cloud: float = 2.0
    boxes: float = 2.0
    mask: float = 2.0
    coarse: float = 1.0

    def __post_init__(self) -> None:
        for f in fields(self):
            _number(f"guidance.{f.name}", getattr(self, f.name), "must be a number from 0 to 50", 0, 50)

    @classmethod
    def uniform(cls, weight: float) -> Guidance:
        """The same weight for every condition but the coarser image, which stays at 1."""
        return cls(**{f.name: weight for f in fields(cls) if f.name != "coarse"})


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """Everything an image may be conditioned on. `None` means absent: the model's learned null stands in."""

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
            _number("gsd", self.gsd, rule, *GSD_RANGE)
        if (self.lat is None) != (self.lon is None):
            missing, given = ("lon", "lat") if self.lon is None else ("lat", "lon")
            raise ArgumentError(missing, f"must be given together with `{given}`", None)
        if self.lat is not None:
            _number("lat", self.lat, "must be degrees north from -90 to 90", -90, 90)
            _number("lon", self.lon, "must be degrees east from -180 to 180", -180, 180)
        if self.date is not None and not isinstance(self.date, dt.date):
            raise ArgumentError("date", "must be a datetime.date", self.date)
        if self.cloud_cover is not None:
            _number("cloud_cover", self.cloud_cover, "must be a fraction from 0 to 1", 0, 1)
        _number("coarse_degradation", self.coarse_degradation, "must be from 0 to 1", 0, 1)
        if self.boxes is not None:
            object.__setattr__(self, "boxes", tuple(self.boxes))
            for box in self.boxes:
                if not isinstance(box, Box):
                    raise ArgumentError("boxes", "must hold earthgen.Box objects", box)
        object.__setattr__(self, "mask_classes", tuple(self.mask_classes))
        self._check_mask()
        if (self.known is None) != (self.known_mask is None):
            missing = "known_mask" if self.known_mask is None else "known"
            raise ArgumentError(missing, "must be given together with its pair (`known`, `known_mask`)", None)
        for name in ("known", "coarse"):
            self._check_rgb(name, getattr(self, name))
        if self.known is not None and self.known_mask is not None:
            if self.known_mask.shape != self.known.shape[:2] or self.known_mask.dtype != np.bool_:
                rule = f"must be a boolean array of shape {self.known.shape[:2]}, as `known` has"
                raise ArgumentError("known_mask", rule, (self.known_mask.dtype, self.known_mask.shape))

    def _check_mask(self) -> None:
        if self.mask is None:
            return
        if not isinstance(self.mask, np.ndarray) or self.mask.ndim != 2 or self.mask.dtype != np.uint8:
            raise ArgumentError("mask", "must be a uint8 array of shape (height, width)", _described(self.mask))
        if not self.mask_classes or not all(isinstance(c, str) and c.strip() for c in self.mask_classes):
            raise ArgumentError("mask_classes", "must name the mask's classes in words", self.mask_classes)
        wrong = np.setdiff1d(self.mask, [*range(len(self.mask_classes)), 255])
        if wrong.size:
            rule = f"must hold indices below {len(self.mask_classes)} (len(mask_classes)), or 255 for unknown"
            raise ArgumentError("mask", rule, wrong[:8].tolist())

    @staticmethod
    def _check_rgb(name: str, image: object) -> None:
        if image is None:
            return
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ArgumentError(name, "must be a uint8 array of shape (height, width, 3)", _described(image))

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
        for box in self.boxes or ():
            (x0, y0), (x1, y1) = box.corners().min(0), box.corners().max(0)
            if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
                raise ArgumentError("boxes", f"must overlap the image of {width} x {height} pixels", box)

    def present(self) -> dict[str, bool]:
        """Which of `CONDITION_NAMES` are given."""
        return {
            "text": bool(self.text and self.text.strip()),
            "gsd": self.gsd is not None,
            "position": self.lat is not None,
            "date": self.date is not None,
            "cloud": self.cloud_cover is not None,
            "boxes": self.boxes is not None,
            "mask": self.mask is not None,
            "known": self.known is not None,
            "coarse": self.coarse is not None,
        }

    def replace(self, **changes: Any) -> Conditions:
        """A copy with some fields changed."""
        return replace(self, **changes)

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
                value = [{s: getattr(box, s) for s in Box.__slots__} for box in value]
            elif isinstance(value, dt.date):
                value = value.isoformat()
            elif f.name == "mask_classes":
                value = list(value)
            record[f.name] = value
        if self.coarse is None:
            record.pop("coarse_degradation")
        return record


def _described(value: object) -> object:
    return (value.dtype, value.shape) if isinstance(value, np.ndarray) else value
