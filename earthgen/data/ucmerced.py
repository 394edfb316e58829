"""UC Merced Land Use: aerial images of US towns and country in 21 classes at one foot a pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from earthgen.conditions import Box
from earthgen.data import tenniscourts
from earthgen.data.base import Facts, Reader, Sample, Split, read_rgb, split_of

SIDE = 256
GSD = 0.3048
"""One foot. The images are orthophotos of the USGS National Map Urban Area Imagery."""
NEIGHBOURS = 10
"""Images with neighbouring numbers may show overlapping ground, so this many go to one split together."""


class UCMerced(Reader):
    """UC Merced Land Use, `ucmerced/<class>/<class>NN.jpg` (or .tif), 256 x 256 px, no positions or dates.

    A few originals are some pixels short of 256; they are stretched to it and their GSD is set accordingly.
    Split by the hash of class and tens of the number, as there are no positions to split by.
    Boxes are those of the tennis courts, in the images of that class where all are told for sure (61 of 90; on
    contact sheets none of their 181 boxes was seen to be wrong, and one court, half hidden, to be missing). Images of
    the other classes have boxes None.

    Source: Yang and Newsam, "Bag-Of-Visual-Words and Spatial Extensions for Land-Use Classification", 2010.
    """

    name = "ucmerced"
    folder = "ucmerced"
    licence = "public domain (USGS imagery)"
    homepage = "http://weegee.vision.ucmerced.edu/datasets/landuse.html"
    may_ship_weights = True

    def __init__(self, root: Path | str | None = None, split: Split = "train") -> None:
        super().__init__(root, split)
        self.files = [
            path
            for path in sorted(self.path.glob("*/*"))
            if path.suffix in (".jpg", ".tif", ".png") and self.wanted(split_of(_group(path)))
        ]
        self._courts: dict[int, tuple[Box, ...] | None] = {}
        self.classes = tuple(sorted(folder.name for folder in self.path.iterdir() if folder.is_dir()))

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int) -> Sample:
        """Image, GSD, class, and boxes of tennis courts."""
        path = self.files[index]
        image = read_rgb(path)
        height, width = image.shape[:2]
        if (height, width) != (SIDE, SIDE):
            image = np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        facts = Facts(label=path.parent.name, sensor="aerial")
        gsd = GSD * (height * width) ** 0.5 / SIDE
        if facts.label == "tenniscourt" and index not in self._courts:
            self._courts[index] = tenniscourts.find(image, gsd)
        boxes = self._courts.get(index)
        return Sample(image, gsd, None, None, None, self.name, f"{path.parent.name}/{path.stem}", facts, boxes=boxes)


def _group(path: Path) -> str:
    digits = "".join(c for c in path.stem[len(path.parent.name) :] if c.isdigit())
    return f"ucmerced/{path.parent.name}/{int(digits or 0) // NEIGHBOURS}"
