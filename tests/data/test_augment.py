from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthgen.conditions import Box
from earthgen.data import rectangles
from earthgen.data.augment import coarser, cropped, draw, resized, turned
from earthgen.data.base import METRES_PER_DEGREE, Facts, Sample
from earthgen.errors import ArgumentError

angles = st.floats(-90, 90)


def painted(boxes: tuple[Box, ...], height: int, width: int) -> NDArray[np.uint8]:
    """Boxes in white on black, by pixel centres."""
    picture = np.zeros((height, width), np.uint8)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    for box in boxes:
        turn = np.radians(box.angle)
        u = (x - box.cx) * np.cos(turn) + (y - box.cy) * np.sin(turn)
        v = (y - box.cy) * np.cos(turn) - (x - box.cx) * np.sin(turn)
        picture[(np.abs(u) <= box.width / 2) & (np.abs(v) <= box.height / 2)] = 255
    return picture


def sample_of(boxes: tuple[Box, ...], height: int = 96, width: int = 128) -> Sample:
    """A sample whose red channel and mask show its boxes."""
    white = painted(boxes, height, width)
    image = np.stack([white, white // 2, white // 3], axis=2)
    return Sample(
        image=image,
        gsd=10.0,
        lat=50.0,
        lon=8.0,
        date=dt.date(2020, 7, 1),
        source="test",
        id="1",
        facts=Facts(label="airplane", sensor="aerial"),
        mask=(white > 0).astype(np.uint8),
        mask_classes=("ground", "building"),
        boxes=boxes,
    )


def overlap(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Intersection over union of what is brighter than half."""
    both, either = (a > 127) & (b > 127), (a > 127) | (b > 127)
    return float(both.sum() / max(either.sum(), 1))


boxes = st.builds(
    Box, st.just("building"), st.floats(40, 88), st.floats(40, 56), st.floats(12, 50), st.floats(12, 30), angles
)


@settings(max_examples=50, deadline=None)
@given(boxes, st.integers(0, 7), st.booleans())
def test_turned_boxes_lie_where_the_turned_picture_shows_them(box: Box, quarters: int, mirrored: bool) -> None:
    sample = sample_of((box,))
    result = turned(sample, quarters, mirrored)
    assert result.boxes is not None
    # Pixel centres that lie on an edge may fall either way.
    assert overlap(painted(result.boxes, result.height, result.width), result.image[:, :, 0]) > 0.97
    np.testing.assert_array_equal(result.mask, result.image[:, :, 0] > 0)
    assert -45 <= result.boxes[0].angle < 45 or result.boxes[0].angle == pytest.approx(box.angle)


@settings(max_examples=50, deadline=None)
@given(boxes, st.floats(1, 2), st.integers(0, 2**32), st.booleans())
def test_drawn_boxes_lie_where_the_drawn_picture_shows_them(box: Box, scale: float, seed: int, turn: bool) -> None:
    result = draw(sample_of((box,)), np.random.default_rng(seed), 48, scale, turn)
    assert result.image.shape == (48, 48, 3)
    assert result.mask is not None
    assert result.mask.shape == (48, 48)
    assert result.gsd == pytest.approx(10 * round(48 * scale) / 48)
    assert result.boxes is not None
    shown = painted(result.boxes, 48, 48)
    if result.boxes and shown.sum() > 255 * 100:
        assert overlap(shown, result.image[:, :, 0]) > 0.7
    assert sum(f for _, f in result.facts.mask_fractions) == pytest.approx(1)


def test_draw_is_a_function_of_its_generator() -> None:
    sample = sample_of((Box("building", 60, 50, 30, 20, 17),))
    one, two = (draw(sample, np.random.default_rng(4), 40, 1.5) for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    assert one.boxes == two.boxes


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 60))
def test_position_moves_with_the_crop(top: int, left: int) -> None:
    result = cropped(sample_of(()), top, left, 32, 32)
    assert result.lat is not None
    assert result.lon is not None
    south = (50.0 - result.lat) * METRES_PER_DEGREE
    east = (result.lon - 8.0) * METRES_PER_DEGREE * np.cos(np.radians(50))
    assert south == pytest.approx(10 * (top + 16 - 48))
    assert east == pytest.approx(10 * (left + 16 - 64))


def test_known_maps_are_not_turned() -> None:
    sample = sample_of(()).replace(gsd=1000.0, image=np.arange(96 * 128 * 3).reshape(96, 128, 3).astype(np.uint8))
    for seed in range(8):
        part = draw(sample, np.random.default_rng(seed), 96).image.astype(int)
        assert ((part[:, 1] - part[:, 0]) % 256 == 3).all()


def test_as_coarse_as_the_sample_allows() -> None:
    result = draw(sample_of(()), np.random.default_rng(0), 48, 100.0)
    assert result.gsd == 20.0
    with pytest.raises(ArgumentError, match="size"):
        draw(sample_of(()), np.random.default_rng(0), 97)
    with pytest.raises(ArgumentError, match="gsd_scale"):
        draw(sample_of(()), np.random.default_rng(0), 48, 0.5)
    with pytest.raises(ArgumentError, match="window"):
        cropped(sample_of(()), 0, 100, 32, 32)
    with pytest.raises(ArgumentError, match="size"):
        resized(sample_of(()), 32)


def test_a_small_part_loses_the_label_of_an_object_but_not_of_a_texture() -> None:
    sample = sample_of(())
    assert cropped(sample, 0, 0, 40, 40).facts.label is None
    assert cropped(sample, 0, 0, 96, 96).facts.label == "airplane"
    meadow = sample.replace(facts=Facts(label="Pasture"))
    assert cropped(meadow, 0, 0, 40, 40).facts.label == "Pasture"


def test_regions_follow_the_crop() -> None:
    regions = (Box.from_xyxy("Forest", 0, 0, 64, 96), Box.from_xyxy("River", 64, 0, 128, 96))
    sample = sample_of(()).replace(facts=Facts(regions=regions))
    both = cropped(sample, 0, 32, 96, 96).facts
    assert both.label is None
    assert dict(both.label_fractions()) == pytest.approx({"Forest": 1 / 3, "River": 2 / 3})
    assert cropped(sample, 0, 0, 60, 60).facts.label == "Forest"
    half = draw(sample, np.random.default_rng(0), 48, 2.0).facts
    assert sum(b.width * b.height for b in half.regions) == pytest.approx(48 * 48)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(0, 9))
def test_coarser_is_the_mean_of_blocks(height: int, width: int, factor: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = coarser(image, factor)
    assert result.shape == (-(-height // factor), -(-width // factor), 3)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            block = image[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].astype(float)
            assert np.abs(result[i, j] - block.mean((0, 1))).max() <= 0.5 + 1e-9


def test_coarser_rounds_halves_up() -> None:
    assert coarser(np.array([[[0, 1, 254]], [[1, 2, 255]]], np.uint8), 2).tolist() == [[[1, 2, 255]]]


# --- rectangles


@settings(deadline=None)
@given(boxes)
def test_least_rectangle_of_a_rectangle_is_itself(box: Box) -> None:
    found = rectangles.around("x", box.corners())
    assert found.width * found.height == pytest.approx(box.width * box.height, rel=1e-6)
    apart = np.linalg.norm(found.corners()[:, None] - box.corners()[None], axis=2)
    assert apart.min(axis=1).max() < 1e-4
    assert -45 <= found.angle < 45


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30))
def test_least_rectangle_holds_its_points(points: list[tuple[int, int]]) -> None:
    cloud = np.array(points, float)
    box = rectangles.around("x", cloud)
    turn = np.radians(box.angle)
    u = (cloud[:, 0] - box.cx) * np.cos(turn) + (cloud[:, 1] - box.cy) * np.sin(turn)
    v = (cloud[:, 1] - box.cy) * np.cos(turn) - (cloud[:, 0] - box.cx) * np.sin(turn)
    assert (np.abs(u) <= box.width / 2 + 1e-4).all()
    assert (np.abs(v) <= box.height / 2 + 1e-4).all()
    assert box.width * box.height <= max(0.02, np.ptp(cloud[:, 0]) * np.ptp(cloud[:, 1])) + 0.6


@settings(deadline=None)
@given(boxes, st.floats(0, 128), st.floats(0, 96))
def test_visible_fraction_counts_pixels(box: Box, width: float, height: float) -> None:
    grid = painted((box,), 200, 200)
    inside = grid[: round(height), : round(width)]
    share = inside.sum() / max(int(grid.sum()), 1)
    assert abs(rectangles.visible_fraction(box, round(width), round(height)) - share) < 0.12


def test_components_joined_by_a_neck_are_told_apart() -> None:
    picture = Image.new("1", (100, 60))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((5, 10, 35, 40), fill=1)
    pen.rectangle((45, 10, 90, 40), fill=1)
    pen.rectangle((35, 24, 45, 26), fill=1)  # three pixels wide
    pen.rectangle((5, 50, 8, 58), fill=1)  # thinner than the neck allows, but on its own
    pen.rectangle((60, 50, 62, 52), fill=1)  # too small
    found, told = rectangles.of_components(np.array(picture), "building", smallest=30)
    assert 0.95 < told < 1
    assert sorted(round(box.cx) for box in found) == [7, 22, 66]  # each with some of the neck
    assert rectangles.of_components(np.zeros((9, 9), bool), "building") == ((), 1.0)


def test_what_fills_too_little_of_its_rectangle_is_left_out() -> None:
    ring = np.ones((40, 40), bool)
    ring[5:-5, 5:-5] = False
    assert rectangles.of_components(ring, "building", fill=0.5) == ((), 0.0)
    assert len(rectangles.of_components(ring, "building", fill=0.3)[0]) == 1
