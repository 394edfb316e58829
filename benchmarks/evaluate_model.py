"""Every figure of a model in `weights.md`: class accuracy, scores, distances, spectra and obedience to GSD.

python benchmarks/evaluate_model.py PIPELINE --data-root DATA --out OUT

`OUT` gets a JSON file for each part, `evaluation.json`, the table `evaluation.md` and sheets of generated images
beside real ones. A run that was stopped goes on where it was. The judges, classifiers of real images, are trained at
the first run and kept in `EARTHGEN_CACHE`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from earthgen.conditions import Guidance
from earthgen.metrics.evaluate import PARTS, EvaluationConfig, evaluate
from earthgen.metrics.generated import from_pipeline
from earthgen.pipelines import EarthPipeline


def main() -> None:
    default = EvaluationConfig()
    counts = dict(default.counts)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", type=Path, help="folder of an EarthPipeline")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; else EARTHGEN_DATA")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--what", nargs="*", default=PARTS, help=f"parts or data sets, of {', '.join(PARTS)}")
    parser.add_argument("--count", type=int, default=counts["eurosat"], help="EuroSAT images of each class")
    parser.add_argument("--count-ucmerced", type=int, default=counts["ucmerced"], help="UC Merced images of each class")
    parser.add_argument("--score-steps", type=int, default=default.score_steps, help="training steps of each score")
    parser.add_argument("--steps", type=int, help="denoising steps; the pipeline's default if not given")
    parser.add_argument("--guidance", type=float, help="weight of all conditions; the pipeline's default if not given")
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--redo", action="store_true", help="measure again; generated images are kept")
    args = parser.parse_args()

    pipeline = EarthPipeline.from_pretrained(args.pipeline)
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": args.steps} if args.steps else {}
    guidance = {"guidance": Guidance.uniform(args.guidance)} if args.guidance is not None else {}
    config = EvaluationConfig(
        counts=(("eurosat", args.count), ("ucmerced", args.count_ucmerced)),
        score_steps=args.score_steps,
        batch_size=args.batch_size,
        seed=args.seed,
    )
    root = args.data_root or os.environ.get("EARTHGEN_DATA")
    generate = from_pipeline(pipeline, **options, **guidance)
    evaluate(generate, root, args.what, config, args.out, redo=args.redo, progress=True)
    print((args.out / "evaluation.md").read_text())


if __name__ == "__main__":
    main()
