"""How close a reconstruction is to its original, image by image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from earthgen.errors import ArgumentError
from earthgen.metrics.network import Images


def psnr(originals: Images, reconstructions: Images) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image in dB, over all pixels and channels: (number,).

    10 log10(255² / mean squared error); infinite where the two are equal.
    """
    _check_pair(originals, reconstructions)
    squares = np.empty(len(originals))
    for k, (a, b) in enumerate(zip(originals, reconstructions, strict=True)):
        squares[k] = np.square(a.astype(np.float32) - b.astype(np.float32)).mean(dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / squares), np.float64)


def ssim(originals: Images, reconstructions: Images, batch_size: int = 32) -> NDArray[np.float64]:
    """Structural similarity of each image, -1 to 1, the mean over channels: (number,).

    With the window of Wang et al. 2004 ("Image quality assessment: from error visibility to structural similarity"),
    a Gaussian of 1.5 px; computed by torchmetrics.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check_pair(originals, reconstructions)
    parts = []
    for start in range(0, len(originals), batch_size):
        stop = start + batch_size
        a, b = (torch.from_numpy(x[start:stop]).permute(0, 3, 1, 2).float() for x in (originals, reconstructions))
        values = structural_similarity_index_measure(b, a, data_range=255.0, reduction="none")
        parts.append(values.reshape(-1).double().numpy())  # type: ignore[union-attr]
    return np.concatenate(parts)


def _check_pair(originals: Images, reconstructions: Images) -> None:
    for name, images in (("originals", originals), ("reconstructions", reconstructions)):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
            rule = "must be a uint8 array of shape (number, height, width, 3), number > 0"
            raise ArgumentError(name, rule, (images.dtype, images.shape))
    if originals.shape != reconstructions.shape:
        rule = f"must have the originals' shape, {originals.shape}"
        raise ArgumentError("reconstructions", rule, reconstructions.shape)
