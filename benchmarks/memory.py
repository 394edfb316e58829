"""Peak memory of a large window of the world as GeoTIFF ÷ that of a small one, each exported by a process of its own.

    python benchmarks/memory.py [--sizes 2048 16384] [--model FOLDER | tiny] [--steps 1] [--out JSON]
    python benchmarks/memory.py --quick         # 512 and 2048 px

By default with a `tiny` denoiser and autoencoder that are not trained, one step and one generated level, as memory is
that of the bundled model less its weights and 16,384 px are affordable. The export is that of `earthgen window`, the
COG written by GDAL in a process of its own included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from figures import Figure, add_out, report

AIM = 1.1
PLACE = 40.0, -30.0
LEVEL = 8


def opened(model: str) -> Any:
    """What `World.open` takes as its model."""
    if model != "tiny":
        return model
    from diffusers import FlowMatchEulerDiscreteScheduler

    from earthgen.models import EarthAutoencoder, EarthUNet
    from earthgen.pipelines import EarthPipeline
    from earthgen.text import load_text_encoder

    torch.manual_seed(0)
    vae = EarthAutoencoder(4, (8, 16), (1, 1), (1, 1)).eval()
    unet = EarthUNet.preset("tiny", latent_channels=4).eval()
    return EarthPipeline(unet, vae, *load_text_encoder(), FlowMatchEulerDiscreteScheduler())


def export(size: int, args: argparse.Namespace) -> None:
    """Write a window and print the peak of this process and its largest child, bytes."""
    from earthgen.output.stream import stream_raster
    from earthgen.world import Grid, World
    from earthgen.world.projection import gsd_at, position_to_pixel

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        world = World.open(args.seed, opened(args.model), steps=args.steps, cache=Path(folder) / "cache")
        gsd = float(gsd_at(LEVEL, position_to_pixel(LEVEL, *PLACE)[0]))
        grid = Grid.around(*PLACE, gsd, (size, size), "EPSG:3857")

        def blocks(row: int, column: int, height: int, width: int) -> Any:
            return world.block(grid, row, column, height, width)

        place = grid.height, grid.width, grid.crs, grid.transform
        stream_raster(Path(folder) / "window.tif", blocks, *place, world.provenance(), gsd, progress=True)
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    unit = 1 if sys.platform == "darwin" else 1024
    print(*(resource.getrusage(kind).ru_maxrss * unit for kind in kinds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help='"tiny", "earthgen/mini" or a model folder')
    parser.add_argument("--sizes", type=int, nargs=2, default=[2048, 16_384])
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--export", type=int, help=argparse.SUPPRESS)
    add_out(parser)
    args = parser.parse_args()
    if args.export:
        export(args.export, args)
        return
    if args.quick:
        args.sizes = [512, 2048]
    figures, peaks = [], []
    for size in args.sizes:
        command = [sys.executable, __file__, f"--export={size}"]
        command += [f"--{name}={getattr(args, name)}" for name in ("model", "steps", "seed", "threads")]
        own, child = map(int, subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split())
        peaks.append(max(own, child))
        figures.append(Figure(f"peak of {size} px, MiB", peaks[-1] / 2**20))
    ratio = peaks[1] / peaks[0]
    figures.append(Figure(f"{args.sizes[1]} px ÷ {args.sizes[0]} px", ratio, f"≤ {AIM}"))
    report(figures, args)


if __name__ == "__main__":
    main()
