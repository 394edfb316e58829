"""How fast the noise field is, near the origin and far from it, beside numpy's own generator, on one thread.

    OMP_NUM_THREADS=1 python benchmarks/noise.py [--repeats 15] [--out JSON]

Times are of the processor, the best of the repeats, and the kinds of noise take turns, so that a busy machine does not
change the comparison.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from figures import Figure, add_out, report

from earthgen.world.noise import MAX_COORDINATE, noise_field

CHANNELS = 4
SIDES = {16: "64 px", 64: "256 px", 256: "1,024 px"}


def best(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Shortest processor time of each in seconds, all called in turn, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.thread_time()
            function()
            times[name].append(time.thread_time() - start)
    return {name: min(t[1:]) for name, t in times.items()}


def measure(side: int, repeats: int) -> dict[str, float]:
    """Seconds for (CHANNELS, side, side) values of each kind."""
    far = MAX_COORDINATE + 1 - side
    generator = np.random.default_rng(0)

    def window(start: int) -> object:
        return noise_field(7, 14, range(start, start + side), range(start, start + side), CHANNELS)

    return best(
        {
            "near": lambda: window(-side // 2),
            "far": lambda: window(far),
            "far_negative": lambda: window(-MAX_COORDINATE),
            "numpy": lambda: generator.standard_normal((CHANNELS, side, side), np.float32),
        },
        repeats,
    )


def main() -> None:
    """Print a table in Markdown."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--repeats", type=int, default=15)
    add_out(p)
    args = p.parse_args()
    torch.set_num_threads(1)
    print("Million values a second; ratios are of times.")
    print("| window | ms | field | at 2⁴⁰ ÷ near 0 | at -2⁴⁰ ÷ near 0 | numpy's generator | field ÷ numpy |")
    print("|---|---|---|---|---|---|---|")
    made = []
    for side, name in SIDES.items():
        t = measure(side, args.repeats)
        rate = {k: CHANNELS * side**2 / seconds / 1e6 for k, seconds in t.items()}
        print(
            f"| {name} ({side} × {side} × {CHANNELS}) | {t['near'] * 1e3:.2f} | {rate['near']:.1f} "
            f"| {t['far'] / t['near']:.2f} | {t['far_negative'] / t['near']:.2f} "
            f"| {rate['numpy']:.1f} | {t['near'] / t['numpy']:.1f} |"
        )
        made.append(Figure(f"noise of {name}: million values a second", rate["near"]))
        made.append(Figure(f"noise of {name}: time at 2⁴⁰ ÷ near 0", t["far"] / t["near"], "≤ 1.1"))
    report(made, args, table=False)


if __name__ == "__main__":
    main()
