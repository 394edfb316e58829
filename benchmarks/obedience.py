"""Do generated images show the boxes asked for, and with the headings asked for? By judges trained on real images.

    python benchmarks/obedience.py --data data -n 60 -o out/obedience [--detector out/real/detector]
    python benchmarks/obedience.py --data data --images out/dubai/coco -o out/obedience

Layout obedience is the mAP50 of a detector, trained on the real Dubai crops, on generated images against the boxes
asked, over its mAP50 on held-out real crops. Headings are those of the least rectangle around what an evaluator,
trained on the same crops, sees in each box, and those of the image's own edges; beside them stands how well the same
measure reads real crops, and what guessing would give. Without `--images`, the layouts of held-out crops are asked for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dubai_crops import crops
from PIL import Image
from tqdm.auto import tqdm

from earthgen.conditions import Conditions
from earthgen.data.rectangles import visible_fraction
from earthgen.dataset.detector import Detector, DetectorConfig
from earthgen.dataset.filter_evaluator import Evaluator, EvaluatorConfig
from earthgen.dataset.verify_data import Pictures
from earthgen.dataset.verify_headings import edge_heading, heading_error, long_side, mask_heading
from earthgen.dataset.verify_learners import detection_figures
from earthgen.labels import read
from earthgen.labels.base import LabelledImage, LabelledSet
from earthgen.metrics.network import FitConfig
from earthgen.output.atomic import write_text

LONG, NARROW = 1.3, 8.0
"""Least ratio of a box's sides, and least short side in pixels, for its heading to be measured."""
LEARNED = 0.05
"""mAP50 on real crops below which a detector has learned too little to judge others."""
TEXT = "a satellite image of buildings"


def generated(real: LabelledSet, number: int, folder: Path, model: str) -> LabelledSet:
    """Images of the layouts of held-out crops, each from its own seed; what is there already is kept."""
    from earthgen.pipelines import EarthPipeline

    folder.mkdir(parents=True, exist_ok=True)
    asked = [image for image in real.of_split("test").images if image.shapes]
    asked = [asked[k] for k in np.random.default_rng(0).permutation(len(asked))[:number]]
    pipe = EarthPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    images = []
    for seed, image in enumerate(tqdm(asked, unit="image", desc="generating")):
        path = folder / f"{image.id}.png"
        if not path.exists():
            boxes = tuple(shape.box for shape in image.shapes or ())
            generator = torch.Generator().manual_seed(seed)
            conditions = Conditions(text=TEXT, boxes=boxes)
            result = pipe(conditions=conditions, height=image.height, width=image.width, generator=generator)
            Image.fromarray(np.asarray(result.images[0])).save(path)
        images.append(image.replace(path=path))
    return LabelledSet(images, real.classes)


def headings(evaluator: Evaluator, images: Sequence[LabelledImage]) -> dict[str, Any]:
    """Median degrees between headings asked and seen, of boxes that are whole, not square and not too narrow."""
    errors: dict[str, list[float]] = {"least_rectangle": [], "edges": []}
    asked = 0
    pictures = Pictures(images, budget=0)
    for index, image in enumerate(images):
        pixels = pictures[index]
        objects = evaluator.see(pixels).objects
        assert objects is not None
        for shape in image.shapes or ():
            box, sides = shape.box, sorted((shape.box.width, shape.box.height))
            whole = visible_fraction(box, image.width, image.height) > 0.99
            if not whole or sides[0] < NARROW or sides[1] < LONG * sides[0]:
                continue
            asked += 1
            seen = mask_heading(objects[1 + evaluator.classes.index(shape.label)], box)
            if seen is not None:
                errors["least_rectangle"].append(heading_error(long_side(box), seen, 180))
            edges = edge_heading(pixels, box)
            if edges is not None:
                errors["edges"].append(heading_error(box.angle, edges, 90))
    guesses = {"least_rectangle": 45.0, "edges": 22.5}
    return {
        "boxes": asked,
        **{
            name: {
                "measured": len(values),
                "median_degrees": round(float(np.median(values)), 2) if values else None,
                "guessing_gives": guesses[name],
            }
            for name, values in errors.items()
        },
    }


def main() -> None:
    """Print one JSON object and keep it in the output folder."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--data", help="folder of the real data sets; default: $EARTHGEN_DATA")
    p.add_argument("--images", help="generated images with the boxes asked for; default: generate")
    p.add_argument("-n", type=int, default=60, help="images to generate")
    p.add_argument("--model", default="earthgen/mini")
    p.add_argument("--detector", type=Path, help="one trained by benchmarks/verify.py; default: train")
    p.add_argument("--steps", type=int, default=DetectorConfig().steps, help="of the detector")
    p.add_argument("--evaluator-steps", type=int, default=EvaluatorConfig().fit.steps)
    p.add_argument("-o", "--output", type=Path, required=True)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    real = crops(args.data, args.output / "crops")
    train, test = real.of_split("train").images, real.of_split("test").images
    if args.images is None:
        made = generated(real, args.n, args.output / "images", args.model)
    else:
        made = read(args.images, classes=real.classes)
    if args.detector is not None:
        detector = Detector.load(args.detector)
    else:
        detector = Detector.fit([train], real.classes, replace(DetectorConfig(), steps=args.steps), "detector")
        detector.save(args.output / "detector")
    fit: FitConfig = replace(EvaluatorConfig().fit, steps=args.evaluator_steps)
    evaluator = Evaluator.fit([train], real.classes, (), replace(EvaluatorConfig(), fit=fit), "evaluator")
    on_real, on_generated = (detection_figures(detector, images) for images in (test, made.images))
    figures = {
        "images": {"real": len(test), "generated": len(made)},
        "map50": {"real": round(on_real["map50"], 4), "generated": round(on_generated["map50"], 4)},
        "layout_obedience": round(on_generated["map50"] / on_real["map50"], 3) if on_real["map50"] > LEARNED else None,
        "headings": {"real": headings(evaluator, test), "generated": headings(evaluator, made.images)},
    }
    text = json.dumps(figures, indent=2) + "\n"
    write_text(args.output / "obedience.json", text)
    print(text)


if __name__ == "__main__":
    main()
