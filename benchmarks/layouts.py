"""How alike drawn layouts are to real ones, and how new, on the buildings of the Dubai tiles.

    OMP_NUM_THREADS=1 python benchmarks/layouts.py --data DIR [--samples 80] [--side 384] [--sheet OUT.png]

The generator learns from the training tiles. Compared with windows of those: what it draws, with and without masks;
real layouts perturbed; a naive baseline (numbers, sizes and headings drawn again, each on its own, at uniform places);
random windows of the same images; the images of even against those of odd number, which are their neighbours; and the
tiles held out, which show other quarters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from earthgen.conditions import Box
from earthgen.data.dubai import CLASSES, Dubai
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.output.sheet import contact_sheet
from earthgen.simulate.layout_measures import Fidelity, Novelty, fidelity, novelty, windows
from earthgen.simulate.layouts import Layout, LayoutGenerator


def buildings(root: Path | None, split: str) -> LabelledSet:
    """Images of Dubai whose buildings are known, with masks."""
    images = [
        LabelledImage(
            s.id.replace("/", "_"), Path(s.id), s.height, s.width, shapes=tuple(map(Shape, s.boxes)), mask=s.mask
        )
        for s in Dubai(root, split)  # type: ignore[arg-type]
        if s.boxes is not None
    ]
    return LabelledSet(images, ("building",), CLASSES)


def layouts_of(images: LabelledSet) -> list[Layout]:
    return [Layout(i.height, i.width, tuple(s.box for s in i.shapes or ())) for i in images.images]


def naive(real: list[Layout], rng: np.random.Generator, side: int) -> Layout:
    """As many objects as in a random real layout, each with a width, height and angle of some object, anywhere."""
    boxes = [box for layout in real for box in layout.boxes]
    count = len(real[int(rng.integers(len(real)))].boxes)
    drawn = []
    for _ in range(count):
        size, angle = (boxes[int(rng.integers(len(boxes)))] for _ in range(2))
        drawn.append(Box(size.label, *rng.uniform(0, side, 2).tolist(), size.width, size.height, angle.angle))
    return Layout(side, side, tuple(drawn))


def pictures(layouts: list[Layout], name: str) -> list[tuple[Image.Image, str]]:
    """Drawings of the layouts that have objects, with captions."""
    drawn = []
    for layout in layouts:
        picture = Image.new("RGB", (layout.width, layout.height), (240, 238, 230))
        draw = ImageDraw.Draw(picture)
        for box in layout.boxes:
            draw.polygon([tuple(p) for p in box.corners().tolist()], fill=(228, 84, 62), outline=(40, 40, 40))
        drawn.append((picture, f"{name}, {len(layout.boxes)}"))
    return drawn


def large_canvas(generator: LayoutGenerator) -> str:
    start = time.process_time()
    asked = {"building": 2000}
    layout = generator.sample(np.random.default_rng(0), 4096, 4096, counts=asked)
    seconds = time.process_time() - start
    return f"4,096 px with {asked['building']:,} objects asked: {len(layout.boxes):,} placed in {seconds:.1f} s of CPU"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--data", type=Path)
    p.add_argument("--samples", type=int, default=80)
    p.add_argument("--side", type=int, default=384)
    p.add_argument("--sheet", type=Path)
    args = p.parse_args()
    learned = buildings(args.data, "train")
    generator = LayoutGenerator.fit(learned)
    real, side = layouts_of(learned), args.side
    train, held = windows(real, side), windows(layouts_of(buildings(args.data, "test")), side)

    def drawn(make: Callable[[np.random.Generator], Layout]) -> list[Layout]:
        return [make(np.random.default_rng([7, k])) for k in range(args.samples)]

    sets = {
        "drawn": drawn(lambda rng: generator.sample(rng, side, side)),
        "drawn with masks": drawn(lambda rng: generator.sample(rng, side, side, with_mask=True)),
        "perturbed": drawn(lambda rng: generator.perturb(rng, side, side)),
        "naive": drawn(lambda rng: naive(train, rng, side)),
        "windows of the images": drawn(lambda rng: generator.perturb(rng, side, side, strength=0)),
        "real, other half": windows(real[::2], side),
        "real, held out": held,
    }
    print(f"{len(real)} images, {len(train)} windows of {side} px; held out {len(held)}; {args.samples} samples")
    names = [f.name for f in (*fields(Fidelity), *fields(Novelty))]
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for name, layouts in sets.items():
        reference = windows(real[1::2], side) if name == "real, other half" else train
        values = (
            *astuple(fidelity(layouts, reference)),
            *astuple(novelty(layouts, reference, real[1::2] if reference is not train else real)),
        )
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |")
    print(large_canvas(generator))
    if args.sheet:
        shown = [pictures([y for y in sets[n] if y.boxes][:8], n) for n in ("drawn", "perturbed", "naive")]
        shown.insert(0, pictures([y for y in train[::5] if y.boxes][:8], "real"))
        page = [item for row in shown for item in row]
        contact_sheet([a for a, _ in page], [b for _, b in page], 8, 192).save(args.sheet)


if __name__ == "__main__":
    main()
