"""Rules that a layout follows where there are few labels to learn from, or none."""

from __future__ import annotations

from dataclasses import dataclass, fields

from earthgen.conditions import check_number
from earthgen.errors import ArgumentError


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
    """Mean and standard deviation of the angle of the longer side, degrees; None is any angle, (0, 0) horizontal."""
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
