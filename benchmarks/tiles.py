"""What a tile of the world costs, and what its choices of steps, halo and pieces rest on.

    python benchmarks/tiles.py [--what evaluations pieces steps halos] [--out JSON]
    python benchmarks/tiles.py --quick
    python benchmarks/tiles.py --what border --city saclay_w        # imagery laid in; minutes

evaluations: latents that denoiser, encoder and decoder get for a cold tile of level 14 in the Alps, the one beside
it and the next. pieces: those of the canvas behind a cold tile and the one beside it, the mean over 4,000 places (from
how far a piece reads; next to nothing is generated). steps: root mean square difference in grey levels from 40 steps of
first order, and the deviation of what is finer than 4 px ÷ theirs, at level 8. halos: difference of two tiles from the
same made as one piece with a halo of 4 latents. border: gradient across the border of an OSCD image laid into the world
÷ the mean of those on both sides.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from figures import Figure, add_out, report
from numpy.typing import NDArray
from rasterio.warp import transform
from rasterio.windows import Window as Part

from earthgen.data.base import data_root
from earthgen.pipelines import EarthPipeline
from earthgen.steps import denoiser_of, order_of
from earthgen.weights import BUNDLED
from earthgen.world import Window, World, world
from earthgen.world.projection import TILE, position_to_pixel
from earthgen.world.pyramid import CASCADE_STEP, LATENT

PLACE = 45.9, 7.6
LEVEL, DEEP = 8, 14
STEPS = [(20, 1), (7, 1), (7, 2), (5, 2), (4, 2), (3, 2)]
"""Steps, and the order of the solver."""


@contextmanager
def counted(pipe: Any) -> Iterator[Counter[str]]:
    """How many latents a pipeline's networks are given, and under `widest` those a side of the denoiser's largest."""
    latents: Counter[str] = Counter()

    def count(name: str, side: int, given: tuple[torch.Tensor, ...]) -> None:
        x = given[0]
        latents[name] += x.shape[0] * x.shape[-1] * x.shape[-2] // side**2
        if name == "denoiser":
            latents["widest"] = max(latents["widest"], x.shape[-1])

    networks = ("denoiser", pipe.unet, 1), ("encoder", pipe.vae.encoder, LATENT), ("decoder", pipe.vae.decoder, 1)
    hooks = [
        network.register_forward_pre_hook(lambda _, given, name=name, side=side: count(name, side, given))
        for name, network, side in networks
    ]
    try:
        yield latents
    finally:
        for hook in hooks:
            hook.remove()


def around(level: int) -> tuple[int, int]:
    """Row and column of the tile at the place."""
    row, column = (int(n) // TILE for n in position_to_pixel(level, *PLACE))
    return row, column


def evaluations(pipe: Any, args: argparse.Namespace) -> list[Figure]:
    made = []
    with tempfile.TemporaryDirectory() as folder, counted(pipe) as latents:
        world = World.open(args.seed, pipe, cache=folder)
        row, column = around(args.deep)
        for n, name in enumerate(("a cold tile", "the one beside it", "the next")):
            latents.clear()
            world.tile(args.deep, column + n, row)
            for network in ("denoiser", "encoder", "decoder"):
                what = f"thousand latents the {network} is given for {name} of level {args.deep}"
                made.append(Figure(what, latents[network] / 1000, noise=0.0))
    return made


def pieces(pipe: Any, args: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, counted(pipe) as latents:
        row, column = around(LEVEL)
        World.open(args.seed, pipe, cache=folder).tile(LEVEL, column, row)
    cell = TILE // LATENT
    # A latent covers what a pixel does two levels up; bicubic enlargement reads two more.
    reach = (latents["widest"] - cell) // 2 + pipe.vae.halo[0] + 2
    generated = (DEEP - LEVEL) // CASCADE_STEP + 1

    def needed(tile: tuple[int, int]) -> set[tuple[int, int, int]]:
        found, level = {(0, *tile)}, {tile}
        for n in range(1, generated):
            spans = [[range((cell * t - reach) // TILE, (cell * t + cell + reach - 1) // TILE + 1) for t in here]
                     for here in level]  # fmt: skip
            level = {(y, x) for rows, columns in spans for y in rows for x in columns}
            found |= {(n, y, x) for y, x in level}
        return found

    rng = np.random.default_rng(args.seed)
    cold, beside = [], []
    for y, x in rng.integers(0, 2**DEEP, (args.places, 2)).tolist():
        first = needed((y, x))
        cold.append(len(first))
        beside.append(len(needed((y, x + 1)) - first))
    made = []
    for what, counts in ((f"pieces for a cold tile of level {DEEP}", cold), ("more for the one beside it", beside)):
        error = float(np.std(counts) / len(counts) ** 0.5)
        made.append(Figure(f"{what}, mean over places", float(np.mean(counts)), noise=error))
    return made


def pixels(pipe: Any, args: argparse.Namespace, order: int, window: Window, **options: Any) -> NDArray[np.float64]:
    """A window of the world with a solver of this order and nothing cached."""
    usual = world.order_of
    world.order_of = lambda network: order
    try:
        with tempfile.TemporaryDirectory() as folder:
            return World.open(args.seed, pipe, cache=folder, **options).pixels(window).astype(float)
    finally:
        world.order_of = usual


def detail(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is finer than 4 px: the differences from the means over cells, which are the coarser image's."""
    height, width, channels = image.shape
    cells = image.reshape(height // LATENT, LATENT, width // LATENT, LATENT, channels)
    return (cells - cells.mean((1, 3), keepdims=True)).reshape(image.shape)


def steps(pipe: Any, args: argparse.Namespace) -> list[Figure]:
    row, column = around(LEVEL)
    window = Window(LEVEL, row * TILE, column * TILE, TILE, TILE)
    reference = pixels(pipe, args, 1, window, steps=args.reference)
    made = []
    for count, order in STEPS[-1:] if args.quick else STEPS:
        image = pixels(pipe, args, order, window, steps=count)
        what = f"{count} steps of order {order} against {args.reference} of order 1, level {LEVEL}"
        made.append(Figure(f"{what}: difference, grey levels", float(((image - reference) ** 2).mean() ** 0.5)))
        made.append(Figure(f"{what}: detail", float(detail(image).std() / detail(reference).std())))
    return made


def halos(pipe: Any, args: argparse.Namespace) -> list[Figure]:
    row, column = (n // 2 * 2 for n in around(LEVEL))
    window = Window(LEVEL, row * TILE, column * TILE, TILE, 2 * TILE)
    count, cell, order = args.halo_steps, TILE // LATENT, order_of(denoiser_of(pipe, True, args.halo_steps))
    whole = pixels(pipe, args, order, window, steps=count, tile=2 * cell, halo=4)
    made = []
    for halo in (0,) if args.quick else (0, 1, 2, 4):
        off = np.abs(pixels(pipe, args, order, window, steps=count, halo=halo) - whole)
        what = f"halo of {halo} latents a step, level {LEVEL}: mean difference from one piece"
        made.append(Figure(f"{what}, within 8 px of the border", float(off[:, TILE - 8 : TILE + 8].mean())))
        made.append(Figure(f"{what}, elsewhere", float(off[:, TILE // 4 : 3 * TILE // 4].mean())))
    return made


def border(pipe: Any, args: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "known.tif"
        with rasterio.open(data_root(args.data_root) / "oscd" / args.city / "t1.tif") as source:
            side = min(200, *source.shape)
            top, left = ((n - side) // 2 for n in source.shape)
            part = Part(left, top, side, side)
            place = source.window_transform(part)
            profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8",
                       "crs": source.crs, "transform": place}  # fmt: skip
            with rasterio.open(cut, "w", **profile) as target:
                target.write(source.read([1, 2, 3], window=part))
            middle = place @ (side / 2, side / 2)
            (lon,), (lat,) = transform(source.crs, "EPSG:4326", *([n] for n in middle))
        world = World.open(args.seed, pipe, known=[cut], cache=Path(folder) / "cache")
        level = max(n for n in range(LEVEL, world.deepest + 1) if world.request.known.knows(n))
        window = Window.around(level, lat, lon, 2 * TILE, 2 * TILE)
        image, known = world.pixels(window).astype(float), world.request.known.pixels(window)[1]
    across, inside, outside = [], [], []
    for axis in (0, 1):
        slope = np.abs(np.diff(image, axis=axis)).mean(2)
        one, other = (np.take(known, range(n, known.shape[axis] - 1 + n), axis) for n in (0, 1))
        across.append(slope[one != other])
        inside.append(slope[one & other])
        outside.append(slope[~one & ~other])
    means = [float(np.concatenate(parts).mean()) for parts in (across, inside, outside)]
    what = f"gradient across the border of known imagery ÷ the mean of both sides, {args.city}, level {level}"
    return [Figure(what, 2 * means[0] / (means[1] + means[2]))]


WHAT = {"evaluations": evaluations, "pieces": pieces, "steps": steps, "halos": halos, "border": border}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=WHAT, default=[name for name in WHAT if name != "border"])
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--places", type=int, default=4000)
    parser.add_argument("--city", default="saclay_w", help="of OSCD")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    parser.add_argument("--quick", action="store_true", help="one case of each; level 10 in place of 14")
    add_out(parser)
    args = parser.parse_args()
    args.reference, args.halo_steps, args.deep = (2, 1, LEVEL + CASCADE_STEP) if args.quick else (40, 4, DEEP)
    pipe = EarthPipeline.from_pretrained(args.model)
    report([figure for name in args.what for figure in WHAT[name](pipe, args)], args)


if __name__ == "__main__":
    main()
