"""Guidance away from fewer conditions, and from a weaker network: what each is worth.

    python benchmarks/guidance.py --guides runs/early/unet [--weights 3 4] [--shares 0 0.25 0.5] [--per-class 40]

EuroSAT's classes are generated at 64 px, as `earthgen evaluate` does, with each guide, each weight of guidance and each
share of it that leads away from the guide (`earthgen.models.guidance.GUIDE_SHARE`; 0: none, as without a guide): how
often the class asked for is the one seen, the Fréchet distance to held-out real images divided by that of real ones,
and the power of each octave. Images and figures are kept in `--work`, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from figures import Figure, add_out, report
from tqdm.auto import tqdm

from earthgen.metrics.evaluate import EvaluationConfig, evaluate
from earthgen.metrics.generated import from_pipeline
from earthgen.models import EarthUNet, guidance
from earthgen.training.common import network_of
from earthgen.weights import BUNDLED

PARTS = ("eurosat/accuracy", "eurosat/distances", "eurosat/spectrum")


def main() -> None:
    from earthgen.pipelines import EarthPipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--guides", type=Path, nargs="+", required=True, help="folders of denoisers, such as a `guide`")
    parser.add_argument("--weights", type=float, nargs="+", default=[4.0], help="of guidance")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, guidance.GUIDE_SHARE], help="from 0 to 1")
    parser.add_argument("--steps", type=int, help="the model's default if not given")
    parser.add_argument("--per-class", type=int, default=40)
    parser.add_argument("--data", type=Path, help="folder of the data sets; default: $EARTHGEN_DATA")
    parser.add_argument("--work", type=Path, default=Path("out/guidance"), help="keeps images and figures")
    add_out(parser)
    args = parser.parse_args()
    config = EvaluationConfig(counts=(("eurosat", args.per_class),))
    pipe = EarthPipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    trials = [(g, w, s) for w in args.weights for s in args.shares for g in (args.guides if s else args.guides[:1])]
    made: list[Figure] = []
    for folder, weight, share in tqdm(trials):
        guide = network_of(EarthUNet, "guides", folder, pipe.unet.dtype).to(memory_format=torch.channels_last)
        pipe.register_modules(guide=guide.eval() if share else None)
        guidance.GUIDE_SHARE = share
        led = f"{share:g} of it from {folder.parent.name}/{folder.name}" if share else "no guide"
        what = f"weight {weight:g}, {led}"
        generate = from_pipeline(pipe, num_inference_steps=args.steps, guidance_scale=weight)
        out = args.work / what.replace(" ", "-").replace("/", "-").replace(",", "")
        found = evaluate(generate, args.data, PARTS, config, out=out, progress=True)
        ratio, noise = (found[PARTS[1]]["frechet"][k] for k in ("ratio", "ratio_error"))
        made.append(Figure(f"{what}: class asked is the class seen", found[PARTS[0]]["accuracy"]))
        made.append(Figure(f"{what}: Fréchet distance ÷ real-to-real", ratio, noise=noise))
        octaves = found[PARTS[2]]["generated_to_real"]
        made += [Figure(f"{what}: power ÷ held-out real, {band}", value) for band, value in octaves.items()]
    report(made, args)


if __name__ == "__main__":
    main()
