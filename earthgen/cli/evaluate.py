"""`earthgen evaluate`: how good a model's images are, measured against real ones."""

from __future__ import annotations


def evaluate() -> None:
    """Measure a model against real images."""
    raise NotImplementedError
