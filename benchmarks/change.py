"""Change pairs under proof: unchanged pixels, seams, identity, artefacts, and detectors that never saw a real label.

    python benchmarks/change.py unchanged | identity | artefacts | verify [--quick] [--device cuda] [--out folder]
    python benchmarks/change.py series [--size 2048] [--gsd 2] [--dates 12]

`verify` makes synthetic pairs from OSCD's images of the cities that are not tested on (their pixels, never their
labels), trains a small detector on them alone, and tests it on the labelled cities left out; beside it, the same
detector trained on real labels (for this comparison only, it is not kept), and one fine-tuned on a quarter of them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.affinity
import torch
from pyproj import Transformer
from rasterio.features import rasterize
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
from earthgen.simulate.margins import MARGIN
from earthgen.simulate.nuisance import Nuisance
from earthgen.world import Grid, World
from earthgen.world.labels import series_of

PLAN = {"add": 2, "remove": 1, "grow": 1, "transition": 1}
SIDE = 256
REAL_WORLD = Nuisance(0.5, 0.5, 0.3, 0.3, 1.0, 0.3, 0.2, 2)
"""What differs between the dates of synthetic pairs for the detectors."""


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


def residual_patches(image: np.ndarray, place: np.ndarray, count: int, random: np.random.Generator) -> list[np.ndarray]:
    """Patches of 16 px whose middle lies in a place, less what is smooth in them: what is left of a model's hand."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), (2, 2, 0))
    rows, columns = np.nonzero(place[8:-8, 8:-8])
    if not rows.size:
        return []
    picks = random.integers(rows.size, size=count)
    return [(image - smooth)[rows[k] : rows[k] + 16, columns[k] : columns[k] + 16].transpose(2, 0, 1) for k in picks]


def artefacts(args: argparse.Namespace) -> None:
    """A tiny classifier sees residual patches of the second image alone: of a change, or of a rectangle without one."""
    pipe, random = pipeline(args.device), np.random.default_rng(0)
    pairs = []
    for number in tqdm(range(6 if args.quick else 40)):
        series, image = labelled(number % len(Dubai(split="all")), number)
        nuisance = Nuisance(rectangles=4)
        out = pipe(series, image=image, seed=number, nuisance=nuisance, output_type="np")
        rectangles = np.zeros(image.shape[:2], np.bool_)
        for top, left, height, width in out.nuisances[1].get("rectangles", []):
            rectangles[top + 6 : top + height - 6, left + 6 : left + width - 6] = True
        places = {"change": series.changed(), "rectangle": rectangles, "untouched": ~out.made[1]}
        pairs.append({k: residual_patches(out.images[1], place, 24, random) for k, place in places.items()})
    for kinds in (("change", "rectangle"), ("rectangle", "untouched"), ("change", "untouched")):
        print(f"{kinds[0]} against {kinds[1]}: balanced accuracy {told_apart(pairs, kinds):.3f} (chance is 0.5)")


def told_apart(pairs: list[dict[str, list[np.ndarray]]], kinds: tuple[str, str]) -> float:
    """Balanced accuracy on pairs that were not learned from, by a network of two convolutions."""
    data = []
    for number, pair in enumerate(pairs):
        if all(pair[k] for k in kinds):
            data += [(number % 3 == 0, float(k == kinds[0]), patch / 16) for k in kinds for patch in pair[k]]
    held, kind, patches = (torch.tensor(np.array(part), dtype=torch.float32) for part in zip(*data, strict=True))
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    learn = torch.nonzero(held == 0)[:, 0]
    for _ in range(400):
        batch = learn[torch.randint(len(learn), (64,))]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(patches[batch])[:, 0], kind[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = (net(patches)[:, 0] > 0).float()
    return float(np.mean([(found == kind)[(held == 1) & (kind == k)].float().mean() for k in (0, 1)]))


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
    """Pairs from the images of a city: half of one date with nuisances, half of two dates of which one is edited."""
    model, found = weights.model_sha256(weights.resolve("earthgen/mini")), []
    for number in range(count):
        path = out / f"{city}-{number:03d}-{model[:16]}.npz"
        if not path.exists():
            random = np.random.default_rng([number, *city.encode()])
            first, second = images(data, city)
            height, width = (min(SIDE, side) for side in first.shape[:2])
            top, left = (random.integers(a - b + 1) for a, b in zip(first.shape, (height, width), strict=False))
            first, second = (i[top : top + height, left : left + width].copy() for i in (first, second))
            edited = second if number % 2 else first
            series = simulate_segments(edited, number, (6,), largest=0.03, contrast=8.0)
            nuisance = Nuisance(rectangles=2) if number % 2 else REAL_WORLD
            shown = pipe(
                series, image=edited, seed=number, nuisance=nuisance, conditions=Conditions(gsd=10.0), output_type="np",
            ).images[1]  # fmt: skip
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, first=first, second=shown, changed=series.changed())
        with np.load(path, allow_pickle=False) as saved:
            found.append(ChangeSample(saved["first"], saved["second"], saved["changed"]))
    return found


