"""Size of each preset: parameters, GFLOPs of an evaluation at 256 px (multiplication and addition are two), reach.

python benchmarks/presets.py
"""

from __future__ import annotations

from dataclasses import fields

import torch
from torch.utils.flop_counter import FlopCounterMode

from earthgen.models import PRESETS, Conditioning, EarthAutoencoder, EarthUNet


def main() -> None:
    """Print the table of weights.md."""
    print("| preset | parameters, M | GFLOP at 256 px | receptive radius, px |\n|---|---|---|---|")
    with torch.device("meta"):
        autoencoder = EarthAutoencoder()
        factor = autoencoder.spatial_factor
        latent = (1, 8, 256 // factor, 256 // factor)
        given = Conditioning(**{f.name: getattr(Conditioning.none(1, 8, "meta"), f.name) for f in fields(Conditioning)})
        for name in PRESETS:
            unet = EarthUNet.preset(name)
            with FlopCounterMode(display=False) as counter:
                unet(torch.zeros(latent), torch.zeros(1), given)
            parameters = sum(p.numel() for p in unet.parameters()) / 1e6
            radius = factor * unet.receptive_radius
            print(f"| {name} | {parameters:.1f} | {counter.get_total_flops() / 1e9:.1f} | {radius} |")
        for part, shape in (("encoder", (1, 3, 256, 256)), ("decoder", latent)):
            with FlopCounterMode(display=False) as counter:
                getattr(autoencoder, part)(torch.zeros(shape))
            parameters = sum(p.numel() for p in getattr(autoencoder, part).parameters()) / 1e6
            radius = factor * autoencoder.receptive_field[part == "decoder"]
            print(f"| {part} | {parameters:.1f} | {counter.get_total_flops() / 1e9:.1f} | {radius} |")


if __name__ == "__main__":
    main()
