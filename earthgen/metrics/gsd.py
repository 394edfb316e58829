"""Reads the ground sampling distance off an image: does a generator obey the one it was asked for?

The reader is trained on real images shown at random known GSDs. It may go by anything that tells scales apart:
the size of houses, fields and coasts, and also the look of each sensor, which a generator learns with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from earthgen.data.augment import draw
from earthgen.data.base import Reader
from earthgen.errors import ArgumentError, WeightsError
from earthgen.metrics.network import (
    FitConfig,
    Images,
    NetworkConfig,
    ResidualNetwork,
    augment,
    check_images,
    fit_network,
    load_network,
    run,
    save_network,
    seeded_network,
)

SIDE = 64
"""Pixels a side of what the reader sees at a time."""


class GSDReader:
    """A trained network that gives log2 of the GSD in metres a pixel. Made by `fit` or `load`."""

    def __init__(
        self, network: ResidualNetwork, mean: float, deviation: float, about: dict[str, Any] | None = None
    ) -> None:
        self.network, self.mean, self.deviation = network, mean, deviation
        self.about = dict(about or {})

    @classmethod
    def fit(
        cls,
        images: Images,
        gsd: NDArray[np.floating[Any]],
        config: FitConfig | None = None,
        network: NetworkConfig | None = None,
        progress: str | None = None,
    ) -> GSDReader:
        """Train on square images (number, 64, 64, 3) and the GSD of each (number,), metres a pixel.

        Octaves of GSD are drawn equally often, whatever their share of the images.
        """
        # Strong colour changes: scale is to be read from shapes before tones.
        config, network = config or FitConfig(colour=0.15), network or NetworkConfig(1)
        check_images(images)
        target = _log2(gsd, len(images))
        mean, deviation = float(target.mean()), float(target.std()) or 1.0
        octave = np.floor(target)
        members = [np.flatnonzero(octave == o) for o in np.unique(octave)]

        def batch(generator: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            drawn = generator.integers(0, len(members), config.batch_size)
            chosen = np.array([generator.choice(members[k]) for k in drawn])
            y = ((target[chosen] - mean) / deviation).astype(np.float32)
            return augment(images[chosen], config, generator), torch.from_numpy(y)

        def loss(output: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            return F.smooth_l1_loss(output[:, 0], wanted, beta=0.1)

        fitted = fit_network(seeded_network(network, config.seed), batch, loss, config, progress)
        return cls(fitted, mean, deviation, {"fit": asdict(config), "images": len(images)})

    def predict(self, images: Images, progress: str | None = None) -> NDArray[np.float64]:
        """log2 of the GSD in metres a pixel of each image, the median over its 64 px squares: (number,).

        Raises:
            ArgumentError: Images are smaller than 64 px a side.
        """
        check_images(images)
        number, height, width, _ = images.shape
        if min(height, width) < SIDE:
            raise ArgumentError("images", f"must be at least {SIDE} px a side", images.shape)
        corners = [(top, left) for top in _starts(height) for left in _starts(width)]
        squares = np.stack([images[:, t : t + SIDE, s : s + SIDE] for t, s in corners], 1)
        values = run(self.network, squares.reshape(-1, SIDE, SIDE, 3), progress=progress)[:, 0]
        medians = np.median(values.reshape(number, -1).astype(np.float64), 1)
        return np.asarray(medians * self.deviation + self.mean)

    def save(self, folder: Path | str) -> None:
        """Write weights (safetensors) and their description (JSON) into `folder`."""
        scale = {"mean": self.mean, "deviation": self.deviation}
        save_network(Path(folder), self.network, {"kind": "gsd", **scale, **self.about})

    @classmethod
    def load(cls, folder: Path | str) -> GSDReader:
        """What `save` wrote.

        Raises:
            WeightsError: The files are missing, damaged, or of another evaluator.
        """
        network, about = load_network(Path(folder))
        if about.pop("kind", None) != "gsd":
            raise WeightsError(f"{folder} holds another kind of evaluator than a reader of GSD")
        return cls(network, about.pop("mean"), about.pop("deviation"), about)


def rank_correlation(asked: NDArray[np.floating[Any]], read: NDArray[np.floating[Any]]) -> float:
    """Spearman's rank correlation of the GSD asked for and the one read, -1 to 1."""
    return float(spearmanr(asked, read).statistic)


def crops_at_random_gsd(
    readers: Iterable[Reader],
    each: int,
    seed: int = 0,
    low: float = 0.25,
    high: float = 12_000.0,
    progress: str | None = None,
) -> tuple[Images, NDArray[np.float64]]:
    """Squares of 64 px of real images at random GSD: images (number, 64, 64, 3), and their GSD (number,) in metres.

    Args:
        readers: Data sets; samples of unknown GSD are passed over.
        each: Squares drawn from each data set. Its native GSD and the coarsest its sizes allow are reached alike.
        seed: Decides on samples, places and GSDs.
        low: Squares below this GSD are passed over, as are those above `high`.
        high: As `low`.
        progress: Title of a progress bar; None shows none.
    """
    generator = np.random.default_rng(seed)
    images: list[NDArray[np.uint8]] = []
    gsd: list[float] = []
    for reader in readers:
        # In order, so that a large picture from which many squares are drawn is read once.
        order = np.sort(generator.integers(0, len(reader), each)).tolist()
        held, sample = -1, reader[order[0]]
        for index in tqdm(order, desc=f"{progress}: {reader.name}", disable=progress is None, unit="square"):
            if index != held:
                held, sample = index, reader[index]
            widest = min(sample.height, sample.width) / SIDE
            if sample.gsd is None or widest < 1:
                continue
            square = draw(sample, generator, SIDE, float(widest ** generator.random()))
            if square.gsd is not None and low <= square.gsd <= high:
                images.append(square.image)
                gsd.append(square.gsd)
    if not images:
        raise ArgumentError("readers", f"must hold images of {SIDE} px a side from {low} to {high} m a pixel", None)
    return np.stack(images), np.array(gsd)


def _starts(size: int) -> list[int]:
    """Where squares start that cover `size` pixels, the last one flush with the end."""
    return sorted({*range(0, size - SIDE + 1, SIDE), size - SIDE})


def _log2(gsd: NDArray[np.floating[Any]], number: int) -> NDArray[np.float64]:
    values = np.asarray(gsd, np.float64)
    if values.shape != (number,) or not (values > 0).all() or not np.isfinite(values).all():
        raise ArgumentError("gsd", f"must be positive, of the shape {(number,)}, one for each image", values.shape)
    return np.log2(values)
