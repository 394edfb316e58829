"""A figure: what was measured, what it should be, and how much of a change is noise."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUPS = 10
"""That a set is cut into for its standard errors."""
Groups = NDArray[np.integer[Any]]
_NUMBER = r"([+-]?\d+(?:\.\d+)?)"


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured."""

    what: str
    value: float | str
    aim: str = ""
    """`≤ 4`, `≥ 0.9`, `1 ± 0.02`, `0.9 to 1.1`, or the very text that the value should be."""
    noise: float | None = None
    """Standard error: what the value is off by if it is measured once more. None where nobody knows."""

    @property
    def reached(self) -> bool | None:
        """Whether the aim is; None where there is none, or no number to hold against it."""
        limits = bounds(self.aim)
        if limits is None:
            return self.value == self.aim if self.aim else None
        return None if isinstance(self.value, str) else limits[0] <= self.value <= limits[1]

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "reached": self.reached}

    @classmethod
    def of(cls, record: dict[str, Any]) -> Figure:
        """What `record` gave."""
        return cls(**{name: record[name] for name in ("what", "value", "aim", "noise")})


def bounds(aim: str) -> tuple[float, float] | None:
    """Least and greatest value that an aim allows; None for one that is no number."""
    if match := re.fullmatch(rf"([≤≥]) {_NUMBER}", aim):
        limit = float(match[2])
        return (-math.inf, limit) if match[1] == "≤" else (limit, math.inf)
    if match := re.fullmatch(rf"{_NUMBER} (±|to) {_NUMBER}", aim):
        first, last = float(match[1]), float(match[3])
        return (first, last) if match[2] == "to" else (first - last, first + last)
    return None


def group_error(function: Callable[[NDArray[Any]], Any], items: NDArray[Any], groups: Groups | None = None) -> Any:
    """Standard error of `function` (a number, or a list of some) of a set of items, from its values on parts of it.

    For what is the same in the mean whatever the size of the set. None where there are too few items.

    Args:
        function: Of items.
        items: (number, ...).
        groups: Which of `GROUPS` parts each item belongs to, (number,); None deals them out in turn.
    """
    if (groups := _dealt(items, groups)) is None:
        return None
    values = [function(items[groups == k]) for k in range(GROUPS)]
    return (np.std(values, 0, ddof=1) / math.sqrt(GROUPS)).tolist()


def jackknife_error(
    function: Callable[[NDArray[Any]], float], items: NDArray[Any], groups: Groups | None = None
) -> float | None:
    """As `group_error`, for what depends on the size of the set: from its values with one part left out in turn."""
    if (groups := _dealt(items, groups)) is None:
        return None
    values = [function(items[groups != k]) for k in range(GROUPS)]
    return float(np.std(values) * math.sqrt(GROUPS - 1))


def _dealt(items: NDArray[Any], groups: Groups | None) -> Groups | None:
    groups = np.arange(len(items)) % GROUPS if groups is None else groups
    return groups if np.bincount(groups, minlength=GROUPS).min() >= 2 else None


def share_error(share: float, number: int) -> float | None:
    """Standard error of a share of `number` independent items, from 0 to 1; never 0 (Agresti and Coull 1998)."""
    if number < 1:
        return None
    middle = (share * number + 2) / (number + 4)
    return math.sqrt(middle * (1 - middle) / (number + 4))
