"""A sheet of one world from level 2 (about 40 km a pixel) to level 17 (about 1 m): a row a place, a column a level.

    python benchmarks/levels.py [--model earthgen/mini] [--seed 7] [--side 192] [-o docs/levels.webp]

Levels up to 6 are NASA's Blue Marble, all below are made. Nothing is said but the place: no sentence, no date.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from tqdm.auto import tqdm

from earthgen.output.atomic import atomic_path
from earthgen.output.sheet import contact_sheet
from earthgen.weights import BUNDLED
from earthgen.world import Window, World
from earthgen.world.projection import gsd_at

PLACES = {
    "desert, Algeria": (26.5, 5.5),
    "coast, Provence": (43.28, 5.35),
    "city, Milan": (45.46, 9.19),
    "forest, Amazon": (-3.4, -62.2),
    "ice cap, Greenland": (72.0, -39.0),
}
LEVELS = (2, 4, 6, 8, 10, 12, 14, 16, 17)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--side", type=int, default=192, help="pixels a side of each picture")
    parser.add_argument("--levels", type=int, nargs="+", default=list(LEVELS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cache", type=Path, help="of tiles, to go on with it later")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/levels.webp"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images, titles = [], []
    with tempfile.TemporaryDirectory() as folder:
        world = World.open(args.seed, args.model, cache=args.cache or folder)
        for name, (lat, lon) in tqdm(PLACES.items()):
            for level in args.levels:
                window = Window.around(level, lat, lon, args.side, args.side)
                images.append(world.pixels(window))
                gsd = float(gsd_at(level, window.top + args.side / 2))
                metres = f"{gsd / 1000:.3g} km" if gsd >= 1000 else f"{gsd:.3g} m"
                titles.append(f"{name}, level {level}, {metres}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.output) as temporary:
        sheet = contact_sheet(images, titles, len(args.levels), args.side)
        sheet.save(temporary, format=args.output.suffix.lstrip(".").upper(), quality=85)


if __name__ == "__main__":
    main()
