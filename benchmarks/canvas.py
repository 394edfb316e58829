"""What each rule of the canvas costs and how far it is from the untiled image, with the same denoiser and noise.

    python benchmarks/canvas.py [--model FOLDER | --unet FOLDER --vae FOLDER] [--side 128] [--windows 1] [--steps 4]
    python benchmarks/canvas.py --side 512 --windows 20 --steps 8 --out canvas.json     # 2,048 px each: hours
    python benchmarks/canvas.py --quick
    python benchmarks/canvas.py --field [...]

Windows lie at random places of level 8 of the world and refine the base map there. The first prints a table of rules:
evaluations an output latent and step, on these windows and on a plane without end; seconds a megapixel; difference from
the untiled image in 1/255; seam score, the mean absolute gradient across borders of the rule's grid ÷ elsewhere, and
the untiled image's at the same places. MultiDiffusion is that of diffusers' panorama pipeline, on its own windows;
`infinite-tensor` (PyPI) is one of the rules where it can be imported. --field prints how the difference falls with the
halo: a plane is cut in the middle at each step, and both halves see so many latents beyond the cut.

Without --model, --unet or --vae it is the bundled model. Run it on an idle machine, or trust the CPU seconds alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPanoramaPipeline
from figures import Figure, add_out, report
from torch import Tensor

from earthgen.conditions import Conditions, Guidance
from earthgen.metrics import seams
from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.models.guidance import guidance_chain, guided
from earthgen.models.inputs import conditioning_of
from earthgen.pipelines import EarthPipeline
from earthgen.text import load_text_encoder
from earthgen.tiling import decode_tiled
from earthgen.world.base import BaseMap
from earthgen.world.canvas import Canvas
from earthgen.world.noise import noise_field
from earthgen.world.projection import gsd_at, position_to_pixel
from earthgen.world.pyramid import LATENT, Window
from earthgen.world.rules import EDGE_WEIGHT, Exact, InfiniteDiffusion, MetaEarth, Rule
from earthgen.world.store import LatentStore

LEVEL = 8
WINDOW = 64
"""Latents a side, of the blended rules."""


class Sampler:
    """A denoiser with its conditions and noise at a random place; counts the latents it is called on.

    Args:
        plane: Latents a side that have a coarser image, from -`around` on.
    """

    def __init__(
        self, unet: EarthUNet, vae: EarthAutoencoder, guidance: float, seed: int, plane: int, around: int
    ) -> None:
        self.unet, self.vae, self.seed, self.around, self.latents = unet, vae, seed, around, 0
        rng = np.random.default_rng(seed)
        lat, lon = float(np.degrees(np.arcsin(rng.uniform(-0.9, 0.9)))), float(rng.uniform(-180, 180))
        row, column = (int(n) for n in position_to_pixel(LEVEL - 2, lat, lon))
        coarse = BaseMap().pixels(Window(LEVEL - 2, row - around, column - around, plane, plane))
        gsd = float(gsd_at(LEVEL, LATENT * row))
        asked = Conditions(gsd=gsd, lat=lat, lon=lon, cloud_cover=0.0, coarse=coarse, coarse_degradation=0.3)
        side = plane * vae.spatial_factor
        given = conditioning_of([asked], side, side, unet.grid * vae.spatial_factor, vae, *load_text_encoder())
        self.chain = guidance_chain(given, Guidance.uniform(guidance))

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        self.latents += x.shape[-2] * x.shape[-1]
        x = x.contiguous(memory_format=torch.channels_last)
        here = [slice(r[0].start + self.around, r[0].stop + self.around) for r in (rows, columns)]
        return guided(
            [(w, self.unet(x, 1000 * sigma, given.window(*here)).sample) for w, given in self.chain], x, sigma
        )

    def noise(self, rows: range, columns: range) -> Tensor:
        return noise_field(self.seed, 0, rows, columns, self.unet.config.latent_channels)

    @torch.no_grad()
    def pixels(self, latents: Tensor) -> np.ndarray:
        """RGB (height, width, 3) from 0 to 255, not rounded."""
        return (decode_tiled(self.vae, latents[None])[0].permute(1, 2, 0).clamp(-1, 1).numpy() + 1) * 127.5


def untiled(sampler: Sampler, sigmas: list[float], rows: range, columns: range, margin: int) -> Tensor:
    """A window of a plane that is `margin` latents larger on each side, sampled as one image."""
    grid = sampler.unet.grid
    margin = -(-margin // grid) * grid
    wide = [range(r.start - margin, r.stop + margin) for r in (rows, columns)]
    x = sampler.noise(*wide)[None]
    for a, b in pairwise(sigmas):
        x = x + (b - a) * sampler(x, a, wide[:1], wide[1:])
    return x[0, :, margin : margin + len(rows), margin : margin + len(columns)]


def gradients(image: np.ndarray, period: int) -> np.ndarray:
    """Mean absolute gradient: across the multiples of `period` pixels, and elsewhere."""
    found = seams.gradients(image, period)
    return np.array([found[-1], found[:-1].mean()])


def endless(rule: Rule, sigmas: list[float]) -> float:
    """Evaluations a latent and step of a window without end."""
    total = 0.0
    for layer in rule.layers(sigmas):
        total += sum(side**2 for side in layer.sides) / layer.stride**2
    return total / (len(sigmas) - 1)


def peer(sampler: Sampler, sigmas: list[float], phases: int = 2) -> Callable[[range, range], Tensor]:
    """InfiniteDiffusion as its author's package computes it."""
    from infinite_tensor import InfiniteTensor, MemoryTileStore, TensorWindow

    channels, side, stride = sampler.unet.config.latent_channels, WINDOW, WINDOW // 2
    middle = (side - 1) / 2
    line = 1 - (1 - EDGE_WEIGHT) * (torch.arange(side) - middle).abs() / middle
    kernel = torch.outer(line, line)[None]
    store = MemoryTileStore(cache_size_bytes=2**28)

    def first(index: tuple[int, ...]) -> Tensor:
        rows, columns = (range(i * side, i * side + side) for i in index[-2:])
        return torch.cat([sampler.noise(rows, columns), torch.ones(1, side, side)])

    def phase(levels: list[float]) -> Callable[[tuple[int, ...], Tensor], Tensor]:
        def f(index: tuple[int, ...], below: Tensor) -> Tensor:
            place = [[range(i * stride, i * stride + side)] for i in index[-2:]]
            x = (below[:-1] / below[-1:])[None]
            for a, b in pairwise(levels):
                x = x + (b - a) * sampler(x, a, *place)
            return torch.cat([x[0] * kernel, kernel])

        return f

    shape, size = (channels + 1, None, None), (channels + 1, side, side)
    tensor = InfiniteTensor(shape=shape, f=first, output_window=TensorWindow(size), tile_store=store)
    overlapping = TensorWindow(size, stride=(channels + 1, stride, stride))
    cuts = [round(n * (len(sigmas) - 1) / phases) for n in range(phases + 1)]
    for low, high in pairwise(cuts):
        tensor = InfiniteTensor(
            shape=shape, f=phase(sigmas[low : high + 1]), output_window=overlapping, args=(tensor,),
            args_windows=(overlapping,), tile_store=store,
        )  # fmt: skip

    def sample(rows: range, columns: range) -> Tensor:
        read = tensor[:, rows.start : rows.stop, columns.start : columns.stop]
        return read[:-1] / read[-1:]

    return sample


