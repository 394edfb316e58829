"""Spectra of images whose spectrum is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.errors import ArgumentError
from earthgen.metrics.spectrum import octave_ratio, spectrum, spectrum_error


def _coloured(number: int, size: int, slope: float, seed: int = 0) -> np.ndarray:
    """Noise whose power falls as frequency ** -slope, (number, size, size)."""
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    radius[0, 0] = np.inf
    white = np.fft.rfft2(np.random.default_rng(seed).normal(size=(number, size, size)))
    return np.fft.irfft2(white * radius ** (-slope / 2), s=(size, size))


def test_white_noise_is_flat_at_its_variance():
    images = np.random.default_rng(0).normal(100, 10, (200, 64, 64))
    result = spectrum(images)
    assert result.power == pytest.approx(100, rel=0.1)
    assert result.power[8:] == pytest.approx(100, rel=0.05)
    assert [p for _, _, p in result.octaves()] == pytest.approx([100] * 4, rel=0.05)


@pytest.mark.parametrize("cycles", [4, 9, 20, 30])
def test_a_sinusoid_falls_into_its_ring(cycles):
    image = np.broadcast_to(128 + 50 * np.sin(2 * np.pi * cycles * np.arange(64) / 64), (1, 64, 64))
    result = spectrum(image)
    peak = result.power.argmax()
    assert result.frequency[peak] == pytest.approx(cycles / 64, abs=0.5 / 64)
    # A Hann window spreads a line over two cells on each side and no further.
    share = (result.power * result.weight)[max(peak - 2, 0) : peak + 3].sum() / (result.power * result.weight).sum()
    assert share > 0.99


@pytest.mark.parametrize("slope", [1.0, 2.0, 3.0])
def test_a_power_law_keeps_its_slope(slope):
    result = spectrum(_coloured(64, 128, slope))
    inside = (result.frequency > 0.05) & (result.frequency < 0.45)
    fitted = np.polyfit(np.log(result.frequency[inside]), np.log(result.power[inside]), 1)[0]
    assert -fitted == pytest.approx(slope, abs=0.1)


def test_a_jump_at_the_border_does_not_look_like_detail():
    ramp = np.broadcast_to(np.arange(64) * 4.0, (1, 64, 64))
    result = spectrum(ramp)
    assert result.power[-8:].max() < 1e-6 * result.power[0]


def test_octaves_cover_nyquist_and_halve():
    bands = spectrum(np.random.default_rng(0).normal(size=(1, 64, 64))).octaves()
    assert [band[:2] for band in bands] == [(1 / 32, 1 / 16), (1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2)]


def test_octave_ratio_names_wavelengths_and_finds_a_blur():
    images = np.random.default_rng(0).normal(size=(20, 64, 64))
    blurred = (images + np.roll(images, 1, 1) + np.roll(images, 1, 2) + np.roll(images, (1, 1), (1, 2))) / 4
    ratio = octave_ratio(blurred, images)
    assert list(ratio) == ["16-32 px", "8-16 px", "4-8 px", "2-4 px"]
    assert ratio["16-32 px"] > 0.9
    assert ratio["2-4 px"] < 0.3


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 5), st.integers(8, 40), st.integers(8, 40), st.integers(0, 99))
def test_scaling_the_contrast_scales_the_power_squared(gain, height, width, seed):
    images = np.random.default_rng(seed).normal(size=(2, height, width))
    largest, mean = spectrum_error(gain * images + 3, images, up_to=1.0)
    assert largest == pytest.approx(abs(gain**2 - 1), abs=1e-6)
    assert mean == pytest.approx(abs(gain**2 - 1), abs=1e-6)


def test_parseval_all_power_is_counted_once():
    images = np.random.default_rng(0).normal(0, 1, (400, 32, 48))
    result = spectrum(images)
    assert np.average(result.power, weights=result.weight) == pytest.approx(1, rel=0.05)
    cells = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(48)[None, :])
    assert result.weight.sum() == ((np.rint(cells * 32) >= 2) & (cells <= 0.5 + 1e-9)).sum()


def test_colour_images_are_read_by_their_luma():
    grey = np.random.default_rng(0).integers(0, 256, (3, 16, 16), np.uint8)
    colour = np.repeat(grey[..., None], 3, 3)
    assert spectrum(colour).power == pytest.approx(spectrum(grey).power)


@pytest.mark.parametrize("shape", [(0, 16, 16), (1, 4, 16), (16, 16)])
def test_what_is_no_set_of_images_is_refused(shape):
    with pytest.raises(ArgumentError, match="images"):
        spectrum(np.zeros(shape))


def test_sizes_and_shares_are_checked():
    images = np.zeros((1, 16, 16))
    with pytest.raises(ArgumentError, match="size"):
        spectrum_error(images, np.zeros((1, 16, 24)))
    with pytest.raises(ArgumentError, match="up_to"):
        spectrum_error(images, images, up_to=0)
