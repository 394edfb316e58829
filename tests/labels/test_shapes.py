"""Geometry of labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen import Box
from earthgen.labels import Shape
from earthgen.labels.shapes import area, around, bounds, polygons, rectangle, visible

sizes = st.floats(2, 60)
boxes = st.builds(Box, st.just("ship"), st.floats(-20, 120), st.floats(-20, 100), sizes, sizes, st.floats(-179, 179))


def turn(a: float, b: float) -> float:
    """Degrees between two directions."""
    return abs((a - b + 180) % 360 - 180)


@given(boxes)
def test_a_rectangle_is_found_in_its_corners(box: Box) -> None:
    found = rectangle("ship", box.corners())
    assert found is not None
    assert np.allclose(found.corners(), box.corners(), atol=1e-6)
    assert turn(found.angle, box.angle) < 1e-6


@given(boxes)
def test_the_other_way_round_keeps_the_direction_of_the_first_edge(box: Box) -> None:
    found = rectangle("ship", box.corners()[[3, 2, 1, 0]])
    assert found is not None
    assert turn(found.angle, box.angle) < 1e-6
    assert {tuple(c) for c in np.round(found.corners(), 4) + 0.0} == {
        tuple(c) for c in np.round(box.corners(), 4) + 0.0
    }


@given(boxes, st.lists(st.floats(-0.05, 0.05), min_size=8, max_size=8))
def test_rounded_corners_are_a_rectangle_still(box: Box, noise: list[float]) -> None:
    found = rectangle("ship", box.corners() + np.reshape(noise, (4, 2)))
    assert found is not None
    assert (found.width, found.height) == pytest.approx((box.width, box.height), abs=0.11)


@pytest.mark.parametrize(
    "corners",
    [
        [[0, 0], [10, 0], [14, 6], [4, 6]],  # a parallelogram
        [[0, 0], [10, 6], [10, 0], [0, 6]],  # a bow tie
        [[0, 0], [10, 0], [10, 0], [0, 0]],  # a line
        [[0, 0], [10, 0], [10, 6], [5, 8], [0, 6]],
    ],
)
def test_what_is_no_rectangle(corners: list[list[float]]) -> None:
    assert rectangle("ship", np.array(corners, float)) is None


@given(boxes)
def test_the_smallest_rectangle_around_corners_is_theirs(box: Box) -> None:
    corners = np.concatenate([box.corners(), box.corners().mean(0, keepdims=True)])
    found = around("ship", corners)
    assert found.width * found.height == pytest.approx(box.width * box.height, rel=1e-4)
    assert turn(found.angle, box.angle) < 0.01 or not math.isclose(box.width, found.width, rel_tol=1e-4)


@settings(max_examples=200)
@given(boxes)
def test_the_visible_part_lies_in_the_image_and_keeps_its_angle(box: Box) -> None:
    height, width = 80, 100
    part = visible(Shape(box), height, width)
    overlap = shapely.Polygon(box.corners()).intersection(shapely.box(0, 0, width, height)).area
    if part is None:
        assert overlap <= 1
        return
    shape, rings = part
    points = np.concatenate(rings)
    assert points.min() >= -1e-9 and (points <= np.array([width, height]) + 1e-9).all()
    assert sum(map(area, rings)) == pytest.approx(overlap, abs=1e-6)
    assert shape.box.angle == box.angle
    assert shape.box.width <= box.width + 1e-6 and shape.box.height <= box.height + 1e-6
    assert shapely.Polygon(shape.box.corners()).buffer(1e-6).covers(shapely.MultiPoint(points))
    x0, y0, x1, y1 = bounds(shape, rings)
    assert (x0, y0, x1, y1) == pytest.approx((*points.min(0), *points.max(0)), abs=1e-6)


def test_an_outline_that_the_border_cuts_in_two_has_two_rings() -> None:
    u = np.array([[10, -5], [30, -5], [30, 20], [25, 20], [25, -2], [15, -2], [15, 10], [10, 10]], float)
    part = visible(Shape(Box.from_xyxy("pier", 10, -5, 30, 20), u), 40, 40)
    assert part is not None
    shape, rings = part
    assert [area(ring) for ring in rings] == [100, 50]
    assert shape.box == Box.from_xyxy("pier", 10, 0, 30, 20)


def test_a_self_crossing_outline_falls_into_parts() -> None:
    bow = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], float)
    assert [area(ring) for ring in polygons(bow)] == [25, 25]
    assert polygons(np.zeros((4, 2))) == []
