"""Change pairs under proof: unchanged pixels, seams, identity, artefacts, and detectors that never saw a real label.

    python benchmarks/change.py unchanged | identity | artefacts | verify [--quick] [--device cuda] [--out folder]
    python benchmarks/change.py series [--size 2048] [--gsd 2] [--dates 12]

`verify` makes synthetic pairs from OSCD's images of the cities that are not tested on (their pixels, never their
labels), in which places become built-up areas, trains a small detector on them alone, and tests it on the labelled
cities left out; beside it, the same detector trained on real labels (for this comparison only, it is not kept), and one
fine-tuned on a quarter of them.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from change_artefacts import drawn, told
from change_series import series
from scipy import ndimage
from tqdm.auto import tqdm

from earthgen import weights
from earthgen.conditions import Conditions
from earthgen.data.dubai import CLASSES, Dubai
from earthgen.data.oscd import OSCD
from earthgen.dataset.change_detector import (
    ChangeDetector,
    ChangeDetectorConfig,
    ChangeSample,
    change_scores,
    train_detector,
)
from earthgen.errors import DataError
from earthgen.output.atomic import atomic_path, write_text
from earthgen.pipelines import ChangePipeline
from earthgen.simulate.event_maps import simulate_maps
from earthgen.simulate.event_segments import simulate_segments
from earthgen.simulate.events import Series
from earthgen.simulate.margins import feathered, mixed
from earthgen.simulate.nuisance import Nuisance

PLAN = {"add": 2, "remove": 1, "grow": 1, "transition": 1}
SIDE = 256
CUT = 192
"""Pixels a side of the synthetic pairs for detectors."""
URBAN = ("an industrial area", "a residential area")
"""What places become in them: what OSCD's labels call change is built."""
REAL_WORLD = Nuisance(0.5, 0.5, 0.3, 0.3, 1.0, 0.3, 0.2, 2)
"""What differs between the dates of the pairs of `identity`."""


def pipeline(device: str) -> ChangePipeline:
    pipe = ChangePipeline.from_pretrained("earthgen/mini").to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def labelled(number: int, seed: int) -> tuple[Series, np.ndarray]:
    """A crop of the Dubai set with change events on its mask."""
    sample = Dubai(split="all")[number]
    assert sample.mask is not None
    image, mask = (np.ascontiguousarray(a[:SIDE, :SIDE]) for a in (sample.image, sample.mask))
    return simulate_maps(mask, CLASSES, seed, [PLAN]), image


def unchanged(args: argparse.Namespace) -> None:
    """Pixels beyond the margin, and steps of brightness across the margin's edges beside those of the image itself."""
    pipe, margin = pipeline(args.device), 12
    worst, beyond, crossed, across = 0, 0, 0, np.zeros(2)
    for number in tqdm(range(3 if args.quick else 24)):
        series, image = labelled(2 * number, number)
        first, second = pipe(series, image=image, seed=number, margin=margin, output_type="np").images.astype(int)
        far = ndimage.distance_transform_edt(~series.changed()) > margin
        worst, beyond = max(worst, int(np.abs(first - second)[far].max())), beyond + int(far.sum())
        for axis in (0, 1):
            edge = np.diff(far.astype(int), axis=axis) != 0
            crossed += int(edge.sum())
            across += [np.abs(np.diff(shown, axis=axis)).mean(-1)[edge].sum() for shown in (first, second)]
    print(f"largest difference beyond the margin: {worst} of 255, over {beyond} pixels")
    before, after = across / crossed
    print(f"step between neighbours across the margin's edge: {after:.2f} grey levels, {before:.2f} before the change")


def digest(args: argparse.Namespace) -> dict[str, str]:
    """SHA-256 of pairs, made in the order asked for."""
    pipe, found = pipeline(args.device), {}
    for number in args.order:
        series, image = labelled(number, number)
        out = pipe(series, image=image, seed=number, nuisance=REAL_WORLD, num_inference_steps=6, output_type="np")
        labels = json.dumps([[e.to_dict() for e in series.events[0]], out.nuisances]).encode()
        found[str(number)] = hashlib.sha256(out.images.tobytes() + series.scenes[1].tobytes() + labels).hexdigest()
    return found


def identity(args: argparse.Namespace) -> None:
    """The same pairs in two processes and two orders."""
    command = [sys.executable, __file__, "digest", "--device", args.device, "--order"]
    runs = [subprocess.run([*command, order], capture_output=True, check=True, text=True) for order in ("012", "210")]
    first, second = (json.loads(run.stdout) for run in runs)
    print(f"pairs with the same bytes: {sum(first[k] == second[k] for k in first)} of {len(first)}")


