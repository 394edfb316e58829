"""Measures of layouts: zero for equals, known values, and what they tell apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.conditions import Box
from earthgen.errors import ArgumentError
from earthgen.simulate.layout_masks import _cut, carve, cleared
from earthgen.simulate.layout_measures import (
    circular_wasserstein,
    coincidence,
    distance,
    fidelity,
    novelty,
    pair_correlation,
    windows,
)
from earthgen.simulate.layout_statistics import bandwidth, tree_of
from earthgen.simulate.layouts import Layout


def random_layout(seed: int, count: int = 12, side: int = 300) -> Layout:
    rng = np.random.default_rng(seed)
    boxes = (
        Box(str(rng.choice(["a", "b"])), *rng.uniform(0, side, 2), *rng.uniform(5, 20, 2), rng.uniform(-45, 45))
        for _ in range(count)
    )
    return Layout(side, side, tuple(boxes))


def test_equal_sets_are_at_no_distance() -> None:
    layouts = [random_layout(k) for k in range(5)]
    assert max(getattr(fidelity(layouts, layouts[::-1]), n) for n in fidelity(layouts, layouts).__slots__) < 1e-9


def test_each_measure_sees_its_change() -> None:
    layouts = [random_layout(k) for k in range(5)]

    def changed(**factors: float) -> list[Layout]:
        def box(b: Box) -> Box:
            k = factors.get("scale", 1)
            return Box(b.label, b.cx, b.cy, b.width * k, b.height * k, b.angle + factors.get("turn", 0))

        return [Layout(y.height, y.width, tuple(map(box, y.boxes))) for y in layouts]

    assert fidelity(changed(scale=2), layouts).size == pytest.approx(math.log(2))
    assert fidelity(changed(scale=2), layouts).aspect == pytest.approx(0)
    assert fidelity(changed(scale=4), layouts).overlap > 0.2
    assert fidelity(changed(turn=90), layouts).heading == pytest.approx(0, abs=1e-9)
    fewer = [Layout(300, 300, tuple(b for b in y.boxes if b.label == "a")) for y in layouts]
    assert fidelity(fewer, layouts).occurrence > 0.5
    with pytest.raises(ArgumentError, match="layouts"):
        fidelity([Layout(9, 9, ())], layouts)


@settings(deadline=None)
@given(st.lists(st.floats(0, 90), min_size=1, max_size=8), st.floats(-45, 45))
def test_a_turned_sample_has_moved_by_at_most_its_turn(values: list[float], turn: float) -> None:
    a = np.array(values)
    assert circular_wasserstein(a, a + turn, 90) <= abs(turn) + 1e-6
    assert circular_wasserstein(a[:1], a[:1] + turn, 90) == pytest.approx(abs(turn), abs=1e-6)
    assert circular_wasserstein(a, a + 90, 90) == pytest.approx(0, abs=1e-6)


def test_pairs_at_random_have_correlation_one() -> None:
    layouts = [random_layout(k, 200) for k in range(30)]
    assert pair_correlation(layouts)[3:] == pytest.approx(1, abs=0.06)
    grid = [Box("a", 20.0 * i, 20.0 * j, 5, 5) for i in range(1, 15) for j in range(1, 15)]
    found = pair_correlation([Layout(300, 300, tuple(grid))])
    assert found[:3] == pytest.approx(0)  # none nearer than 20 px
    assert found[3] > 1


def test_distance_of_layouts() -> None:
    a, b = random_layout(1), random_layout(2)
    assert distance(a, a) == pytest.approx(0)
    assert distance(a, b) == pytest.approx(distance(b, a))
    assert 0.3 < distance(a, b) <= 1
    assert distance(a, Layout(300, 300, ())) == 1
    assert distance(a, Layout(300, 300, a.boxes[:6])) == pytest.approx(0.5)
    other = Layout(300, 300, tuple(Box("c", b.cx, b.cy, b.width, b.height, b.angle) for b in a.boxes))
    assert distance(a, other) == 1


def test_shifted_copies_are_found() -> None:
    whole = random_layout(1, 60)
    parts = [part for part in windows([whole], 150, visible=0.99) if len(part.boxes) >= 4]
    assert parts
    assert min(coincidence(part, whole) for part in parts) == 1
    assert max(coincidence(part, random_layout(5, 60)) for part in parts) < 0.7
    found = novelty(parts, [random_layout(8, 60)], [whole])
    assert found.copies == 1
    with pytest.raises(ArgumentError, match="layouts"):
        novelty(parts[:1], [whole])


def test_windows_cut_boxes() -> None:
    parts = windows([Layout(100, 210, (Box("a", 100, 50, 40, 10), Box("a", 99, 20, 4, 4)))], 100, visible=0.3)
    assert [len(part.boxes) for part in parts] == [2, 1]
    assert parts[1].boxes[0] == Box("a", 10, 50, 20, 10)


def test_cleared_masks_take_what_is_nearest() -> None:
    mask = np.full((10, 10), 1, np.uint8)
    mask[:, 5:], mask[2:8, 2:8] = 2, 0
    assert np.array_equal(cleared(mask, [0]), np.where(np.arange(10) < 5, 1, 2)[None].repeat(10, 0))
    assert (cleared(np.zeros((3, 3), np.uint8), [0]) == 255).all()


def test_carved_masks_are_of_the_real_ones() -> None:
    stripes = (np.arange(60)[None] // 6 % 2 + np.zeros((40, 1))).astype(np.uint8)
    rng = np.random.default_rng(0)
    for shape in ((40, 60), (60, 40), (17, 31), (1, 1)):
        part = carve(rng, [stripes], *shape)
        assert part.shape == shape
        assert (part == part[:1]).all() or (part == part[:, :1]).all()
    quilt = carve(rng, [stripes], 90, 130)
    assert quilt.shape == (90, 130)
    assert set(np.unique(quilt)) == {0, 1}


def test_the_cut_crosses_the_fewest_differences() -> None:
    differs = np.ones((6, 5), bool)
    path = [2, 3, 3, 2, 1, 1]
    differs[range(6), path] = False
    assert _cut(differs).sum(1).tolist() == path


def test_the_tree_joins_nearest_neighbours() -> None:
    rows = np.array([[x, 0, 4, 4, 0.0] for x in (0, 10, 18, 40)])
    parent, link, nearest = tree_of(rows)
    edges = {frozenset((k, int(p))) for k, p in enumerate(parent) if p >= 0}
    assert edges == {frozenset((0, 1)), frozenset((1, 2)), frozenset((2, 3))}
    assert sorted(link[np.isfinite(link)]) == [4, 6, 18]
    assert nearest.tolist() == [6, 4, 4, 18]
    assert tree_of(np.empty((0, 5)))[0].size == 0


def test_bandwidths_follow_the_spread() -> None:
    rng = np.random.default_rng(0)
    groups = np.zeros(200, np.int64)
    narrow, broad = (bandwidth(rng.normal(0, s, (200, 2)), groups) for s in (0.02, 0.6))
    assert narrow <= 0.02 < 0.15 <= broad
