"""Colours through the autoencoder: cells keep their means exactly, and their borders do not show."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from earthgen.models import EarthAutoencoder
from earthgen.models.autoencoder import RGB, mixed, spread
from earthgen.training.autoencoder import contrast_loss, evenness_loss, measure_halo, pattern_loss


def across_and_within(x: Tensor) -> float:
    """Mean absolute step across the borders of cells of 4 px ÷ that within them."""
    step = x.diff(dim=3).abs().mean((0, 1, 2))
    border = torch.arange(len(step)) % 4 == 3
    return float(step[border].mean() / step[~border].mean())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 3))
def test_pixels_of_a_cell_average_to_its_colour_whatever_the_decoder_adds(seed: int, scale: float) -> None:
    torch.manual_seed(seed % 7)
    model = EarthAutoencoder(6, (8, 8), (1, 1), (1, 1)).eval().requires_grad_(False)
    z = scale * torch.randn(1, 6, 9, 7, generator=torch.Generator().manual_seed(seed))
    means = F.avg_pool2d(model.from_latent(z), 4)
    assert torch.allclose(means, mixed(z[:, :3], RGB), atol=1e-4 * max(1, scale))


def test_spread_keeps_an_even_colour_and_nearly_keeps_means() -> None:
    assert torch.equal(spread(torch.full((1, 2, 5, 5), 0.25), 4), torch.full((1, 2, 20, 20), 0.25))
    cells = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    error = F.avg_pool2d(spread(cells, 4), 4) - cells
    assert float(error.std() / cells.std()) < 0.2


def test_small_errors_of_colour_are_smoothed_over_the_borders_of_cells() -> None:
    cells = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    blocks = F.interpolate(cells, scale_factor=4)
    assert across_and_within(blocks + 1e-6 * torch.randn(blocks.shape)) > 100
    assert across_and_within(spread(cells, 4)) < 1.3  # slopes are even but where they turn, at the centres of cells


def test_the_contrast_loss_sees_cells_and_blur_but_not_colour() -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    assert float(contrast_loss(x + 0.3, x, 4)) < 1e-5
    half = float(contrast_loss(0.5 * x, x, 4))
    assert abs(half - 0.6931) < 1e-3
    cells = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.3
    assert float(contrast_loss(x + F.interpolate(cells, scale_factor=4), x, 4)) > 0.2


def test_the_evenness_loss_sees_cells_where_there_is_nothing_to_compare_with() -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    cells = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.3
    assert float(evenness_loss(x, 4)) < 0.03 < 0.2 < float(evenness_loss(x + F.interpolate(cells, scale_factor=4), 4))


def test_the_pattern_loss_sees_what_repeats_in_every_cell_of_calm_images_and_not_what_they_show() -> None:
    x = 0.01 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pattern = 0.002 * torch.randn(4, 4, generator=torch.Generator().manual_seed(2)).repeat(16, 16)
    assert float(pattern_loss(0.5 * x, x, 4)) < 0.03 < 0.1 < float(pattern_loss(x + pattern, x, 4))
    assert float(pattern_loss(x + pattern, x + pattern, 4)) == 0
    assert float(pattern_loss(10 * x + pattern, 10 * x, 4)) < 0.03


def test_the_measured_halo_is_as_wide_as_what_a_tile_needs_and_no_wider() -> None:
    torch.manual_seed(0)
    model = EarthAutoencoder(5, (8, 16), (1, 2), (1, 2)).eval().requires_grad_(False)
    for p in model.parameters():  # blocks start as the identity, which reaches nowhere
        p.data += 0.1 * torch.randn(p.shape)
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def crops(_step: object) -> dict[str, Tensor]:
        return {"x": x}

    coded, decoded = measure_halo(model, crops, 0, batches=1)
    assert model.halo == model.receptive_field  # until it is written into the config
    z = model.encode(x).latent
    y = model.decode(z).sample

    def error(halo: int) -> float:
        part = slice(15 - halo, 17 + halo)
        inner = slice(4 * halo, 4 * halo + 8)
        return float((model.decode(z[..., part, part]).sample[..., inner, inner] - y[..., 60:68, 60:68]).abs().max())

    assert error(decoded) <= 0.01 / 127.5 < error(decoded - 1)
    assert coded <= model.receptive_field[0]
