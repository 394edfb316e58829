"""Quality against evaluations: what images of few steps are worth beside those of many.

    python benchmarks/evaluations.py [--models earthgen/mini ...] [--steps 1 2 4 8 20] [--per-class 40] [--plot SVG]

For each model and number of steps EuroSAT's classes are generated at 64 px, as `earthgen evaluate` does: how often the
class asked for is the one seen, the Fréchet distance to held-out real images divided by that of real ones, and the
power of each octave. Evaluations are those of the networks for one image: two a step where conditions are guided, three
with a guide, one where guidance is in the network already, as in one of few steps, which a model may have for four or
fewer. Images
and figures are kept in `--work`, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from figures import Figure, add_out, report
from tqdm.auto import tqdm

from earthgen.metrics.evaluate import EvaluationConfig, evaluate
from earthgen.metrics.generated import from_pipeline
from earthgen.steps import denoiser_of, denoisers, usual_steps
from earthgen.weights import BUNDLED

PARTS = ("eurosat/accuracy", "eurosat/distances", "eurosat/spectrum")


def counted(pipe: Any, calls: list[int]) -> Any:
    """A pipeline that notes how often its networks are evaluated for a batch."""

    def generate(**options: Any) -> Any:
        calls.append(0)
        networks = denoisers(pipe).values()
        count = [network.register_forward_pre_hook(lambda *_: calls.append(calls.pop() + 1)) for network in networks]
        try:
            return pipe(**options)
        finally:
            for hook in count:
                hook.remove()

    return generate


def main() -> None:
    from earthgen.pipelines import EarthPipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[BUNDLED], help="names or folders")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 20])
    parser.add_argument("--per-class", type=int, default=40)
    parser.add_argument("--data", type=Path, help="folder of the data sets; default: $EARTHGEN_DATA")
    parser.add_argument("--work", type=Path, default=Path("out/evaluations"), help="keeps images and figures")
    parser.add_argument("--plot", type=Path, help="SVG to write")
    add_out(parser)
    args = parser.parse_args()
    config = EvaluationConfig(counts=(("eurosat", args.per_class),))
    made: list[Figure] = []
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for model in args.models:
        pipe = EarthPipeline.from_pretrained(model).to("cuda" if torch.cuda.is_available() else "cpu")
        pipe.set_progress_bar_config(disable=True)
        name = Path(model).name
        for steps in tqdm(args.steps, desc=name):
            calls: list[int] = []
            generate = from_pipeline(counted(pipe, calls), num_inference_steps=steps)
            out = args.work / f"{name}-{steps}"
            found = evaluate(generate, args.data, PARTS, config, out=out, progress=True)
            each = 1 if denoiser_of(pipe, False, steps).few_step else 2 + ("guide" in denoisers(pipe))
            evaluations = calls[0] if calls else steps * each
            seen, ratio = found[PARTS[0]]["accuracy"], found[PARTS[1]]["frechet"]["ratio"]
            what = f"{name}, {steps} steps ({evaluations} evaluations)"
            noise = found[PARTS[1]]["frechet"]["ratio_error"]
            made.append(Figure(f"{what}: class asked is the class seen", seen))
            made.append(Figure(f"{what}: Fréchet distance ÷ real-to-real", ratio, noise=noise))
            octaves = found[PARTS[2]]["generated_to_real"]
            made += [Figure(f"{what}: power ÷ held-out real, {band}", value) for band, value in octaves.items()]
            curves.setdefault(name, []).append((evaluations, seen, ratio))
        usual = usual_steps(pipe).first
        curves[f"{name} (usual: {usual} steps)"] = curves.pop(name)
    report(made, args)
    if args.plot:
        draw(curves, args.plot)


def draw(curves: dict[str, list[tuple[int, float, float]]], file: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Page

    from earthgen.metrics.bench_plots import STYLE
    from earthgen.output.atomic import atomic_path

    with mpl.rc_context(STYLE):
        page = Page(figsize=(8, 2.8), layout="constrained")
        for axes, k, label in zip(page.subplots(1, 2), (1, 2), ("class seen as asked", "Fréchet ratio"), strict=True):
            for name, points in curves.items():
                axes.plot([p[0] for p in points], [p[k] for p in points], marker="o", label=name)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xlabel("evaluations of the network an image")
            axes.set_ylabel(label)
        axes.set_yscale("log")
        axes.legend(frameon=False)
        with atomic_path(file) as temporary:
            page.savefig(temporary, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
