"""Where diffusers finds `EarthUNet`: pip install earthgen."""

from earthgen.models.denoiser import EarthUNet

__all__ = ["EarthUNet"]
