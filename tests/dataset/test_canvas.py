"""Canvases cut into tiles: nothing lost, labels exact, clipped where a border crosses them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given
from hypothesis import strategies as st

from earthgen.conditions import Box
from earthgen.dataset.canvas import Window, clip, cut, windows
from earthgen.errors import ArgumentError
from earthgen.labels.base import Shape

SIDE = 200
boxes = st.builds(
    Box,
    st.sampled_from(["ship", "house"]),
    *(st.floats(5, SIDE - 5) for _ in range(2)),
    *(st.floats(0.5, 90) for _ in range(2)),
    st.sampled_from([0.0, 90.0, 30.0]) | st.floats(-180, 180),
)


def area(points: np.ndarray) -> float:
    return float(shapely.Polygon(points).area)


class TestWindows:
    @given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 128), st.data())
    def test_every_pixel_is_covered_and_neighbours_overlap(self, height, width, size, data) -> None:
        overlap = data.draw(st.integers(0, size // 2))
        tiles = windows(height, width, size, overlap)
        seen = np.zeros((height, width), int)
        for tile in tiles:
            assert (tile.height, tile.width) == (min(size, height), min(size, width))
            assert seen[tile.slices].shape == (tile.height, tile.width)  # inside
            seen[tile.slices] += 1
        assert seen.min() >= 1
        columns = sorted({tile.x for tile in tiles})
        assert all(b - a <= size - overlap for a, b in itertools.pairwise(columns))
        assert len(set(tiles)) == len(tiles)

    def test_golden(self) -> None:
        assert [t.x for t in windows(512, 1000, 512, 64)] == [0, 448, 488]
        assert windows(30, 40, 64) == [Window(0, 0, 40, 30)]

    @pytest.mark.parametrize("overlap", [-1, 64])
    def test_an_overlap_of_a_whole_tile_is_refused(self, overlap: int) -> None:
        with pytest.raises(ArgumentError, match="overlap"):
            windows(100, 100, 64, overlap)


class TestCut:
    def test_golden(self) -> None:
        tiles = windows(100, 200, 100)
        left, right = cut([Shape(Box("a", 100, 50, 40, 10))], tiles)
        assert left[0].shape.box == Box("a", 90, 50, 20, 10)
        assert right[0].shape.box == Box("a", 10, 50, 20, 10)
        assert left[0].visible == right[0].visible == 0.5
        assert left[0].shape.polygon is None
        assert not left[0].shape.difficult

    @given(st.lists(boxes, max_size=12), st.integers(0, 30), st.floats(0, 1))
    def test_no_object_is_lost(self, found, overlap, least) -> None:
        shapes = [Shape(box) for box in found]
        parts = cut(shapes, windows(SIDE, SIDE, 64, overlap), least)
        assert {part.index for tile in parts for part in tile} == set(range(len(shapes)))

    @given(st.lists(boxes, min_size=1, max_size=5))
    def test_the_parts_of_tiles_side_by_side_are_the_whole(self, found) -> None:
        shapes = [clip([Shape(box)], SIDE, SIDE, 0)[0].shape for box in found]
        tiles = windows(SIDE, SIDE, 50)  # 200 is a multiple of 50: no pixel is in two tiles
        parts = cut(shapes, tiles)
        for index, shape in enumerate(shapes):
            pieces = [
                (part, shapely.affinity.translate(shapely.Polygon(part.shape.outline()), tile.x, tile.y))
                for tile, there in zip(tiles, parts, strict=True)
                for part in there
                if part.index == index
            ]
            assert sum(piece.area for _, piece in pieces) == pytest.approx(area(shape.outline()), rel=1e-6, abs=1e-4)
            assert sum(part.visible for part, _ in pieces) == pytest.approx(1, abs=1e-4)
            union = shapely.union_all([piece.buffer(1e-7) for _, piece in pieces])
            assert union.symmetric_difference(shapely.Polygon(shape.outline())).area < 1e-2

    @given(boxes)
    def test_clipped_labels_lie_in_their_tile_and_keep_the_heading(self, box) -> None:
        tiles = windows(SIDE, SIDE, 64, 10)
        for tile, parts in zip(tiles, cut([Shape(box)], tiles), strict=True):
            for part in parts:
                assert part.shape.box.angle == box.angle
                points = part.shape.outline()
                assert points.min() >= -1e-6
                assert (points <= np.array([tile.width, tile.height]) + 1e-6).all()
                whole = shapely.Polygon(box.corners() - (tile.x, tile.y))
                assert whole.buffer(1e-6).contains(shapely.Polygon(points))
                hull = shapely.Polygon(part.shape.box.corners()).buffer(1e-6)
                assert hull.contains(shapely.Polygon(points))
                assert part.visible == pytest.approx(area(points) / area(box.corners()), abs=1e-6)
                assert part.shape.difficult == (part.visible < 0.5)

    def test_a_whole_object_keeps_its_very_numbers(self) -> None:
        box = Box("a", 150.1234567891, 30.1, 20.3, 10.7, 33.3)
        (part,) = cut([Shape(box)], [Window(100, 0, 100, 100)])[0]
        assert part.shape.box == Box("a", box.cx - 100, 30.1, 20.3, 10.7, 33.3)
        assert part.visible == 1

    def test_the_least_visible_fraction(self) -> None:
        shapes = [
            Shape(Box("a", 100, 50, 40, 10)),
            Shape(Box("a", 90, 20, 40, 10)),
        ]
        left, right = cut(shapes, windows(100, 200, 100), 0.3)
        assert [part.index for part in left] == [0, 1]
        assert [part.index for part in right] == [0]
        left, right = cut(shapes, windows(100, 200, 100), 0.6)  # object 0 is nowhere seen so well, but not lost
        assert [part.index for part in left] == [0, 1]
        assert right == []
        left, right = cut(shapes, windows(100, 200, 100), 0.6, keep_all=False)
        assert [part.index for part in left] == [1]

    def test_polygons_are_clipped_even_those_that_cross_themselves(self) -> None:
        bow = np.array([[90.0, 10], [110, 30], [110, 10], [90, 30]])
        shape = Shape(Box("a", 100, 20, 20, 20), bow)
        left, right = cut([shape], windows(100, 200, 100))
        assert left[0].visible == pytest.approx(0.5)
        assert area(left[0].shape.polygon) == pytest.approx(100)
        assert right[0].shape.box == Box("a", 5, 20, 10, 20)

    def test_what_only_touches_a_border_is_not_there(self) -> None:
        left, right = cut([Shape(Box("a", 90, 50, 20, 10))], windows(100, 200, 100))
        assert len(left) == 1
        assert right == []


def test_a_thousand_objects_on_a_large_canvas() -> None:
    rng = np.random.default_rng(0)
    shapes = [
        Shape(Box("a", *rng.uniform(0, 4096, 2), *rng.uniform(4, 60, 2), float(rng.uniform(-180, 180))))
        for _ in range(1500)
    ]
    tiles = windows(4096, 4096, 512, 64)
    parts = cut([part.shape for part in clip(shapes, 4096, 4096, 0)], tiles, 0.3)
    there = {part.index for tile in parts for part in tile}
    assert there == set(range(len(clip(shapes, 4096, 4096, 0))))
    assert len(there) >= 1000
    # The same object, seen whole by several tiles, lies at the same place of the canvas in all of them.
    for index in list(there)[:200]:
        places = [
            (part.shape.box.cx + tile.x, part.shape.box.cy + tile.y)
            for tile, found in zip(tiles, parts, strict=True)
            for part in found
            if part.index == index and part.visible == 1
        ]
        assert all(math.dist(places[0], place) < 1e-9 for place in places)
