"""Windows of labelled images: pixels and objects stay together, and nothing of an image is left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from earthgen.conditions import Box
from earthgen.dataset.verify_data import (
    GREY,
    Objects,
    Pictures,
    box_map,
    class_map,
    corners,
    fraction_of,
    mask_of,
    objects_of,
    turned,
    window,
)
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import LabelledImage, Shape


def objects(*boxes, difficult=()):
    flags = np.zeros(len(boxes), bool)
    flags[list(difficult)] = True
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int64), flags)


def labelled(path, height=40, width=60, **fields):
    return LabelledImage("a", path, height, width, **fields)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 11), st.integers(1, 11), st.booleans(), st.integers(0, 3))
def test_boxes_turn_as_pixels_do(x, y, width, height, mirror, quarters):
    pixels = np.zeros((32, 32), np.uint8)
    pixels[y : y + height, x : x + width] = 1
    after = objects([x, y, x + width, y + height]).turned(32, mirror, quarters)
    rows, columns = np.nonzero(turned(pixels, mirror, quarters))
    assert after.boxes[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@settings(max_examples=60, deadline=None)
@given(st.floats(5, 25), st.floats(5, 25), st.floats(-180, 180), st.booleans(), st.integers(0, 3))
def test_headings_turn_as_boxes_do(x, y, angle, mirror, quarters):
    image = labelled("none", shapes=(Shape(Box("roof", x, y, 9, 4, angle)),))
    after = objects_of(image, ("roof",)).turned(32, mirror, quarters)
    outline = Box("roof", *after.rotated[0].tolist()).corners()
    assert [*outline.min(0), *outline.max(0)] == pytest.approx(after.boxes[0].tolist(), abs=1e-3)


def test_objects_are_cut_and_difficult_where_little_is_left():
    seen = objects([10, 10, 30, 30], [25, 0, 65, 10], [100, 100, 120, 120]).within(20, 0, 40)
    assert seen.boxes.tolist() == [[0, 10, 10, 30], [5, 0, 40, 10]]
    assert seen.difficult.tolist() == [False, False]
    mostly_outside = objects([0, 0, 40, 10]).within(30, 0, 40)
    assert mostly_outside.difficult.tolist() == [True]
    assert mostly_outside.certain().boxes.shape == (0, 4)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([64, 256]))
def test_windows_show_every_pixel_and_start_within_the_image(height, width, size):
    shown = np.zeros((height, width), bool)
    for left, top in corners(height, width, size):
        assert 0 <= left <= max(width - size, 0) and 0 <= top <= max(height - size, 0)
        shown[top : top + size, left : left + size] = True
    assert shown.all()
    assert len(corners(height, width, size)) == -(-height // size) * -(-width // size)


def test_a_window_beyond_the_image_is_grey():
    part = window(np.full((5, 7, 3), 9, np.uint8), 0, 0, 8)
    assert (part[:5, :7] == 9).all() and (part[5:] == GREY).all() and (part[:, 7:] == GREY).all()


def test_maps_hold_the_pixels_whose_centres_lie_within(tmp_path):
    box, small = Box.from_xyxy("hut", 10, 5, 30, 25), Box.from_xyxy("tree", 12, 7, 16, 9)
    polygon = np.array([[40.0, 0], [60, 0], [60, 20]])
    cut = Shape(Box.from_xyxy("hut", 40, 0, 60, 20), polygon)
    image = labelled(tmp_path / "a.png", shapes=(Shape(small), Shape(box), cut))
    painted = class_map(image, ("hut", "tree"))
    assert (painted == 2).sum() == 8  # the small one on top
    assert (painted[5:25, 10:30] > 0).all()
    assert (painted[:20, 40:] == 1).sum() == pytest.approx(200, abs=10)  # half of the rectangle
    assert np.array_equal(class_map(image, ("tree",)) > 0, box_map([small], 40, 60))
    turned_box = box_map([Box("hut", 30, 20, 20, 10, 90)], 40, 60)
    assert turned_box.sum() == 200 and turned_box[10:30, 25:35].all()
    assert not box_map([], 4, 4).any()


def test_objects_follow_outlines_and_classes(tmp_path):
    tilted = Shape(Box("hut", 20, 20, 10, 10, 45), difficult=True)
    image = labelled(tmp_path / "a.png", shapes=(Shape(Box("tree", 5, 5, 2, 2)), tilted))
    found = objects_of(image, ("hut",))
    assert found.boxes == pytest.approx(np.array([[20 - 50**0.5, 20 - 50**0.5, 20 + 50**0.5, 20 + 50**0.5]]))
    assert found.difficult.tolist() == [True]
    assert objects_of(image.replace(shapes=None), ("hut",)).boxes.shape == (0, 4)


def test_pictures_are_read_as_labelled_and_kept_within_the_budget(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((40, 60, 3), 7, np.uint8)).save(path)
    pictures = Pictures([labelled(path), labelled(path)], budget=40 * 60 * 3)
    assert (pictures[0] == 7).all() and (pictures[1] == 7).all()
    assert list(pictures.kept) == [0]
    with pytest.raises(DataError, match="as labelled"):
        Pictures([labelled(path, width=61)])[0]


def test_masks_are_checked_against_their_classes(tmp_path):
    image = labelled(tmp_path / "a.png", mask=np.full((40, 60), 2, np.uint8))
    assert (mask_of(image, ("a", "b", "c")) == 2).all()
    with pytest.raises(ArgumentError, match="must hold indices below 2"):
        mask_of(image, ("a", "b"))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5), st.floats(0.01, 1), st.floats(0.01, 1))
def test_smaller_shares_are_part_of_larger_ones_and_hold_every_class(tmp_path_factory, number, seed, a, b):
    names = ["x", "y", None]
    images = [LabelledImage(str(k), tmp_path_factory.getbasetemp(), 4, 4, label=names[k % 3]) for k in range(number)]
    few, many = (fraction_of(images, f, seed) for f in sorted((a, b)))
    assert {i.id for i in few} <= {i.id for i in many}
    assert {i.label for i in few} == {i.label for i in images}
    assert {i.id for i in fraction_of(images, 1.0, seed)} == {i.id for i in images}
