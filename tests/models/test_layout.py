"""Painting: what the layout field says is where the boxes and masks are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen import Box
from earthgen.layout import CELL, CLASS_DIM, LAYOUT_CHANNELS, class_vectors, paint_boxes, paint_mask

VECTORS = {"a": np.full(CLASS_DIM, 1, np.float32), "b": np.full(CLASS_DIM, -2, np.float32)}


@given(cx=st.floats(20, 44), cy=st.floats(20, 44), w=st.floats(2, 30), h=st.floats(2, 30), angle=st.floats(-180, 180))
@settings(max_examples=60, deadline=None)
def test_coverage_sums_to_the_box_area(cx: float, cy: float, w: float, h: float, angle: float) -> None:
    field = paint_boxes([Box("a", cx, cy, w, h, angle)], VECTORS, 64, 64)
    corners = Box("a", cx, cy, w, h, angle).corners()
    if corners.min() >= 0 and corners.max() <= 64:
        # Sampled once a pixel: the error is at most about the perimeter's pixels.
        assert field[0].sum() * CELL**2 == pytest.approx(w * h, abs=1.2 * (w + h) + 2)
    assert field.shape == (LAYOUT_CHANNELS - 1 - CLASS_DIM, 16, 16)
    assert field[0].min() >= 0 and field[0].max() <= 1 + 1e-6


@given(angle=st.floats(-180, 180))
@settings(max_examples=30, deadline=None)
def test_the_frame_of_a_box_points_along_its_heading(angle: float) -> None:
    box = Box("a", 64, 64, 80, 40, angle)
    field = paint_boxes([box], VECTORS, 128, 128)
    ahead = np.array([box.cx, box.cy]) + 30 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    column, row = (ahead / CELL).astype(int)
    assert field[1 + CLASS_DIM, row, column] == pytest.approx(30 / 40, abs=0.12)
    assert field[2 + CLASS_DIM, row, column] == pytest.approx(0, abs=0.25)
    assert field[3 + CLASS_DIM, row, column] == pytest.approx(np.sin(np.radians(angle)), abs=1e-5)


def test_small_boxes_lie_on_top_and_boxes_may_leave_the_image() -> None:
    field = paint_boxes([Box("b", 32, 32, 8, 8), Box("a", 32, 32, 200, 200)], VECTORS, 64, 64)
    assert np.allclose(field[0], 1)
    assert field[1, 8, 8] == -2 and field[1, 0, 0] == 1


def test_a_window_of_a_canvas_sees_the_same_object_as_the_canvas() -> None:
    box = Box("a", 70, 60, 50, 20, 33)
    whole = paint_boxes([box], VECTORS, 128, 128)
    shifted = Box("a", 70 - 64, 60, 50, 20, 33)
    assert np.allclose(paint_boxes([shifted], VECTORS, 128, 64), whole[:, :, 16:], atol=1e-5)


def test_mask_shares() -> None:
    mask = np.full((16, 16), 255, np.uint8)
    mask[:, :6] = 1
    field = paint_mask(mask, np.stack([VECTORS["a"], VECTORS["b"]]))
    assert field.shape == (1 + CLASS_DIM, 4, 4)
    assert field[0, 0].tolist() == [1, 0.5, 0, 0]
    assert field[1, 0].tolist() == [-2, -1, 0, 0]


def test_class_vectors_keep_likeness_and_never_change() -> None:
    rng = np.random.RandomState(0)
    a, noise = rng.standard_normal((2, 384))
    unit = np.stack([v / np.linalg.norm(v) for v in (a, a + 0.3 * noise, noise)])
    v = class_vectors(unit)
    assert np.linalg.norm(v[0] - v[1]) < np.linalg.norm(v[0] - v[2])
    assert v.std() == pytest.approx(1, abs=0.4)
    # Trained models depend on these numbers.
    assert v[0, :3] == pytest.approx(class_vectors(unit[:1])[0, :3])
    assert class_vectors(np.eye(384)[:1])[0, :3] == pytest.approx(GOLDEN, abs=1e-4)


GOLDEN = [-0.25225441, 2.17187018, -2.27826018]
