"""Load time, time and peak memory of a 256 px image with the shipped defaults, beside the same model run plainly.

    python benchmarks/speed.py [--model earthgen/mini] [--threads 2] [--out JSON]

Plainly means: float32, torch's default memory layout, a guided and an unguided evaluation at each step: what a
diffusers pipeline does unless told otherwise. Both run in this process, in turn, on the same threads. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time

import torch
from figures import Figure, add_out, median_error, report

from earthgen.conditions import Conditions

ASKED = Conditions(text="a river through farmland", gsd=10, lat=45.4, lon=9.2, cloud_cover=0.0)


def seconds(pipe: object, repeats: int, **arguments: object) -> list[float]:
    """Of one image each, after one to warm up."""
    times = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        pipe(conditions=ASKED, generator=torch.Generator().manual_seed(i), output_type="np", **arguments)  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> None:
    """Print a table."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--model", default="earthgen/mini")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeats", type=int, default=5)
    add_out(p)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    from earthgen.pipelines import EarthPipeline

    pipe = EarthPipeline.from_pretrained(args.model)
    loaded = time.perf_counter() - start
    pipe.set_progress_bar_config(disable=True)
    shipped = seconds(pipe, args.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    plain = EarthPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    for model in (plain.unet, plain.vae):
        model.to(memory_format=torch.contiguous_format)
    plain.set_progress_bar_config(disable=True)
    eager = seconds(plain, args.repeats, guidance_interval=(0.0, 1.0))
    ours, theirs = statistics.median(shipped), statistics.median(eager)
    image, other = median_error(shipped), median_error(eager)
    ratio = None if image is None or other is None else theirs / ours * math.hypot(image / ours, other / theirs)
    figures = [
        Figure("load, s", loaded, "≤ 5"),
        Figure("a 256 px image end to end, s", ours, "≤ 0.4", image),
        Figure("the same, run plainly, s", theirs, noise=other),
        Figure("times faster than plainly", theirs / ours, "≥ 2", ratio),
        Figure("peak memory, GiB", peak, "≤ 2.5"),
    ]
    report(figures, args)


if __name__ == "__main__":
    main()
