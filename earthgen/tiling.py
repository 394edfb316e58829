"""Local networks on images of any size: tile by tile with a halo, equal to the whole and with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from earthgen.models.autoencoder import EarthAutoencoder

LATENT_TILE = 256
"""Latents a side that are computed at once: 1,024 px."""


def tiles(length: int, tile: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut 0..length into tiles: (what to read, what to write, which part of the result to take)."""
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        low, high = max(start - halo, 0), min(stop + halo, length)
        yield slice(low, high), slice(start, stop), slice(start - low, stop - low)


def apply_tiled(
    function: Callable[[slice, slice], Tensor],
    height: int,
    width: int,
    tile: int,
    halo: int,
    scale: float = 1.0,
) -> Tensor:
    """Put together what a local `function` gives for windows of a (height, width) grid.

    Args:
        function: Rows and columns to read → (batch, channels, rows × scale, columns × scale).
        tile: Side of a tile; a multiple of the network's own grid, so that windows start on it.
        halo: At least the network's receptive radius, and such a multiple too.
        scale: Output positions a side for each input position.
    """
    if height <= tile + 2 * halo and width <= tile + 2 * halo:
        return function(slice(0, height), slice(0, width))

    def scaled(s: slice) -> slice:
        return slice(int(s.start * scale), int(s.stop * scale))

    result: Tensor | None = None
    for read_rows, rows, keep_rows in tiles(height, tile, halo):
        for read_columns, columns, keep_columns in tiles(width, tile, halo):
            part = function(read_rows, read_columns)[..., scaled(keep_rows), scaled(keep_columns)]
            if result is None:
                result = part.new_empty(*part.shape[:2], int(height * scale), int(width * scale))
            result[..., scaled(rows), scaled(columns)] = part
    if result is None:
        raise ValueError(f"`height` and `width` must be positive, but got {(height, width)}")
    return result


def _device(autoencoder: EarthAutoencoder) -> torch.device:
    """Where it computes, which is not where it lies while accelerate's hooks offload it."""
    hook = getattr(autoencoder, "_hf_hook", None)
    return getattr(hook, "execution_device", None) or autoencoder.device


def encode_tiled(autoencoder: EarthAutoencoder, x: Tensor) -> Tensor:
    """Latents of RGB images (batch, 3, height, width) in [-1, 1] of any size divisible by its factor."""
    factor = autoencoder.spatial_factor
    halo = autoencoder.halo[0]

    def window(rows: slice, columns: slice) -> Tensor:
        part = x[..., rows.start * factor : rows.stop * factor, columns.start * factor : columns.stop * factor]
        part = part.to(_device(autoencoder)).contiguous(memory_format=torch.channels_last)
        return autoencoder.encode(part).latent

    return apply_tiled(window, x.shape[2] // factor, x.shape[3] // factor, LATENT_TILE, halo)


def decode_tiled(autoencoder: EarthAutoencoder, z: Tensor) -> Tensor:
    """RGB images (batch, 3, height, width) of latents of any size."""
    halo = autoencoder.halo[1]

    def window(rows: slice, columns: slice) -> Tensor:
        part = z[..., rows, columns].to(_device(autoencoder))
        return autoencoder.decode(part.contiguous(memory_format=torch.channels_last)).sample

    return apply_tiled(window, z.shape[2], z.shape[3], LATENT_TILE, halo, autoencoder.spatial_factor)
