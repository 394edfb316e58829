"""What an autoencoder keeps of held-out real images of every data set, and how fast it is beside Stable Diffusion's.

    python benchmarks/autoencoder.py PATH [--what reconstruction cells times] [--count 100] [--out autoencoder.json]

Cells are the 4 × 4 px that a latent stands for: the mean absolute gradient across their borders ÷ that elsewhere, on
crops as they come; of generated images it is `earthgen evaluate --what eurosat/cells`. Times are of one image on this
machine's CPU, in float32 and, where it computes with it, bfloat16, channels last for both networks. Stable Diffusion's
`AutoencoderKL` has its true size and random weights: speed does not depend on them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from figures import Figure, add_out, report

from earthgen.data.mixture import readers
from earthgen.metrics.autoencoding import Transform, crops, milliseconds, reconstruct, reconstruction_report
from earthgen.metrics.figures import group_error
from earthgen.metrics.network import Images
from earthgen.metrics.seams import border_score, gradients
from earthgen.models import EarthAutoencoder
from earthgen.precision import native_dtype

PSNR_AIMS = {"eurosat": "≥ 34", "bluemarble": "≥ 34", "ucmerced": "≥ 27"}
DECODE_AIM = "≤ 60"


def stable_diffusion_size() -> AutoencoderKL:
    """The autoencoder of Stable Diffusion 1.5, 84 million parameters, untrained."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    ).eval()


def coder(network: EarthAutoencoder | AutoencoderKL) -> tuple[Transform, Transform]:
    """Encode and decode of either network, tensor to tensor."""
    if isinstance(network, EarthAutoencoder):
        return (lambda x: network.encode(x).latent), (lambda z: network.decode(z).sample)
    return (lambda x: network.encode(x).latent_dist.mean), (lambda z: network.decode(z).sample)


def times(network: EarthAutoencoder | AutoencoderKL, dtype: torch.dtype, sides: list[int]) -> dict[str, float]:
    """Milliseconds of one image of each size."""
    encode, decode = coder(network.to(dtype))
    channels = network.config.latent_channels
    factor = network.spatial_factor if isinstance(network, EarthAutoencoder) else 8
    result = {}
    for side in sides:
        x = torch.rand(1, 3, side, side, dtype=dtype).to(memory_format=torch.channels_last) * 2 - 1
        z = torch.randn(1, channels, side // factor, side // factor, dtype=dtype).to(memory_format=torch.channels_last)
        result[f"encode {side} px"] = milliseconds(encode, x)
        result[f"decode {side} px"] = milliseconds(decode, z)
    return result


def reconstruction(ours: EarthAutoencoder, args: argparse.Namespace) -> list[Figure]:
    """Print what it keeps of each data set."""
    sets = readers(args.data_root, "test", args.sets).values()
    made = []
    print("| held-out | PSNR | SSIM | power error to half Nyquist, largest (mean) | power ratio, finest octave |")
    print("|---|---|---|---|---|")
    for name, r in reconstruction_report(sets, *coder(ours), args.count, args.side, True).items():
        error = r["spectrum_error_to_half_nyquist"]
        shown = f"{error['largest']:.1%} ({error['mean']:.1%}) | {r['power_ratio']['2-4 px']:.2f}"
        print(f"| {name}, {r['images']} of {r['side']} px | {r['psnr']:.1f} dB | {r['ssim']:.4f} | {shown} |")
        made += [
            Figure(f"{name}: PSNR, dB", r["psnr"], PSNR_AIMS.get(name, "")),
            Figure(f"{name}: SSIM", r["ssim"]),
            Figure(f"{name}: largest error of the power spectrum to half Nyquist", error["largest"], "≤ 0.1"),
        ]
    return made


def cells(ours: EarthAutoencoder, args: argparse.Namespace) -> list[Figure]:
    """Print whether the cells of a latent show, in real images and in reconstructions."""
    side, made = ours.spatial_factor, []

    def score(images: Images) -> float:
        return border_score(gradients(images, side))

    print(f"| held-out | gradient across cells of {side} px ÷ elsewhere: real | reconstructed |\n|---|---|---|")
    for name, reader in readers(args.data_root, "test", args.sets).items():
        real = crops(reader, args.count, args.side)
        back = reconstruct(real, *coder(ours))
        theirs, value = score(real), score(back)
        print(f"| {name} | {theirs:.3f} | {value:.3f} |")
        what = f"{name}: gradient across cells of {side} px ÷ elsewhere"
        made.append(Figure(f"{what}, real", theirs, noise=group_error(score, real)))
        made.append(Figure(f"{what}, reconstructed", value, "1 ± 0.02", group_error(score, back)))
    return made


def timing(ours: EarthAutoencoder, args: argparse.Namespace) -> list[Figure]:
    """Print times beside those of Stable Diffusion's size."""
    theirs, made = stable_diffusion_size().to(memory_format=torch.channels_last), []
    print(f"| milliseconds, {torch.get_num_threads()} threads | EarthAutoencoder | AutoencoderKL | ratio |")
    print("|---|---|---|---|")
    for dtype in dict.fromkeys((torch.float32, native_dtype())):
        compared = times(theirs, dtype, args.sides)
        for key, value in times(ours, dtype, args.sides).items():
            name = f"{key}, {str(dtype).removeprefix('torch.')}"
            print(f"| {name} | {value:.1f} | {compared[key]:.1f} | {compared[key] / value:.1f} × |")
            made.append(Figure(f"{name}, ms", value, DECODE_AIM if name == "decode 256 px, bfloat16" else ""))
            made.append(
                Figure(f"{name}, times faster than an AutoencoderKL of Stable Diffusion's size", compared[key] / value)
            )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="folder of an EarthAutoencoder (config.json and safetensors)")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    parser.add_argument("--count", type=int, default=100, help="images of each data set")
    parser.add_argument("--side", type=int, default=256, help="pixels a side of these images, where they are as large")
    parser.add_argument("--sets", nargs="*", help="names of data sets; all by default")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512], help="pixels a side that are timed")
    add_out(parser)
    args = parser.parse_args()
    ours = EarthAutoencoder.from_pretrained(args.path).eval().to(memory_format=torch.channels_last)
    made = []
    for name in args.what:
        made += WHAT[name](ours, args)
        print()
    report(made, args, record={"parameters": sum(p.numel() for p in ours.parameters())}, table=False)


WHAT = {"reconstruction": reconstruction, "cells": cells, "times": timing}

if __name__ == "__main__":
    main()
