"""A light fully convolutional network that says of each pixel what stands there, trained on a few labelled images.

It reads objects from their outlines or boxes, and semantic masks; either may be absent, in the set or of an image.
Feature pyramid after Lin et al. 2017, arXiv:1612.03144.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from earthgen.conditions import UNKNOWN
from earthgen.dataset.verify_data import Pictures, class_map, mask_of, random_corner, turned, window
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledImage
from earthgen.metrics.network import FitConfig, ResidualBlock, fit_network, load_weights, save_weights, to_tensor

STRIDE = 16
"""Of the coarsest features."""
_TILE, _HALO = 1024, 96
"""Pixels a side of what is looked at at once, and what is seen beyond: more than the network reaches (a test)."""


@dataclass(frozen=True, slots=True)
class EvaluatorConfig:
    """Shape of the network, and how it is trained."""

    widths: tuple[int, ...] = (24, 48, 96, 128)  # channels at 1/2, 1/4, 1/8 and 1/16 of the image's size
    channels: int = 48  # of the pyramid
    window: int = 128  # pixels a side of what it learns from
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=600, batch_size=12, colour=0.1))

    def __post_init__(self) -> None:
        if len(self.widths) != 4:
            raise ArgumentError("widths", "must be four numbers of channels", self.widths)
        if self.window < STRIDE or self.window % STRIDE:
            raise ArgumentError("window", f"must be a multiple of {STRIDE}", self.window)


class Seen(NamedTuple):
    """What the evaluator sees in an image: probabilities, 0 to 1."""

    objects: NDArray[np.float32] | None
    """(1 + classes, height, width), the first that of no object; None of a set without objects."""
    mask: NDArray[np.float32] | None
    """(mask classes, height, width); None of a set without masks."""


class Evaluator:
    """A trained network with the names of what it knows. Made by `fit` or `load`."""

    def __init__(
        self, network: _Pyramid, classes: Sequence[str], mask_classes: Sequence[str], config: EvaluatorConfig
    ) -> None:
        # One layout in memory, or a loaded network would round otherwise than the one it was saved from.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classes = tuple(classes)
        self.mask_classes = tuple(mask_classes)
        self.config = config

    @classmethod
    def fit(
        cls,
        sources: Sequence[Sequence[LabelledImage]],
        classes: Sequence[str],
        mask_classes: Sequence[str],
        config: EvaluatorConfig | None = None,
        progress: str | None = None,
    ) -> Evaluator:
        """Train on random windows, half of them around objects, each class as often, turned and mirrored.

        Args:
            sources: Sets of images; windows are drawn from each set equally often.
            classes: Of the objects; empty leaves objects out.
            mask_classes: Of the masks; empty leaves masks out.
            config: None takes the defaults.
            progress: Title of a progress bar; None shows none.

        Raises:
            ArgumentError: A set has no image with labels of that kind.
        """
        config = config or EvaluatorConfig()
        windows = [_Windows(images, classes, mask_classes, config.window) for images in sources]
        groups = _groups(classes, mask_classes)

        def batch(generator: np.random.Generator) -> tuple[Tensor, Tensor]:
            first = int(generator.integers(len(windows)))
            drawn = [windows[(first + k) % len(windows)].draw(generator) for k in range(config.fit.batch_size)]
            x = to_tensor(np.stack([pixels for pixels, _ in drawn]))
            gain, offset = torch.from_numpy(generator.normal(0, 1, (2, len(x), 3, 1, 1)).astype(np.float32))
            x = (x + 1) * (config.fit.colour * gain).exp() - 1 + 2 * config.fit.offset * offset
            return x, torch.from_numpy(np.stack([truth for _, truth in drawn]))

        def loss(output: Tensor, truth: Tensor) -> Tensor:
            total = output.sum() * 0  # also of a batch of which nothing is known
            for logits, target in zip(output.split(groups, 1), truth.long().unbind(1), strict=True):
                if (target != UNKNOWN).any():
                    total = total + F.cross_entropy(logits, target, ignore_index=UNKNOWN)
            return total

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.fit.seed)
            network = _Pyramid(sum(groups), config)
        return cls(fit_network(network, batch, loss, config.fit, progress), classes, mask_classes, config)

    @torch.inference_mode()
    def see(self, image: NDArray[np.uint8]) -> Seen:
        """What stands where in an image (height, width, 3), uint8 RGB, of any size: in tiles that equal the whole."""
        height, width = image.shape[:2]
        x = to_tensor(image[None])
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        whole = torch.empty(self.network.head.out_channels, *x.shape[2:])
        for top in range(0, x.shape[2], _TILE):
            for left in range(0, x.shape[3], _TILE):
                y0, x0 = max(top - _HALO, 0), max(left - _HALO, 0)
                part = self.network(x[:, :, y0 : top + _TILE + _HALO, x0 : left + _TILE + _HALO])[0].float()
                core = part[:, top - y0 : top - y0 + _TILE, left - x0 : left - x0 + _TILE]
                whole[:, top : top + _TILE, left : left + _TILE] = core
        logits = whole[:, :height, :width].split(_groups(self.classes, self.mask_classes))
        seen = [part.softmax(0).numpy() for part in logits]
        return Seen(seen[0] if self.classes else None, seen[-1] if self.mask_classes else None)

    def save(self, folder: Path | str) -> None:
        """Write `evaluator.safetensors` and `evaluator.json` into `folder`."""
        record = {"classes": self.classes, "mask_classes": self.mask_classes, "config": asdict(self.config)}
        save_weights(*_files(folder), self.network, record)

    @classmethod
    def load(cls, folder: Path | str) -> Evaluator:
        """What `save` wrote.

        Raises:
            WeightsError: The files are missing or damaged.
        """

        def build(record: dict[str, Any]) -> _Pyramid:
            return _Pyramid(sum(_groups(record["classes"], record["mask_classes"])), _config(record["config"]))

        network, record = load_weights(*_files(folder), "evaluator", build)
        return cls(network, record["classes"], record["mask_classes"], _config(record["config"]))


def _files(folder: Path | str) -> tuple[Path, Path]:
    return Path(folder) / "evaluator.safetensors", Path(folder) / "evaluator.json"


def _config(record: dict[str, Any]) -> EvaluatorConfig:
    return EvaluatorConfig(**{**record, "widths": tuple(record["widths"]), "fit": FitConfig(**record["fit"])})


class _Pyramid(nn.Module):
    """Images (batch, 3, height, width) in [-1, 1], sides divisible by `STRIDE`, to logits of the same size."""

    def __init__(self, outputs: int, config: EvaluatorConfig) -> None:
        super().__init__()
        widths, channels = config.widths, config.channels
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), _convolution(12, widths[0], 3))
        self.down = nn.ModuleList(ResidualBlock(a, b, 2) for a, b in pairwise(widths))
        self.side = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(_convolution(channels, channels, 3) for _ in widths[1:])
        self.head = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.stem(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        y: Tensor = self.side[-1](levels[-1])
        for k in reversed(range(len(levels) - 1)):
            y = self.smooth[k](F.interpolate(y, scale_factor=2.0) + self.side[k](levels[k]))
        return F.interpolate(self.head(y), scale_factor=2.0, mode="bilinear")


def _convolution(inner: int, outer: int, size: int) -> nn.Sequential:
    convolution = nn.Conv2d(inner, outer, size, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outer), nn.ReLU())


def _groups(classes: Sequence[str], mask_classes: Sequence[str]) -> list[int]:
    """Outputs for the objects, with one for their absence, and for the mask, where there are any."""
    return [n for n in (1 + len(classes) if classes else 0, len(mask_classes)) if n]


class _Windows:
    """Windows of a set's images with what is known of their pixels, a function of the generator alone."""

    def __init__(
        self, images: Sequence[LabelledImage], classes: Sequence[str], mask_classes: Sequence[str], size: int
    ) -> None:
        images = [i for i in images if (classes and i.shapes is not None) or (mask_classes and i.mask is not None)]
        if not images:
            raise ArgumentError("sources", "must each hold images with objects or masks", 0)
        self.pictures, self.size = Pictures(images), size
        self.truth = [truth_of(image, classes, mask_classes) for image in images]
        self.centres: dict[str, list[tuple[int, float, float]]] = {}
        """By class, where its objects are: image, x, y."""
        for index, image in enumerate(images):
            for shape in image.shapes or ():
                if shape.label in classes:
                    self.centres.setdefault(shape.label, []).append((index, shape.box.cx, shape.box.cy))

    def draw(self, generator: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Pixels (size, size, 3) and what is known of them (kinds, size, size)."""
        index = int(generator.integers(len(self.truth)))
        around = self.centres and generator.random() < 0.5
        if around:
            places = self.centres[list(self.centres)[generator.integers(len(self.centres))]]
            index, x, y = places[generator.integers(len(places))]
        pixels, truth = self.pictures[index], self.truth[index]
        height, width = pixels.shape[:2]
        left, top = random_corner(height, width, self.size, generator)
        if around:
            left, top = (
                int(np.clip(centre - self.size * generator.random(), 0, max(side - self.size, 0)))
                for centre, side in ((x, width), (y, height))
            )
        mirror, quarters = bool(generator.integers(2)), int(generator.integers(4))
        known = window(truth, left, top, self.size, UNKNOWN)
        shown = window(pixels, left, top, self.size)
        return turned(shown, mirror, quarters), np.moveaxis(turned(known, mirror, quarters), 2, 0)


def truth_of(image: LabelledImage, classes: Sequence[str], mask_classes: Sequence[str]) -> NDArray[np.uint8]:
    """What is known of each pixel, (height, width, kinds): class map of objects, mask; 255 where unknown."""
    unknown = np.full((image.height, image.width), UNKNOWN, np.uint8)
    kinds = []
    if classes:
        kinds.append(unknown if image.shapes is None else class_map(image, classes))
    if mask_classes:
        kinds.append(unknown if image.mask is None else mask_of(image, mask_classes))
    return np.stack(kinds, 2)
