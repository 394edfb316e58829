"""Distances between sets of features, against torchmetrics' own and against closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.errors import ArgumentError
from earthgen.metrics.distances import frechet_distance, kernel_distance, nearest


def _sets(seed: int, features: int = 12) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(features, features))
    return generator.normal(size=(300, features)), generator.normal(0.3, 1.2, (200, features)) @ mixing


class _Passthrough(torch.nn.Module):
    """Features are given as images of one row, which torchmetrics asks for."""

    num_features = 12

    def forward(self, x):
        return x.flatten(1)


@pytest.mark.parametrize("seed", range(3))
def test_frechet_agrees_with_torchmetrics(seed):
    image = pytest.importorskip("torchmetrics.image.fid")
    a, b = _sets(seed)
    metric = image.FrechetInceptionDistance(_Passthrough(), normalize=True, input_img_size=(3, 2, 2)).double()
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(a).reshape(-1, 3, 2, 2), real=True)
    metric.update(torch.from_numpy(b).reshape(-1, 3, 2, 2), real=False)
    assert frechet_distance(a, b) == pytest.approx(metric.compute().item(), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_kernel_agrees_with_torchmetrics(seed):
    image = pytest.importorskip("torchmetrics.image.kid")
    a, b = _sets(seed)
    b = b[: len(b)]
    expected = image.poly_mmd(torch.from_numpy(a[:200]), torch.from_numpy(b)).item()
    assert kernel_distance(a[:200], b) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_shifted_and_scaled_normals_is_known():
    x = np.random.default_rng(0).normal(size=(4000, 5))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    # Covariances I and 4 I, means 3 apart in each of 5 features: 5 · 9 + tr(I + 4 I - 2 · 2 I).
    assert frechet_distance(x, 2 * x + 3) == pytest.approx(5 * 9 + 5)


def test_a_set_is_no_distance_from_itself():
    a, _ = _sets(0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a[:5], a[:5]) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_of_one_distribution_is_about_zero():
    generator = np.random.default_rng(0)
    values = [kernel_distance(*generator.normal(size=(2, 200, 8))) for _ in range(30)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(30) + 1e-9
    assert min(values) < 0 < max(values)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_distances_are_symmetric_and_blind_to_order(seed):
    a, b = _sets(seed, 6)
    shuffled = np.random.default_rng(seed).permutation(a)
    for distance in (frechet_distance, kernel_distance):
        assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-6)
        assert distance(a, b) == pytest.approx(distance(shuffled, b), rel=1e-6)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_features_are_checked():
    a = np.zeros((5, 3))
    with pytest.raises(ArgumentError, match="at least two"):
        frechet_distance(a[:1], a)
    with pytest.raises(ArgumentError, match="3 features"):
        kernel_distance(a, np.zeros((5, 4)))
    with pytest.raises(ArgumentError, match="finite"):
        frechet_distance(a * np.nan, a)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(2, 40), st.integers(2, 40), st.integers(1, 9))
def test_the_nearest_is_the_nearest(seed, number, others, rows):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(0, 1, (number, 5)), generator.normal(0, 1, (others, 5))
    distance, which = nearest(a, b, rows)
    every = np.linalg.norm(a[:, None] - b[None], axis=2)
    assert distance == pytest.approx(every.min(1))
    assert every[np.arange(number), which] == pytest.approx(distance)
    assert nearest(b, b)[0].max() == 0
