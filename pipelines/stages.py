"""What the stages of a cascade are asked, and how it is all decided before the first of them runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from pyproj import Transformer
from torch import Tensor

from earthgen import geo
from earthgen.conditions import COARSE_FACTOR, LEAST_TOLD, MAX_SIDE, Conditions, Guidance, check_number
from earthgen.errors import ArgumentError
from earthgen.pipelines.arguments import check_whole
from earthgen.steps import Steps

RATIO_TOLERANCE = 1e-3
"""Relative, of the ratio between GSDs."""

Crop = tuple[int, int] | tuple[int, int, int, int]
"""Pixels of the coarser image: (height, width) in its middle, or (top, left, height, width)."""
Generators = torch.Generator | list[torch.Generator] | None
Window = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What is asked of one stage. None leaves it to the arguments of the call, or to the default."""

    conditions: Conditions | Sequence[Conditions] | None = None
    """Text, place, date, cloud cover in place of the call's where they are given; boxes, mask and known pixels at this
    stage's size. One, or one for each image that this stage starts from. GSD and coarser image are the cascade's."""
    num_images: int = 1
    """Images for each one of the stage before, from different noise."""
    crop: Crop | None = None
    """The part of the coarser image that is refined. None: as the call says."""
    guidance: Guidance | None = None
    num_inference_steps: int | None = None
    degradation: float | None = None
    """How far the coarser image is to be mistrusted, 0 to 1. None: not at all. The network is told of 0.3 at least."""
    consistency: float | None = None
    """How far the means over 4 × 4 pixels are brought to the coarser image: 1 all the way, 0 not at all.
    None: 1 - degradation."""
    generator: Generators = None
    """One, or one for each image of this stage."""
    latents: Tensor | None = None
    """Initial noise in place of the generator's."""

    def __post_init__(self) -> None:
        check_whole("stage.num_images", self.num_images, "must be a whole number from 1", 1)
        for name in ("degradation", "consistency"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), "must be a number from 0 to 1", 0, 1)
        if self.guidance is not None and not isinstance(self.guidance, Guidance):
            raise ArgumentError("stage.guidance", "must be an earthgen.Guidance", self.guidance)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A stage with all that was left open decided."""

    gsd: float
    height: int
    width: int
    window: Window
    """Of the coarser image."""
    repeats: int
    """Images for each one before."""
    conditions: list[Conditions]
    """Of each image, all but the coarser one."""
    steps: int
    guidance: Guidance
    consistency: float
    generator: Generators
    latents: Tensor | None


def check_gsds(gsds: object, given: bool = False) -> list[float]:
    """A chain of GSDs as floats; `given` says whether the first is that of an image.

    Raises `ArgumentError` unless each is a quarter of the one before, the last that or more.
    """
    rule = "must be metres a pixel of each stage, each a quarter of the one before; the last may be more than that"
    try:
        chain = [float(g) for g in gsds]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ArgumentError("gsds", rule, gsds) from None
    if len(chain) < 1 + given:
        raise ArgumentError("gsds", f"must hold at least {1 + given} GSDs{', that of `image` first' * given}", gsds)
    for gsd in chain:
        Conditions(gsd=gsd)
    for number, (coarse, fine) in enumerate(pairwise(chain), 1):
        quarter = math.isclose(coarse, COARSE_FACTOR * fine, rel_tol=RATIO_TOLERANCE)
        if not quarter and not (number == len(chain) - 1 and coarse / COARSE_FACTOR < fine < coarse):
            raise ArgumentError("gsds", rule, gsds)
    return chain


def check_stages(stages: object, count: int, given: bool) -> list[Stage]:
    """What each stage is asked; where the first is an image that is `given`, nothing can be asked of it."""
    chosen = {} if stages is None else stages
    if not isinstance(chosen, Mapping) or not all(isinstance(s, Stage) for s in chosen.values()):
        raise ArgumentError("stages", "must be a mapping from numbers of stages to `Stage`", stages)
    for number, stage in chosen.items():
        if isinstance(number, bool) or number not in range(given, count):
            raise ArgumentError("stages", f"must be by number, {int(given)} to {count - 1}", number)
        if number == 0:
            for name in ("crop", "degradation", "consistency"):
                if getattr(stage, name) is not None:
                    rule = "must be absent from the first stage, which refines nothing"
                    raise ArgumentError(f"stages[0].{name}", rule, getattr(stage, name))
    return [chosen.get(number, Stage()) for number in range(count)]


def decide(
    gsds: list[float],
    first: list[Conditions],
    size: tuple[int, int],
    given: bool,
    stages: list[Stage],
    common: Stage,
    towards: tuple[float, float] | None,
    usual: Steps,
) -> list[Plan]:
    """Decide everything about every stage, so that what cannot be is refused before any work.

    Args:
        gsds: Of the stages, checked.
        first: What each image of the first stage shows.
        size: Height and width of the first stage, pixels.
        given: Whether the first stage is an image that is given.
        stages: What each stage is asked.
        common: What all are, where they say nothing.
        towards: The place that crops are taken around.
        usual: Numbers of steps where nobody says.
    """
    if towards is not None and all(c is None or len(c) != 2 for c in (common.crop, *(s.crop for s in stages))):
        raise ArgumentError("towards", "must be given together with a `crop` of (height, width)", towards)
    plans: list[Plan] = []
    shown, window = first, (slice(0, size[0]), slice(0, size[1]))
    generator = common.generator
    for number, (gsd, stage) in enumerate(zip(gsds, stages, strict=True)):
        degradation = _first(stage.degradation, common.degradation, 0.0)
        if number:
            before = plans[-1].gsd
            if not math.isclose(gsd, before / COARSE_FACTOR, rel_tol=RATIO_TOLERANCE):
                gsd = before / COARSE_FACTOR  # the last may be coarser: it is brought down when made
            window = _window(_first(stage.crop, common.crop), size, towards, shown[0], before)
            shown = [_moved(c, window, size, before) for c in shown]
            size = tuple(COARSE_FACTOR * (s.stop - s.start) for s in window)  # type: ignore[assignment]
        if max(size) > MAX_SIDE:
            rule = f"must leave stage {number} at most {MAX_SIDE} pixels a side: fewer stages, or a `crop`"
            raise ArgumentError("gsds", rule, f"{size[1]} x {size[0]} at {gsd:g} m")
        shown = [c for c in shown for _ in range(stage.num_images)]
        asked = _of_stage(stage, number, shown, gsd, max(degradation, LEAST_TOLD) if number else 0.0)
        # The place of a stage's own conditions is that of its image, and moves along from there.
        shown = [c.replace(lat=a.lat, lon=a.lon) for c, a in zip(shown, asked, strict=True)]
        steps = usual.refining if number else usual.first
        if isinstance(generator, list):
            generator = [g for g in generator for _ in range(stage.num_images)]
        plans.append(
            Plan(
                gsd=gsd,
                height=size[0],
                width=size[1],
                window=window,
                repeats=stage.num_images,
                conditions=asked,
                steps=_first(stage.num_inference_steps, common.num_inference_steps, steps),
                guidance=_first(stage.guidance, common.guidance, Guidance.uniform(1.0) if number else Guidance()),
                consistency=_first(stage.consistency, common.consistency, 1.0 - degradation),
                generator=_first(stage.generator, generator),
                latents=stage.latents,
            )
        )
    return plans


def _first(*values: Any) -> Any:
    """The first that is not None, if any."""
    return next((v for v in values if v is not None), None)


def _window(crop: Any, size: tuple[int, int], towards: Any, shown: Conditions, gsd: float) -> Window:
    """The part of an image that is refined next."""
    height, width = size
    if crop is None:
        return slice(0, height), slice(0, width)
    rule = f"must be (height, width) or (top, left, height, width) within the image of {width} x {height}, 2 px or more"
    numbers = isinstance(crop, (tuple, list)) and all(isinstance(n, (int, np.integer)) for n in crop)
    if not numbers or len(crop) not in (2, 4):
        raise ArgumentError("crop", rule, crop)
    high, wide = crop[-2:]
    if not 2 <= high <= height or not 2 <= wide <= width:
        raise ArgumentError("crop", rule, crop)
    if len(crop) == 4:
        top, left = crop[:2]
        if not 0 <= top <= height - high or not 0 <= left <= width - wide:
            raise ArgumentError("crop", rule, crop)
    else:
        y, x = (height / 2, width / 2) if towards is None else _pixel_of(towards, size, shown, gsd)
        top = min(max(round(y - high / 2), 0), height - high)
        left = min(max(round(x - wide / 2), 0), width - wide)
    return slice(int(top), int(top + high)), slice(int(left), int(left + wide))


def _pixel_of(towards: Any, size: tuple[int, int], shown: Conditions, gsd: float) -> tuple[float, float]:
    """Row and column of a place in an image."""
    try:
        lat, lon = (float(v) for v in towards)
        Conditions(lat=lat, lon=lon)
    except (TypeError, ValueError):
        raise ArgumentError("towards", "must be (lat, lon) in degrees", towards) from None
    if shown.lat is None or shown.lon is None:
        raise ArgumentError("towards", "must be given together with `lat` and `lon`", towards)
    crs, transform = geo.transform_for(shown.lat, shown.lon, gsd, *size)
    x, y = Transformer.from_crs(geo.WGS84, crs.to_wkt(), always_xy=True).transform(lon, lat)
    column, row = ~transform @ (x, y)
    if not (0 <= row <= size[0] and 0 <= column <= size[1]):
        rule = f"must lie in the image of {size[1]} x {size[0]} pixels of {gsd:g} m about {(shown.lat, shown.lon)}"
        raise ArgumentError("towards", rule, towards)
    return row, column


def _moved(shown: Conditions, window: Window, size: tuple[int, int], gsd: float) -> Conditions:
    """The same with the place of the window's centre, on the map that a scene of this place is drawn on."""
    y, x = ((s.start + s.stop) / 2 for s in window)
    if shown.lat is None or shown.lon is None or (y, x) == (size[0] / 2, size[1] / 2):
        return shown
    crs, transform = geo.transform_for(shown.lat, shown.lon, gsd, *size)
    to_degrees = Transformer.from_crs(crs.to_wkt(), geo.WGS84, always_xy=True)
    lon, lat = to_degrees.transform(*(transform @ (x, y)))
    return shown.replace(lat=lat, lon=geo.wrap_longitude(lon))