def panorama(sampler: Sampler, sigmas: list[float], stride: int) -> Callable[[range, range], Tensor]:
    """MultiDiffusion as diffusers' panorama pipeline has it: each of its windows takes a step, their mean goes on."""

    def sample(rows: range, columns: range) -> Tensor:
        x = sampler.noise(rows, columns)[None]
        views = StableDiffusionPanoramaPipeline.get_views(None, 8 * len(rows), 8 * len(columns), WINDOW, stride)
        for a, b in pairwise(sigmas):
            value, count = torch.zeros_like(x), torch.zeros_like(x)
            for top, bottom, left, right in views:
                part = x[..., top:bottom, left:right]
                v = sampler(part, a, [rows[top:bottom]], [columns[left:right]])
                value[..., top:bottom, left:right] += part + (b - a) * v
                count[..., top:bottom, left:right] += 1
            x = value / count
        return x[0]

    return sample


Row = tuple[str, float, int, Callable[[range, range], Tensor]]
"""Name, evaluations on an endless plane, distance of its borders in latents, sampling."""
WORLD, DIFFUSERS, PEER = "exact, the world's", "MultiDiffusion, diffusers' panorama", "infinite-tensor, 2 phases"


def rules(sampler: Sampler, sigmas: list[float], args: argparse.Namespace) -> Iterator[Row]:
    """Everything the table compares."""
    grid, steps = sampler.unet.grid, args.steps
    world = next(n for n in range(2, 2 + grid) if n * steps % grid == 0)
    cases: list[tuple[str, Rule, int]] = [(WORLD, Exact(args.tile, world, grid, steps_at_once=steps), args.tile)]
    cases += [(f"exact, halo {halo}", Exact(args.tile, halo, grid), args.tile // 2) for halo in args.halos]
    for margin in args.margins:
        exact = Exact(args.tile, max(margin // steps, 1), grid, steps_at_once=steps)
        cases.append((f"exact, all steps at once, {exact.halo} × {steps} around", exact, args.tile))
    half = WINDOW // 2
    cases.append(("MetaEarth", MetaEarth(WINDOW, grid), half))
    cases.append(("InfiniteDiffusion, 2 phases", InfiniteDiffusion(WINDOW, half, 2, grid), half))
    for name, rule, period in cases:
        canvas = Canvas(sampler, sampler.noise, sigmas, rule, store=LatentStore(2**30))
        yield name, endless(rule, sigmas), period, canvas.sample
    cost = (WINDOW / args.stride) ** 2
    yield f"{DIFFUSERS}, stride {args.stride}", cost, args.stride, panorama(sampler, sigmas, args.stride)
    try:
        yield PEER, 4.0, half, peer(sampler, sigmas)
    except ImportError:
        print("(infinite-tensor is not installed)")


@dataclass
class Tally:
    """Of one rule, over all windows."""

    ideal: float
    latents: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    most: float = 0.0
    off: float = 0.0
    seams: np.ndarray = field(default_factory=lambda: np.zeros(2))
    untiled: np.ndarray = field(default_factory=lambda: np.zeros(2))


def compare_rules(samplers: Iterator[Sampler], args: argparse.Namespace) -> None:
    """Print the table of rules."""
    sigmas = [1 - n / args.steps for n in range(args.steps + 1)]
    rows = columns = range(args.side)
    tallies: dict[str, Tally] = {}
    for sampler in samplers:
        whole = sampler.pixels(untiled(sampler, sigmas, rows, columns, args.margin))
        for name, ideal, period, sample in rules(sampler, sigmas, args):
            tally = tallies.setdefault(name, Tally(ideal))
            sampler.latents = 0
            wall, cpu = time.perf_counter(), time.process_time()
            latents = sample(rows, columns)
            tally.wall += time.perf_counter() - wall
            tally.cpu += time.process_time() - cpu
            tally.latents += sampler.latents
            image = sampler.pixels(latents)
            off = np.abs(image - whole)
            tally.most, tally.off = max(tally.most, float(off.max())), tally.off + float(off.mean()) / args.windows
            tally.seams += gradients(image, period * LATENT)
            tally.untiled += gradients(whole, period * LATENT)
    megapixels = args.windows * (args.side * LATENT) ** 2 / 1e6
    per_latent = args.windows * args.side**2 * args.steps
    print("| rule | evaluations here | endless | s/Mpx | CPU s/Mpx | largest difference | mean | seams (untiled) |")
    print("|---|---|---|---|---|---|---|---|")
    every = []
    for name, t in tallies.items():
        score, untiled_score = (g[0] / g[1] for g in (t.seams, t.untiled))
        cost = f"{t.latents / per_latent:.2f} | {t.ideal:.2f} | {t.wall / megapixels:.0f} | {t.cpu / megapixels:.0f}"
        print(f"| {name} | {cost} | {t.most:.2f} | {t.off:.3f} | {score:.3f} ({untiled_score:.3f}) |")
        values = {
            "evaluations": t.latents / per_latent, "endless": t.ideal, "s_per_mpx": t.wall / megapixels,
            "cpu_s_per_mpx": t.cpu / megapixels, "largest": t.most, "seams": score, "seams_untiled": untiled_score,
        }  # fmt: skip
        every += [Figure(f"{name}: {what}", float(value)) for what, value in values.items()]
    world = tallies[WORLD]
    exact = min(t.most for name, t in tallies.items() if name.startswith("exact"))
    aims = [
        Figure("evaluations an output latent and step", world.ideal, "≤ 1.6"),
        Figure("seam score", world.seams[0] / world.seams[1], "1.00 ± 0.02"),
        Figure("seam score of the untiled image at the same places", world.untiled[0] / world.untiled[1]),
        Figure("tiled against untiled, of 255, best of exact", exact, "≤ 1"),
    ]
    for name, t in tallies.items():
        if name.startswith((DIFFUSERS, PEER)):
            aims.append(Figure(f"times faster than {name}", t.wall / world.wall, "≥ 4"))
    print()
    report(aims, args, every)


def compare_halos(sampler: Sampler, args: argparse.Namespace) -> None:
    """Print how the difference falls with the halo."""
    rows, columns = range(args.side), range(2 * args.side)
    middle = args.side
    print("| steps | halo, latents | velocity at the first step | largest difference, 1/255 | mean near the cut |")
    print("|---|---|---|---|---|")
    for steps in args.field:
        sigmas = [1 - n / steps for n in range(steps + 1)]
        plane = sampler.noise(rows, columns)[None]

        def cut(x: Tensor, sigma: float, halo: int) -> Tensor:
            left = sampler(x[..., : middle + halo], sigma, [rows], [columns[: middle + halo]])
            right = sampler(x[..., middle - halo :], sigma, [rows], [columns[middle - halo :]])
            return torch.cat([left[..., :middle], right[..., halo:]], -1)

        whole = plane
        for a, b in pairwise(sigmas):
            whole = whole + (b - a) * sampler(whole, a, [rows], [columns])
        image = sampler.pixels(whole[0])
        first = sampler(plane, 1.0, [rows], [columns])
        near = slice((middle - 8) * sampler.vae.spatial_factor, (middle + 8) * sampler.vae.spatial_factor)
        for halo in args.halos:
            error = (cut(plane, 1.0, halo) - first).abs().max().item()
            x = plane
            for a, b in pairwise(sigmas):
                x = x + (b - a) * cut(x, a, halo)
            off = np.abs(sampler.pixels(x[0]) - image)
            print(f"| {steps} | {halo} | {error:.1e} | {off.max():.2f} | {off[:, near].mean():.3f} |", flush=True)


def main() -> None:
    """Print Markdown tables."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--model", default="earthgen/mini")
    p.add_argument("--unet", type=Path, help="a denoiser's folder; with --vae, in place of --model")
    p.add_argument("--vae", type=Path, help="an autoencoder's folder")
    p.add_argument("--side", type=int, default=128, help="latents a side of the window")
    p.add_argument(
        "--margin",
        type=int,
        default=64,
        help="latents around it in the untiled image; steps × receptive radius keep its edges out of all figures",
    )
    p.add_argument("--tile", type=int, default=64, help="latents a side of a tile")
    p.add_argument("--stride", type=int, default=8, help="latents, of MultiDiffusion")
    p.add_argument("--halos", type=int, nargs="+", default=[8, 16, 32, 64], help="latents a step")
    p.add_argument("--margins", type=int, nargs="*", default=[8, 16, 24], help="latents, for all steps at once")
    p.add_argument("--steps", type=int, default=4)
    p.add_argument("--field", type=int, nargs="*", help="how the difference falls with the halo, for these steps")
    p.add_argument("--windows", type=int, default=1)
    p.add_argument("--quick", action="store_true", help="one small window, two steps")
    p.add_argument("--guidance", type=float, default=1.0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    add_out(p)
    args = p.parse_args()
    if (args.unet is None) != (args.vae is None):
        p.error("--unet and --vae go together")
    if args.quick:
        args.side, args.margin, args.tile, args.stride, args.steps = 96, 16, 32, 16, 2
        args.halos, args.margins, args.windows = [16], [16], 1
    torch.set_num_threads(args.threads)
    if args.unet is not None:
        unet, vae = EarthUNet.from_pretrained(args.unet), EarthAutoencoder.from_pretrained(args.vae)
    else:
        pipe = EarthPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
        unet, vae = pipe.unet, pipe.vae
    for model in (unet, vae):
        model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if args.field == []:
        args.field = [4, 8, 16]
    around = max(args.margin, WINDOW, args.steps * max([*args.halos, *args.margins])) + args.tile
    around = -(-around // unet.grid) * unet.grid
    plane = args.side * (1 if args.field is None else 2) + 2 * around
    samplers = (Sampler(unet, vae, args.guidance, args.seed + n, plane, around) for n in range(args.windows))
    if args.field is None:
        compare_rules(samplers, args)
    else:
        compare_halos(next(samplers), args)


if __name__ == "__main__":
    main()
