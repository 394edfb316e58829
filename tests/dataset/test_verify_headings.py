"""Headings measured in pictures of rectangles whose heading is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.conditions import Box
from earthgen.dataset.verify_data import box_map
from earthgen.dataset.verify_headings import edge_heading, heading_error, long_side, mask_heading


@settings(max_examples=40, deadline=None)
@given(st.floats(-360, 360), st.sampled_from([(40, 14), (14, 40)]))
def test_headings_of_drawn_rectangles_are_found(angle, size):
    drawn = Box("roof", 48, 48, *size, angle)
    inside = box_map([drawn], 96, 96)
    assert heading_error(long_side(drawn), mask_heading(inside.astype(np.float32), drawn), 180) < 4
    image = np.where(inside[..., None], 200, 60).astype(np.uint8).repeat(3, 2)
    assert heading_error(angle, edge_heading(image, drawn), 90) < 4


def test_another_heading_than_asked_is_seen_as_it_is():
    drawn = box_map([Box("roof", 48, 48, 40, 20, 30)], 96, 96)
    asked = Box("roof", 48, 48, 40, 30, 0)
    assert heading_error(30, mask_heading(drawn.astype(np.float32), asked), 180) < 6


def test_the_largest_part_in_the_box_counts_and_what_is_outside_does_not():
    boxes = [Box("roof", 48, 48, 40, 12, 20), Box("roof", 48, 64, 6, 6), Box("roof", 20, 20, 30, 30, 45)]
    seen = box_map(boxes, 96, 96).astype(np.float32)
    assert heading_error(20, mask_heading(seen, Box("roof", 48, 48, 40, 12, 20)), 180) < 4


def test_where_nothing_is_seen_there_is_no_heading():
    box = Box("roof", 16, 16, 20, 10)
    assert mask_heading(np.zeros((32, 32), np.float32), box) is None
    assert mask_heading(box_map([Box("roof", 16, 16, 4, 4)], 32, 32).astype(np.float32), box) is None
    assert edge_heading(np.full((32, 32, 3), 90, np.uint8), box) is None


@given(st.floats(-1000, 1000), st.floats(-1000, 1000), st.sampled_from([90.0, 180.0]), st.integers(-5, 5))
def test_errors_are_symmetric_periodic_and_at_most_half_a_period(a, b, period, turns):
    error = heading_error(a, b, period)
    assert 0 <= error <= period / 2
    assert error == pytest.approx(heading_error(b, a, period), abs=1e-6)
    assert error == pytest.approx(heading_error(a + turns * period, b, period), abs=1e-6)


def test_the_long_side_leads():
    assert long_side(Box("x", 0, 0, 2, 1, 30)) == 30
    assert long_side(Box("x", 0, 0, 1, 2, 30)) == 120
    assert long_side(Box("x", 0, 0, 2, 1, -30)) == 150
