"""The plan of a data set: row after row, each a pure function of the configuration and its number."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earthgen.conditions import Conditions
from earthgen.data.base import mask_fractions
from earthgen.data.captions import by_number, is_aerial, listed
from earthgen.dataset.config import ANY, BACKGROUND, CLASSES, Config
from earthgen.geo import wrap_longitude
from earthgen.labels.base import Split
from earthgen.simulate.layouts import Layout

_GOLDEN = (math.sqrt(5) - 1) / 2
_CONDITIONS, _LAYOUT, _NOISE, _WORDS = range(4)
"""Each has random numbers of its own, so that changing one leaves the others as they are."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image of the plan, or one canvas."""

    index: int
    id: str
    split: Split
    label: str | None
    """Class of the whole image, in classification."""
    gsd: float | None
    lat: float | None
    lon: float | None
    date: dt.date | None
    cloud_cover: float | None


def row(config: Config, index: int) -> Row:
    """Row `index` of the plan, from 0. It does not depend on how many rows there are."""
    rng = _rng(config, index, _CONDITIONS)
    u = rng.random(6)  # all are drawn whether or not they are used, so that one range does not shift another's
    ranges = config.conditions
    gsd = cloud = date = lat = lon = None
    if ranges.gsd is not None:
        low, high = ranges.gsd
        gsd = min(max(float(f"{low * (high / low) ** u[0]:.4g}"), low), high)
    if ranges.cloud is not None:
        gap = ranges.cloud[1] - ranges.cloud[0]
        cloud = round(float(ranges.cloud[0] + u[1] * gap), 4)
    if ranges.dates is not None:
        days = (ranges.dates[1] - ranges.dates[0]).days
        date = ranges.dates[0] + dt.timedelta(days=int(u[2] * (days + 1)))
    if ranges.regions:
        lat, lon = _place(ranges.regions, u[3], u[4], u[5])
    classifies = config.task == "classification"
    return Row(
        index=index,
        id=f"s{config.seed}-{index:06d}",
        split=_split(config, index),
        label=config.classes[index % len(config.classes)] if classifies else None,
        gsd=gsd,
        lat=lat,
        lon=lon,
        date=date,
        cloud_cover=cloud,
    )


def layout_rng(config: Config, index: int, layout: int) -> np.random.Generator:
    """The random numbers of a row's layout, its first, its second, ..."""
    return _rng(config, index, _LAYOUT, layout)


def noise_seed(config: Config, index: int, layout: int, draw: int) -> int:
    """The seed of a draw of a row's layout: 53 bits, which JSON readers of any language keep."""
    state = _sequence(config, index, _NOISE, layout, draw).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(11))


def conditions(config: Config, row: Row, layout: Layout | None, number: int) -> Conditions:
    """What a row asks with its layout of that number."""
    shown = _shown(config, row, layout)
    asked = Conditions(
        text=_sentence(config, row, shown, number),
        gsd=row.gsd,
        lat=row.lat,
        lon=row.lon,
        date=row.date,
        cloud_cover=row.cloud_cover,
    )
    if layout is None:
        return asked
    # An outline is told alone: a box beside it would be filled to its corners (`benchmarks/outlines.py`).
    boxes, polygons = tuple(shape.box for shape in layout.shapes() if shape.polygon is None), layout.polygons()
    # Of a ground that nothing is said of, it is said that there is no object on it where there is none.
    whole = config.task == "detection" or config.layout.background == BACKGROUND
    return asked.replace(
        boxes=boxes if boxes or (whole and not polygons) else None,
        polygons=polygons or None,
        mask=layout.mask,
        mask_classes=layout.mask_classes,
    )


def _sequence(config: Config, *key: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(config.seed, spawn_key=key)


def _rng(config: Config, *key: int) -> np.random.Generator:
    return np.random.default_rng(_sequence(config, *key))


def _split(config: Config, index: int) -> Split:
    """The golden ratio's multiples fill 0 to 1 evenly, so any first n rows have the shares asked for, nearly."""
    u = (index + 1) * _GOLDEN % 1.0
    for name, share in config.splits.items():
        if u < share:
            return name
        u -= share
    return max(config.splits, key=lambda name: config.splits[name])  # rounding left a little over


def _place(
    regions: Sequence[tuple[float, float, float, float]], choice: float, u: float, v: float
) -> tuple[float, float]:
    """Latitude and longitude, drawn evenly by area from boxes of degrees."""
    spans = [(east - west) % 360 or (360.0 if east > west else 0.0) for west, _, east, _ in regions]
    sines = [(math.sin(math.radians(south)), math.sin(math.radians(north))) for _, south, _, north in regions]
    areas = np.array([span * (high - low) for span, (low, high) in zip(spans, sines, strict=True)])
    if not areas.any():  # points and lines
        areas += 1
    n = min(int(np.searchsorted(areas.cumsum() / areas.sum(), choice, side="right")), len(regions) - 1)
    low, high = sines[n]
    lat = math.degrees(math.asin(min(max(low + u * (high - low), -1.0), 1.0)))
    return round(lat, 6), round(wrap_longitude(regions[n][0] + v * spans[n]), 6)


def _shown(config: Config, row: Row, layout: Layout | None) -> list[str]:
    """Classes in an image, the most frequent first."""
    if row.label is not None:
        return [row.label]
    if config.task == "captions":
        return [config.captioned[row.index % len(config.captioned)]] if config.captioned else []
    if layout is not None and layout.boxes:
        return by_number(layout.boxes)
    if layout is not None and layout.mask is not None:
        return [name for name, _ in mask_fractions(layout.mask, layout.mask_classes)]
    return []


def _sentence(config: Config, row: Row, shown: Sequence[str], number: int) -> str | None:
    rng = _rng(config, row.index, _WORDS, number)
    choices: Sequence[str] = next((config.prompts[name] for name in (*shown[:1], ANY) if name in config.prompts), ())
    if not shown:
        choices = [text for text in choices if CLASSES not in text]
    if choices:
        return choices[int(rng.integers(len(choices)))].replace(CLASSES, listed(shown))
    if not shown:
        return None
    return f"{'an aerial photo' if is_aerial(row.gsd, shown[0]) else 'a satellite image'} of {listed(shown)}"
