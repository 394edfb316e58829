"""Whether tiles of the world show: the mean absolute gradient across their borders ÷ elsewhere, level by level.

    python benchmarks/seams.py [--levels 8 10 12 14 16 18] [--windows 20] [--size 2048] [--cache FOLDER] [--out JSON]
    python benchmarks/seams.py --quick          # level 8, 2 windows of 512 px
    python benchmarks/seams.py --untiled [--windows 5] [--halo 4]

Windows lie anywhere between 65° N and S. Each is made whole, its coarser levels too, so the full run is long; with
`--cache` one that was stopped goes on. Beside the score stands that of the borders of all cells of 4 × 4 px, each of
which averages to a coarser pixel: tiles' borders are borders of cells. What other rules give with the same denoiser
says `benchmarks/canvas.py`. `--untiled` compares windows of 512 px of level 8 with those of the same world in tiles of
1,024 px, whose borders are a receptive radius away.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import Figure, add_out, report
from tqdm.auto import tqdm

from earthgen.metrics.seams import border_score, gradients
from earthgen.weights import BUNDLED
from earthgen.world import Window, World
from earthgen.world.projection import TILE
from earthgen.world.pyramid import LATENT

AIM = 0.02


def untiled(args: argparse.Namespace, options: dict[str, Any]) -> list[Figure]:
    """Windows in the middle of tiles of 1,024 px, from those tiles and from the world's own."""
    side = 4 * TILE
    rng = np.random.default_rng(args.seed)
    windows = []
    for _ in range(args.windows):
        lat, lon = np.degrees(np.arcsin(rng.uniform(-0.9, 0.9))), rng.uniform(-180, 180)
        at = Window.around(8, lat, lon, 1, 1)
        windows.append(Window(8, *(n // side * side + TILE for n in (at.top, at.left)), 2 * TILE, 2 * TILE))
    images = []
    for how in ({"tile": side // LATENT}, {}):
        with tempfile.TemporaryDirectory() as folder:
            world = World.open(args.seed, args.model, cache=folder, **options | how)
            images.append(np.stack([world.pixels(w) for w in tqdm(windows, leave=False)]).astype(float))
    off = np.abs(images[1] - images[0])
    whole, tiled = (border_score(sum(g / g.mean() for g in (gradients(i, TILE) for i in each))) for each in images)
    return [
        Figure("tiled against untiled, of 255: most", float(off.max()), "≤ 1"),
        Figure("pixels with a band that is more than 1 off, of a million", 1e6 * float((off.max(-1) > 1).mean())),
        Figure("mean", float(off.mean())),
        Figure("seam score", tiled, f"1.00 ± {AIM}"),
        Figure("the same of the untiled windows", whole),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--levels", type=int, nargs="+", default=[8, 10, 12, 14, 16, 18])
    parser.add_argument("--windows", type=int, default=20, help="of each level")
    parser.add_argument("--size", type=int, default=2048, help="pixels a side, a multiple of 256 from 512")
    parser.add_argument("--steps", type=int, help="the world's default if not given")
    parser.add_argument("--halo", type=int, default=0, help="latents")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="of tiles, to go on with it later")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--untiled", action="store_true")
    parser.add_argument("--quick", action="store_true")
    add_out(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.quick:
        args.levels, args.windows, args.size = [8], 2, 512
    if args.size % TILE or args.size < 2 * TILE:
        parser.error("--size must be a multiple of 256 from 512")
    options = {"steps": args.steps, "halo": args.halo}
    if args.untiled:
        report(untiled(args, options), args)
        return
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        world = World.open(args.seed, args.model, cache=args.cache or folder, **options)
        for level in args.levels:
            rng = np.random.default_rng([args.seed, level])
            total = np.zeros(TILE)
            each = []
            for _ in tqdm(range(args.windows), desc=f"level {level}", leave=False):
                lat, lon = np.degrees(np.arcsin(rng.uniform(-0.9, 0.9))), rng.uniform(-180, 180)
                around = Window.around(level, lat, lon, TILE, TILE)
                corner = [n // TILE * TILE for n in (around.top, around.left)]
                found = gradients(world.pixels(Window(level, *corner, args.size, args.size)), TILE)
                each.append(border_score(found))
                total += found / max(found.mean(), 1e-6)
            error = float(np.std(each, ddof=1) / len(each) ** 0.5) if len(each) > 1 else None
            figures.append(Figure(f"seam score, level {level}", border_score(total), f"1.00 ± {AIM}", error))
            figures.append(Figure(f"the same of all cells of {LATENT} px, level {level}", border_score(total, LATENT)))
    report(figures, args)


if __name__ == "__main__":
    main()
