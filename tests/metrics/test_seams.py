"""A grid that is there is found, and one that is not scores 1."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.errors import ArgumentError
from earthgen.metrics.seams import border_score, gradients


def test_noise_has_no_grid():
    images = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    assert border_score(gradients(images, 4)) == pytest.approx(1, abs=0.01)


def test_a_ramp_with_steps_every_four_pixels():
    line = np.arange(32) + 5 * (np.arange(32) // 4)  # neighbours differ by 1, across borders by 6
    image = np.broadcast_to((line[:, None] + line[None])[..., None], (32, 32, 3)).astype(np.uint8)
    found = gradients(image, 4)
    assert found == pytest.approx([1, 1, 1, 6])
    assert border_score(found) == pytest.approx(6)
    wide = gradients(image[None], 16)
    assert border_score(wide, 4) == pytest.approx(6)
    assert border_score(wide) == pytest.approx(6 / ((12 * 1 + 3 * 6) / 15))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([2, 4, 8]), st.floats(0.1, 10))
def test_the_score_does_not_depend_on_contrast_or_turns(seed, period, contrast):
    images = np.random.default_rng(seed).normal(0, 1, (2, 16, 16, 3))
    score = border_score(gradients(images, period))
    assert border_score(gradients(contrast * images, period)) == pytest.approx(score, rel=1e-4)
    assert border_score(gradients(images.swapaxes(1, 2), period)) == pytest.approx(score, rel=1e-4)


def test_flat_images_have_no_score_and_small_ones_are_refused():
    assert np.isnan(border_score(gradients(np.zeros((8, 8, 3)), 4)))
    with pytest.raises(ArgumentError, match="more than 8 pixels"):
        gradients(np.zeros((8, 8, 3)), 8)
