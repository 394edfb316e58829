"""The cascade against real images: held-out scenes brought down 4 and 16 times and restored, beside interpolation.

    python benchmarks/cascade.py [--model FOLDER | --unet FOLDER --vae FOLDER] [--count 200] [--factors 4 16]

Squares of 128 px of EuroSAT scenes and OSCD pictures of the test split, 10 m a pixel, are averaged over blocks of 4 × 4
or 16 × 16 pixels. The network is told GSD, place, date and cloud cover, no sentence. The Fréchet distance is that
between the restored squares and the originals, cut into 64 px as the EuroSAT judge sees images; it depends on their
number. Power is the luma's: mean |restored ÷ real - 1| over all frequencies, and the ratio in the finest octave.
Consistency is the restored squares, averaged down, against what they were restored from.

    python benchmarks/cascade.py --count 4 --steps 4 --out cascade.json --sheet cascade.png     # in a minute

    python benchmarks/cascade.py --margins 8 16 32 64 [--steps 12]

How far an image that is refined in two windows, each with a margin, is from the image refined as a whole: the largest
difference in 1/255, and the mean within 32 px of the border. `earthgen upscale` takes a margin of 32 pixels.

--degradations compares how far stages are told to mistrust the ones before, --consistency 0 leaves the projection out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from figures import Figure, add_out, report
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from earthgen.conditions import COARSE_FACTOR, Guidance
from earthgen.data.augment import coarser, cropped
from earthgen.data.base import Sample
from earthgen.data.mixture import readers
from earthgen.metrics.classifier import Classifier
from earthgen.metrics.distances import frechet_distance
from earthgen.metrics.judges import classifier_judge
from earthgen.metrics.reconstruction import psnr
from earthgen.metrics.spectrum import octave_ratio, spectrum_error
from earthgen.models import EarthAutoencoder, EarthUNet
from earthgen.output.sheet import contact_sheet
from earthgen.pipelines import EarthCascadePipeline, Stage
from earthgen.precision import native_dtype
from earthgen.text import load_text_encoder
from earthgen.world.noise import noise_field

SIDE = 128
JUDGED = 64
SETS = ("eurosat_scenes", "oscd")
Images = NDArray[np.uint8]


def squares(name: str, root: Path | None, count: int) -> list[Sample]:
    """Squares of a set's held-out images that do not overlap, in random order."""
    found = []
    for sample in readers(root, "test", [name])[name]:
        tops, lefts = (range(0, length - SIDE + 1, SIDE) for length in sample.image.shape[:2])
        found += [cropped(sample, top, left, SIDE, SIDE) for top in tops for left in lefts]
    order = np.random.default_rng(0).permutation(len(found))
    return [found[i] for i in order[:count]]


