"""What each rule of the canvas costs and how far it is from the untiled image, with the same denoiser and noise.

    python benchmarks/canvas.py [--model FOLDER | --unet FOLDER --vae FOLDER] [--side 128] [--tile 64] [--steps 4]
    python benchmarks/canvas.py --field [...]

The first prints a table of rules: evaluations an output latent and step, on this window and on a plane without end;
seconds a megapixel; difference from the untiled image in 1/255; seam score, the mean absolute gradient across borders
of the rule's grid ÷ elsewhere, and the untiled image's at the same places. `infinite-tensor` (PyPI) is one of the rules
where it can be imported. The second prints how the difference falls with the halo: a plane is cut in the middle at each
step, and both halves see so many latents beyond the cut.

Without --model, --unet or --vae it is the bundled model. Run it on an idle machine, or trust the CPU seconds alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from earthgen.conditions import Conditions, Guidance
from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.models.guidance import guidance_chain
from earthgen.models.inputs import conditioning_of
from earthgen.pipelines import EarthPipeline
from earthgen.text import load_text_encoder
from earthgen.tiling import decode_tiled
from earthgen.world.canvas import Canvas, LatentStore
from earthgen.world.noise import noise_field
from earthgen.world.rules import EDGE_WEIGHT, Exact, InfiniteDiffusion, MetaEarth, MultiDiffusion, Rule

ASKED = Conditions(text="a river through farmland", gsd=10, lat=45.4, lon=9.2, cloud_cover=0.0)
WINDOW = 64
"""Latents a side, of the blended rules."""


class Sampler:
    """A denoiser with its conditions and noise; counts the latents it is called on."""

    def __init__(self, unet: EarthUNet, vae: EarthAutoencoder, guidance: float, seed: int) -> None:
        self.unet, self.vae, self.seed = unet, vae, seed
        encoder, tokenizer = load_text_encoder()
        grid = unet.grid * vae.spatial_factor
        given = conditioning_of([ASKED], grid, grid, grid, vae, encoder, tokenizer)
        self.chain = guidance_chain(given, Guidance.uniform(guidance))
        self.latents = 0

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: float, *_: object) -> Tensor:
        self.latents += x.shape[-2] * x.shape[-1]
        x = x.contiguous(memory_format=torch.channels_last)
        parts = [weight * self.unet(x, 1000 * sigma, given).sample for weight, given in self.chain]
        return torch.stack(parts).sum(0)

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
        x = x + (b - a) * sampler(x, a)
    return x[0, :, margin : margin + len(rows), margin : margin + len(columns)]


def seam_score(image: np.ndarray, period: int) -> float:
    """Mean absolute gradient across the multiples of `period` pixels ÷ elsewhere."""
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))
        on = np.arange(1, len(steps) + 1) % period == 0
        ratios.append(steps[on].mean() / steps[~on].mean())
    return float(np.mean(ratios))


def endless(rule: Rule, sigmas: list[float]) -> float:
    """Evaluations a latent and step of a window without end."""
    if isinstance(rule, MultiDiffusion):
        return (rule.window / rule.stride) ** 2
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

    def phase(levels: list[float]) -> Callable[[object, Tensor], Tensor]:
        def f(_: object, below: Tensor) -> Tensor:
            x = (below[:-1] / below[-1:])[None]
            for a, b in pairwise(levels):
                x = x + (b - a) * sampler(x, a)
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


Row = tuple[str, float, int, Callable[[range, range], Tensor]]
"""Name, evaluations on an endless plane, distance of its borders in latents, sampling."""


def rules(sampler: Sampler, sigmas: list[float], args: argparse.Namespace) -> Iterator[Row]:
    """Everything the table compares."""
    grid = sampler.unet.grid
    cases: list[tuple[str, Rule, int]] = []  # name, rule, distance of its borders
    for halo in args.halos:
        cases += [
            (f"exact, halo {halo}", Exact(args.tile, halo, grid), args.tile // 2),
            (f"exact, halo {halo}, grid not shifted", Exact(args.tile, halo, grid, shift=False), args.tile),
        ]
    for margin in args.margins:
        exact = Exact(args.tile, max(margin // args.steps, 1), grid, steps_at_once=args.steps)
        cases.append((f"exact, all steps at once, {exact.halo} × {args.steps} around", exact, args.tile))
    cases += [
        ("MetaEarth", MetaEarth(WINDOW, grid), WINDOW // 2),
        ("InfiniteDiffusion, 2 phases", InfiniteDiffusion(WINDOW, WINDOW // 2, 2, grid), WINDOW // 2),
        (f"MultiDiffusion, stride {args.stride}", MultiDiffusion(WINDOW, args.stride, grid), args.stride),
    ]
    for name, rule, period in cases:
        yield name, endless(rule, sigmas), period, canvas(sampler, sigmas, rule)
    try:
        yield "infinite-tensor, 2 phases", 4.0, WINDOW // 2, peer(sampler, sigmas)
    except ImportError:
        print("(infinite-tensor is not installed)")


def canvas(sampler: Sampler, sigmas: list[float], rule: Rule) -> Callable[[range, range], Tensor]:
    return Canvas(sampler, sampler.noise, sigmas, rule, store=LatentStore(2**30)).sample


def compare_rules(sampler: Sampler, args: argparse.Namespace) -> None:
    """Print the table of rules."""
    sigmas = [1 - n / args.steps for n in range(args.steps + 1)]
    rows = columns = range(args.side)
    whole = sampler.pixels(untiled(sampler, sigmas, rows, columns, args.margin))
    factor = sampler.vae.spatial_factor
    megapixels = (args.side * factor) ** 2 / 1e6
    print(
        "| rule | evaluations here | endless | s/Mpx | CPU s/Mpx | largest difference | mean | seam score (untiled) |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, ideal, period, sample in rules(sampler, sigmas, args):
        sampler.latents = 0
        wall, cpu = time.perf_counter(), time.process_time()
        latents = sample(rows, columns)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        image = sampler.pixels(latents)
        off = np.abs(image - whole)
        cost = sampler.latents / args.side**2 / args.steps
        figures = f"{cost:.2f} | {ideal:.2f} | {wall / megapixels:.0f} | {cpu / megapixels:.0f}"
        seams = f"{seam_score(image, period * factor):.3f} ({seam_score(whole, period * factor):.3f})"
        print(f"| {name} | {figures} | {off.max():.2f} | {off.mean():.3f} | {seams} |", flush=True)


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
            left, right = x[..., : middle + halo], x[..., middle - halo :]
            return torch.cat([sampler(left, sigma)[..., :middle], sampler(right, sigma)[..., halo:]], -1)

        whole = plane
        for a, b in pairwise(sigmas):
            whole = whole + (b - a) * sampler(whole, a)
        image = sampler.pixels(whole[0])
        first = sampler(plane, 1.0)
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
    p.add_argument("--guidance", type=float, default=1.0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = p.parse_args()
    if (args.unet is None) != (args.vae is None):
        p.error("--unet and --vae go together")
    torch.set_num_threads(args.threads)
    if args.unet is not None:
        unet, vae = EarthUNet.from_pretrained(args.unet), EarthAutoencoder.from_pretrained(args.vae)
    else:
        pipe = EarthPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
        unet, vae = pipe.unet, pipe.vae
    for model in (unet, vae):
        model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    sampler = Sampler(unet, vae, args.guidance, args.seed)
    if args.field is None:
        compare_rules(sampler, args)
    else:
        args.field = args.field or [4, 8, 16]
        compare_halos(sampler, args)


if __name__ == "__main__":
    main()
