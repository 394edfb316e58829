from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rasterio.warp import transform

from earthgen.data.eurosat import EuroSAT, EuroSATScenes, Patch, assemble, find_scenes, read_patch, split_of_patch
from earthgen.errors import ArgumentError, DataError

Pixels = NDArray[np.uint8]
Make = Callable[..., tuple[Path, Pixels]]


def smooth(height: int, width: int, seed: int = 0) -> Pixels:
    """A smooth picture: neighbouring pixels differ by a few grey levels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 215, (max(2, height // 24), max(2, width // 24), 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(pixels: Pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # without loss, whatever the name ends in
        Image.fromarray(pixels).save(file, "PNG")


def cut(scene: Pixels, row: int, column: int) -> Pixels:
    """A patch as EuroSAT cut it: 65 px apart, the first row and column repeating the second."""
    patch = scene[row * 65 : row * 65 + 64, column * 65 : column * 65 + 64].copy()
    patch[:, 0] = patch[:, 1]
    patch[0] = patch[1]
    return patch


@pytest.fixture
def eurosat_root(tmp_path: Path) -> Callable[..., tuple[Path, Pixels]]:
    """Makes a EuroSAT of one scene of rows x columns patches around a UTM place, and one patch far away."""

    def make(rows: int = 3, columns: int = 2, zone: int = 32, east: float = 500_000.0) -> tuple[Path, Pixels]:
        scene = smooth(rows * 65, columns * 65)
        lines = ["path,label,lat,lon"]
        labels = ("Forest", "River")
        for row in range(rows):
            for column in range(columns):
                label = labels[column % 2]
                name = f"{label}/{label}_{row * columns + column}.jpg"
                save(cut(scene, row, column), tmp_path / "eurosat_rgb" / name)
                (lon,), (lat,) = transform(
                    f"EPSG:{32600 + zone}", "EPSG:4326", [east + 650 * column], [5_540_000 - 650 * row]
                )
                lines.append(f"{name},{label},{lat:.6f},{lon:.6f}")
        save(smooth(64, 64, 1), tmp_path / "eurosat_rgb" / "SeaLake" / "SeaLake_1.jpg")
        lines.append("SeaLake/SeaLake_1.jpg,SeaLake,38.5,-9.5")
        (tmp_path / "eurosat_centres.csv").write_text("\n".join(lines) + "\n")
        return tmp_path, scene

    return make


def lattice(cells: set[tuple[int, int]], zone: int = 32, east: float = 500_000.0) -> tuple[Patch, ...]:
    """Patches at (row, column) of a grid of 650 m."""
    ordered = sorted(cells)
    x = [east + 650 * column for _, column in ordered]
    y = [5_540_000 - 650 * row for row, _ in ordered]
    lon, lat = transform(f"EPSG:{32600 + zone}", "EPSG:4326", x, y)
    return tuple(
        Patch(f"{r}_{c}", "Forest", round(a, 6), round(o, 6)) for (r, c), a, o in zip(ordered, lat, lon, strict=True)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_assembling_what_was_cut_gives_the_scene(rows: int, columns: int, seed: int) -> None:
    scene = smooth(rows * 65, columns * 65, seed)
    whole = assemble([[cut(scene, r, c) for c in range(columns)] for r in range(rows)])
    assert whole.shape == (65 * rows - 2, 65 * columns - 2, 3)
    truth = scene[1 : 65 * rows - 1, 1 : 65 * columns - 1].astype(int)
    difference = np.abs(whole.astype(int) - truth)
    # Only the lines between patches are not exact.
    lines_y, lines_x = (np.arange(whole.shape[k]) % 65 >= 63 for k in (0, 1))
    assert difference[~lines_y][:, ~lines_x].max() == 0
    assert difference.max() <= 12


@settings(max_examples=30, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=60))
def test_scenes_are_disjoint_full_rectangles(cells: set[tuple[int, int]]) -> None:
    patches = lattice(cells)
    taken: list[int] = []
    for scene in find_scenes(patches):
        places = [[tuple(map(int, patches[k].path.split("_"))) for k in row] for row in scene]
        top, left = places[0][0]
        assert places == [[(top + i, left + j) for j in range(len(scene[0]))] for i in range(len(scene))]
        assert 2 <= len(scene) <= 6
        assert 2 <= len(scene[0]) <= 6
        taken += [k for row in scene for k in row]
    assert len(taken) == len(set(taken))
    square = {(r, c) for r, c in cells if {(r + 1, c), (r, c + 1), (r + 1, c + 1)} <= cells}
    assert bool(square) == bool(taken)


def test_scenes_over_the_border_of_a_zone() -> None:
    # A tile of zone 31 that reaches into zone 32: its grid is turned against that of zone 32.
    block = {(r, c) for r in range(3) for c in range(3)}
    patches = lattice(block, zone=31, east=714_000.0)
    assert min(p.lon for p in patches) < 6 < max(p.lon for p in patches)
    assert [len(s) * len(s[0]) for s in find_scenes(patches)] == [9]


def test_patches(eurosat_root: Make) -> None:
    root, scene = eurosat_root()
    reader = EuroSAT(root, "all")
    assert len(reader) == 7
    assert reader.classes == ("Forest", "River", "SeaLake")
    sample = reader[0]
    assert (sample.facts.label, sample.gsd) == ("Forest", 10.0)
    assert sample.lat == pytest.approx(50.01, abs=0.01)
    assert sample.lon == pytest.approx(9.0)
    np.testing.assert_array_equal(sample.image[1:, 1:], scene[1:64, 1:64])
    np.testing.assert_array_equal(sample.image[:, 0], sample.image[:, 2])
    np.testing.assert_array_equal(sample.image[0], sample.image[2])


def test_scene_with_its_classes(eurosat_root: Make) -> None:
    root, _ = eurosat_root(rows=3, columns=2)
    (sample,) = EuroSATScenes(root, "all")
    assert sample.image.shape == (193, 128, 3)
    assert sample.facts.label is None
    assert sample.facts.label_fractions() == (("Forest", 0.5), ("River", 0.5))
    assert sum(box.width * box.height for box in sample.facts.regions) == 193 * 128
    patches = EuroSAT(root, "all").patches[:6]
    assert sample.lat == pytest.approx(np.mean([p.lat for p in patches]))
    with pytest.raises(ArgumentError, match="smallest"):
        EuroSATScenes(root, "all", smallest=7)


def test_splits_are_disjoint_in_place(eurosat_root: Make) -> None:
    root, _ = eurosat_root()
    train, test = EuroSAT(root, "train"), EuroSAT(root, "test")
    assert {p.path for p in train.patches}.isdisjoint(p.path for p in test.patches)
    assert len(train) + len(test) == 7
    assert split_of_patch(Patch("", "", 50.1, 9.1)) == split_of_patch(Patch("", "", 50.9, 9.9))


def test_broken_files(eurosat_root: Make, tmp_path: Path) -> None:
    root, _ = eurosat_root()
    (root / "eurosat_centres.csv").write_text("path,label\nx,y\n")
    with pytest.raises(DataError, match="columns"):
        EuroSAT(root)
    (tmp_path / "no.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot read"):
        read_patch(tmp_path / "no.jpg")


def test_real_neighbours_fit(real_root: Path) -> None:
    reader = EuroSATScenes(real_root, "test")
    sample = reader[0]
    lines = sample.image.mean(2)
    steps = np.abs(np.diff(lines, axis=1)).mean(0)
    at_seams = steps[62::65][: sample.width // 65]
    assert at_seams.mean() < 1.5 * np.median(steps)
