"""Layouts that look like a user's own and are none of them: drawn from statistics of labels, or from rules.

A layout is a pure function of the generator and of the random generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import Box
from earthgen.labels.base import LabelledSet
from earthgen.simulate.layout_rules import ClassRule

__all__ = ["ClassRule", "Layout", "LayoutGenerator"]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What an image of a size is to show."""

    height: int
    width: int
    boxes: tuple[Box, ...]
    mask: NDArray[np.uint8] | None = None
    """(height, width), indices into `mask_classes`, 255 where unknown."""
    mask_classes: tuple[str, ...] = ()
    missing: tuple[tuple[str, int], ...] = ()
    """Class and number of the objects that were asked for and found no room."""


class LayoutGenerator:
    """Draws layouts. Make one by `fit`, `from_rules` or `load`."""

    @classmethod
    def fit(cls, images: LabelledSet) -> LayoutGenerator:
        """Learn from the shapes (and masks, where all have one) of labelled images; `shapes=None` is skipped."""
        raise NotImplementedError

    @classmethod
    def from_rules(cls, rules: Mapping[str, ClassRule]) -> LayoutGenerator:
        """A generator that follows a rule a class."""
        raise NotImplementedError

    def sample(
        self,
        rng: np.random.Generator,
        height: int,
        width: int,
        *,
        mask: NDArray[np.uint8] | None = None,
        mask_classes: tuple[str, ...] = (),
        classes: Iterable[str] | None = None,
        counts: Mapping[str, int] | None = None,
        with_mask: bool = False,
    ) -> Layout:
        """Draw a layout. See the class for what is kept."""
        raise NotImplementedError

    def perturb(self, rng: np.random.Generator, height: int, width: int, strength: float = 0.5) -> Layout:
        """A window of a real layout whose objects are moved, turned, resized, left out and added."""
        raise NotImplementedError

    def save(self, path: Path | str) -> Path:
        """Write the generator as JSON."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path | str) -> LayoutGenerator:
        """Read what `save` wrote."""
        raise NotImplementedError
