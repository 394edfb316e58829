"""From `Conditions`, as a person gives them, to the tensors a denoiser reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from earthgen.conditions import CONDITION_NAMES, Conditions
from earthgen.errors import ArgumentError
from earthgen.layout import BOX_CHANNELS, CELL, LAYOUT_CHANNELS, MASK_CHANNELS, class_vectors, paint_boxes, paint_mask
from earthgen.models.autoencoder import EarthAutoencoder
from earthgen.models.conditioning import Conditioning
from earthgen.text import encode_text, sentence_vectors
from earthgen.tiling import encode_tiled


def padded_size(height: int, width: int, grid: int) -> tuple[int, int]:
    """The size in pixels an image of this size is computed at before it is cropped: multiples of `grid` pixels."""
    return math.ceil(height / grid) * grid, math.ceil(width / grid) * grid


def unit_vectors(lat: NDArray[np.floating] | float, lon: NDArray[np.floating] | float) -> NDArray[np.float32]:
    """Degrees → points on the unit sphere, (3, ...)."""
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)]).astype(np.float32)


def date_features(day: NDArray[np.floating] | float, year: NDArray[np.floating] | float) -> NDArray[np.float32]:
    """Day of the year (1 to 366) and year → (3, ...): cosine, sine, (year - 2015) / 20."""
    angle = np.asarray(day) * (2 * math.pi / 365.25)
    return np.stack([np.cos(angle), np.sin(angle), (np.asarray(year) - 2015) / 20]).astype(np.float32)


def image_tensor(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """uint8 (H, W, 3) → (1, 3, *size) in [-1, 1]; beyond the image its last row and column are repeated."""
    height, width = size[0] - image.shape[0], size[1] - image.shape[1]
    padded = np.pad(image, ((0, height), (0, width), (0, 0)), mode="edge")
    return torch.from_numpy(padded).permute(2, 0, 1)[None].float().div_(127.5).sub_(1)


def known_latents(mask: NDArray[np.bool_], size: tuple[int, int], factor: int) -> Tensor:
    """A mask of known pixels (H, W) → (1, 1, h, w), 1 where all pixels of a latent, `factor` a side, are known."""
    padded = np.pad(mask, ((0, size[0] - mask.shape[0]), (0, size[1] - mask.shape[1])))
    cells = padded.reshape(size[0] // factor, factor, size[1] // factor, factor).all((1, 3))
    return torch.from_numpy(cells)[None, None].float()


def filled(image: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """An image whose unknown pixels are those nearest that are known, so that none of what they held is coded."""
    if known.all() or not known.any():
        return image
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image[tuple(nearest)]


@torch.no_grad()
def conditioning_of(
    conditions: Sequence[Conditions],
    height: int,
    width: int,
    grid: int,
    autoencoder: EarthAutoencoder,
    text_encoder: Any,
    tokenizer: Any,
) -> Conditioning:
    """The tensors of a batch of conditions for images of `height` × `width` pixels, on the CPU, float32.

    They have the size of `padded_size(height, width, grid)`.

    Raises:
        ArgumentError: A raster or a box does not fit the size.
    """
    for c in conditions:
        c.check_size(height, width)
    size = padded_size(height, width, grid)
    factor = autoencoder.spatial_factor
    rows, columns = size[0] // factor, size[1] // factor
    channels = autoencoder.config.latent_channels
    batch = len(conditions)
    present = torch.tensor([[c.present()[n] for n in CONDITION_NAMES] for c in conditions])
    tensors = vars(Conditioning.none(batch, channels)) | {"present": present}

    def any_has(name: str) -> bool:
        return bool(present[:, CONDITION_NAMES.index(name)].any())

    def numbers(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)

    if any_has("text"):
        tensors |= _text_tensors([c.text for c in conditions], text_encoder, tokenizer)
    tensors["gsd"] = numbers([math.log2(c.gsd) if c.gsd else 0.0 for c in conditions])
    places = unit_vectors(np.array([c.lat or 0.0 for c in conditions]), np.array([c.lon or 0.0 for c in conditions]))
    tensors["position"] = torch.from_numpy(places.T.copy()).view(batch, 3, 1, 1)
    days = [(c.date.timetuple().tm_yday, c.date.year) if c.date else (1, 2015) for c in conditions]
    tensors["date"] = torch.from_numpy(date_features(*np.array(days, float).T).T.copy()).view(batch, 3, 1, 1)
    tensors["cloud"] = numbers([c.cloud_cover or 0.0 for c in conditions])
    tensors["degradation"] = numbers([c.coarse_degradation for c in conditions])

    def encode(image: NDArray[np.uint8]) -> Tensor:
        return encode_tiled(autoencoder, image_tensor(image, size)).float().cpu()

    if any_has("boxes") or any_has("mask"):
        if factor != CELL:
            rule = f"need a model whose latents are {CELL} px a side"
            raise ArgumentError("boxes" if any_has("boxes") else "mask", rule, factor)
        layout = np.zeros((batch, LAYOUT_CHANNELS, size[0] // CELL, size[1] // CELL), np.float32)
        for i, c in enumerate(conditions):
            ground, classes = c.ground(height, width)
            names = sorted({b.label for b in c.boxes or ()} | set(classes))
            if not names:
                continue
            vectors = dict(zip(names, class_vectors(sentence_vectors(names, text_encoder, tokenizer)), strict=True))
            if ground is not None:
                padded = np.pad(ground, ((0, size[0] - height), (0, size[1] - width)), mode="edge")
                layout[i, MASK_CHANNELS] = paint_mask(padded, np.stack([vectors[n] for n in classes]))
            if c.boxes:
                layout[i, BOX_CHANNELS] = paint_boxes(c.boxes, vectors, *size)
        tensors["layout"] = torch.from_numpy(layout)
    if any_has("known"):
        known, masks = torch.zeros(batch, channels, rows, columns), torch.zeros(batch, 1, rows, columns)
        for i, c in enumerate(conditions):
            if c.known is not None and c.known_mask is not None:
                masks[i] = known_latents(c.known_mask, size, factor)[0]
                known[i] = encode(filled(c.known, c.known_mask))[0] * masks[i]
        tensors |= {"known": known, "known_mask": masks}
    if any_has("coarse"):
        coarse = torch.zeros(batch, channels, rows, columns)
        for i, c in enumerate(conditions):
            if c.coarse is not None:
                coarse[i] = encode(enlarged(c.coarse, 4))[0, :, :rows, :columns]
        tensors["coarse"] = coarse
    return Conditioning(**tensors)


def with_texts(given: Conditioning, texts: Sequence[str], text_encoder: Any, tokenizer: Any) -> Conditioning:
    """The same, as `conditioning_of` gives it, with these texts, one an image; absent where empty."""
    present = given.present.clone()
    present[:, CONDITION_NAMES.index("text")] = torch.tensor([bool(text) for text in texts])
    return replace(given, present=present, **_text_tensors(texts, text_encoder, tokenizer))


def _text_tensors(texts: Sequence[str | None], text_encoder: Any, tokenizer: Any) -> dict[str, Tensor]:
    """What a batch of texts comes to, blank ones as any: their flags say that they are absent."""
    tokens, mask = encode_text([(text or "").strip() or "-" for text in texts], text_encoder, tokenizer)
    return {"text": tokens.float().cpu(), "text_mask": mask.cpu()}


def enlarged(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """A coarser image brought to the finer one's size by bicubic interpolation, as the denoiser is given it."""
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


@torch.no_grad()
def image_latents(image: NDArray[np.uint8], grid: int, autoencoder: EarthAutoencoder) -> Tensor:
    """Latents (1, channels, h, w) of a uint8 image of any size, padded to multiples of `grid` pixels."""
    size = padded_size(image.shape[0], image.shape[1], grid)
    return encode_tiled(autoencoder, image_tensor(image, size)).float().cpu()
