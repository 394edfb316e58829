"""Whether texture repeats where the coarser map says nothing: the highest off-peak autocorrelation, beside real images.

    python benchmarks/repetition.py [--size 4096] [--level 8] [--out JSON]
    python benchmarks/repetition.py --quick         # 768 px

The world stands on a map of one colour, so all there is comes from noise. Structure coarser than 32 px is taken off
(real images have much, generated ones here have none), and the autocorrelation of the rest is normalised by what
overlaps at each lag; the highest value at lags from 32 px to half the image counts. It falls with the size of images,
so those compared have one size: windows of Blue Marble's level 6 over land, and squares of 384 px of OSCD at 10 m.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from figures import Figure, add_out, report
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import uniform_filter

from earthgen.data.bluemarble import BlueMarble
from earthgen.data.oscd import OSCD
from earthgen.weights import BUNDLED
from earthgen.world import Window, World
from earthgen.world.projection import position_to_pixel

NEAREST = 32
"""Pixels: shortest lag, and side of the mean that is taken off."""
SQUARE = 384
PLACES = {"desert": (24.0, 10.0), "plain": (55.0, 70.0), "forest": (-4.0, -62.0), "mountains": (40.0, -110.0)}


class Flat:
    """A map of one colour."""

    levels = (6,)

    def __init__(self, colour: tuple[int, int, int]) -> None:
        self.colour = np.array(colour, np.uint8)
        self.key = f"flat-{colour}"

    def pixels(self, window: Window) -> NDArray[np.uint8]:
        """See `earthgen.world.base.Base`."""
        return np.broadcast_to(self.colour, (window.height, window.width, 3)).copy()


def off_peak(image: NDArray[np.generic]) -> float:
    """The highest autocorrelation of an image's brightness at lags from `NEAREST` to half its sides, at most 1."""
    x = image.astype(np.float64).mean(-1)
    x = x - uniform_filter(x, NEAREST, mode="reflect")
    x -= x.mean()
    height, width = x.shape
    shape = next_fast_len(2 * height, real=True), next_fast_len(2 * width, real=True)
    found = irfft2(np.abs(rfft2(x, shape)) ** 2, shape)
    rows, columns = (np.arange(-(side // 2), side // 2 + 1) for side in (height, width))
    overlap = np.outer(height - np.abs(rows), width - np.abs(columns)) / (height * width)
    found = found[np.ix_(rows, columns)] / overlap / found[0, 0]
    far = np.maximum(np.abs(rows)[:, None], np.abs(columns)) >= NEAREST
    return float(found[far].max())


def cut(image: NDArray[np.uint8], side: int) -> Iterator[NDArray[np.uint8]]:
    for top in range(0, image.shape[0] - side + 1, side):
        for left in range(0, image.shape[1] - side + 1, side):
            yield image[top : top + side, left : left + side]


def blue_marble(root: Path | None, side: int) -> Iterator[NDArray[np.uint8]]:
    reader = BlueMarble(root, "all", [6])
    for lat, lon in PLACES.values():
        row, column = (int(n) - side // 2 for n in position_to_pixel(6, lat, lon))
        yield reader.window(6, column, row, side, side).image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    parser.add_argument("--size", type=int, default=4096, help="pixels a side")
    parser.add_argument("--level", type=int, default=8, help="8, 10, ...; each from the one two above")
    parser.add_argument("--colour", type=int, nargs=3, default=(90, 95, 70), help="RGB of the map")
    parser.add_argument("--steps", type=int, help="the world's default if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="of tiles, to go on with it later")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true")
    add_out(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.size = 768 if args.quick else args.size
    options = {} if args.steps is None else {"steps": args.steps}
    with tempfile.TemporaryDirectory() as folder:
        base = Flat(tuple(args.colour))
        world = World.open(args.seed, args.model, base=base, cache=args.cache or folder, **options)
        made = world.pixels(Window.around(args.level, 30.0, 20.0, args.size, args.size))
    pictures = [picture for split in ("train", "test") for picture in OSCD(args.data_root, split)]
    squares = [square for picture in pictures for square in cut(picture.image, SQUARE)]
    figures = []
    pairs = {
        f"{args.size} px (Blue Marble)": ([made], list(blue_marble(args.data_root, args.size))),
        f"{SQUARE} px (OSCD)": (list(cut(made, SQUARE)), squares),
    }
    for name, (mine, real) in pairs.items():
        value, theirs = np.mean([off_peak(i) for i in mine]), [off_peak(i) for i in real]
        print(f"real, {name}: {np.mean(theirs):.3f} ({min(theirs):.3f} to {max(theirs):.3f})")
        figures.append(Figure(f"highest off-peak autocorrelation, {name}", float(value), f"≤ {np.mean(theirs):.3f}"))
    report(figures, args)


if __name__ == "__main__":
    main()
