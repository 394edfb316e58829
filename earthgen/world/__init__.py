"""The world: one unbounded image of the Earth, any window of which can be asked for in any order."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earthgen.world.labels import Labels as Labels
    from earthgen.world.layout import Layout as Layout
    from earthgen.world.pyramid import Tile as Tile
    from earthgen.world.pyramid import Window as Window
    from earthgen.world.warp import Grid as Grid
    from earthgen.world.world import World as World

_HOMES = {
    "Grid": "earthgen.world.warp",
    "Labels": "earthgen.world.labels",
    "Layout": "earthgen.world.layout",
    "Tile": "earthgen.world.pyramid",
    "Window": "earthgen.world.pyramid",
    "World": "earthgen.world.world",
}

__all__ = ["Grid", "Labels", "Layout", "Tile", "Window", "World"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
    raise AttributeError(f"module 'earthgen.world' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
