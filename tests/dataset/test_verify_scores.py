"""Figures of detections and masks, against cases whose value is known."""

import dataclasses

import numpy as np
import pytest

from earthgen.conditions import Box
from earthgen.dataset.detector import Detections
from earthgen.dataset.verify_data import Objects
from earthgen.dataset.verify_scores import Overlap, mean_average_precision, oriented_mean_average_precision


def truth(boxes, labels=None, difficult=None):
    n = len(boxes)
    labels = np.zeros(n, np.int64) if labels is None else np.array(labels)
    flags = np.zeros(n, bool) if difficult is None else np.array(difficult)
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), labels, flags)


def found(boxes, scores, labels=None):
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), labels)


A, B, C = [0, 0, 20, 20], [30, 30, 60, 50], [70, 10, 90, 40]


def test_perfect_detections_have_full_precision():
    score = mean_average_precision([truth([A, B]), truth([C])], [found([B, A], [0.9, 0.8]), found([C], [0.7])], ("x",))
    assert (score["map50"], score["map"], score["objects"]) == pytest.approx((1, 1, 3))


def test_half_of_the_objects_is_half_of_the_precision():
    score = mean_average_precision([truth([A, B])], [found([A], [0.9])], ("x",))
    assert score["map50"] == pytest.approx(0.5, abs=0.01)


def test_a_surer_mistake_halves_the_precision_of_one_object():
    score = mean_average_precision([truth([A])], [found([C, A], [0.9, 0.5])], ("x",))
    assert score["map50"] == pytest.approx(0.5)


def test_loose_boxes_count_at_half_but_not_at_all_overlaps():
    score = mean_average_precision([truth([A])], [found([[0, 0, 20, 14.4]], [0.9])], ("x",))  # IoU 0.72
    assert score["map50"] == pytest.approx(1)
    assert score["map"] == pytest.approx(0.5)  # 0.50, 0.55, 0.60, 0.65 and 0.70 of ten


def test_difficult_objects_are_left_out():
    images = [truth([A, B], difficult=[False, True])]
    assert mean_average_precision(images, [found([A], [0.9])], ("x",))["map50"] == pytest.approx(1)
    assert mean_average_precision(images, [found([B, A], [0.9, 0.8])], ("x",))["map50"] == pytest.approx(1)


def test_classes_are_averaged_and_absent_ones_have_no_part():
    images, seen = [truth([A, B], [0, 1])], [found([A, B], [0.9, 0.8], [0, 0])]
    score = mean_average_precision(images, seen, ("x", "y", "absent"))
    assert score["map50_by_class"] == pytest.approx({"x": 1, "y": 0})
    assert score["map50"] == pytest.approx(0.5)


def turned(angle):
    """Of a long box at this heading, what is true and what would be found."""
    box = Box("x", 50, 50, 40, 10, angle)
    corners = box.corners().astype(np.float32)[None]
    hull = [*corners[0].min(0), *corners[0].max(0)]
    one = np.zeros(1, np.int64)
    rotated = np.array([[50, 50, 40, 10, angle]], np.float32)
    hulls = np.array([hull], np.float32)
    real = Objects(hulls, one, one.astype(bool), rotated)
    return real, Detections(hulls, np.ones(1, np.float32), one, corners)


def test_headings_count_where_boxes_have_them():
    assert oriented_mean_average_precision([turned(30)[0]], [turned(30)[1]], ("x",))["map50"] == pytest.approx(1)
    assert oriented_mean_average_precision([turned(30)[0]], [turned(210)[1]], ("x",))["map50"] == pytest.approx(1)
    crossed = oriented_mean_average_precision([turned(30)[0]], [turned(-30)[1]], ("x", "y"))
    assert crossed == {"map50": 0, "map": 0, "map50_by_class": {"x": 0}, "objects": 1}
    nothing = Detections(*(part[:0] for part in (turned(0)[1].boxes, turned(0)[1].scores, turned(0)[1].labels)))
    nothing = dataclasses.replace(nothing, corners=turned(0)[1].corners[:0])
    assert oriented_mean_average_precision([turned(0)[0]], [nothing], ("x",))["map50"] == 0


def test_nothing_found_and_nothing_there_are_zero():
    assert mean_average_precision([truth([A])], [found([], [])], ("x",))["map50"] == 0.0
    assert mean_average_precision([truth([])], [found([A], [0.5])], ("x",))["map50"] == 0.0


def test_overlap_of_masks_leaves_unknown_pixels_out():
    overlap = Overlap(("a", "b", "absent"))
    overlap.add(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 2]]))
    record = overlap.record()
    assert record["iou_by_class"] == pytest.approx({"a": 1 / 2, "b": 1 / 2})
    assert (record["miou"], record["pixel_accuracy"]) == pytest.approx((1 / 2, 2 / 3))
