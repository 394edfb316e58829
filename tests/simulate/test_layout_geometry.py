"""Rectangles in bulk against shapely, and who is near against all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, box

from earthgen.conditions import Box
from earthgen.simulate.layout_geometry import Crowd, clipped, footprint, gaps, row_of

number = st.floats(-30, 30)
side = st.floats(1, 40)
rows = st.builds(lambda *v: np.array(v), number, number, side, side, st.floats(-180, 180))


def polygon(row: np.ndarray) -> Polygon:
    return Polygon(Box("-", *row.tolist()).corners())


@settings(deadline=None)
@given(rows, rows)
def test_gaps_have_the_sign_of_the_distance_and_are_at_most_it(one: np.ndarray, other: np.ndarray) -> None:
    gap = gaps(one, other[None])[0]
    distance = polygon(one).distance(polygon(other))
    assert gap <= distance + 1e-6
    assert (gap > 1e-6) == (distance > 1e-6) or abs(gap) < 1e-5
    assert distance <= gap * np.sqrt(2) + 1e-6 or distance == 0 or gap > 0
    assert gap == pytest.approx(gaps(other, one[None])[0], abs=1e-9)


def test_gaps_side_by_side_and_inside() -> None:
    one = np.array([0, 0, 10, 4, 90.0])
    assert gaps(one, np.array([[12, 0, 10, 4, 90.0], [0, 0, 2, 2, 0], [0, 0, 10, 4, 90]])) == pytest.approx([8, -3, -4])


@settings(deadline=None)
@given(rows)
def test_clipped_covers_what_the_image_shows(row: np.ndarray) -> None:
    part, seen = clipped(row, 20, 25), polygon(row).intersection(box(0, 0, 25, 20))
    if part is None:
        assert seen.area < 1e-6
    elif seen.area > 0.01:
        assert polygon(part).buffer(1e-5).contains(seen)
        assert abs(part[4] - row[4]) <= 45 + 1e-6


def test_footprint_is_the_pixels_whose_centre_is_inside() -> None:
    mask = np.zeros((20, 20), bool)
    r, c, inner = footprint(row_of(Box("-", 10, 10, 8, 4, 90)), 20, 20)
    mask[r, c] = inner
    assert mask.sum() == 32
    assert mask[6:14, 8:12].all()
    r, c, inner = footprint(np.array([-50, -50, 4, 4, 0.0]), 20, 20)
    assert inner.size == 0


@settings(deadline=None)
@given(st.lists(st.tuples(rows, st.floats(-3, 9)), max_size=12), rows, st.floats(-3, 9), st.booleans())
def test_a_crowd_admits_as_all_pairs_do(
    others: list[tuple[np.ndarray, float]], row: np.ndarray, room: float, theirs: bool
) -> None:
    crowd = Crowd(7)
    for other, wanted in others:
        crowd.add(other, wanted)
    free = all(gaps(row, o[None])[0] >= (max(room, wanted) if theirs else room) for o, wanted in others)
    assert crowd.admits(row, room, theirs=theirs) == free
