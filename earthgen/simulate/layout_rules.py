"""Rules that a layout follows where there are few labels to learn from, or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import check_number
from earthgen.errors import ArgumentError
from earthgen.simulate.layout_geometry import Floats
from earthgen.simulate.layout_statistics import Convention, Exemplars, Grounds, Ints, Scene, exemplars_of

DRAWN = 1000
"""Exemplars drawn from a rule."""
PROPORTIONS = 0.2
"""Of logarithms of longer by shorter side: objects so much alike lend each other their outlines."""
Z95 = 1.6448536269514722
"""95 % quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class ClassRule:
    """How many objects of a class there are, how large, how turned, and how they stand to each other.

    Pairs called a range are the 5 % and 95 % quantiles; what is drawn may lie a little outside.
    """

    density: float
    """Mean number of objects in a million pixels of the images that have any."""
    length: tuple[float, float]
    """Longer side in pixels, a range."""
    aspect: tuple[float, float] = (1.0, 2.0)
    """Longer by shorter side, a range, at least 1."""
    dispersion: float = 0.5
    """How counts vary between images beyond chance: their variance is mean + dispersion × mean²."""
    presence: float = 1.0
    """Share of the images that have any."""
    heading: tuple[float, float] | None = None
    """Mean and standard deviation of the angle of the longer side, degrees; None is any angle, (0, 0) horizontal.

    Where all classes have (0, 0), neighbours are never turned."""
    alignment: float = 0.0
    """Share of the objects of a cluster that take their neighbour's heading."""
    cluster: float = 1.0
    """Mean number of objects that stand together; 1 is none."""
    reach: tuple[float, float] = (2.0, 20.0)
    """Distance in pixels between the edges of neighbours in a cluster, a range."""
    gap: float = 0.0
    """Least distance in pixels between the edges of any two objects; negative lets them overlap by as much."""
    mask_classes: tuple[str, ...] | None = None
    """Classes of a semantic mask to stand on; None is any."""
    own: str | None = None
    """Class of a semantic mask that the objects themselves have: what is painted under them."""

    def __post_init__(self) -> None:
        inf = float("inf")
        check_number("rule.density", self.density, "must be a number > 0", 0, inf, low_open=True)
        check_number("rule.dispersion", self.dispersion, "must be a number ≥ 0", 0, inf)
        check_number("rule.cluster", self.cluster, "must be a number ≥ 1", 1, inf)
        check_number("rule.gap", self.gap, "must be a finite number", -inf, inf)
        for name in ("presence", "alignment"):
            check_number(f"rule.{name}", getattr(self, name), "must be from 0 to 1", 0, 1)
        for name, low in (("length", 1e-3), ("aspect", 1.0), ("reach", 0.0)):
            pair = getattr(self, name)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ArgumentError(f"rule.{name}", "must be a pair (low, high)", pair)
            for value in pair:
                check_number(f"rule.{name}", value, f"must hold numbers ≥ {low}", low, inf)
            if pair[0] > pair[1]:
                raise ArgumentError(f"rule.{name}", "must be a pair (low, high), low first", pair)
        if self.heading is not None:
            if not isinstance(self.heading, (tuple, list)) or len(self.heading) != 2:
                raise ArgumentError("rule.heading", "must be None or a pair (mean, deviation) in degrees", self.heading)
            check_number("rule.heading", self.heading[0], "must hold a finite mean", -inf, inf)
            check_number("rule.heading", self.heading[1], "must hold a deviation ≥ 0", 0, inf)
        for f in fields(self):  # lists as JSON and YAML have them
            if isinstance(getattr(self, f.name), list):
                object.__setattr__(self, f.name, tuple(getattr(self, f.name)))


def _drawn(rng: np.random.Generator, pair: tuple[float, float], count: int) -> Floats:
    """Normal numbers whose 5 % and 95 % quantiles are `pair`."""
    low, high = pair
    return (low + high) / 2 + (high - low) / (2 * Z95) * rng.standard_normal(count)


def exemplars_of_rules(rules: Sequence[ClassRule], turns: bool = True) -> Exemplars:
    """Objects as the rules have them, `DRAWN` a class, the same each time. Without turns, any heading is upright."""
    rng = np.random.default_rng(0)
    parts: dict[str, list[NDArray[np.generic]]] = {}
    for label, rule in enumerate(rules):
        n = DRAWN
        length = _drawn(rng, (math.log(rule.length[0]), math.log(rule.length[1])), n)
        aspect = np.maximum(_drawn(rng, (math.log(rule.aspect[0]), math.log(rule.aspect[1])), n), 0)
        mean, deviation = (0.0, 0.0) if rule.heading is None else rule.heading
        angle = rng.uniform(-180, 180, n) if rule.heading is None else mean + deviation * rng.standard_normal(n)
        size = np.stack([length, length - aspect], 1)
        if not turns:
            size = np.where(rng.random((n, 1)) < (rule.heading is None) / 2, size[:, ::-1], size)
            angle = np.zeros(n)
        beside = rng.random(n) < 1 - 1 / rule.cluster
        aligned = beside & (rng.random(n) < rule.alignment)
        direction = np.where(aligned, np.pi / 2 * rng.integers(4, size=n), rng.uniform(0, 2 * np.pi, n))
        distance = np.exp(length)[:, None]
        columns: dict[str, NDArray[np.generic]] = {
            "scene": np.zeros(n, np.int64),
            "label": np.full(n, label),
            "size": size,
            "angle": angle,
            "parent": np.where(beside, np.arange(n) + label * n, -1),
            "offset": np.stack([np.cos(direction), np.sin(direction)], 1) * distance,
            "link": np.maximum(np.where(beside, _drawn(rng, rule.reach, n), rule.reach[1]), rule.gap),
            "turn": np.where(aligned, 0.0, np.nan),
            "gap": np.full(n, rule.gap),
            "whole": np.ones(n, bool),
            "size_jitter": np.full(n, 0.02),
            "turn_jitter": np.zeros(n),
        }
        for name, column in columns.items():
            parts.setdefault(name, []).append(column)
    outline = (None,) * (DRAWN * len(rules))
    return Exemplars(**{name: np.concatenate(columns) for name, columns in parts.items()}, outline=outline)


