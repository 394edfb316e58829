"""Makes the world's base map in the package from NASA's Blue Marble, and measures it.

    python benchmarks/base_map.py [--root FOLDER] [--level 6] [--quality 50] [--output earthgen/world/data]
    python benchmarks/base_map.py --measure [...]

Writes `blue-marble-6.tif`, a web-mercator level as a GeoTIFF with lossy WebP tiles, and `blue-marble-2.png`, level 2
without loss: exactly what averaging the former gives (`earthgen.world.base.averaged`). Prints their sizes and
the PSNR against what was to be kept. The source is `bluemarble/z/x/y.jpeg` as `earthgen.data` reads it.

The source was coded as JPEG tiles of 256 px, whose borders and blocks show where the map is calm: `deblocked`. It was
also sampled without a filter: in mountains, single pixels are black or white, and each would come out as a block of 16
once levels below average to it. So it is smoothed by (1, 2, 1) / 4 both ways, which takes out nothing but what
alternates from pixel to pixel.

--measure makes nothing. Of source, deblocked and packaged map it prints the mean absolute gradient across the borders
of tiles and blocks ÷ elsewhere, in bands from pole to pole. Where the source has level 7, of which level 6 is every
other pixel, it says how far from that the deblocked tiles are: that has its blocks at other places.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.env import Env
from rasterio.windows import Window as Block
from tqdm.auto import tqdm

from earthgen.data.bluemarble import TILE, BlueMarble
from earthgen.output.atomic import atomic_path
from earthgen.world.base import CREDIT, BaseMap, averaged, read_map
from earthgen.world.deblock import take_steps
from earthgen.world.projection import WEB_MERCATOR, transform, world_size
from earthgen.world.pyramid import Window

SIDE = 512
"""Pixels a side of the file's tiles."""
MARGIN = 16
"""Pixels around them that are read besides; a multiple of JPEG's blocks."""
STEPS = ({8: 2.0}, {16: 2.0}, {16: 2.0})
"""Pixels a side of JPEG's blocks of luma and chroma, which is at half the resolution → variance of the steps across
their borders. With 4, PSNR against level 7 fell: the map's own steps went."""
YCBCR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
Array = NDArray[np.float32]
Read = Callable[[int, int, int, int], NDArray[np.generic]]
"""Pixels of (top, left, height, width)."""


def deblocked(image: NDArray[np.uint8]) -> Array:
    """An image (height, width, 3) without the steps at borders of JPEG's blocks, which start at its corner."""
    colours = image.astype(np.float32) @ YCBCR.T
    for band, steps in enumerate(STEPS):
        take_steps(colours[..., band], steps)
    return np.asarray(colours @ np.linalg.inv(YCBCR).T, np.float32).clip(0, 255)


def smoothed(x: Array) -> NDArray[np.uint8]:
    """By (1, 2, 1) / 4 both ways: (height + 2, width + 2, 3) → (height, width, 3)."""
    x = x[:-2] + 2 * x[1:-1] + x[2:]
    x = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    return np.rint(x / 16).astype(np.uint8)