def _of_stage(stage: Stage, number: int, common: list[Conditions], gsd: float, degradation: float) -> list[Conditions]:
    """What each image of a stage is asked to show: the call's conditions with the stage's own in their place."""
    name = f"stages[{number}].conditions"
    own = stage.conditions
    several = [Conditions()] if own is None else [own] if isinstance(own, Conditions) else own
    if not isinstance(several, (list, tuple)) or not all(isinstance(c, Conditions) for c in several):
        raise ArgumentError(name, "must be earthgen.Conditions, or a list of them", own)
    starts = len(common) // stage.num_images
    if len(several) not in (1, starts):
        raise ArgumentError(name, f"must be one, or {starts}, one for each image before", f"{len(several)} of them")
    asked = []
    for i, c in enumerate(common):
        mine = several[i // stage.num_images if len(several) > 1 else 0]
        changes = {f.name: getattr(mine, f.name) for f in fields(Conditions)}
        for field in ("gsd", "coarse"):
            if changes[field] is not None:
                raise ArgumentError(f"{name}.{field}", "must be absent: the cascade sets it", changes[field])
        changes = {n: v for n, v in changes.items() if v is not None}
        asked.append(replace(c, **(changes | {"gsd": gsd, "coarse_degradation": degradation})))
    return asked
