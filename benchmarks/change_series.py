"""A series of a window of the world under proof: its labels against what was drawn, and its unchanged pixels.

What `python benchmarks/change.py series` runs.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from pyproj import Transformer
from rasterio.features import rasterize
from scipy import ndimage
from tqdm.auto import tqdm

from earthgen.simulate.margins import MARGIN
from earthgen.world import Grid, World
from earthgen.world.labels import series_of

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
