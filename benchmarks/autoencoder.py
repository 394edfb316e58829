"""What an autoencoder keeps of held-out real images of every data set, and how fast it is beside Stable Diffusion's.

python benchmarks/autoencoder.py PATH --data-root DATA [--out autoencoder.json]

Times are of one image on this machine's CPU, in float32 and bfloat16, channels last for both networks. Stable
Diffusion's `AutoencoderKL` has its true size and random weights: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from earthgen.data.mixture import readers
from earthgen.metrics.autoencoding import Transform, milliseconds, reconstruction_report
from earthgen.models import EarthAutoencoder
from earthgen.output.atomic import write_text


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


def times(network: EarthAutoencoder | AutoencoderKL, dtype: torch.dtype) -> dict[str, float]:
    """Milliseconds of one image at 256 and 512 px."""
    encode, decode = coder(network.to(dtype))
    channels = network.config.latent_channels
    factor = network.spatial_factor if isinstance(network, EarthAutoencoder) else 8
    result = {}
    for side in (256, 512):
        x = torch.rand(1, 3, side, side, dtype=dtype).to(memory_format=torch.channels_last) * 2 - 1
        z = torch.randn(1, channels, side // factor, side // factor, dtype=dtype).to(memory_format=torch.channels_last)
        result[f"encode {side} px"] = milliseconds(encode, x)
        result[f"decode {side} px"] = milliseconds(decode, z)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="folder of an EarthAutoencoder (config.json and safetensors)")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    parser.add_argument("--count", type=int, default=100, help="images of each data set")
    parser.add_argument("--side", type=int, default=256, help="pixels a side of these images, where they are as large")
    parser.add_argument("--sets", nargs="*", help="names of data sets; all by default")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--no-times", action="store_true", help="measure the reconstruction alone")
    args = parser.parse_args()

    ours = EarthAutoencoder.from_pretrained(args.path).eval().to(memory_format=torch.channels_last)
    sets = readers(args.data_root, "test", args.sets).values()
    record: dict[str, object] = {
        "path": str(args.path),
        "parameters": sum(p.numel() for p in ours.parameters()),
        "reconstruction": reconstruction_report(sets, *coder(ours), args.count, args.side, True),
    }
    print("| held-out | PSNR | SSIM | power error to half Nyquist, largest (mean) | power ratio, finest octave |")
    print("|---|---|---|---|---|")
    for name, r in record["reconstruction"].items():  # type: ignore[attr-defined]
        error = r["spectrum_error_to_half_nyquist"]
        shown = f"{error['largest']:.1%} ({error['mean']:.1%}) | {r['power_ratio']['2-4 px']:.2f}"
        print(f"| {name}, {r['images']} of {r['side']} px | {r['psnr']:.1f} dB | {r['ssim']:.4f} | {shown} |")

    if not args.no_times:
        theirs = stable_diffusion_size().to(memory_format=torch.channels_last)
        record["milliseconds"] = table = {}
        print(f"\n| milliseconds, {torch.get_num_threads()} threads | EarthAutoencoder | AutoencoderKL | ratio |")
        print("|---|---|---|---|")
        for dtype in (torch.float32, torch.bfloat16):
            compared = times(theirs, dtype)
            for key, value in times(ours, dtype).items():
                name = f"{key}, {str(dtype).removeprefix('torch.')}"
                table[name] = {"earthgen": value, "stable_diffusion": compared[key]}
                print(f"| {name} | {value:.1f} | {compared[key]:.1f} | {compared[key] / value:.1f} × |")
    if args.out:
        write_text(args.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
