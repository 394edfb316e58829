"""Keeping an image only if it shows what was asked, with the reason where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import Conditions


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an image shows what was asked of it. `to_dict`-free: all fields are JSON-ready."""

    kept: bool
    scores: dict[str, float]
    """What was measured, by name; empty where nothing asked could be judged."""
    reason: str | None = None
    """Why it was rejected, in words with numbers; None where it was kept."""


class Filter(Protocol):
    """What judges images against what was asked of them."""

    def judge(self, images: Sequence[NDArray[np.uint8]], conditions: Sequence[Conditions]) -> list[Verdict]:
        """One verdict for each image (height, width, 3), uint8 RGB; an image's does not depend on the others."""
        ...
