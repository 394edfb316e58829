"""The Dubai building set as a labelled set of crops, split by tile: what `verify.py` and `obedience.py` measure on.

python benchmarks/dubai_crops.py --data data -o out/real       # out/real/coco: for `earthgen train adapt --real` and
                                                               # `earthgen dataset detection --real`
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from earthgen.conditions import Box
from earthgen.data.dubai import CLASSES, Dubai
from earthgen.data.rectangles import visible_fraction
from earthgen.dataset.verify_data import VISIBLE, corners
from earthgen.labels import export
from earthgen.labels.base import LabelledImage, LabelledSet, Shape


def crops(root: Path | str | None, folder: Path, size: int = 256) -> LabelledSet:
    """Crops of `size` pixels that together show every image, as PNGs in `folder`, with boxes and masks.

    Tiles 5 and 6 are the split "test". Images whose buildings cannot be told apart are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for split in ("train", "test"):
        for sample in Dubai(root, split):
            if sample.boxes is None or sample.mask is None:
                continue
            for left, top in corners(sample.height, sample.width, size):
                name = f"{sample.id.replace('/', '_')}_{left}_{top}"
                part = slice(top, top + size), slice(left, left + size)
                path = folder / f"{name}.png"
                Image.fromarray(sample.image[part]).save(path)
                moved = [Box(b.label, b.cx - left, b.cy - top, b.width, b.height, b.angle) for b in sample.boxes]
                seen = [(b, visible_fraction(b, size, size)) for b in moved]
                shapes = tuple(Shape(b, difficult=share < VISIBLE) for b, share in seen if share > 0)
                images.append(LabelledImage(name, path, size, size, split, shapes, mask=sample.mask[part].copy()))
    return LabelledSet(images, ("building",), CLASSES)


def main() -> None:
    """Write the crops as COCO."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--data", help="folder of the real data sets; default: $EARTHGEN_DATA")
    p.add_argument("-o", "--output", type=Path, required=True)
    p.add_argument("--size", type=int, default=256, help="pixels a side")
    args = p.parse_args()
    print(export(crops(args.data, args.output / "crops", args.size), args.output, ["coco"])["coco"])


if __name__ == "__main__":
    main()
