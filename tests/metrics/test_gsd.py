"""The reader of GSD on images whose scale is their grain."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from earthgen.data.base import Facts, Sample
from earthgen.errors import ArgumentError, WeightsError
from earthgen.metrics.gsd import GSDReader, crops_at_random_gsd, rank_correlation
from earthgen.metrics.network import FitConfig, NetworkConfig


def _world(seed: int, side: int) -> np.ndarray:
    """A picture of blobs some ten pixels wide."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side, 3)), (6, 6, 0))
    return (128 + 900 * noise).clip(0, 255).astype(np.uint8)


class _Reader:
    name = "blobs"

    def __init__(self, gsd: float | None = 1.0, side: int = 512):
        self.samples = [Sample(_world(k, side), gsd, None, None, None, "blobs", str(k), Facts()) for k in range(4)]
        self.reads = 0

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        self.reads += 1
        return self.samples[index]


@pytest.fixture(scope="module")
def squares():
    return crops_at_random_gsd([_Reader()], 120)


def test_squares_reach_from_the_native_gsd_to_the_coarsest(squares):
    images, gsd = squares
    assert images.shape == (120, 64, 64, 3)
    assert 1 <= gsd.min() < 1.3
    assert 6 < gsd.max() <= 8
    octaves = np.histogram(np.log2(gsd), 3, (0, 3))[0]
    assert octaves.min() > 20


def test_large_pictures_are_read_once_and_in_order():
    reader = _Reader(side=128)
    crops_at_random_gsd([reader], 60)
    assert reader.reads <= 5


def test_squares_outside_the_range_or_of_unknown_gsd_are_passed_over():
    _, gsd = crops_at_random_gsd([_Reader(None), _Reader()], 40, low=2, high=4)
    assert len(gsd) < 40
    assert gsd.min() >= 2
    assert gsd.max() <= 4
    with pytest.raises(ArgumentError, match="readers"):
        crops_at_random_gsd([_Reader(None)], 4)


def test_it_reads_the_scale_of_squares_and_of_larger_images(squares, tmp_path):
    config = FitConfig(steps=60, batch_size=16, learning_rate=1e-2, average=0.8)
    made = GSDReader.fit(*squares, config, NetworkConfig(1, (8, 16, 16), (0, 1, 1)))
    images, gsd = crops_at_random_gsd([_Reader()], 40, seed=5)
    read = made.predict(images)
    assert rank_correlation(np.log2(gsd), read) > 0.8
    large = _world(9, 150)[None]
    assert made.predict(large).shape == (1,)

    made.save(tmp_path / "gsd")
    again = GSDReader.load(tmp_path / "gsd")
    assert np.array_equal(again.predict(images), read)
    record = json.loads((tmp_path / "gsd" / "config.json").read_text())
    (tmp_path / "gsd" / "config.json").write_text(json.dumps({**record, "kind": "classifier"}))
    with pytest.raises(WeightsError, match="another kind"):
        GSDReader.load(tmp_path / "gsd")
    with pytest.raises(ArgumentError, match="64 px"):
        made.predict(images[:, :32])


def test_gsd_must_be_positive(squares):
    with pytest.raises(ArgumentError, match="gsd"):
        GSDReader.fit(squares[0], -squares[1])


def test_rank_correlation_sees_order_alone():
    assert rank_correlation(np.array([1.0, 2, 3, 9]), np.array([0.0, 1, 100, 101])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3, 9]), np.array([9.0, 3, 2, 1])) == pytest.approx(-1)