def artefacts(args: argparse.Namespace) -> None:
    """Changes beside places without one that a model drew too (`change_artefacts`)."""
    pipe, count = pipeline(args.device), 6 if args.quick else args.images
    numbers = tqdm(range(count))
    told((drawn(pipe, *labelled(number % len(Dubai(split="all")), number), number) for number in numbers), CLASSES)


def cities(data: OSCD) -> dict[str, ChangeSample]:
    """The cities with labels, the second date cut or continued to the size of the first."""
    found = {}
    for city in data.cities:
        changed = data.change_label(city)
        if changed is not None:
            found[city] = ChangeSample(*images(data, city), changed)
    return found


def images(data: OSCD, city: str) -> tuple[np.ndarray, np.ndarray]:
    first, second = (data.picture(city, moment).image for moment in ("t1", "t2"))
    more = [max(0, a - b) for a, b in zip(first.shape, second.shape, strict=True)]
    second = np.pad(second, [(0, n) for n in more], "edge")[: first.shape[0], : first.shape[1]]
    return first, second


def synthetic(pipe: ChangePipeline, data: OSCD, city: str, count: int, out: Path) -> list[ChangeSample]:
    """Pairs of a city's two dates, the later one edited: two in three get built-up places, one loses segments."""
    model, found = weights.model_sha256(weights.resolve("earthgen/mini")), []
    for number in range(count):
        path = out / f"{city}-{number:03d}-{model[:16]}.npz"
        if not path.exists():
            random = np.random.default_rng([number, *city.encode()])
            first, second = images(data, city)
            height, width = (min(CUT, side) for side in first.shape[:2])
            top, left = (random.integers(a - b + 1) for a, b in zip(first.shape, (height, width), strict=False))
            window = slice(top, top + height), slice(left, left + width)
            first, second = np.ascontiguousarray(first[window]), quiet(first, second)[window]
            kind, text = ("transition", URBAN[number % 2]) if number % 3 else ("remove", None)
            series = simulate_segments(
                second, number, [{kind: 5}], become=(text,) if text else (), smallest=36, largest=0.03, contrast=8.0
            )  # fmt: skip
            shown = pipe(
                series, image=second, seed=number, margin=3, nuisance=Nuisance(rectangles=2),
                conditions=Conditions(gsd=10.0), num_inference_steps=8, output_type="np",
            ).images[1]  # fmt: skip
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, first=first, second=shown, changed=series.changed())
        with np.load(path, allow_pickle=False) as saved:
            found.append(ChangeSample(saved["first"], saved["second"], saved["changed"]))
    return found


def quiet(first: np.ndarray, second: np.ndarray, share: float = 0.06) -> np.ndarray:
    """The second date without what may be real change, which no synthetic label tells: where the two differ most.

    There it shows the first date in the light of the second, so what is left is the nuisance of real dates.
    """
    _, weight = feathered(most_different(first, second, share), 4)
    relit = np.clip(even(first) * (second.std((0, 1)) + 1) + second.mean((0, 1)), 0, 255)
    return mixed(second, np.rint(relit).astype(np.uint8), weight)


def even(image: np.ndarray) -> np.ndarray:
    """An image in a light of mean 0 and deviation 1 a channel."""
    return np.asarray((image - image.mean((0, 1))) / (image.std((0, 1)) + 1))


