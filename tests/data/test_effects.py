"""Clouds and degradation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthgen.data.clouds import add_clouds
from earthgen.data.degrade import degrade
from earthgen.errors import ArgumentError


def ground(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(20, 150, (-(-height // 4), -(-width // 4), 3)), np.ones((4, 4, 1)))[
        :height, :width
    ].astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 1),
    st.sampled_from([0.3, 10.0, 300.0, 10_000.0, None]),
    st.integers(8, 80),
    st.integers(8, 80),
    st.integers(0, 99),
)
def test_cover_is_what_was_asked(cover: float, gsd: float | None, height: int, width: int, seed: int) -> None:
    image = ground(height, width)
    result, true_cover, alpha = add_clouds(image, cover, np.random.default_rng(seed), gsd)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    assert alpha.shape == image.shape[:2]
    assert 0 <= alpha.min() <= alpha.max() <= 1
    assert abs(true_cover - cover) <= 1.5 / (height * width) + 1e-6
    assert true_cover == pytest.approx(float((alpha >= 0.5).mean()))


def test_clouds_are_bright_and_ground_between_them_stays_or_darkens() -> None:
    image = ground(128, 128)
    result, _, alpha = add_clouds(image, 0.4, np.random.default_rng(1), 10.0)
    assert result[alpha > 0.95].mean() > 200
    assert (result[alpha == 0].astype(int) <= image[alpha == 0]).all()
    assert result[alpha == 0].mean() < image[alpha == 0].mean()  # shadows


def test_no_cover_is_the_image_and_full_cover_leaves_nothing() -> None:
    image = ground(64, 64)
    same, cover, alpha = add_clouds(image, 0.0, np.random.default_rng(0), 10.0)
    np.testing.assert_array_equal(same, image)
    assert (cover, alpha.max()) == (0.0, 0.0)
    assert same is not image
    assert add_clouds(image, 1.0, np.random.default_rng(0), 10.0)[1] == 1.0
    with pytest.raises(ArgumentError, match="cover"):
        add_clouds(image, 1.1, np.random.default_rng(0))


def test_clouds_are_a_function_of_their_generator() -> None:
    image = ground(64, 48)
    one, two = (add_clouds(image, 0.5, np.random.default_rng(7), 20.0)[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
def test_degrading_keeps_size_and_type(level: float, height: int, width: int, seed: int) -> None:
    image = ground(height, width)
    result = degrade(image, level, np.random.default_rng(seed))
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, degrade(image, level, np.random.default_rng(seed)))


def test_degrading_grows_with_the_level() -> None:
    # Smooth ground: on noise even the weakest blur does great harm.
    image = np.kron(ground(12, 12), np.ones((8, 8, 1), np.uint8))
    assert (degrade(image, 0.0, np.random.default_rng(0)) == image).all()
    errors = [
        np.mean([np.abs(degrade(image, level, np.random.default_rng(s)).astype(int) - image).mean() for s in range(8)])
        for level in (0.1, 0.4, 0.7, 1.0)
    ]
    assert errors == sorted(errors)
    assert errors[-1] > 2 * errors[0]
    with pytest.raises(ArgumentError, match="level"):
        degrade(image, -0.1, np.random.default_rng(0))
