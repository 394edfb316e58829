"""Elevation of the world on the coarse ETOPO grid: how high, how rugged and how much land there is around a place."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthgen.data.base import METRES_PER_DEGREE, Sample, data_root
from earthgen.errors import ArgumentError, DataError

LEAST_SPAN = 1.0
"""Degrees across of the surroundings that are looked at: three cells of the grid."""


@dataclass(frozen=True, slots=True)
class Terrain:
    """The ground around a place."""

    elevation: float
    """Metres above the sea, negative below it: at the centre, or the mean of surroundings wider than a degree."""
    relief: float
    """Standard deviation of the elevation of the surroundings, metres."""
    land_fraction: float
    """Share of the surroundings above sea level, 0 to 1."""


class Elevation:
    """ETOPO at 20 arc minutes, `world/etopo20{data,lats,lons}.gz`: text tables of metres and degrees.

    Source: NOAA, ETOPO, public domain; https://www.ncei.noaa.gov/products/etopo-global-relief-model.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = data_root(root)
        folder = self.root / "world"
        try:
            grid, lats, lons = (np.loadtxt(folder / f"etopo20{name}.gz") for name in ("data", "lats", "lons"))
        except (OSError, ValueError) as error:
            source = "https://www.ncei.noaa.gov/products/etopo-global-relief-model"
            raise DataError(f"elevation needs {folder}/etopo20{{data,lats,lons}}.gz from {source}: {error}") from error
        if grid.shape != (lats.size, lons.size):
            raise DataError(f"{folder}: the grid is {grid.shape}, but its axes are {(lats.size, lons.size)}")
        if math.isclose(lons[-1] - lons[0], 360.0, abs_tol=1e-3):  # the last column repeats the first
            grid, lons = grid[:, :-1], lons[:-1]
        self.grid: NDArray[np.float64] = grid
        self.south, self.west = float(lats[0]), float(lons[0])
        self.step = float(lats[-1] - lats[0]) / (lats.size - 1)

    def at(self, lat: float, lon: float) -> float:
        """Elevation in metres at a place in degrees, bilinear between the cells."""
        if not (-90 <= lat <= 90 and math.isfinite(lon)):
            raise ArgumentError("lat, lon", "must be degrees, lat from -90 to 90", (lat, lon))
        rows, columns = self.grid.shape
        y = min(max((lat - self.south) / self.step, 0.0), rows - 1.0)
        x = ((lon - self.west) / self.step) % columns
        top, left = min(int(y), rows - 2), int(x) % columns
        right, v, u = (left + 1) % columns, y - top, x - int(x)
        g = self.grid
        low = g[top, left] * (1 - u) + g[top, right] * u
        high = g[top + 1, left] * (1 - u) + g[top + 1, right] * u
        return float(low * (1 - v) + high * v)

    def around(self, lat: float, lon: float, span: float = LEAST_SPAN) -> Terrain:
        """The terrain of the square `span` degrees of latitude high around a place, at least one degree."""
        span = max(span, LEAST_SPAN)
        rows, columns = self.grid.shape
        reach_y = max(1, round(span / 2 / self.step))
        reach_x = min(columns // 2, round(reach_y / max(math.cos(math.radians(lat)), 0.05)))
        row = round((lat - self.south) / self.step)
        column = round((lon - self.west) / self.step)
        ys = np.clip(np.arange(row - reach_y, row + reach_y + 1), 0, rows - 1)
        xs = np.arange(column - reach_x, column + reach_x + 1) % columns
        window = self.grid[np.ix_(ys, xs)]
        elevation = self.at(lat, lon) if span <= LEAST_SPAN else float(window.mean())
        return Terrain(elevation, float(window.std()), float((window > 0).mean()))


@functools.lru_cache(maxsize=2)
def load(root: Path | str | None = None) -> Elevation:
    """The grid, read once."""
    return Elevation(root)


def with_terrain(sample: Sample, grid: Elevation) -> Sample:
    """The sample with elevation, relief and share of land filled in among its facts, if its position is known."""
    if sample.lat is None or sample.lon is None:
        return sample
    span = (sample.gsd or 0.0) * max(sample.height, sample.width) / METRES_PER_DEGREE
    terrain = grid.around(sample.lat, sample.lon, min(span, 180.0))
    facts = replace(
        sample.facts, elevation=terrain.elevation, relief=terrain.relief, land_fraction=terrain.land_fraction
    )
    return sample.replace(facts=facts)
