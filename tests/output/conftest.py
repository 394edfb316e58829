"""Scenes of every kind of place, from the same real conditions that a pipeline would hand over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from earthgen.conditions import Conditions, Guidance
from earthgen.output.provenance import Provenance
from earthgen.output.scene import Scene

CREATED = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.timezone.utc)


@pytest.fixture
def make_scene() -> Callable[..., Scene]:
    """Make a scene: `make_scene(height, width, **conditions)`."""

    def make(height: int = 60, width: int = 90, **conditions: Any) -> Scene:
        asked = Conditions(**conditions)
        provenance = Provenance(
            seed=7,
            conditions=asked.to_dict(),
            guidance=asdict(Guidance()),
            model="mini",
            model_sha256="0f" * 32,
            version="0.1.0",
            steps=4,
            scheduler="FlowMatchEulerDiscreteScheduler",
            created=CREATED,
        )
        rows, cols = np.indices((height, width))
        image = np.stack([rows % 256, cols % 256, (rows * cols) // 7 % 256], axis=2).astype(np.uint8)
        return Scene.from_conditions(image, asked, provenance)

    return make


PLACES: dict[str, dict[str, Any]] = {
    "utm": {"lat": 47.15, "lon": 11.07, "gsd": 10.0},
    "ups": {"lat": 90.0, "lon": 0.0, "gsd": 10.0},
    "local": {"lat": -33.9, "lon": 151.2, "gsd": 10_000.0},
    "antimeridian": {"lat": -17.0, "lon": 180.0, "gsd": 30.0},
    "gsd only": {"gsd": 0.3},
    "nowhere": {"text": "a harbour"},
}


@pytest.fixture(params=PLACES)
def scene(request: pytest.FixtureRequest, make_scene: Callable[..., Scene]) -> Scene:
    return make_scene(**PLACES[request.param])
