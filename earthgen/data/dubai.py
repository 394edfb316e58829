"""Semantic segmentation of Dubai by Humans in the Loop: satellite pictures with a mask of what stands where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthgen.conditions import UNKNOWN
from earthgen.data import rectangles
from earthgen.data.base import Facts, Reader, Sample, Split, mask_fractions, read_rgb
from earthgen.errors import DataError

COLOURS = {
    "building": (0x3C, 0x10, 0x98),
    "land": (0x84, 0x29, 0xF6),
    "road": (0x6E, 0xC1, 0xE4),
    "vegetation": (0xFE, 0xDD, 0x3A),
    "water": (0xE2, 0xA9, 0x29),
}
"""Colours as they stand in the files; those in the data set's `classes.json` are others. All else is unknown."""
CLASSES = tuple(COLOURS)
TOLD = 0.6
"""Share of the buildings' pixels that the boxes must stand for, or they would say there is less than there is."""
TEST_TILES = ("tile5", "tile6")


class Dubai(Reader):
    """Dubai segmentation, `dubai_seg/tileN/{images,masks}/image_part_NNN.{jpg,png}`, 509 to 1,126 px a side.

    The nine pictures of a tile are neighbours, so whole tiles are train or test. Neither GSD nor position is known.
    Boxes are the rectangles of least area around the buildings of the mask that can be told apart; None where most
    cannot, as in quarters that the mask shows as one block.

    Source: Humans in the Loop, "Semantic segmentation of aerial imagery", 2020; pictures by MBRSC satellites.
    """

    name = "dubai"
    folder = "dubai_seg"
    licence = "CC0 1.0 by its makers, as far as known"
    homepage = "https://humansintheloop.org/resources/datasets/semantic-segmentation-dataset-2/"
    may_ship_weights = True

    def __init__(self, root: Path | str | None = None, split: Split = "train") -> None:
        super().__init__(root, split)
        self.files = [
            path
            for path in sorted(self.path.glob("tile*/images/*.jpg"))
            if self.wanted("test" if path.parent.parent.name in TEST_TILES else "train")
        ]

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int) -> Sample:
        """Image, mask and boxes of the buildings."""
        path = self.files[index]
        tile = path.parent.parent
        image, colours = read_rgb(path), read_rgb(tile / "masks" / f"{path.stem}.png")
        if image.shape != colours.shape:
            raise DataError(f"{path} is {image.shape[:2]}, but its mask is {colours.shape[:2]}")
        mask = mask_of(colours)
        boxes, told = rectangles.of_components(mask == CLASSES.index("building"), "building")
        return Sample(
            image=image,
            gsd=None,
            lat=None,
            lon=None,
            date=None,
            source=self.name,
            id=f"{tile.name}/{path.stem}",
            facts=Facts(
                sensor="satellite",
                place="Dubai, United Arab Emirates",
                mask_fractions=mask_fractions(mask, CLASSES),
            ),
            mask=mask,
            mask_classes=CLASSES,
            boxes=boxes if told >= TOLD else None,
            cloud_cover=0.0,
        )


def mask_of(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Indices into `CLASSES`, (height, width), of a picture of colours, (height, width, 3); 255 where unknown."""
    packed = colours.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    mask = np.full(colours.shape[:2], UNKNOWN, np.uint8)
    for index, (red, green, blue) in enumerate(COLOURS.values()):
        mask[packed == red * 65536 + green * 256 + blue] = index
    return mask
