"""Images larger than those learned from: made at once, or a quarter as large first and refined.

    python benchmarks/large.py [--side 256] [--per-class 4] [--windows 36] [--base-sides 0 64] [--sheet PNG]
    python benchmarks/large.py --quick

Images of EuroSAT's classes at its 10 m are cut into patches of its 64 px: in how many the judge sees the class asked,
and the Fréchet distance of all to as many held-out real patches. Windows of Blue Marble's levels 5 and 6 over land are
asked by GSD and place alone, cut likewise, and compared with patches of other real windows, in features of the same
judge. Beside each stands the same distance between real ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from figures import Figure, add_out, report
from numpy.typing import NDArray
from tqdm.auto import tqdm

from earthgen.conditions import Conditions
from earthgen.data.bluemarble import BlueMarble
from earthgen.metrics.distances import frechet_distance
from earthgen.metrics.generated import from_pipeline
from earthgen.metrics.judges import classifier_judge
from earthgen.metrics.real import labelled_images
from earthgen.output.atomic import atomic_path
from earthgen.output.sheet import contact_sheet
from earthgen.weights import BUNDLED

PATCH = 64
LEVELS = (5, 6)
LIVELY = 12
"""Deviation of a window's grey levels from which it is more than sea or ice."""

Images = NDArray[np.uint8]


def patches(images: Images) -> Images:
    """(n, H, W, 3) cut into squares of `PATCH`, image by image."""
    n, height, width, _ = images.shape
    blocks = images.reshape(n, height // PATCH, PATCH, width // PATCH, PATCH, 3)
    return blocks.swapaxes(2, 3).reshape(-1, PATCH, PATCH, 3)


def windows(root: Path | None, count: int, side: int) -> tuple[Images, list[Conditions]]:
    """Real windows of test places, and how each is asked for."""
    reader, images, asked = BlueMarble(root, "test", LEVELS), [], []
    for k in np.random.default_rng(0).permutation(len(reader)):
        sample = reader[int(k)]
        if min(sample.image.shape[:2]) >= side and sample.image.std() > LIVELY:
            images.append(sample.image[:side, :side])
            asked.append(Conditions(gsd=sample.gsd, lat=sample.lat, lon=sample.lon, cloud_cover=0.0))
        if len(images) == count:
            break
    return np.stack(images), asked


def main() -> None:
    from earthgen.pipelines import EarthPipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    parser.add_argument("--side", type=int, default=256, help="pixels, a multiple of 64")
    parser.add_argument("--per-class", type=int, default=4, help="images of each of EuroSAT's classes")
    parser.add_argument("--windows", type=int, default=36, help="of Blue Marble")
    parser.add_argument("--base-sides", type=int, nargs="+", default=[0, 64], help="as EarthPipeline's base_side")
    parser.add_argument("--steps", type=int, help="the model's default if not given")
    parser.add_argument("--guidance", type=float, help="the model's default if not given")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--sheet", type=Path, help="PNG of the first image of each class, a row for each way")
    parser.add_argument("--quick", action="store_true")
    add_out(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.quick:
        args.per_class, args.windows, args.side, args.steps = 1, 2, 128 + PATCH, 2
    each = args.per_class * (args.side // PATCH) ** 2
    judge = classifier_judge("eurosat", args.data_root)
    test = labelled_images("eurosat", args.data_root, "test")
    asked = test.draw(args.per_class, 1)
    marble, places = windows(args.data_root, 2 * args.windows, args.side)
    real = {
        "EuroSAT": [judge.features(test.draw(each, seed).images) for seed in (2, 3)],
        "Blue Marble": [judge.features(patches(part)) for part in np.split(marble, 2)],
    }
    figures = [Figure(f"{name}, real: Fréchet distance", frechet_distance(*pair)) for name, pair in real.items()]
    pipe = EarthPipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    shown = []

    def made(conditions: Sequence[Conditions], base_side: int) -> Images:
        more = {} if args.guidance is None else {"guidance_scale": args.guidance}
        generate = from_pipeline(pipe, base_side=base_side, num_inference_steps=args.steps, **more)
        each = [generate([c], args.side, args.side, [k]) for k, c in enumerate(tqdm(conditions, leave=False))]
        return np.concatenate(each)

    for base_side in args.base_sides:
        how = f"made of {base_side} px first" if base_side else "made at once"
        images = made(asked.asked, base_side)
        cut = patches(images)
        right = judge.predict(cut) == np.repeat(asked.labels, len(cut) // len(images))
        shown += [(images[k * args.per_class], f"{name}, {how}") for k, name in enumerate(asked.classes)]
        seen = [("EuroSAT", cut), ("Blue Marble", patches(made(places[args.windows :], base_side)))]
        figures.append(Figure(f"EuroSAT, {how}: the class asked is seen", float(right.mean())))
        for name, of in seen:
            distance = frechet_distance(judge.features(of), real[name][0])
            figures.append(Figure(f"{name}, {how}: Fréchet distance", distance))
    report(figures, args)
    if args.sheet:
        with atomic_path(args.sheet) as temporary:
            page = contact_sheet(*zip(*shown, strict=True), len(asked.classes))
            page.save(temporary, format="PNG")


if __name__ == "__main__":
    main()