def with_outlines(drawn: Exemplars, real: Exemplars) -> Exemplars:
    """The exemplars of rules, each with the outline, if any, of a real one of its class and about its proportions."""
    rng = np.random.default_rng(0)
    outlines: list[Floats | None] = []
    for label, size in zip(drawn.label, drawn.size, strict=True):
        of = np.flatnonzero((real.label == label) & real.whole)
        if not of.size:
            of = np.flatnonzero(real.label == label)
        off = np.abs(np.abs(np.subtract(*real.size[of].T)) - abs(size[0] - size[1]))
        k = int(of[np.argmin(off + PROPORTIONS * rng.random(len(of)))])
        outline, tall = real.outline[k], (real.size[k][0] < real.size[k][1]) != (size[0] < size[1])
        outlines.append(outline[:, ::-1] * (1, -1) if outline is not None and tall else outline)
    return replace(drawn, outline=tuple(outlines))


def counts_of_rules(rng: np.random.Generator, rules: Sequence[ClassRule], area: float) -> Ints:
    """Numbers of objects on so many pixels: negative binomial, or none by chance of `presence`."""
    counts = []
    for rule in rules:
        mean = rule.density * area / 1e6 * (rng.random() < rule.presence)
        if rule.dispersion and mean:
            mean = rng.gamma(1 / rule.dispersion, mean * rule.dispersion)
        counts.append(rng.poisson(mean))
    return np.array(counts, np.int64)


def rules_of(
    scenes: Sequence[Scene], classes: Sequence[str], convention: Convention, grounds: Grounds | None
) -> dict[str, ClassRule]:
    """Rules with what few labels tell; what they do not tell stays at its default. Classes without objects are out."""
    bank = exemplars_of(scenes, convention)
    rules = {}
    for label, name in enumerate(classes):
        of = bank.label == label
        if not of.any():
            continue
        whole = of & bank.whole if (of & bank.whole).any() else of
        counts = np.array([(scene.labels == label).sum() for scene in scenes], float)
        areas = np.array([scene.height * scene.width for scene in scenes], float)
        has = counts > 0
        rates = counts[has] / areas[has] * 1e6
        density = float(counts[has].sum() / areas[has].sum() * 1e6)
        spread = ClassRule(1, (1, 1)).dispersion
        if has.sum() > 2:  # by moments, of rates
            spread = max(0.0, float(rates.var(ddof=1) / density**2 - 1 / counts[has].mean()))
        sides = np.sort(bank.size[whole], 1)
        beside = of & (bank.parent >= 0)
        kin = beside & (bank.label[bank.parent] == label)
        heading: tuple[float, float] | None = None
        if convention.turns:
            order = 2 if convention.period < 360 else 1
            vector = np.exp(1j * order * np.radians(bank.angle[whole])).mean()
            if abs(vector) > 0.5:
                deviation = math.sqrt(-2 * math.log(min(abs(vector), 1 - 1e-9))) / order
                heading = (math.degrees(np.angle(vector)) / order, math.degrees(deviation))
        aligned = np.abs((bank.turn[kin] + 45) % 90 - 45) < 10
        near = bank.gap[of & np.isfinite(bank.gap)]
        liked = None
        if grounds is not None and grounds.liking[label].any():
            liked = tuple(c for c, value in zip(grounds.mask_classes, grounds.liking[label, :-1], strict=True) if value)
        own = None if grounds is None or grounds.own[label] is None else grounds.mask_classes[grounds.own[label] or 0]
        rules[name] = ClassRule(
            density=density,
            length=_range(np.exp(sides[:, 1])),
            aspect=_range(np.exp(sides[:, 1] - sides[:, 0]), low=1.0),
            dispersion=spread,
            presence=float(has.mean()),
            heading=heading,
            alignment=float(aligned.mean()) if aligned.size else 0.0,
            cluster=float(of.sum() / max(1, (of & (bank.parent < 0)).sum())),
            reach=_range(bank.link[beside], low=0.0) if beside.any() else ClassRule(1, (1, 1)).reach,
            gap=float(np.quantile(near, 0.05)) if near.size else 0.0,
            mask_classes=liked,
            own=own,
        )
    return rules


def _range(values: Floats, low: float = 1e-3) -> tuple[float, float]:
    """5 % and 95 % quantiles, a tenth wider, as few values seldom show the ends."""
    a, b = np.quantile(values, [0.05, 0.95])
    return max(low, float(a) / 1.1), max(low, float(b) * 1.1)
