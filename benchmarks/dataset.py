"""Labelled images an hour, all stages and the export, and where the time goes.

    python benchmarks/dataset.py [--count 40] [--workers 2] [--size 256] [--real FOLDER] [--filter FOLDER] [--out JSON]

Makes a data set for detection with the shipped defaults in a new folder and prints one JSON object: images kept an hour
of the wall clock, seconds by stage summed over the workers, and the share of the model in them. Loading is told apart,
as it does not grow with the number of images. Run it on an idle machine, with as many workers as cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from figures import Figure, add_out, report

from earthgen.dataset import engine
from earthgen.dataset.config import Config
from earthgen.labels import FORMATS


def main() -> None:
    """Print one JSON object."""
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--count", type=int, default=40)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--tile", type=int, help="cut into tiles of so many pixels")
    p.add_argument("--steps", type=int)
    p.add_argument("--density", type=float, default=150, help="objects in a million pixels, without --real")
    p.add_argument("--model", default="earthgen/mini")
    p.add_argument("--real", help="labelled images to learn layouts from, and the filter where none is given")
    p.add_argument("--filter", help="folder of an evaluator")
    p.add_argument("--output", type=Path, help="a folder to keep; default: none is kept")
    add_out(p)
    args = p.parse_args()
    rules = {"building": {"density": args.density, "length": [14, 48], "gap": 2}}
    settings: dict[str, Any] = {
        "task": "detection",
        "classes": ["building"],
        "count": args.count,
        "size": args.size,
        "steps": args.steps,
        "model": args.model,
        "tiles": args.tile,
        "real": args.real,
        "filter": {"judge": args.filter},
        "layout": {} if args.real else {"rules": rules},
        "conditions": {"gsd": 0.5, "regions": [[54.9, 24.8, 55.5, 25.3]]},
        "formats": list(set(FORMATS) - {"masks", "classification"}),
    }
    with tempfile.TemporaryDirectory() as temporary:
        done = engine.make(Config.from_dict(settings), args.output or temporary, processes=args.workers, progress=True)
    stages = done["seconds_by_stage"]
    parallel = sum(stages[name] for name in ("model", "filter", "write")) / args.workers
    working = parallel + stages["export"] + stages["summary"]
    figures = {
        "images": done["images"],
        "rejected": done["rejected"],
        "objects": done["objects"],
        "workers": args.workers,
        "images_an_hour": round(done["images"] / done["seconds"] * 3600, 1),
        "images_an_hour_without_loading": round(done["images"] / working * 3600, 1),
        "seconds": done["seconds"],
        "seconds_by_stage": stages,
        "share_of_the_model": round(stages["model"] / sum(stages.values()), 4),
    }
    print(json.dumps(figures, indent=2))
    hourly, share = figures["images_an_hour_without_loading"], figures["share_of_the_model"]
    made = [Figure("labelled images an hour, without loading", hourly), Figure("share of the model's time", share)]
    report(made, args, record=figures, table=False)


if __name__ == "__main__":
    main()