class Source:
    """A level of the source as it is and as it goes into the package."""

    def __init__(self, root: Path | None, level: int) -> None:
        self.reader, self.level, self.size = BlueMarble(root, "all", [level]), level, world_size(level)

    def plain(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Pixels, around the world; beyond the poles the outermost row goes on."""
        first, last = max(top, 0), min(top + height, self.size)
        image = self.reader.window(self.level, left, first, width, last - first).image
        return np.pad(image, ((first - top, top + height - last), (0, 0), (0, 0)), mode="edge")

    def kept(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Deblocked and smoothed; `top` and `left` are multiples of JPEG's blocks."""
        wide = self.plain(top - MARGIN, left - MARGIN, height + 2 * MARGIN, width + 2 * MARGIN)
        inner = slice(MARGIN - 1, 1 - MARGIN)
        return smoothed(deblocked(wide)[inner, inner])


def blocks(size: int) -> Iterator[tuple[int, int]]:
    """Top and left of the file's tiles."""
    corners = range(0, size, SIDE)
    yield from tqdm([(top, left) for top in corners for left in corners], unit="tile")


def make(source: Source, args: argparse.Namespace) -> None:
    size = source.size
    profile = {
        "driver": "GTiff", "height": size, "width": size, "count": 3, "dtype": "uint8", "photometric": "RGB",
        "interleave": "pixel", "tiled": True, "blockxsize": SIDE, "blockysize": SIDE, "compress": "WEBP",
        "webp_level": args.quality, "crs": WEB_MERCATOR, "transform": transform(args.level),
    }  # fmt: skip
    path = args.output / f"blue-marble-{args.level}.tif"
    with atomic_path(path) as draft, rasterio.open(draft, "w", **profile) as dataset:
        dataset.update_tags(CREDIT=CREDIT, SOFTWARE="earthgen benchmarks/base_map.py")
        for top, left in blocks(size):
            dataset.write(np.moveaxis(source.kept(top, left, SIDE, SIDE), 2, 0), window=Block(left, top, SIDE, SIDE))

    shift = args.level - args.coarse
    coarse = np.empty((size >> shift, size >> shift, 3), np.uint8)
    error = 0.0
    with Env(GDAL_CACHEMAX=1 << 24), rasterio.open(path) as dataset:
        for top, left in blocks(size):
            kept = read_map(dataset, range(top, top + SIDE), range(left, left + SIDE))
            error += ((kept.astype(float) - source.kept(top, left, SIDE, SIDE)) ** 2).mean()
            for _ in range(shift):
                kept = averaged(kept)
            coarse[top >> shift : top + SIDE >> shift, left >> shift : left + SIDE >> shift] = kept
    small = args.output / f"blue-marble-{args.coarse}.png"
    with atomic_path(small) as draft:
        Image.fromarray(coarse).save(draft, "png", optimize=True)
    for name in (path, small):
        print(f"{name}: {name.stat().st_size / 1e6:.2f} MB")
    print(f"PSNR: {10 * np.log10(255**2 * (size // SIDE) ** 2 / error):.1f} dB")


def border_scores(read: Read, size: int, bands: int) -> str:
    """Mean absolute gradient across borders ÷ elsewhere, between columns and rows of bands of the map."""
    gradients = np.zeros(SIDE)
    for top in np.linspace(0, size - 2 * SIDE, bands).astype(int) // SIDE * SIDE:
        for left in range(0, size - SIDE, SIDE):
            image = read(top, left, SIDE + 16, SIDE + 16).astype(np.float32)
            for axis in (0, 1):
                gradients += np.abs(np.diff(image, axis=axis)).mean((1 - axis, 2))[:SIDE]
    at = np.arange(1, SIDE + 1)
    rest = gradients[at % 4 != 0].mean()
    groups = {
        f"{SIDE} px": at == SIDE,
        f"{TILE} px": at % SIDE == TILE,
        "16 px": (at % 16 == 0) & (at % TILE != 0),
        "8 px": at % 16 == 8,
        "4 px": at % 8 == 4,
    }
    return " | ".join(f"{gradients[here].mean() / rest:.3f}" for here in groups.values())


def fidelity(source: Source, finer: BlueMarble) -> str:
    """PSNR of plain and deblocked tiles, both smoothed, against level 7's every other pixel: whole, and at borders."""
    errors = []
    for x, y in sorted({(x // 2, y // 2) for x, y in finer.tiles[source.level + 1]}):
        truth = finer.window(source.level + 1, 2 * TILE * x, 2 * TILE * y, 2 * TILE, 2 * TILE).image[::2, ::2]
        wanted = smoothed(truth.astype(np.float32)).astype(np.float32)
        plain = smoothed(source.plain(TILE * y, TILE * x, TILE, TILE).astype(np.float32))
        for made in (plain, source.kept(TILE * y, TILE * x, TILE, TILE)[1:-1, 1:-1]):
            off = np.square(made - wanted)
            errors += [off.mean(), np.concatenate([off[0], off[-1], off[:, 0], off[:, -1]]).mean()]
    plain, plain_border, kept, kept_border = -10 * np.log10(np.reshape(errors, (-1, 4)).mean(0) / 255**2)
    return f"{plain:.2f} → {kept:.2f} dB; beside borders of tiles {plain_border:.2f} → {kept_border:.2f} dB"


def measure(source: Source, args: argparse.Namespace) -> None:
    packaged = BaseMap(args.output)

    def read(top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        return packaged.pixels(Window(args.level, top, left, height, width))

    def only_smoothed(top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        return smoothed(source.plain(top - 1, left - 1, height + 2, width + 2).astype(np.float32))

    print(f"| borders every | {SIDE} px | {TILE} px | 16 px | 8 px | 4 px |\n|---|---|---|---|---|---|")
    maps: dict[str, Read] = {
        "source": source.plain, "source, smoothed": only_smoothed, "deblocked, smoothed": source.kept, "packaged": read
    }  # fmt: skip
    for name, one in maps.items():
        print(f"| {name} | {border_scores(one, source.size, args.bands)} |", flush=True)
    print("against level 7:", fidelity(source, BlueMarble(args.root, "all", [args.level + 1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder that holds `bluemarble`; by default EARTHGEN_DATA")
    parser.add_argument("--level", type=int, default=6)
    parser.add_argument("--coarse", type=int, default=2, help="level that is kept without loss")
    parser.add_argument("--quality", type=int, default=50, help="of WebP, 1 to 100")
    parser.add_argument("--output", type=Path, default=Path("earthgen/world/data"))
    parser.add_argument("--measure", action="store_true", help="measure what is there and make nothing")
    parser.add_argument("--bands", type=int, default=6, help="bands of 512 rows that are measured")
    args = parser.parse_args()
    source = Source(args.root, args.level)
    (measure if args.measure else make)(source, args)


if __name__ == "__main__":
    main()
