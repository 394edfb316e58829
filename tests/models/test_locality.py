"""The promise everything rests on: what lies beyond the receptive field changes nothing, and tiles equal the whole."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
from torch import nn

from earthgen.errors import ArgumentError
from earthgen.models import PRESETS, Conditioning, EarthAutoencoder, EarthUNet
from earthgen.tiling import apply_tiled, tiles

Module = TypeVar("Module", bound=nn.Module)


def awake(model: Module) -> Module:
    """Give layers that start at zero some weight: a network that ignores its inputs would pass any test of locality."""
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        if p.abs().max() == 0:
            p.data = torch.randn(p.shape, generator=generator) * 0.05
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def unet() -> EarthUNet:
    torch.manual_seed(0)
    return awake(EarthUNet.preset("tiny", latent_channels=4)).double()


@pytest.fixture(scope="module")
def autoencoder() -> EarthAutoencoder:
    torch.manual_seed(0)
    return awake(EarthAutoencoder(4, (8, 16))).double()


def given(batch: int, side: int) -> Conditioning:
    torch.manual_seed(1)
    c = Conditioning.none(batch, 4).to("cpu", torch.float64)
    fields = {
        "present": torch.ones_like(c.present),
        "text": torch.randn(batch, 5, 384, dtype=torch.float64),
        "text_mask": torch.ones(batch, 5, dtype=torch.bool),
        "layout": torch.randn(batch, 70, side, side, dtype=torch.float64),
        "known": torch.randn(batch, 4, side, side, dtype=torch.float64),
        "known_mask": torch.ones(batch, 1, side, side, dtype=torch.float64),
        "coarse": torch.randn(batch, 4, side, side, dtype=torch.float64),
    }
    return Conditioning(**(vars(c) | fields))


def test_a_velocity_depends_on_nothing_beyond_the_receptive_radius_and_on_its_edge(unet: EarthUNet) -> None:
    side, radius = 96, unet.receptive_radius
    x = torch.randn(1, 4, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    before = unet(x, 500.0, given(1, side)).sample
    changed = x.clone()
    changed[..., 48, 48] += 10
    difference = (unet(changed, 500.0, given(1, side)).sample - before).abs().amax((0, 1))
    rows, columns = torch.nonzero(difference, as_tuple=True)
    reach = max(int((rows - 48).abs().max()), int((columns - 48).abs().max()))
    assert reach <= radius
    assert reach >= radius - 2, "the declared radius is wider than it need be: halos cost evaluations"


def test_conditions_that_are_fields_are_local_too(unet: EarthUNet) -> None:
    side = 96
    x = torch.randn(1, 4, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    base = given(1, side)
    before = unet(x, 500.0, base).sample
    for name in ("layout", "known", "coarse"):
        field = getattr(base, name).clone()
        centre = field.shape[-1] // 2
        field[..., centre, centre] += 10
        after = unet(x, 500.0, Conditioning(**(vars(base) | {name: field}))).sample
        rows, _ = torch.nonzero((after - before).abs().amax((0, 1)), as_tuple=True)
        assert len(rows), f"{name} is not read"
        assert int((rows - 48).abs().max()) <= unet.receptive_radius


def test_tiles_of_the_denoiser_equal_the_whole(unet: EarthUNet) -> None:
    side = 104
    x = torch.randn(1, 4, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    conditioning = given(1, side)
    whole = unet(x, 300.0, conditioning).sample
    halo = -unet.receptive_radius // unet.grid * -unet.grid

    def window(rows: slice, columns: slice) -> torch.Tensor:
        return unet(x[..., rows, columns], 300.0, conditioning.window(rows, columns)).sample

    tiled = apply_tiled(window, side, side, 16, halo)
    assert torch.allclose(tiled, whole, atol=1e-9)
    too_narrow = apply_tiled(window, side, side, 16, 4)
    assert not torch.allclose(too_narrow, whole, atol=1e-6), "the halo must matter, or this test sees nothing"


def test_tiles_of_the_autoencoder_equal_the_whole(autoencoder: EarthAutoencoder) -> None:
    x = torch.rand(1, 3, 256, 192, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 2 - 1
    z = autoencoder.encode(x).latent
    encode_halo, decode_halo = autoencoder.receptive_field

    def encode(rows: slice, columns: slice) -> torch.Tensor:
        part = x[..., rows.start * 4 : rows.stop * 4, columns.start * 4 : columns.stop * 4]
        return autoencoder.encode(part).latent

    assert torch.allclose(apply_tiled(encode, 64, 48, 4, encode_halo), z, atol=1e-9)
    decoded = apply_tiled(lambda r, c: autoencoder.decode(z[..., r, c]).sample, 64, 48, 4, decode_halo, 4)
    assert torch.allclose(decoded, autoencoder.decode(z).sample, atol=1e-6)  # colours are float32


def test_a_pixel_depends_on_no_latent_beyond_the_declared_reach(autoencoder: EarthAutoencoder) -> None:
    z = torch.randn(1, 4, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    changed = z.clone()
    changed[..., 24, 24] += 10
    difference = (autoencoder.decode(changed).sample - autoencoder.decode(z).sample).abs().amax((0, 1))
    rows = torch.nonzero(difference)[:, 0] // 4 - 24
    declared = autoencoder.receptive_field[1]
    assert declared - 2 <= int(rows.abs().max()) <= declared


@pytest.mark.parametrize(("length", "tile", "halo"), [(10, 4, 2), (4, 4, 8), (1, 4, 0), (33, 8, 6)])
def test_tiles_cover_each_position_once(length: int, tile: int, halo: int) -> None:
    seen: list[int] = []
    for read, write, keep in tiles(length, tile, halo):
        assert range(length)[read][keep] == range(length)[write]
        seen += range(length)[write]
    assert seen == list(range(length))


def test_a_field_of_one_value_is_the_single_value(unet: EarthUNet) -> None:
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    single = given(2, 8)
    spread = {
        "gsd": single.gsd.expand(2, 8, 8),
        "position": single.position.expand(2, 3, 8, 8),
        "date": single.date.expand(2, 3, 8, 8),
        "cloud": single.cloud.expand(2, 8, 8),
        "degradation": single.degradation.expand(2, 8, 8),
    }
    fielded = Conditioning(**(vars(single) | spread))
    assert torch.allclose(unet(x, 100.0, single).sample, unet(x, 100.0, fielded).sample, atol=1e-6)


@pytest.mark.parametrize("name", ["text", "gsd", "position", "date", "cloud", "boxes", "mask", "known", "coarse"])
def test_each_condition_matters_when_present_and_not_when_absent(unet: EarthUNet, name: str) -> None:
    from earthgen.conditions import CONDITION_NAMES

    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    full = given(1, 8)
    without = full.keep(set(CONDITION_NAMES) - {name})
    assert not torch.allclose(unet(x, 100.0, full).sample, unet(x, 100.0, without).sample)
    # What an absent condition holds is not read.
    fields = {"boxes": "layout", "mask": "layout", "known": "known_mask"}
    key = fields.get(name, name)
    if key == "layout":
        return
    other = Conditioning(**(vars(without) | {key: getattr(without, key) + 1}))
    assert torch.equal(unet(x, 100.0, without).sample, unet(x, 100.0, other).sample)


def test_a_network_grows_by_blocks_that_change_nothing_yet() -> None:
    unet, given = awake(EarthUNet.preset("mini")), Conditioning.none(1, 8)
    deep = unet.grown("deep")
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(deep(x, 500.0, given).sample, unet(x, 500.0, given).sample)
        torch.nn.init.normal_(deep.middle[-1].conv2.weight)
        assert not torch.equal(deep(x, 500.0, given).sample, unet(x, 500.0, given).sample)
    assert deep.receptive_radius > unet.receptive_radius
    for network, name in ((deep, "mini"), (unet, "base"), (unet, "tiny")):
        with pytest.raises(ArgumentError, match="`preset` must be as wide"):
            network.grown(name)


def test_presets_build_and_wrong_shapes_are_named() -> None:
    for name in PRESETS:
        with torch.device("meta"):
            assert EarthUNet.preset(name).receptive_radius <= 128
    unet = EarthUNet.preset("tiny")
    with pytest.raises(ValueError, match="divisible by 4"):
        unet(torch.zeros(1, 4, 6, 8), 0.0, Conditioning.none(1, 4))
    with pytest.raises(ValueError, match="divisible by 8"):
        EarthAutoencoder(4, (8, 8, 8), (1, 1, 1), (1, 1, 1)).encode(torch.zeros(1, 3, 12, 16))
