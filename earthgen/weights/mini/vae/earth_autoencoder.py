"""Where diffusers finds `EarthAutoencoder`: pip install earthgen."""

from earthgen.models.autoencoder import EarthAutoencoder

__all__ = ["EarthAutoencoder"]
