"""The report on autoencoders that are known to be perfect or to lose detail."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from earthgen.data.base import Facts, Sample
from earthgen.metrics.autoencoding import crops, milliseconds, reconstruct, reconstruction_report


class _Reader:
    name = "noise"

    def __init__(self, side: int = 72):
        generator = np.random.default_rng(0)
        images = generator.integers(60, 190, (5, side, side, 3), np.uint8)
        self.samples = [Sample(x, 1.0, None, None, None, "noise", str(k), Facts()) for k, x in enumerate(images)]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def test_the_identity_loses_nothing():
    images = crops(_Reader(), 3, 64)
    assert images.shape == (3, 64, 64, 3)
    assert np.array_equal(reconstruct(images, torch.clone, torch.clone, batch_size=2), images)


def test_small_samples_are_taken_as_large_as_they_allow():
    assert crops(_Reader(44), 7, 64).shape == (7, 40, 40, 3)


def test_a_blur_shows_in_every_figure():
    def blur(x):
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "reflect"), 3, 1)

    sharp = reconstruction_report([_Reader()], torch.clone, torch.clone, 4, 64)["noise"]
    soft = reconstruction_report([_Reader()], blur, torch.clone, 4, 64)["noise"]
    assert sharp["psnr"] == 60
    assert sharp["ssim"] == pytest.approx(1)
    assert sharp["spectrum_error_to_half_nyquist"]["largest"] < 1e-6
    assert soft["psnr"] < 25
    assert soft["ssim"] < 0.8
    assert soft["power_ratio"]["2-4 px"] < 0.3
    assert soft["spectrum_error_to_half_nyquist"]["largest"] > soft["spectrum_error_to_half_nyquist"]["mean"] > 0.1


def test_times_are_in_milliseconds():
    def slow(x):
        import time

        time.sleep(0.01)
        return x

    assert 10 <= milliseconds(slow, torch.zeros(1), repeats=3) < 100
