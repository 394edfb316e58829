"""EuroSAT: Sentinel-2 patches of Europe at 10 m in ten land use classes, and the scenes they form together.

Two properties of the files shape this module; both were measured, neither is in the data set's description.
The first row and the first column of a patch repeat the second ones. And neighbours stand 65 px apart, not 64, so
one row or column between two patches is in no file. Both come from how the patches were cut.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform

from earthgen.conditions import Box
from earthgen.data.base import Facts, Reader, Sample, Split, cell_of, read_rgb, split_of
from earthgen.errors import ArgumentError, DataError

SIDE = 64
GSD = 10.0
PITCH = 65
"""Pixels from a patch to its neighbour."""
TOLERANCE = 4.0
"""Metres by which neighbours' centres may miss the pitch: pixels of the files vary by some thousandths."""
LARGEST = 6
"""Patches along the side of the largest scene."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A line of the table of centres."""

    path: str
    """Below the data set's folder: `<Class>/<Class>_N.jpg`."""
    label: str
    lat: float
    lon: float


class EuroSAT(Reader):
    """EuroSAT RGB, `eurosat_rgb/<Class>/<Class>_N.jpg`, 64 x 64 px, with positions from `eurosat_centres.csv`.

    The table, beside the folder, has the columns path, label, lat, lon (centre, degrees). Someone who has the
    original fills it from the GeoTIFFs of its 13-band version, which bear the same names.
    The split is by the hash of the 1-degree cell of the centre.

    Source: Helber et al., "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover
    Classification", 2019.
    """

    name = "eurosat"
    folder = "eurosat_rgb"
    licence = "MIT; contains modified Copernicus Sentinel data 2015-2018"
    homepage = "https://zenodo.org/records/7711810"
    may_ship_weights = True

    def __init__(self, root: Path | str | None = None, split: Split = "train") -> None:
        super().__init__(root, split)
        table = self.root / "eurosat_centres.csv"
        self.require(table)
        self.patches = tuple(patch for patch in _read_table(table) if self.wanted(split_of_patch(patch)))
        self.classes = tuple(sorted(folder.name for folder in self.path.iterdir() if folder.is_dir()))

    def __len__(self) -> int:
        return len(self.patches)

    def sample(self, index: int) -> Sample:
        """Image, position, GSD and class. The repeated first row and column are mirrored instead."""
        patch = self.patches[index]
        image = read_patch(self.path / patch.path)
        facts = Facts(label=patch.label, sensor="satellite")
        return Sample(image, GSD, patch.lat, patch.lon, None, self.name, patch.path.removesuffix(".jpg"), facts)


class EuroSATScenes(EuroSAT):
    """Seamless scenes of `smallest` to 6 patches a side, put together from neighbouring EuroSAT patches.

    Every patch is in one scene at most; the largest scenes are found first. A scene of n patches a side has
    65 n - 2 pixels a side: 128 for two, 388 for six. All patches of a scene are of one split.
    `facts.regions` says which class stands where.
    """

    name = "eurosat_scenes"

    def __init__(self, root: Path | str | None = None, split: Split = "train", smallest: int = 2) -> None:
        super().__init__(root, split)
        if not 1 <= smallest <= LARGEST:
            raise ArgumentError("smallest", f"must be from 1 to {LARGEST} patches", smallest)
        self.scenes = find_scenes(self.patches, smallest)

    def __len__(self) -> int:
        return len(self.scenes)

    def sample(self, index: int) -> Sample:
        """Image, position, GSD and the classes of the patches."""
        scene = self.scenes[index]
        grid = [[self.patches[k] for k in row] for row in scene]
        image = assemble([[read_rgb(self.path / patch.path) for patch in row] for row in grid])
        regions = tuple(
            Box.from_xyxy(
                patch.label,
                max(column * PITCH - 1, 0),
                max(row * PITCH - 1, 0),
                min((column + 1) * PITCH - 1, image.shape[1]),
                min((row + 1) * PITCH - 1, image.shape[0]),
            )
            for row, patches in enumerate(grid)
            for column, patch in enumerate(patches)
        )
        flat = [patch for row in grid for patch in row]
        labels = {patch.label for patch in flat}
        facts = Facts(labels.pop() if len(labels) == 1 else None, regions, "satellite")
        # A mean of positions some kilometres apart is exact to a metre or two.
        lat = sum(patch.lat for patch in flat) / len(flat)
        lon = sum(patch.lon for patch in flat) / len(flat)
        name = f"{grid[0][0].path.removesuffix('.jpg')}+{len(grid)}x{len(grid[0])}"
        return Sample(image, GSD, lat, lon, None, self.name, name, facts)


def split_of_patch(patch: Patch) -> Literal["train", "test"]:
    """Train or test, the same for all patches of a 1-degree cell."""
    return split_of(f"eurosat/{cell_of(patch.lat, patch.lon)}")


def read_patch(path: Path) -> NDArray[np.uint8]:
    """A patch, (64, 64, 3), with the repeated first row and column replaced by mirrored ones."""
    image = read_rgb(path)
    if image.shape != (SIDE, SIDE, 3):
        raise DataError(f"{path} is {image.shape}, but EuroSAT patches are {SIDE} px squares")
    image[:, 0] = image[:, 2]
    image[0] = image[2]
    return image


