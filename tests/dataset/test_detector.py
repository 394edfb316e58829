"""The detector of the verify loop: fed right, a function of its arguments, saved and loaded whole."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.conditions import Box
from earthgen.dataset.detector import Detections, Detector, DetectorConfig, _corners, _detections, _distinct, _Windows
from earthgen.errors import ArgumentError, WeightsError
from earthgen.labels.base import LabelledImage, Shape

TINY = DetectorConfig(
    size=64, widths=(8, 8, 16, 16), hidden=16, decoder_layers=2, queries=10, denoising=4, steps=2, batch_size=2
)


def bright_squares(folder, number, seed=0, side=96):
    """Dark images with bright squares of the class "roof"."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    images = []
    for k in range(number):
        pixels = generator.integers(20, 60, (side, side, 3), np.uint8)
        shapes = []
        for _ in range(3):
            x, y = generator.integers(0, side - 24, 2)
            pixels[y : y + 20, x : x + 20] = 220
            shapes.append(Shape(Box.from_xyxy("roof", x, y, x + 20, y + 20)))
        path = folder / f"{k}.png"
        Image.fromarray(pixels).save(path)
        images.append(LabelledImage(str(k), path, side, side, shapes=tuple(shapes)))
    return images


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return bright_squares(tmp_path_factory.mktemp("squares") / "a", 4)


@pytest.fixture(scope="module", params=["points", "d-fine"])
def fitted(images, request):
    return Detector.fit([images], ("roof",), replace(TINY, network=request.param))


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "labels"))


def test_targets_are_where_the_objects_are(images):
    windows = _Windows([images], ("roof",), TINY)
    generator = np.random.default_rng(0)
    seen = 0
    for _ in range(20):
        pixels, objects = windows.window(0, generator)
        for x0, y0, x1, y1 in objects.boxes.round().astype(int):
            assert (pixels[y0:y1, x0:x1] == 220).all()
            seen += 1
    assert seen > 10
    x, targets = windows.batch(generator)
    assert x.shape == (2, 3, 64, 64) and len(targets) == 2
    assert all(((t["boxes"] >= 0) & (t["boxes"] <= 1)).all() for t in targets)


def test_sources_have_equal_shares_of_each_batch(images, tmp_path):
    many = bright_squares(tmp_path, 1, seed=1)
    windows = _Windows([images, many], ("roof",), replace(TINY, batch_size=6))
    drawn = np.concatenate([windows._sources(np.random.default_rng(k)) for k in range(10)])
    assert (drawn == 0).sum() == (drawn == 1).sum() == 30


def test_the_same_arguments_give_the_same_detector_and_leave_torch_alone(fitted, images):
    before = torch.random.get_rng_state()
    again = Detector.fit([images], ("roof",), fitted.config)
    assert torch.equal(before, torch.random.get_rng_state())
    x = np.zeros((1, 64, 64, 3), np.uint8)
    assert same(fitted.predict(x)[0], again.predict(x)[0])
    other = Detector.fit([images], ("roof",), replace(fitted.config, seed=1))
    assert not same(fitted.predict(x)[0], other.predict(x)[0])


def test_it_is_saved_without_pickles_and_loaded_whole(fitted, tmp_path):
    fitted.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"detector.json", "detector.safetensors"}
    loaded = Detector.load(tmp_path)
    assert (loaded.classes, loaded.config) == (fitted.classes, fitted.config)
    x = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    assert all(same(a, b) for a, b in zip(fitted.predict(x), loaded.predict(x), strict=True))


@pytest.mark.parametrize("harm", ["missing", "cut", "other shape"])
def test_damaged_files_are_refused(fitted, tmp_path, harm):
    fitted.save(tmp_path)
    weights = tmp_path / "detector.safetensors"
    if harm == "missing":
        weights.unlink()
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        text = (tmp_path / "detector.json").read_text()
        (tmp_path / "detector.json").write_text(text.replace('"hidden": 16', '"hidden": 24'))
    with pytest.raises(WeightsError):
        Detector.load(tmp_path)


def test_torchvision_and_timm_are_not_needed(fitted):
    assert not {"torchvision", "timm"} & set(sys.modules)


def test_overlapping_detections_of_a_class_are_one():
    corners = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [20, 20, 30, 30]])
    assert _distinct(corners, torch.tensor([0, 0, 1, 0])) == [0, 2, 3]


def test_detections_are_in_pixels_surest_first():
    scores = torch.tensor([[0.1, 0.9], [0.6, 0.2], [0.3, 0.05]])
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.25], [0.1, 0.1, 0.4, 0.4], [0.8, 0.8, 0.1, 0.1]])
    seen = _detections(scores, boxes, 64)
    assert isinstance(seen, Detections)
    assert seen.scores.tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert seen.labels.tolist() == [1, 0, 0]
    assert seen.boxes[0].tolist() == pytest.approx([16, 24, 48, 40])
    assert seen.boxes[1].tolist() == pytest.approx([0, 0, 19.2, 19.2], abs=1e-4)  # cut at the border


def test_boxes_with_headings(images, tmp_path):
    detector = Detector.fit([images], ("roof",), replace(TINY, oriented=True))
    detector.save(tmp_path)
    seen = Detector.load(tmp_path).predict(np.zeros((1, 64, 64, 3), np.uint8))[0]
    assert seen.corners.shape == (len(seen.labels), 4, 2) and len(seen.labels) > 0
    assert np.array_equal(seen.boxes, np.concatenate([seen.corners.min(1), seen.corners.max(1)], 1))
    row = torch.tensor([[0.5, 0.25, 0.5, 0.125, 30.0]])
    assert np.allclose(_corners(row, 64)[0], Box("roof", 32, 16, 32, 8, 30).corners(), atol=1e-4)
    with pytest.raises(ArgumentError, match="network"):
        replace(TINY, oriented=True, network="d-fine")


def test_arguments_are_checked(fitted, images):
    with pytest.raises(ArgumentError, match="sources"):
        Detector.fit([[image.replace(shapes=None) for image in images]], ("roof",), TINY)
    with pytest.raises(ArgumentError, match="images"):
        fitted.predict(np.zeros((1, 32, 32, 3), np.uint8))
    for wrong in ({"size": 100}, {"hidden": 10}, {"steps": 0}, {"network": "yolo"}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            replace(TINY, **wrong)