def load(args: argparse.Namespace) -> EarthCascadePipeline:
    if args.unet is None:
        pipe = EarthCascadePipeline.from_pretrained(args.model)
    else:
        dtype = native_dtype()
        unet = EarthUNet.from_pretrained(args.unet, torch_dtype=dtype).eval()
        vae = EarthAutoencoder.from_pretrained(args.vae, torch_dtype=dtype).eval()
        pipe = EarthCascadePipeline(unet, vae, *load_text_encoder(dtype), FlowMatchEulerDiscreteScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe.to("cuda" if torch.cuda.is_available() else "cpu")


def enlarged(images: Images, factor: int, kernel: Image.Resampling) -> Images:
    """Each image, by interpolation."""
    size = images.shape[2] * factor, images.shape[1] * factor
    return np.stack([np.asarray(Image.fromarray(i).resize(size, kernel)) for i in images])


def restored(
    pipe: EarthCascadePipeline,
    samples: list[Sample],
    coarse: Images,
    factor: int,
    degradation: float | None,
    args: argparse.Namespace,
) -> Images:
    """What the cascade makes of coarse images; image k has the seed k, whatever its batch."""
    made = []
    for k, (sample, image) in enumerate(zip(tqdm(samples, desc=f"{factor} ×", leave=False), coarse, strict=True)):
        gsd = sample.gsd or 10.0
        output = pipe(
            image=image,
            gsds=[gsd * factor / COARSE_FACTOR**n for n in range(2 if factor == COARSE_FACTOR else 3)],
            lat=sample.lat,
            lon=sample.lon,
            date=sample.date,
            cloud_cover=sample.cloud_cover,
            num_inference_steps=args.steps,
            guidance=Guidance.uniform(args.guidance),
            degradation=degradation,
            consistency=args.consistency,
            generator=torch.Generator().manual_seed(k),
        )
        made.append(np.asarray(output.images[0]))
    return np.stack(made)


def compare_margins(pipe: EarthCascadePipeline, args: argparse.Namespace) -> None:
    """Print how the difference between windows and the whole falls with the margin."""
    half = 128
    image = coarser(readers(args.data_root, "test", ["oscd"])["oscd"][0].image)[:48]
    image = np.tile(image, (1, -(-2 * half // image.shape[1]), 1))[:, : 2 * half]
    channels = pipe.unet.config.latent_channels

    def refined(left: int, right: int) -> NDArray[np.int64]:
        rows, columns = pipe.latents_shape(1, 4 * len(image), 4 * (right - left))[2:]
        start = 4 * left // pipe.vae.spatial_factor
        noise = noise_field(1, 1, range(rows), range(start, start + columns), channels)[None]
        stage = Stage(latents=noise, num_inference_steps=args.steps)
        part = np.ascontiguousarray(image[:, left:right])
        return np.asarray(pipe(image=part, gsds=(40, 10), stages={1: stage}).images[0]).astype(int)

    whole = refined(0, 2 * half)
    print("| margin | largest difference | mean near the border |\n|---|---|---|")
    for margin in args.margins:
        left, right = refined(0, half + margin), refined(half - margin, 2 * half)
        windows = np.concatenate([left[:, : 4 * half], right[:, 4 * margin :]], 1)
        off = np.abs(windows - whole)
        print(f"| {margin} | {off.max()} | {off[:, 4 * half - 32 : 4 * half + 32].mean():.4f} |", flush=True)


def tiles(images: Images) -> Images:
    """The squares the judge looks at."""
    n, side = len(images), SIDE // JUDGED
    cut = images.reshape(n, side, JUDGED, side, JUDGED, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cut.reshape(-1, JUDGED, JUDGED, 3))


def figures(images: Images, real: Images, coarse: Images, factor: int, judge: Classifier) -> dict[str, float]:
    """What the table shows of one way to restore."""
    sides = real.shape[1] // factor
    means = images.reshape(len(images), sides, factor, sides, factor, 3).mean((2, 4))
    error = max(float(np.square(means - coarse).mean()), 1e-4)
    return {
        "frechet": frechet_distance(judge.features(tiles(images)), judge.features(tiles(real))),
        "power_error": spectrum_error(images, real, 1.0)[1],
        "finest_octave": octave_ratio(images, real)["2-4 px"],
        "psnr": float(psnr(real, images).mean()),
        "consistency_db": float(10 * np.log10(255**2 / error)),
    }


def ways(
    pipe: EarthCascadePipeline, samples: list[Sample], coarse: Images, factor: int, args: argparse.Namespace
) -> Iterator[tuple[str, Images]]:
    """Each way to restore that is compared."""
    yield "bicubic", enlarged(coarse, factor, Image.Resampling.BICUBIC)
    yield "Lanczos", enlarged(coarse, factor, Image.Resampling.LANCZOS)
    for degradation in args.degradations or [None]:
        name = "cascade" if degradation is None else f"cascade, degradation {degradation:g}"
        yield name, restored(pipe, samples, coarse, factor, degradation, args)


def comparison(what: str, row: dict[str, float], bicubic: float) -> list[Figure]:
    """The figures of one way to restore; `bicubic` is that one's Fréchet distance."""
    ours = "cascade" in what
    return [
        Figure(f"{what}: bicubic's Fréchet distance ÷ its own", bicubic / max(row["frechet"], 1e-9), "≥ 3" * ours),
        Figure(f"{what}: mean error of the power spectrum", row["power_error"]),
        Figure(f"{what}: PSNR, dB", row["psnr"]),
        Figure(f"{what}: averaged down against what was given, dB", row["consistency_db"], "≥ 35" * ours),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="earthgen/mini", help="the bundled model, or a model folder")
    parser.add_argument("--unet", type=Path, help="in its place: the folder of a denoiser")
    parser.add_argument("--vae", type=Path, help="and that of its autoencoder")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--count", type=int, default=200, help="squares of each set, where there are as many")
    parser.add_argument("--factors", type=int, nargs="+", default=(4, 16), choices=(4, 16))
    parser.add_argument("--steps", type=int, help="denoising steps of each stage; the pipeline's default if not given")
    parser.add_argument("--guidance", type=float, default=1.0, help="weight of GSD, place, date and clouds")
    parser.add_argument("--degradations", type=float, nargs="*", help="told to each stage; the pipeline's default else")
    parser.add_argument("--consistency", type=float, help="strength of the projection; the pipeline's default else")
    parser.add_argument("--margins", type=int, nargs="+", help="compare windows with the whole; multiples of 8")
    parser.add_argument("--judge", type=Path, help="folder of a trained judge; else that of `earthgen evaluate`")
    add_out(parser)
    parser.add_argument("--sheet", type=Path, help="PNG of the first squares to write")
    args = parser.parse_args()
    if (args.unet is None) != (args.vae is None):
        parser.error("--unet and --vae go together")

    pipe = load(args)
    if args.margins:
        compare_margins(pipe, args)
        return
    judge = Classifier.load(args.judge) if args.judge else classifier_judge("eurosat", args.data_root, progress=True)
    record: dict[str, dict[str, object]] = {}
    made: list[Figure] = []
    shown: list[tuple[Images, str]] = []
    print("| | Fréchet | bicubic's ÷ | power error | finest octave | PSNR | consistency | s a square |")
    print("|---|---|---|---|---|---|---|---|")
    for name in args.sets:
        samples = squares(name, args.data_root, args.count)
        real = np.stack([s.image for s in samples])
        for factor in args.factors:
            coarse = np.stack([coarser(image, factor) for image in real])
            shown += [(image, f"{name}, {factor} ×, given") for image in coarse[:2]]
            base = 0.0
            for way, images in (timed := Timed(ways(pipe, samples, coarse, factor, args))):
                row = figures(images, real, coarse, factor, judge)
                base = base or row["frechet"]
                record[f"{name}/{factor}/{way}"] = {**row, "squares": len(samples), "seconds": timed.seconds}
                print(
                    f"| {name}, {factor} ×, {way}, {len(samples)} squares | {row['frechet']:.2f} "
                    f"| {base / max(row['frechet'], 1e-9):.2f} | {row['power_error']:.1%} | {row['finest_octave']:.2f} "
                    f"| {row['psnr']:.1f} dB | {row['consistency_db']:.1f} dB | {timed.seconds / len(samples):.2f} |",
                    flush=True,
                )
                shown += [(image, way) for image in images[:2]]
                made += comparison(f"{name}, {factor} ×, {way}", row, base)
            shown += [(image, "real") for image in real[:2]]
    report(made, args, record=record, table=False)
    if args.sheet:
        columns = 2 * (4 + len(args.degradations or [None]) - 1) + 2
        contact_sheet([image for image, _ in shown], [title for _, title in shown], columns, SIDE * 2).save(args.sheet)


class Timed:
    """An iterator, and how long its last item took."""

    def __init__(self, items: Iterator[tuple[str, Images]]) -> None:
        self.items, self.seconds = items, 0.0

    def __iter__(self) -> Timed:
        return self

    def __next__(self) -> tuple[str, Images]:
        start = time.perf_counter()
        item = next(self.items)
        self.seconds = time.perf_counter() - start
        return item


if __name__ == "__main__":
    main()
