"""Averaged down, a consistent image gives the coarser one back, and nobody sees that it was made to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from earthgen.data.augment import coarser
from earthgen.errors import ArgumentError
from earthgen.pipelines import consistency
from earthgen.pipelines.consistency import average_down, consistent

SIDES = st.integers(2, 12)


def noise(seed: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def smooth(seed: int, side: int, cell: int) -> Tensor:
    """A picture with detail of about `cell` pixels, from 0.25 to 0.75."""
    rough = noise(seed, 1, 3, side // cell + 1, side // cell + 1)
    return F.interpolate(rough, (side, side), mode="bicubic").clamp(0, 1) / 2 + 0.25


def decibels(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


def blockiness(image: Tensor) -> float:
    """Contrast across the borders of 4 × 4 blocks ÷ contrast elsewhere."""
    ratios = []
    for x in (image.float(), image.float().transpose(2, 3)):
        steps = x.diff(dim=3).abs().mean((0, 1, 2))
        border = torch.arange(len(steps)) % 4 == 3
        ratios.append(float(steps[border].mean() / steps[~border].mean()))
    return sum(ratios) / 2


def test_means_are_those_of_the_training_data() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    ours = average_down(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - coarser(image)).max() <= 0.5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), height=SIDES, width=SIDES, low=st.floats(0, 0.4), high=st.floats(0.6, 1))
def test_any_image_is_made_to_agree_with_any_other(seed: int, height: int, width: int, low: float, high: float) -> None:
    x, coarse = noise(seed, 1, 3, 4 * height, 4 * width), noise(seed + 1, 1, 3, height, width, low=low, high=high)
    result = consistent(x, coarse)
    assert result.dtype == torch.uint8 and result.shape == x.shape
    assert decibels(average_down(result.float()) / 255, coarse) > 35


def test_detail_is_kept_and_the_means_are_nearly_exact() -> None:
    truth = smooth(0, 128, 3)
    coarse = average_down(truth)
    wrong = (0.9 * truth + 0.08 * noise(1, 1, 3, 128, 128) + 0.05 * smooth(2, 128, 16)).clamp(0, 1)
    result = consistent(wrong, coarse).float() / 255
    assert decibels(average_down(wrong), coarse) < 35 < 60 < decibels(average_down(result), coarse)
    assert decibels(result, truth) > decibels(wrong, truth) + 2
    rough = wrong - F.interpolate(average_down(wrong), scale_factor=4, mode="bicubic")
    kept = result - F.interpolate(average_down(result), scale_factor=4, mode="bicubic")
    assert float((rough * kept).sum() / (rough.norm() * kept.norm())) > 0.97


@pytest.mark.parametrize(("value", "wanted"), [(0.5, 0.25), (0.0, 1.0), (1.0, 0.0), (0.2, 0.2)])
def test_a_constant_stays_constant(value: float, wanted: float) -> None:
    result = consistent(torch.full((1, 3, 20, 28), value), torch.full((1, 3, 5, 7), wanted))
    assert result.unique().tolist() == [round(255 * wanted)]


def test_an_image_that_agrees_stays_as_it_is() -> None:
    pixels = (noise(0, 1, 3, 32, 32) * 255).round()
    x = pixels / 255
    assert torch.equal(consistent(x, average_down(x)).float(), pixels)


def test_no_blocks_appear() -> None:
    x = smooth(0, 256, 5)
    coarse = average_down(x + 0.3 * (smooth(1, 256, 12) - 0.5) + 0.1 * (noise(2, 1, 3, 256, 256) - 0.5))
    assert 0.95 < blockiness(x) < 1.05
    assert 0.93 < blockiness(consistent(x, coarse)) < 1.07
    shifted = x + F.interpolate(coarse - average_down(x), scale_factor=4)
    assert blockiness(shifted) > 1.1


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.8, 1.0])
def test_the_strength_is_the_share_of_the_way(strength: float) -> None:
    x, coarse = smooth(0, 64, 5), average_down(smooth(1, 64, 12))
    before = average_down(x)
    after = average_down(consistent(x, coarse, strength).float()) / 255
    assert (after - (before + strength * (coarse - before))).abs().max() < 1.5 / 255
    if strength == 0:
        assert torch.equal(consistent(x, coarse, strength).float(), (x * 255).round())


def test_known_pixels_are_left_alone_and_the_others_make_up_for_them() -> None:
    x = smooth(0, 64, 5)
    coarse = (average_down(x) + 0.05).clamp(0, 1)
    known = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    known[..., 20:46, 10:] = True
    known[..., ::7, ::5] = True
    result = consistent(x, coarse, known=known).float() / 255
    kept = known.expand_as(x)
    assert torch.equal((result * 255).round()[kept], (x * 255).round()[kept])
    partly = (average_down((~known).float()) > 0.5).expand_as(coarse)
    assert decibels(average_down(result)[partly], coarse[partly]) > 50


def test_tiles_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, coarse = noise(0, 2, 1, 4 * 9, 4 * 60), noise(1, 2, 1, 9, 60)
    known = noise(2, 2, 1, 4 * 9, 4 * 60) < 0.2
    whole = consistent(x, coarse, known=known)
    monkeypatch.setattr(consistency, "_TILE", 8)
    assert (consistent(x, coarse, known=known).int() - whole.int()).abs().max() <= 1


@pytest.mark.parametrize("shape", [(1, 3, 5, 6), (1, 3, 6, 5), (2, 3, 5, 5), (1, 1, 5, 5)])
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="`coarse` must have 1/4 of the sides"):
        consistent(torch.zeros(1, 3, 20, 20), torch.zeros(shape))
    with pytest.raises(ArgumentError, match="`strength`"):
        consistent(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 5, 5), 1.5)
