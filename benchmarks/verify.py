"""What synthetic images add to a detector of buildings, on the Dubai set split by tile; or how it learns without them.

python benchmarks/verify.py --data data --synthetic out/dubai/coco -o out/verify    # the whole table
python benchmarks/verify.py --data data -o out/real      # one detector on real crops, and what a step costs
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from dubai_crops import crops

from earthgen.dataset import verify_report
from earthgen.dataset.detector import Detector, DetectorConfig
from earthgen.dataset.verify import VerifyConfig, arms, verify
from earthgen.dataset.verify_learners import detection_figures
from earthgen.labels import read
from earthgen.labels.base import LabelledSet
from earthgen.output.atomic import atomic_path, write_text


def real_alone(real: LabelledSet, output: Path, config: DetectorConfig) -> dict[str, object]:
    """Figures of one detector trained on all real crops, its CPU time, and that of the whole table."""
    start = time.process_time()
    detector = Detector.fit([real.of_split("train").images], real.classes, config, "real alone")
    trained = time.process_time()
    test = detection_figures(detector, real.of_split("test").images)
    measured = time.process_time() - trained
    trained -= start
    detector.save(output / "detector")
    return {
        "config": asdict(config),
        "parameters": sum(p.numel() for p in detector.network.parameters()),
        "images": {split: len(real.of_split(split)) for split in ("train", "test")},
        "on_train": detection_figures(detector, real.of_split("train").images),
        "on_test": test,
        "cpu_seconds": {
            "a_step": round(trained / config.steps, 3),
            "an_arm": round(trained + measured),
            "the_table": round((trained + measured) * len(arms(VerifyConfig()))),
        },
    }


def main() -> None:
    """Print the figures, as JSON or as tables, and keep them in the output folder."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--data", help="folder of the real data sets; default: $EARTHGEN_DATA")
    p.add_argument("--synthetic", help="labelled synthetic images")
    p.add_argument("-o", "--output", type=Path, required=True)
    p.add_argument("--network", choices=("points", "d-fine"), default=DetectorConfig().network)
    p.add_argument("--steps", type=int, default=DetectorConfig().steps)
    p.add_argument("--seeds", type=int, default=VerifyConfig().seeds)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    real = crops(args.data, args.output / "crops")
    if args.synthetic is None:
        figures = real_alone(real, args.output, replace(DetectorConfig(), network=args.network, steps=args.steps))
        text = json.dumps(figures, indent=2) + "\n"
        write_text(args.output / "real_alone.json", text)
    else:
        detector = replace(DetectorConfig(), network=args.network, steps=args.steps)
        config = VerifyConfig(seeds=args.seeds, detector=detector)
        synthetic = read(args.synthetic, classes=real.classes)
        record = verify(real, synthetic, args.output, config, "detection", progress=True)
        text = verify_report.markdown(record)
        write_text(args.output / "verify.md", text)
        with atomic_path(args.output / "verify.png") as path:
            verify_report.plot(record).save(path, format="PNG")
    print(text)


if __name__ == "__main__":
    main()