def verify(args: argparse.Namespace) -> None:
    """Zero-shot, supervised, and fine-tuned on few labels, by folds of cities; a fold that is done is kept."""
    data, pipe = OSCD(split="all"), pipeline(args.device)
    known = cities(data)
    if not known:
        raise DataError("no city of OSCD has labels here")
    names, seeds, folds = sorted(known), range(1 if args.quick else args.seeds), range(1 if args.quick else args.folds)
    steps, count = (4, 1) if args.quick else (args.steps, args.count)
    made = {c: synthetic(pipe, data, c, count, args.out / "pairs") for c in tqdm(data.cities, desc="pairs, by city")}
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


State = dict[str, tuple[str, shapely.Polygon]]
"""Objects by name: class and outline in pixels of a window."""


def drawn_states(size: int, dates: int, seed: int = 0) -> list[State]:
    """What is there at each date: objects, one to a cell of 64 px, of which one in four changes from date to date."""
    random = np.random.default_rng(seed)
    cells = [(64 * i, 64 * j) for i in range(size // 64) for j in range(size // 64)]

    def new(cell: tuple[int, int], least: float = 16, most: float = 34) -> shapely.Polygon:
        sides, middle = random.uniform(least, most, 2) / 2, np.array(cell[::-1]) + 32 + random.uniform(-6, 6, 2)
        box = shapely.box(*(middle - sides), *(middle + sides))
        return shapely.affinity.rotate(box, random.choice([0, random.uniform(-90, 90)]))

    state: State = {f"{c[0]}-{c[1]}": ("building", new(c)) for c in cells if random.random() < 0.6}
    states = [state]
    for number in range(1, dates):
        state = dict(state)
        for cell in cells:
            if random.random() > 0.25:
                continue
            name = next((n for n in state if n.startswith(f"{cell[0]}-{cell[1]}")), None)
            if name is None:
                state[f"{cell[0]}-{cell[1]}/{number}"] = ("building", new(cell))
                continue
            label, outline = state[name]
            kind = random.choice(["remove", "move", "grow", "shrink", "transition"])
            if kind == "remove":
                del state[name]
            elif kind == "transition":
                state[name] = ("greenhouse" if label == "building" else "building", outline)
            elif kind == "move":
                state[name] = (label, shapely.affinity.translate(outline, *random.uniform(-9, 9, 2)))
            else:
                factor = 1.3 if kind == "grow" else 0.7
                state[name] = (label, shapely.affinity.scale(outline, factor, factor))
        states.append(state)
    return states


def as_collections(states: list[State], days: list[dt.date], grid: Grid) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first state as a layout and the differences of the others as events, in GeoJSON."""
    to_degrees = Transformer.from_crs(grid.crs.to_string(), "EPSG:4326", always_xy=True)

    def feature(name: str, outline: shapely.Polygon | None, **properties: Any) -> dict[str, Any]:
        geometry = None
        if outline is not None:
            x, y = grid.transform @ shapely.get_coordinates(outline).T
            ring = np.column_stack(to_degrees.transform(x, y)).tolist()
            geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "id": name, "properties": properties, "geometry": geometry}

    layout = [feature(name, outline, **{"class": label}) for name, (label, outline) in states[0].items()]
    events = []
    for before, after, day in zip(states, states[1:], days[1:], strict=False):
        for name in sorted({*before, *after}):
            old, new = before.get(name), after.get(name)
            if old == new:
                continue
            if old is None or new is None:
                label, outline = new or (None, None)
                more = {"event": "remove"} if new is None else {"event": "add", "class": label}
            elif old[0] != new[0]:
                outline, more = None, {"event": "transition", "class": new[0]}
            else:
                ratio, outline = new[1].area / old[1].area, new[1]
                more = {"event": "grow" if ratio > 1.01 else "shrink" if ratio < 0.99 else "move"}
            events.append(feature(name, outline, date=str(day), **more))
    return tuple({"type": "FeatureCollection", "features": f} for f in (layout, events))  # type: ignore[return-value]


def series(args: argparse.Namespace) -> None:
    """A window of the world at several dates: labels between every two against what was drawn, and unchanged pixels."""
    size, place = args.size, (48.1, 11.6)
    days = [dt.date(2019, 6, 1) + dt.timedelta(days=30 * k) for k in range(args.dates)]
    grid = Grid.around(*place, args.gsd, (size, size))
    states = drawn_states(size, args.dates)
    layout, events = as_collections(states, days, grid)
    more = {} if args.folder is None else {"cache": args.folder}
    world = World.open(0, args.model, layout=layout, events=events, steps=args.world_steps, device=args.device, **more)
    assert world.layout is not None
    found = series_of(world.layout, grid, days)
    held = [{name: rasterize([outline], (size, size)) > 0 for name, (_, outline) in state.items()} for state in states]
    lines = shapely.union_all([o.exterior for state in states for _, o in state.values()])
    wrong = 0
    for first, second in itertools.combinations(range(args.dates), 2):
        expected = np.zeros((size, size), bool)
        for name in {*states[first], *states[second]}:
            old, new = (held[k].get(name, np.zeros_like(expected)) for k in (first, second))
            labels = {states[k][name][0] for k in (first, second) if name in states[k]}
            expected |= (old | new) if len(labels) > 1 else old ^ new
        rows, columns = np.nonzero(found.changed(first, second) != expected)
        centres = shapely.points(columns + 0.5, rows + 0.5)
        wrong += int((shapely.distance(lines, centres) > 0.02).sum())  # the rest lies on an outline
    pairs = args.dates * (args.dates - 1) // 2
    print(f"{len(states[0])} objects, {sum(map(len, found.events))} events; labels of {pairs} pairs of dates:")
    print(f"pixels that differ from what was drawn, farther than 0.02 px from an outline: {wrong}")
    shown = [world.at(day).read(grid.crs, grid.transform, size, size) for day in tqdm(days)]
    worst, count, contrast = 0, 0, []
    for first, second in itertools.combinations(range(args.dates), 2):
        gap = np.abs(shown[first].astype(np.int16) - shown[second]).max(-1)
        touched = np.logical_or.reduce([found.changed(k, k + 1) for k in range(first, second)])
        far = ndimage.distance_transform_edt(~touched) > MARGIN + 3
        worst, count = max(worst, int(gap[far].max(initial=0))), count + int(far.sum())
        contrast.append(float(gap[found.changed(first, second)].mean()))
    print(f"largest difference beyond the margin: {worst} of 255, over {count} pixels")
    print(f"mean difference where the labels say change: {np.mean(contrast):.1f} grey levels")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("what", choices=("unchanged", "identity", "artefacts", "verify", "series", "digest"))
    p.add_argument("--quick", action="store_true", help="a few pairs, to see that it runs")
    p.add_argument("--device", default="cpu")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--steps", type=int, default=400, help="of each detector")
    p.add_argument("--batch", type=int, default=16, help="windows a training step")
    p.add_argument("--crop", type=int, default=64, help="pixels a side of a window")
    p.add_argument("--folds", type=int, default=5, help="of the labelled cities")
    p.add_argument("--count", type=int, default=16, help="synthetic pairs a city; all folds and seeds share them")
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
