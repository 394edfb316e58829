"""Makes the world's base map in the package from NASA's Blue Marble, and measures it.

    python benchmarks/base_map.py [--root FOLDER] [--level 6] [--quality 50] [--output earthgen/world/data]

Writes `blue-marble-6.tif`, a web-mercator level as a GeoTIFF with lossy WebP tiles, and `blue-marble-2.png`, level 2
without loss: exactly what averaging the former gives (`earthgen.world.base.averaged`). Prints their sizes and
the PSNR against what was to be kept. The source is `bluemarble/z/x/y.jpeg` as `earthgen.data` reads it.

The source was sampled without a filter: in mountains, single pixels are black or white, and each would come out as a
block of 16 once levels below average to it. So it is smoothed by (1, 2, 1) / 4 both ways, which takes out nothing but
what alternates from pixel to pixel.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.env import Env
from rasterio.windows import Window as Block

from earthgen.data.bluemarble import BlueMarble
from earthgen.output.atomic import atomic_path
from earthgen.world.base import CREDIT, averaged
from earthgen.world.projection import WEB_MERCATOR, transform, world_size

SIDE = 512
"""Pixels a side of the file's tiles."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder that holds `bluemarble`; by default EARTHGEN_DATA")
    parser.add_argument("--level", type=int, default=6)
    parser.add_argument("--coarse", type=int, default=2, help="level that is kept without loss")
    parser.add_argument("--quality", type=int, default=50, help="of WebP, 1 to 100")
    parser.add_argument("--output", type=Path, default=Path("earthgen/world/data"))
    args = parser.parse_args()
    source, size = BlueMarble(args.root, "all", [args.level]), world_size(args.level)

    def original(top: int, left: int) -> np.ndarray:
        first, last = max(top - 1, 0), min(top + SIDE + 1, size)
        image = source.window(args.level, left - 1, first, SIDE + 2, last - first).image.astype(np.uint16)
        image = np.pad(image, ((first - top + 1, top + SIDE + 1 - last), (0, 0), (0, 0)), mode="edge")
        image = image[:-2] + 2 * image[1:-1] + image[2:]
        image = image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]
        return ((image + 8) // 16).astype(np.uint8)

    profile = {
        "driver": "GTiff", "height": size, "width": size, "count": 3, "dtype": "uint8", "photometric": "RGB",
        "interleave": "pixel", "tiled": True, "blockxsize": SIDE, "blockysize": SIDE, "compress": "WEBP",
        "webp_level": args.quality, "crs": WEB_MERCATOR, "transform": transform(args.level),
    }  # fmt: skip
    path = args.output / f"blue-marble-{args.level}.tif"
    with atomic_path(path) as draft, rasterio.open(draft, "w", **profile) as dataset:
        dataset.update_tags(CREDIT=CREDIT, SOFTWARE="earthgen benchmarks/base_map.py")
        for top in range(0, size, SIDE):
            for left in range(0, size, SIDE):
                dataset.write(np.moveaxis(original(top, left), 2, 0), window=Block(left, top, SIDE, SIDE))

    shift = args.level - args.coarse
    coarse = np.empty((size >> shift, size >> shift, 3), np.uint8)
    error = 0.0
    with Env(GDAL_CACHEMAX=1 << 24), rasterio.open(path) as dataset:
        for top in range(0, size, SIDE):
            for left in range(0, size, SIDE):
                kept = np.moveaxis(dataset.read(window=Block(left, top, SIDE, SIDE)), 0, 2)
                error += ((kept.astype(float) - original(top, left)) ** 2).mean()
                for _ in range(shift):
                    kept = averaged(kept)
                coarse[top >> shift : top + SIDE >> shift, left >> shift : left + SIDE >> shift] = kept
    small = args.output / f"blue-marble-{args.coarse}.png"
    with atomic_path(small) as draft:
        Image.fromarray(coarse).save(draft, "png", optimize=True)
    blocks = (size // SIDE) ** 2
    for name in (path, small):
        print(f"{name}: {name.stat().st_size / 1e6:.2f} MB")
    print(f"PSNR: {10 * np.log10(255**2 * blocks / error):.1f} dB")


if __name__ == "__main__":
    main()