def most_different(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The share of the pixels where two dates differ most, in the same light and smoothed."""
    gap = np.abs(ndimage.gaussian_filter(even(first) - even(second), (2, 2, 0))).mean(-1)
    gap = ndimage.gaussian_filter(gap, 1)
    return np.asarray(gap > np.quantile(gap, 1 - share))


def unlearned(samples: list[ChangeSample], share: float = 0.03) -> float:
    """F1 of calling change what differs most: what a detector has to beat."""
    pairs = [(most_different(s.first, s.second, share), s.changed) for s in samples]
    right = sum(int((found & changed).sum()) for found, changed in pairs)
    return 2 * right / sum(int(found.sum() + changed.sum()) for found, changed in pairs)


def verify(args: argparse.Namespace) -> None:
    """Zero-shot, supervised, and fine-tuned on few labels, by folds of cities; a fold that is done is kept."""
    data, pipe = OSCD(split="all"), pipeline(args.device)
    known = cities(data)
    if not known:
        raise DataError("no city of OSCD has labels here")
    names, seeds, folds = sorted(known), range(1 if args.quick else args.seeds), range(1 if args.quick else args.folds)
    steps, count = (4, 1) if args.quick else (args.steps, args.count)
    made = {
        c: synthetic(pipe, data, c, count, args.out / f"pairs-{CUT}") for c in tqdm(data.cities, desc="pairs, by city")
    }
    folder = args.out / f"verify-{steps}x{args.batch}x{args.crop}-{count}"
    rows: dict[str, list[float]] = {}
    for seed, fold in itertools.product(seeds, folds):
        test, path = names[fold :: args.folds], folder / f"seed{seed}-fold{fold}.json"
        if not path.exists():
            others = [c for c in data.cities if c not in test and not _neighbour(c, test)]
            samples = [pair for c in others for pair in made[c]]
            config = ChangeDetectorConfig(steps=steps, batch_size=args.batch, crop=args.crop, seed=seed)
            nets = detectors(samples, [known[c] for c in others if c in known], config, args.device)
            figures = {name: change_scores(net, [known[c] for c in test])["f1"] for name, net in nets.items()}
            figures["largest 3 % of the difference, nothing learned"] = unlearned([known[c] for c in test])
            write_text(path, json.dumps(figures) + "\n")
        for name, f1 in json.loads(path.read_text()).items():
            rows.setdefault(name, []).append(f1)
            print(f"seed {seed}, without {', '.join(test)}: {name} F1 {f1:.3f}", flush=True)
    mean = {name: float(np.mean(values)) for name, values in rows.items()}
    print("| detector | F1 |\n|---|---|")
    for name, values in rows.items():
        print(f"| {name} | {mean[name]:.3f} ± {np.std(values) / max(1, len(values)) ** 0.5:.3f} |")
    print(f"zero-shot ÷ supervised: {mean['zero-shot'] / max(mean['supervised'], 1e-9):.2f}")
    print(f"fine-tuned - from scratch: {100 * (mean['25 % fine-tuned'] - mean['25 % from scratch']):+.1f} points")


def detectors(
    made: list[ChangeSample], real: list[ChangeSample], config: ChangeDetectorConfig, device: str
) -> dict[str, ChangeDetector]:
    """Trained on synthetic pairs alone, on all labels, and on a quarter of them without and with those pairs."""

    def trained(samples: list[ChangeSample], config: ChangeDetectorConfig, start: ChangeDetector | None = None) -> Any:
        return train_detector(samples, config, start, device=device, progress=True)

    few, short = real[config.seed % 4 :: 4], replace(config, steps=max(1, config.steps // 4), learning_rate=3e-4)
    zero = trained(made, config)
    return {
        "zero-shot": zero,
        "supervised": trained(real, config),
        "25 % from scratch": trained(few, config),
        "25 % fine-tuned": trained(few, short, zero),
    }


def _neighbour(city: str, test: list[str]) -> bool:
    """Whether a city is a part of a place that is tested on."""
    return any({city, other} in ({"saclay_e", "saclay_w"}, {"paris", "bercy"}) for other in test)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("what", choices=("unchanged", "identity", "artefacts", "verify", "series", "digest"))
    p.add_argument("--quick", action="store_true", help="a few pairs, to see that it runs")
    p.add_argument("--device", default="cpu")
    p.add_argument("--images", type=int, default=40, help="of `artefacts`")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--steps", type=int, default=400, help="of each detector")
    p.add_argument("--batch", type=int, default=16, help="windows a training step")
    p.add_argument("--crop", type=int, default=64, help="pixels a side of a window")
    p.add_argument("--folds", type=int, default=5, help="of the labelled cities")
    p.add_argument("--count", type=int, default=6, help="synthetic pairs a city; all folds and seeds share them")
    p.add_argument("--size", type=int, default=2048, help="of the series' window, pixels")
    p.add_argument("--gsd", type=float, default=2.0, help="of the series' window, metres")
    p.add_argument("--dates", type=int, default=12, help="of the series")
    p.add_argument("--world-steps", type=int, help="of the series' world, each level")
    p.add_argument("--model", default="earthgen/mini", help="of the series' world")
    p.add_argument("--folder", type=Path, help="where the series' tiles are kept, if not in the user's cache")
    p.add_argument("--out", type=Path, default=Path("out/change"), help="synthetic pairs are kept here")
    p.add_argument("--order", type=lambda text: [int(digit) for digit in text], default=[0, 1, 2])
    args = p.parse_args()
    torch.set_num_threads(1 if args.device == "cpu" else 8)
    if args.what == "digest":
        print(json.dumps(digest(args)))
    else:
        runs = {
            "unchanged": unchanged,
            "identity": identity,
            "artefacts": artefacts,
            "verify": verify,
            "series": series,
        }
        runs[args.what](args)


if __name__ == "__main__":
    main()
