"""Whether a world is one world, how its tiles fit, and how long they take.

    python benchmarks/world.py [--model FOLDER] [--level 8] [--size 512] [--steps N] [--lat 45.9] [--lon 7.6]
    python benchmarks/world.py --quick
    python benchmarks/world.py --times [...]
    python benchmarks/world.py --sheet sheet.png [...]

The first asks the same window in one piece, in tiles, in another order and from another process, each time without a
cache, and says whether the bytes are the same (for seams see `benchmarks/seams.py`). The second times a cold tile of
level 14 and its neighbour, near the origin of the map and far from it. The third draws places at levels from 2 to 17.
Without --model it is the bundled one.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import Figure, add_out, report
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthgen.weights import BUNDLED
from earthgen.world import Window, World
from earthgen.world.projection import TILE, position_to_pixel

PLACES = {
    "desert": (24.0, 10.0),
    "coast": (43.3, -8.4),
    "city": (40.42, -3.70),
    "forest": (-4.0, -64.0),
    "ice cap": (72.0, -38.0),
}
SHEET_LEVELS = (2, 4, 6, 8, 10, 12, 14, 16, 17)
FAR = 84.0, 179.9
"""Degrees: the corner of the map."""
NEAR = 0.01, 0.01


def opened(args: argparse.Namespace, folder: Path) -> World:
    return World.open(args.seed, args.model, steps=args.steps, cache=folder)


def around(level: int, lat: float, lon: float, size: int) -> Window:
    """Whole tiles around a place."""
    return Window.around(level, lat, lon, size, size).aligned(TILE)


def one_world(args: argparse.Namespace) -> None:
    window = around(args.level, args.lat, args.lon, args.size)
    digests: dict[str, str] = {}

    def note(way: str, image: NDArray[np.uint8]) -> None:
        digests[way] = hashlib.sha256(image.tobytes()).hexdigest()

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        world = opened(args, Path(one))
        start = time.perf_counter()
        whole = world.pixels(window)
        seconds = time.perf_counter() - start
        print(f"{window.height * window.width / 1e6:.2f} MP in {seconds:.1f} s, coarser levels included")
        note("one piece", whole)
        tiles = list(window.tiles())
        random.Random(0).shuffle(tiles)
        again = opened(args, Path(other))
        parts = {tile: again.tile(*tile) for tile in tiles}
        rows = [[parts[t] for t in window.tiles() if t.y == y] for y in sorted({t.y for t in tiles})]
        note("tiles, in another order", np.concatenate([np.concatenate(row, 1) for row in rows], 0))
    command = [sys.executable, __file__, "--digest", "--model", args.model, "--level", str(args.level)]
    given = {name: getattr(args, name) for name in ("size", "steps", "seed", "lat", "lon")}
    command += [f"--{name}={value}" for name, value in given.items() if value is not None]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    digests["another process"] = done.stdout.split()[-1]
    same = len(set(digests.values())) == 1
    ways = f"{window.height} px at level {args.level}: {', '.join(digests)}"
    report([Figure(ways, "identical bytes" if same else str(digests), "identical bytes")], args)


def times(args: argparse.Namespace) -> None:
    found = {}
    for name, (lat, lon) in {"near": NEAR, "far": FAR}.items():
        with tempfile.TemporaryDirectory() as folder:
            world = opened(args, Path(folder))
            row, column = (int(c) // TILE for c in position_to_pixel(14, lat, lon))
            start = time.perf_counter()
            world.tile(14, column, row)
            cold = time.perf_counter()
            world.tile(14, column + 1, row)
            found[name] = cold - start, time.perf_counter() - cold
    ratio = found["far"][0] / found["near"][0]
    figures = [Figure(f"cold tile of level 14, {name}, s", times[0], "≤ 4") for name, times in found.items()]
    figures += [Figure(f"its neighbour, {name}, s", times[1], "≤ 0.8") for name, times in found.items()]
    report([*figures, Figure("cold tile, far ÷ near", ratio, "≤ 1.1")], args)


def sheet(args: argparse.Namespace) -> None:
    side, world = args.side, opened(args, args.cache or Path(tempfile.mkdtemp()))
    levels = [level for level in SHEET_LEVELS if level <= args.deepest]
    picture = Image.new("RGB", (side * len(levels), (side + 14) * len(PLACES)), "white")
    draw = ImageDraw.Draw(picture)
    for i, (name, (lat, lon)) in enumerate(PLACES.items()):
        for j, level in enumerate(levels):
            image = world.pixels(Window.around(level, lat, lon, side, side))
            corner = j * side, i * (side + 14)
            picture.paste(Image.fromarray(image), (corner[0], corner[1] + 14))
            draw.text((corner[0] + 2, corner[1]), f"{name}, level {level}", fill="black")
            print(name, level, flush=True)
        picture.save(args.sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--level", type=int, default=8)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, help="the world's default if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lat", type=float, default=45.9)
    parser.add_argument("--lon", type=float, default=7.6)
    parser.add_argument("--times", action="store_true", help="time tiles of level 14 instead")
    parser.add_argument("--sheet", type=Path, help="draw a contact sheet instead")
    parser.add_argument("--side", type=int, default=256, help="pixels of each picture of the sheet")
    parser.add_argument("--deepest", type=int, default=17, help="last level of the sheet")
    parser.add_argument("--cache", type=Path, help="of the sheet's tiles, to go on with it later")
    parser.add_argument("--quick", action="store_true", help="one tile's worth, two steps")
    add_out(parser)
    parser.add_argument("--digest", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.size, args.steps = 256, 2
    if args.digest:
        with tempfile.TemporaryDirectory() as folder:
            image = opened(args, Path(folder)).pixels(around(args.level, args.lat, args.lon, args.size))
            print(hashlib.sha256(image.tobytes()).hexdigest())
    elif args.times:
        times(args)
    elif args.sheet:
        sheet(args)
    else:
        one_world(args)


if __name__ == "__main__":
    main()
