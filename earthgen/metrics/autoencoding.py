"""What an autoencoder keeps of real images, and how long it takes over them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from earthgen.data.augment import draw
from earthgen.data.base import Reader
from earthgen.metrics.network import Images, to_tensor
from earthgen.metrics.reconstruction import psnr, ssim
from earthgen.metrics.spectrum import octave_ratio, spectrum_error

Transform = Callable[[Tensor], Tensor]


def crops(reader: Reader, count: int, side: int, seed: int = 0) -> Images:
    """Squares of `side` px of `count` samples drawn at random, at their native GSD: (number, side, side, 3).

    Samples smaller than that are taken as they are if all are square and of one size, as EuroSAT's patches.
    """
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(reader), count, replace=len(reader) < count)
    samples = [reader[int(k)] for k in chosen]
    side = min(side, *(min(s.height, s.width) for s in samples)) // 8 * 8
    return np.stack([draw(s, generator, side, turn=False).image for s in samples])


@torch.inference_mode()
def reconstruct(images: Images, encode: Transform, decode: Transform, batch_size: int = 8) -> Images:
    """Images encoded, decoded and rounded to 8 bits."""
    parts = []
    for start in range(0, len(images), batch_size):
        x = decode(encode(to_tensor(images[start : start + batch_size])))
        x = x.float().add(1).mul(127.5).round().clamp(0, 255)
        parts.append(x.permute(0, 2, 3, 1).to(torch.uint8).numpy())
    return np.concatenate(parts)


def reconstruction_report(
    readers: Iterable[Reader],
    encode: Transform,
    decode: Transform,
    count: int = 100,
    side: int = 256,
    progress: bool = False,
) -> dict[str, dict[str, Any]]:
    """PSNR, SSIM and power-spectrum error of reconstructions for each data set. JSON-ready.

    Args:
        readers: Of the test split.
        encode: Images (batch, 3, height, width) in [-1, 1] to latents.
        decode: And back.
        count: Images of each data set.
        side: Pixels a side of the squares that are cut from them.
        progress: Whether to show a progress bar.
    """
    report: dict[str, dict[str, Any]] = {}
    for reader in tqdm(list(readers), desc="reconstruction", disable=not progress, unit="set"):
        real = crops(reader, count, side)
        made = reconstruct(real, encode, decode)
        decibels, (largest, mean) = psnr(real, made), spectrum_error(made, real, up_to=0.5)
        report[reader.name] = {
            "images": len(real),
            "side": real.shape[1],
            # Open sea comes back without an error; infinity would hide all others.
            "psnr": float(np.minimum(decibels, 60).mean()),
            "psnr_worst_tenth": float(np.quantile(decibels, 0.1)),
            "ssim": float(ssim(real, made).mean()),
            "spectrum_error_to_half_nyquist": {"largest": largest, "mean": mean},
            "power_ratio": octave_ratio(made, real),
        }
    return report


@torch.inference_mode()
def milliseconds(function: Transform, x: Tensor, repeats: int = 7, seconds: float = 10.0) -> float:
    """Median time of a call after one to warm up, in milliseconds; fewer `repeats` once they took these `seconds`."""
    function(x)
    times: list[float] = []
    while len(times) < repeats and sum(times) < seconds:
        start = time.perf_counter()
        function(x)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))
