"""What denoisers lose on fixed batches of a latent cache.

    python benchmarks/training.py runs/adamw/checkpoint-7693 runs/muon/checkpoint-7700 --latents latents [--out JSON]
    python benchmarks/training.py earthgen/weights/mini/unet --latents held-out   # from `train latents --split test`

The loss is that of the recipe (`earthgen.training.denoiser`), in all and of the channels of colour and of detail, of
the averaged weights of a checkpoint (and of the raw ones), or of an exported network. Batches are drawn with another
seed than any run's. All get the same, so beside the difference to the first stands the standard error of that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from figures import Figure, add_out, report
from safetensors.torch import load_file
from tqdm.auto import tqdm

from earthgen.models import PRESETS, EarthUNet
from earthgen.precision import mixed_precision
from earthgen.training.common import Step, network_of
from earthgen.training.denoiser import LatentBatches, flow_matching_loss

KINDS = ("loss", "colour", "detail")
WEIGHTS, AVERAGES = "model.safetensors", "custom_checkpoint_0.pkl"
"""As accelerate calls them; the second is read as tensors alone."""


@torch.inference_mode()
def losses(unet: EarthUNet, batches: LatentBatches, args: argparse.Namespace) -> np.ndarray:
    """(batches, kinds)."""
    found = []
    for k in range(args.batches):
        step = Step(args.seed, k)
        with mixed_precision():
            figures = flow_matching_loss(unet, batches(step), step)[1]
        found.append([figures[kind] for kind in KINDS])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, nargs="+", help="folders of checkpoints or exported networks")
    parser.add_argument("--latents", type=Path, required=True, help="folder of a latent cache")
    parser.add_argument("--preset", choices=list(PRESETS), default="mini", help="of checkpoints")
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--batch-latents", type=int, default=64 * 256)
    parser.add_argument("--seed", type=int, default=777, help="of batches and noise; not that of a run")
    add_out(parser)
    args = parser.parse_args()
    exported = {folder for folder in args.networks if (folder / "config.json").is_file()}
    for folder in args.networks:
        missing = [n for n in (WEIGHTS, AVERAGES) if not (folder / n).is_file()]
        if missing and folder not in exported:
            parser.error(f"{folder} is neither an exported network nor a checkpoint: {missing[0]} is missing")
    batches = LatentBatches(args.latents, args.batch_latents)
    made: list[Figure] = []
    first: np.ndarray | None = None
    for folder in tqdm(args.networks, disable=len(args.networks) < 2):
        name = f"{folder.parent.name}/{folder.name}"
        if folder in exported:
            unet = network_of(EarthUNet, "networks", folder).to(memory_format=torch.channels_last)
        else:
            unet = EarthUNet.preset(args.preset, batches.latent_channels).to(memory_format=torch.channels_last).eval()
            unet.load_state_dict(load_file(folder / WEIGHTS))
            raw = float(losses(unet, batches, args)[:, 0].mean())
            made.append(Figure(f"{name}: loss of the raw weights", raw))
            average = torch.load(folder / AVERAGES, map_location="cpu", weights_only=True)
            for parameter, shadow in zip(unet.parameters(), average["shadow_params"], strict=True):
                parameter.data.copy_(shadow)
        averaged = losses(unet, batches, args)
        for kind, values in zip(KINDS, averaged.T, strict=True):
            made.append(Figure(f"{name}: {kind}", float(values.mean())))
        if first is None:
            first = averaged
        else:
            gain = first[:, 0] - averaged[:, 0]
            error = float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else None
            made.append(Figure(f"{name}: loss below that of the first", float(gain.mean()), noise=error))
    report(made, args)


if __name__ == "__main__":
    main()
