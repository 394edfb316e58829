"""earthgen: Earth imagery from a sentence, a place and a resolution.

Importing this package loads nothing heavy; the names below are fetched when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earthgen.conditions import Box as Box
    from earthgen.conditions import Conditions as Conditions
    from earthgen.conditions import Guidance as Guidance
    from earthgen.conditions import Polygon as Polygon
    from earthgen.errors import EarthgenError as EarthgenError
    from earthgen.output.scene import Scene as Scene
    from earthgen.world.world import World as World

__version__ = "0.1.0.dev0"

_HOMES = {
    "Box": "earthgen.conditions",
    "Conditions": "earthgen.conditions",
    "EarthgenError": "earthgen.errors",
    "Guidance": "earthgen.conditions",
    "Polygon": "earthgen.conditions",
    "Scene": "earthgen.output.scene",
    "World": "earthgen.world.world",
}

__all__ = ["Box", "Conditions", "EarthgenError", "Guidance", "Polygon", "Scene", "World", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
    raise AttributeError(f"module 'earthgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
