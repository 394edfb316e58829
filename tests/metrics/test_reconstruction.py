"""PSNR and SSIM by definition and by a reference written out."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from earthgen.errors import ArgumentError
from earthgen.metrics.reconstruction import psnr, ssim


def _images(number: int = 2, height: int = 32, width: int = 40) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(number, height, width, 3)), (0, 2, 2, 0))
    return (128 + 150 * smooth).clip(0, 255).astype(np.uint8)


def test_psnr_of_a_known_error():
    a = np.full((2, 8, 8, 3), 100, np.uint8)
    b = a.copy()
    b[1] += 5
    assert psnr(a, b).tolist() == [math.inf, pytest.approx(20 * math.log10(255 / 5))]


def test_psnr_does_not_wrap_around_zero():
    assert psnr(np.full((1, 8, 8, 3), 1, np.uint8), np.full((1, 8, 8, 3), 2, np.uint8))[0] > 48


def test_ssim_agrees_with_its_definition():
    a = _images()
    b = np.clip(a + np.random.default_rng(1).normal(0, 10, a.shape), 0, 255).astype(np.uint8)

    def blurred(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, (0, 1.5, 1.5, 0), mode="mirror", radius=5)

    x, y = a.astype(float), b.astype(float)
    mx, my = blurred(x), blurred(y)
    vx, vy, cov = blurred(x * x) - mx**2, blurred(y * y) - my**2, blurred(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b) == pytest.approx(values.mean((1, 2, 3)), abs=1e-4)


def test_an_image_is_like_itself_whatever_the_batch():
    a = _images(5)
    assert ssim(a, a, batch_size=2) == pytest.approx(1)
    assert ssim(a, a[::-1].copy(), batch_size=2) == pytest.approx(ssim(a, a[::-1].copy()))


@pytest.mark.parametrize("function", [psnr, ssim])
def test_pairs_must_be_uint8_images_of_one_shape(function):
    a = _images()
    with pytest.raises(ArgumentError, match="reconstructions"):
        function(a, a[:1])
    with pytest.raises(ArgumentError, match="originals"):
        function(a / 255, a)
