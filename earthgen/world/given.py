"""What `World.open` is given, checked and brought into one form."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from earthgen.conditions import LEAST_TOLD, Conditions, Guidance
from earthgen.errors import ArgumentError
from earthgen.geo import mercator_gsd
from earthgen.world.base import Base
from earthgen.world.events import read_events
from earthgen.world.layout import Layout, read_layout
from earthgen.world.pyramid import CASCADE_STEP, DEEPEST, IMAGINED_LEVEL

USUAL_GUIDANCE = replace(Guidance.uniform(1.0), boxes=2.0, mask=2.0)
"""Where there is a coarser level, which says most. Of the layout: what lies around says much already, and strong
guidance leaves hard, overdone objects."""

FINEST_GSD = 0.3
"""Metres a pixel of the finest images that the bundled model learned from."""
_CONSTANT = ("text", "date", "cloud_cover", "coarse_degradation")
"""Fields of `Conditions` that hold for a whole world."""


def constant_conditions(conditions: Conditions | None) -> Conditions:
    """What may hold for a whole world; of the coarser image's degradation no less than `LEAST_TOLD`."""
    if conditions is None:
        conditions = Conditions()
    if not isinstance(conditions, Conditions):
        raise ArgumentError("conditions", "must be an earthgen.Conditions, or None", conditions)
    given = {name for name, there in conditions.present().items() if there} - {"text", "date", "cloud"}
    if given:
        rule = f"must be of what can hold everywhere, {', '.join(_CONSTANT)}"
        raise ArgumentError("conditions", rule, ", ".join(sorted(given)))
    return conditions.replace(coarse_degradation=max(conditions.coarse_degradation, LEAST_TOLD))


def by_level(name: str, given: Any, levels: range, default: dict[int, Any]) -> dict[int, Any]:
    """One value for all levels, or some by number in place of the defaults."""
    if given is None:
        return default
    if not isinstance(given, Mapping):
        return dict.fromkeys(levels, given)
    if set(given) - set(levels):
        raise ArgumentError(name, f"must be by level, of {list(levels)}", sorted(set(given) - set(levels)))
    return default | dict(given)


def several(known: Any) -> list[Any]:
    """Files or scenes."""
    if isinstance(known, (str, os.PathLike)) or not isinstance(known, Sequence):
        raise ArgumentError("known", "must be a list of files or scenes", known)
    return list(known)


def laid_out(layout: Any, mask: Any, classes: Any, events: Any) -> Layout | None:
    """The layout with its events, if there is any."""
    if isinstance(layout, Layout):
        found: Layout | None = layout
        if mask is not None or classes is not None:
            raise ArgumentError("layout_mask", "must be a part of the layout, where that is a `Layout`", mask)
    else:
        found = None if (layout, mask, classes) == (None,) * 3 else read_layout(layout, mask, classes)
    if events is None:
        return found
    found = found or Layout(())
    return found.with_events(read_events(events, found))


def without_layout(guidance: Guidance) -> dict[str, float]:
    """The weights on which a tile depends that no layout reaches."""
    return {name: weight for name, weight in asdict(guidance).items() if name not in ("boxes", "mask")}


def check_gsd(gsd: float, lat: float, deepest: int = DEEPEST) -> None:
    """Raise `ArgumentError` for a GSD in metres that the world does not reach at a latitude."""
    least = max(FINEST_GSD, mercator_gsd(deepest, lat))
    if gsd < least * (1 - 1e-6):
        rule = f"must be at least {least:.4g} m at {lat:g} N: the world ends at level {deepest}"
        raise ArgumentError("gsd", f"{rule}, and no model learned from images finer than {FINEST_GSD} m", gsd)


def first_level(base: Base | None) -> int:
    """The level that all others are made from."""
    return IMAGINED_LEVEL if base is None else base.levels[0]


def last_level(base: Base | None) -> int:
    """The finest that is made."""
    return DEEPEST - (DEEPEST - first_level(base)) % CASCADE_STEP
