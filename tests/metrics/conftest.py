"""Tiny labelled images whose classes a small network learns in seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from earthgen.conditions import Conditions
from earthgen.metrics.real import LabelledImages

CLASSES = ("dark", "stripes", "bright")


def make_labelled(each: int, seed: int, side: int = 32) -> LabelledImages:
    """Dark, striped and bright squares with noise, `each` of a class."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    stripes = 120 + 80 * np.sign(np.sin(np.arange(side) * np.pi / 4))
    base = np.stack([np.full((side, side), 60.0), np.broadcast_to(stripes, (side, side)), np.full((side, side), 190.0)])
    images = base[labels][..., None] + generator.normal(0, 20, (len(labels), side, side, 3))
    asked = tuple(Conditions(text=CLASSES[k], gsd=10.0) for k in labels)
    return LabelledImages(images.clip(0, 255).astype(np.uint8), labels.astype(np.int64), CLASSES, asked)


@pytest.fixture(scope="session")
def labelled() -> Callable[[int, int], LabelledImages]:
    return make_labelled


@pytest.fixture(scope="session")
def train() -> LabelledImages:
    return make_labelled(20, 0)


@pytest.fixture(scope="session")
def held_out() -> LabelledImages:
    return make_labelled(12, 1)
