"""The evaluator of layouts: what it is shown, how far it sees, and that tiles equal the whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from earthgen.conditions import UNKNOWN, Box
from earthgen.dataset import filter_evaluator
from earthgen.dataset.filter_evaluator import _HALO, Evaluator, EvaluatorConfig, _Pyramid, _Windows, truth_of
from earthgen.errors import ArgumentError, WeightsError
from earthgen.labels.base import LabelledImage, Shape
from earthgen.metrics.network import FitConfig

CONFIG = EvaluatorConfig(widths=(8, 8, 8, 8), channels=8, window=32, fit=FitConfig(steps=2, batch_size=2))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """One with objects, one with a mask, one of which nothing is known."""
    folder = tmp_path_factory.mktemp("images")
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[8:16, 20:30] = 200
    Image.fromarray(pixels).save(folder / "a.png")
    image = LabelledImage("a", folder / "a.png", 40, 60, shapes=(Shape(Box.from_xyxy("hut", 20, 8, 30, 16)),))
    mask = np.where(pixels[..., 0] > 0, 1, 0).astype(np.uint8)
    masked = LabelledImage("b", folder / "a.png", 40, 60, mask=mask)
    return [image, masked, LabelledImage("c", folder / "a.png", 40, 60)]


@pytest.fixture(scope="module")
def fitted(images):
    return Evaluator.fit([images], ("hut",), ("ground", "roof"), CONFIG)


def test_what_is_not_known_is_not_taught(images):
    objects, mask = np.moveaxis(truth_of(images[0], ("hut",), ("ground", "roof")), 2, 0)
    assert objects.sum() == 80 and (mask == UNKNOWN).all()
    objects, mask = np.moveaxis(truth_of(images[1], ("hut",), ("ground", "roof")), 2, 0)
    assert (objects == UNKNOWN).all() and mask.sum() == 80


def test_windows_hold_pixels_with_their_truth(images):
    windows = _Windows(images, ("hut",), ("ground", "roof"), 32)
    assert len(windows.truth) == 2  # the third teaches nothing
    generator = np.random.default_rng(0)
    objects = 0
    for _ in range(40):
        pixels, truth = windows.draw(generator)
        assert pixels.shape == (32, 32, 3) and truth.shape == (2, 32, 32)
        for known in truth:
            assert np.array_equal(known == 1, pixels[..., 0] == 200) or (known == UNKNOWN).all()
        objects += int((truth[0] == 1).any())
    assert objects >= 15  # half are drawn around objects


def test_tiles_equal_the_whole(fitted, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (240, 310, 3), np.uint8)
    whole = fitted.see(image)
    monkeypatch.setattr(filter_evaluator, "_TILE", 96)
    parts = fitted.see(image)
    assert whole.objects.shape == (2, 240, 310) and whole.mask.shape == (2, 240, 310)
    assert whole.objects.sum(0) == pytest.approx(1, abs=1e-5)
    assert parts.objects == pytest.approx(whole.objects, abs=1e-5)
    assert parts.mask == pytest.approx(whole.mask, abs=1e-5)


def test_it_sees_no_farther_than_the_halo():
    network = _Pyramid(2, CONFIG).eval()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)  # so that nothing is zero on the way
    x = torch.zeros(1, 3, 320, 320, requires_grad=True)
    for at in (160, 167, 175):
        (gradient,) = torch.autograd.grad(network(x + 1)[0, :, at, at].sum(), x)
        seen = gradient[0].abs().sum(0).nonzero()
        assert 16 < (seen - at).abs().max() <= _HALO


def test_images_of_any_size_are_seen_whole(fitted):
    for size in ((1, 1), (17, 33)):
        assert fitted.see(np.zeros((*size, 3), np.uint8)).objects.shape == (2, *size)


def test_a_set_of_one_kind_leaves_the_other_out(images):
    assert Evaluator.fit([images], ("hut",), (), CONFIG).see(np.zeros((16, 16, 3), np.uint8)).mask is None
    assert Evaluator.fit([images], (), ("ground", "roof"), CONFIG).see(np.zeros((16, 16, 3), np.uint8)).objects is None
    with pytest.raises(ArgumentError, match="sources"):
        Evaluator.fit([images, images[1:]], ("hut",), (), CONFIG)


def test_it_is_a_function_of_its_arguments_and_comes_back_from_its_files(fitted, images, tmp_path):
    fitted.save(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    again = Evaluator.fit([images], ("hut",), ("ground", "roof"), CONFIG)
    for other in (again, Evaluator.load(tmp_path)):
        assert (other.classes, other.mask_classes, other.config) == (("hut",), ("ground", "roof"), CONFIG)
        assert np.array_equal(other.see(image).objects, fitted.see(image).objects)
    text = (tmp_path / "evaluator.json").read_text()
    (tmp_path / "evaluator.json").write_text(text.replace('"channels": 8', '"channels": 9'))
    with pytest.raises(WeightsError, match="damaged"):
        Evaluator.load(tmp_path)
    with pytest.raises(WeightsError, match="missing"):
        Evaluator.load(tmp_path / "elsewhere")
    with pytest.raises(ArgumentError, match="window"):
        replace(CONFIG, window=40)
