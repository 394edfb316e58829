"""Load time, time and peak memory of a 256 px image with the shipped defaults, beside the same model run otherwise.

    python benchmarks/speed.py [--model earthgen/mini] [--threads 2] [--steps N] [--out JSON]

Otherwise means: plainly (float32, torch's default memory layout), which is what a diffusers pipeline does unless told
otherwise, and on each backend that is installed. All run in this process, in turn, image by image, on the same threads.
Differences are those of the image of one seed from the plain one. The matrix rate is that of a product of two matrices
of 2,048 a side; the operations are those of all matrix products and convolutions of an image. For an idle machine.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from typing import Any

import numpy as np
import torch
from figures import Figure, add_out, median_error, report
from torch.utils.flop_counter import FlopCounterMode

from earthgen.conditions import Conditions
from earthgen.errors import EarthgenError
from earthgen.precision import native_dtype
from earthgen.steps import denoisers
from earthgen.weights import BUNDLED

ASKED = Conditions(text="a river through farmland", gsd=10, lat=45.4, lon=9.2, cloud_cover=0.0)
SHIPPED, PLAIN = "as shipped", "plainly"


def image(pipe: Any, steps: int | None, seed: int = 0) -> np.ndarray[Any, Any]:
    generator = torch.Generator().manual_seed(seed)
    result = pipe(conditions=ASKED, num_inference_steps=steps, generator=generator, output_type="np")
    return np.asarray(result.images[0], np.float64)


def matrix_seconds(side: int = 2048) -> float:
    a, b = torch.randn(2, side, side).to(native_dtype())
    start = time.perf_counter()
    a @ b
    return time.perf_counter() - start


def others(model: str) -> dict[str, Any]:
    """Pipelines to compare with."""
    from earthgen.models.backends import BACKENDS, check_backend
    from earthgen.pipelines import EarthPipeline

    plain = EarthPipeline.from_pretrained(model, torch_dtype=torch.float32)
    for part in (*denoisers(plain).values(), plain.vae):
        part.to(memory_format=torch.contiguous_format)
    pipes = {PLAIN: plain}
    for backend in BACKENDS[1:]:
        try:
            check_backend(backend)
        except EarthgenError as error:
            print(f"without {backend}: {error}")
        else:
            pipes[backend] = EarthPipeline.from_pretrained(model, backend)
    for pipe in pipes.values():
        pipe.set_progress_bar_config(disable=True)
    return pipes


def main() -> None:
    """Print a table."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--model", default=BUNDLED)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, help="of sampling; default: the model's")
    p.add_argument("--repeats", type=int, default=5)
    add_out(p)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    from earthgen.pipelines import EarthPipeline

    pipe = EarthPipeline.from_pretrained(args.model)
    loaded = time.perf_counter() - start
    pipe.set_progress_bar_config(disable=True)
    with FlopCounterMode(display=False) as counter:
        image(pipe, args.steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux

    pipes = {SHIPPED: pipe, **others(args.model)}
    first = {name: image(one, args.steps) for name, one in pipes.items()}  # and warm
    times: dict[str, list[float]] = {name: [] for name in pipes}
    product = matrix_seconds()
    for seed in range(1, args.repeats + 1):
        product = min(product, matrix_seconds())
        for name, one in pipes.items():
            start = time.perf_counter()
            image(one, args.steps, seed)
            times[name].append(time.perf_counter() - start)

    rate, work = 2 * 2048**3 / product, counter.get_total_flops()
    median = {name: statistics.median(t) for name, t in times.items()}
    noise = {name: median_error(t) for name, t in times.items()}

    def faster(than: str, name: str, what: str, aim: str = "") -> Figure:
        value, one, other = median[than] / median[name], noise[than], noise[name]
        unsure = None if one is None or other is None else value * math.hypot(one / median[than], other / median[name])
        return Figure(what, value, aim, unsure)

    def told(name: str, what: str, aim: str = "") -> list[Figure]:
        off = 255 * np.abs(first[name] - first[PLAIN])
        return [
            Figure(f"{what}: of the matrix rate", work / rate / median[name], aim),
            Figure(f"{what}: mean difference from plainly, 1/255", float(off.mean())),
            Figure(f"{what}: largest difference from plainly, 1/255", float(off.max())),
        ]

    figures = [
        Figure("load, s", loaded, "≤ 5"),
        Figure("a 256 px image end to end, s", median[SHIPPED], "≤ 0.4", noise[SHIPPED]),
        Figure("the same, run plainly, s", median[PLAIN], noise=noise[PLAIN]),
        faster(PLAIN, SHIPPED, "times faster than plainly", "≥ 2"),
        Figure("peak memory, GiB", peak, "≤ 2.5"),
        Figure(f"matrix rate of {str(native_dtype()).removeprefix('torch.')}, GFLOP/s", rate / 1e9),
        Figure("operations of an image, GFLOP", work / 1e9),
        *told(SHIPPED, SHIPPED, "≥ 0.5"),
    ]
    for name in pipes.keys() - {SHIPPED, PLAIN}:
        figures += [
            Figure(f"on {name}: a 256 px image, s", median[name], "≤ 0.25" if name == "openvino" else "", noise[name]),
            faster(PLAIN, name, f"on {name}: times faster than plainly"),
            faster(SHIPPED, name, f"on {name}: times faster than as shipped"),
            *told(name, f"on {name}"),
        ]
    report(figures, args)


if __name__ == "__main__":
    main()
