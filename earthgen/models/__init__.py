"""The networks, all local: a bounded receptive field, so that tiles with a halo equal the whole."""

from earthgen.models.autoencoder import EarthAutoencoder
from earthgen.models.conditioning import Conditioning
from earthgen.models.denoiser import PRESETS, EarthUNet

__all__ = ["PRESETS", "Conditioning", "EarthAutoencoder", "EarthUNet"]
