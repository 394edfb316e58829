"""Where diffusers finds `EarthPipeline`: pip install earthgen."""

from earthgen.pipelines.earth import EarthPipeline

__all__ = ["EarthPipeline"]
