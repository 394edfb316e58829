"""Diffusers pipelines: what turns conditions into images."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earthgen.pipelines.cascade import EarthCascadePipeline as EarthCascadePipeline
    from earthgen.pipelines.change import ChangePipeline as ChangePipeline
    from earthgen.pipelines.earth import EarthPipeline as EarthPipeline
    from earthgen.pipelines.folders import is_published as is_published
    from earthgen.pipelines.published import load_published as load_published
    from earthgen.pipelines.stages import Stage as Stage

_HOMES = {
    "ChangePipeline": "earthgen.pipelines.change",
    "EarthCascadePipeline": "earthgen.pipelines.cascade",
    "EarthPipeline": "earthgen.pipelines.earth",
    "Stage": "earthgen.pipelines.stages",
    "is_published": "earthgen.pipelines.folders",
    "load_published": "earthgen.pipelines.published",
}

__all__ = ["ChangePipeline", "EarthCascadePipeline", "EarthPipeline", "Stage", "is_published", "load_published"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
    raise AttributeError(f"module 'earthgen.pipelines' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
