"""Are outlines obeyed, told alone, beside their boxes, or not at all? By an evaluator trained on real outlines.

    python benchmarks/outlines.py --data data -n 20 -o out/outlines

Layouts are drawn after the outlines of Dubai's buildings, those kept whose outlines leave much of their boxes free. The
probability of a building that is seen, averaged over the outlines, over what their boxes have beyond them, and over
what is farther from both: an image that obeys its outlines shows as little in the second as in the third.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape as geometry
from tqdm.auto import tqdm

from earthgen.conditions import Box, Conditions
from earthgen.data.dubai import CLASSES, Dubai
from earthgen.dataset.filter_evaluator import Evaluator
from earthgen.dataset.verify_data import box_map
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.output.atomic import write_text
from earthgen.pipelines import EarthPipeline
from earthgen.simulate.layouts import LayoutGenerator

LABEL = "building"
AREAS = (150.0, 20_000.0)
"""Square pixels of a building; more is a quarter, whose buildings cannot be told apart."""
SIMPLER = 2.0
"""Pixels by which outlines may leave the steps of the mask."""
MARGIN = 2
"""Pixels from an outline that count for neither side."""
LEAST = 1_000
"""Pixels that must be in the outlines, and beyond them in the boxes."""


def buildings(data: str | None, folder: Path) -> LabelledSet:
    """Training images with the outlines of the buildings in their masks, in horizontal boxes as COCO has them."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for sample in Dubai(data, "train"):
        assert sample.mask is not None
        there = (sample.mask == CLASSES.index(LABEL)).astype(np.uint8)
        found = [geometry(outline).simplify(SIMPLER) for outline, _ in shapes(there, there > 0)]
        found = [one for one in found if one.is_valid and AREAS[0] < one.area < AREAS[1]]
        labelled = (Shape(Box.from_xyxy(LABEL, *one.bounds), np.array(one.exterior.coords)[:-1]) for one in found)
        path = folder / f"{sample.id.replace('/', '_')}.png"
        Image.fromarray(sample.image).save(path)
        images.append(LabelledImage(path.stem, path, sample.height, sample.width, shapes=tuple(labelled)))
    return LabelledSet(images, (LABEL,))


def main() -> None:
    """Measure and write `outlines.json` and a sheet: a row an image, told alone, beside boxes, boxes alone."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--data", help="folder of the real data sets; default: $EARTHGEN_DATA")
    p.add_argument("-n", "--number", type=int, default=20)
    p.add_argument("--size", type=int, default=192, help="pixels a side")
    p.add_argument("--model", default="earthgen/mini")
    p.add_argument("-o", "--output", type=Path, required=True)
    args = p.parse_args()
    real = buildings(args.data, args.output / "real")
    evaluator = Evaluator.fit([real.images], real.classes, (), progress="training the evaluator")
    generator = LayoutGenerator.fit(real)
    pipe = EarthPipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    side, seed = args.size, 0
    seen: dict[str, list[list[float]]] = {"outlines": [], "outlines and boxes": [], "boxes": []}
    sheet: list[NDArray[np.uint8]] = []
    with tqdm(total=args.number, unit="layout") as bar:
        while bar.n < args.number:
            seed += 1
            layout = generator.sample(np.random.default_rng(seed), side, side)
            inside, boxed = box_map(layout.polygons(), side, side), box_map(layout.boxes, side, side)
            parts = [
                ndimage.binary_erosion(inside, iterations=MARGIN),
                ndimage.binary_erosion(boxed & ~inside, iterations=MARGIN),
                ~ndimage.binary_dilation(boxed | inside, iterations=MARGIN),
            ]
            if min(part.sum() for part in parts) < LEAST:
                continue
            plain = Conditions(text="an aerial photo of buildings", gsd=0.5)
            told = {
                "outlines": plain.replace(polygons=layout.polygons()),
                "outlines and boxes": plain.replace(polygons=layout.polygons(), boxes=layout.boxes),
                "boxes": plain.replace(boxes=layout.boxes),
            }
            row = []
            for name, asked in told.items():
                noise = torch.Generator().manual_seed(seed)
                image = np.asarray(pipe(conditions=asked, height=side, width=side, generator=noise).images[0])
                objects = evaluator.see(image).objects
                assert objects is not None
                seen[name].append([float(objects[1][part].mean()) for part in parts])
                row.append(np.where((inside ^ ndimage.binary_erosion(inside))[..., None], np.uint8([255, 0, 0]), image))
            sheet.append(np.concatenate(row, 1))
            bar.update()
    Image.fromarray(np.concatenate(sheet)).save(args.output / "outlines.png")
    names = ("in the outlines", "beyond them in the boxes", "elsewhere")
    means = {name: np.mean(values, 0).round(3).tolist() for name, values in seen.items()}
    figures = {name: dict(zip(names, values, strict=True)) for name, values in means.items()}
    text = json.dumps({"layouts": args.number, "probability of a building": figures}, indent=2) + "\n"
    write_text(args.output / "outlines.json", text)
    print(text)


if __name__ == "__main__":
    main()