def assemble(grid: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Put patches as they stand in the files together; rows of the grid run from the north, its columns from the west.

    Between two patches the row or column that is in no file, and the one that is a repetition, are interpolated.
    """
    height, width = PITCH * len(grid), PITCH * len(grid[0])
    canvas = np.zeros((height, width, 3), np.float32)
    for row, images in enumerate(grid):
        for column, image in enumerate(images):
            top, left = row * PITCH, column * PITCH
            canvas[top + 1 : top + SIDE, left + 1 : left + SIDE] = image[1:, 1:]
    for axis in (0, 1):
        lines = np.moveaxis(canvas, axis, 0)
        for start in range(PITCH, lines.shape[0], PITCH):
            before, after = lines[start - 2], lines[start + 1]
            lines[start - 1] = before + (after - before) / 3
            lines[start] = before + (after - before) * 2 / 3
    return np.rint(canvas[1 : height - 1, 1 : width - 1]).astype(np.uint8)


def find_scenes(patches: tuple[Patch, ...], smallest: int = 2) -> list[tuple[tuple[int, ...], ...]]:
    """Disjoint rectangles of neighbouring patches, as rows (from the north) of indices into `patches`.

    Neighbours are sought on the grid of each UTM zone, with patches half a zone beyond it, because Sentinel-2's
    tiles reach over the borders of their zones. Largest areas first, up to 6 patches a side.
    """
    lat = np.array([p.lat for p in patches])
    lon = np.array([p.lon for p in patches])
    candidates: list[tuple[tuple[int, ...], ...]] = []
    for zone in range(1, 61):
        middle = zone * 6 - 183
        inside = np.flatnonzero(np.abs((lon - middle + 180) % 360 - 180) <= 6)
        for north in (True, False):
            chosen = inside[(lat[inside] >= 0) == north]
            if chosen.size:
                crs = f"EPSG:{(32600 if north else 32700) + zone}"
                east, up = transform("EPSG:4326", crs, lon[chosen], lat[chosen])
                for cells in _lattices(chosen, np.asarray(east), np.asarray(up)):
                    candidates += _rectangles(cells, smallest)
    # Rectangles of a lattice overlap, and two zones may find the same ones.
    candidates.sort(key=lambda c: (-len(c) * len(c[0]), abs(len(c) - len(c[0])), c))
    taken: set[int] = set()
    scenes = []
    for candidate in candidates:
        members = {k for row in candidate for k in row}
        if not members & taken:
            taken |= members
            scenes.append(candidate)
    return scenes


def _read_table(path: Path) -> list[Patch]:
    with path.open(newline="") as file:
        try:
            return [Patch(r["path"], r["label"], float(r["lat"]), float(r["lon"])) for r in csv.DictReader(file)]
        except (KeyError, ValueError) as error:
            raise DataError(f"{path} must have the columns path, label, lat, lon; trouble with {error}") from error


def _lattices(
    chosen: NDArray[np.intp], east: NDArray[np.float64], north: NDArray[np.float64]
) -> list[dict[tuple[int, int], int]]:
    """Connected groups of neighbours, each as {(row from the north, column from the west): index of the patch}."""
    buckets: dict[tuple[int, int], list[int]] = defaultdict(list)
    cell = 100.0
    for k, (x, y) in enumerate(zip(east, north, strict=True)):
        buckets[int(x // cell), int(y // cell)].append(k)

    def at(x: float, y: float) -> int | None:
        near = [(int((x + i) // cell), int((y + j) // cell)) for i in (-TOLERANCE, TOLERANCE) for j in (-4.0, 4.0)]
        for key in dict.fromkeys(near):
            for k in buckets.get(key, ()):
                if abs(east[k] - x) <= TOLERANCE and abs(north[k] - y) <= TOLERANCE:
                    return k
        return None

    pitch = PITCH * GSD
    seen: set[int] = set()
    groups = []
    for first in range(len(chosen)):
        if first in seen:
            continue
        cells: dict[tuple[int, int], int] = {}
        queue = [(first, 0, 0)]
        seen.add(first)
        while queue:
            k, row, column = queue.pop()
            if (row, column) in cells:
                continue
            cells[row, column] = k
            for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                other = at(east[k] + right * pitch, north[k] - down * pitch)
                if other is not None and other not in seen:
                    seen.add(other)
                    queue.append((other, row + down, column + right))
        if len(cells) > 1:
            groups.append({key: int(chosen[k]) for key, k in cells.items()})
    return groups


def _rectangles(cells: dict[tuple[int, int], int], smallest: int) -> list[tuple[tuple[int, ...], ...]]:
    """All full rectangles of at least `smallest` and at most 6 cells a side."""
    found = []
    for row, column in cells:
        limit = LARGEST
        for height in range(1, LARGEST + 1):
            width = 0
            while width < limit and (row + height - 1, column + width) in cells:
                width += 1
            limit = width
            if height >= smallest:
                found += [
                    tuple(tuple(cells[row + i, column + j] for j in range(w)) for i in range(height))
                    for w in range(smallest, limit + 1)
                ]
            if limit < smallest:
                break
    return found
