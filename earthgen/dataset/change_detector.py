"""A small change detector to measure data with: a siamese U-Net on the differences of its two sides' features.

FC-Siam-diff of Daudt, Le Saux and Boulch, "Fully convolutional siamese networks for change detection", ICIP 2018. It is
the yardstick of the verify loop, plain on purpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from earthgen.errors import ArgumentError

Mask = NDArray[np.bool_]
RGB = NDArray[np.uint8]
Light = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, eq=False)
class ChangeSample:
    """Two images (height, width, 3), uint8 RGB, and where they differ, (height, width)."""

    first: RGB
    second: RGB
    changed: Mask

    def __post_init__(self) -> None:
        if not self.first.shape == self.second.shape == (*self.changed.shape, 3):
            shapes = self.first.shape, self.second.shape, self.changed.shape
            raise ArgumentError("second", "must have the size of the first image, and `changed` too", shapes)


@dataclass(frozen=True, slots=True)
class ChangeDetectorConfig:
    """Shape of the network and how it is trained: AdamW, a linear warm-up, then cosine to 0."""

    width: int = 16  # channels at full resolution, doubled at each of three halvings
    crop: int = 96  # pixels a side of the windows it learns from, a multiple of 8
    steps: int = 1_000
    batch_size: int = 16
    learning_rate: float = 1e-3
    on_change: float = 0.5  # share of the windows that are centred on a changed pixel
    colour: float = 0.1  # standard deviation of the log of each image's random gain a channel
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("crop", 8), ("steps", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ArgumentError(name, f"must be at least {least}", getattr(self, name))
        if self.crop % 8:
            raise ArgumentError("crop", "must be a multiple of 8", self.crop)


class ChangeDetector(nn.Module):
    """Standardised images (batch, 3, height, width), sides multiples of 8 → logits of change (batch, height, width)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(4)]
        inputs = [3, *widths[:-1]]
        self.down = nn.ModuleList([_block(a, b) for a, b in zip(inputs, widths, strict=True)])
        self.up = nn.ModuleList([_block(widths[k + 1] + widths[k], widths[k]) for k in reversed(range(3))])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The order of the two images makes no difference."""
        differences, both = [], torch.cat([first, second])
        for k, block in enumerate(self.down):
            both = block(F.max_pool2d(both, 2) if k else both)
            one, other = both.chunk(2)
            differences.append((one - other).abs())
        x = differences.pop()
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), differences.pop()], 1))
        logits: Tensor = self.head(x)[:, 0]
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        # Group norm: batches are few, and those of two images of one place are not independent.
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.GroupNorm(min(8, outputs), outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def standardised(image: RGB) -> NDArray[np.float32]:
    """(3, height, width) of zero mean and unit deviation in each channel: dates differ in light and haze."""
    pixels = image.transpose(2, 0, 1).astype(np.float32)
    mean, deviation = _light(pixels)
    return (pixels - mean) / deviation


def _light(pixels: NDArray[np.float32]) -> Light:
    """Mean and deviation of each channel, (3, 1, 1), the latter never near 0."""
    return pixels.mean((1, 2), keepdims=True), pixels.std((1, 2), keepdims=True) + 1


def train_detector(
    samples: Sequence[ChangeSample],
    config: ChangeDetectorConfig | None = None,
    start: ChangeDetector | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> ChangeDetector:
    """A detector that learned from the samples, a pure function of them, the configuration and `start`.

    Args:
        samples: At least one; images smaller than the crop are mirrored at their border.
        config: Shape and training.
        start: Weights to go on from; they are copied.
        device: Where to compute.
        progress: Whether to show progress.
    """
    config = config or ChangeDetectorConfig()
    if not samples:
        raise ArgumentError("samples", "must be at least one", samples)
    random = np.random.default_rng(config.seed)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = ChangeDetector(config.width).to(device).train()
    if start is not None:
        net.load_state_dict(start.state_dict())
    ready = [_padded(s, config.crop) for s in samples]
    optimizer = torch.optim.AdamW(net.parameters(), config.learning_rate, weight_decay=0.01)
    warm = max(1, config.steps // 20)
    for step in tqdm(range(config.steps), desc="detector", disable=not progress, leave=False):
        rate = min((step + 1) / warm, 0.5 + 0.5 * np.cos(np.pi * step / config.steps))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * float(rate)
        views = [_view(ready[random.integers(len(ready))], config, random) for _ in range(config.batch_size)]
        first, second, changed = (torch.from_numpy(np.stack(parts)).to(device) for parts in zip(*views, strict=True))
        logits = net(first, second)
        loss = F.binary_cross_entropy_with_logits(logits, changed) + _dice(logits.sigmoid(), changed)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return net.eval()


def _dice(found: Tensor, changed: Tensor) -> Tensor:
    """1 - Dice's coefficient over the batch, which rare change does not drown in (Milletari et al. 2016)."""
    return 1 - (2 * (found * changed).sum() + 1) / (found.sum() + changed.sum() + 1)


class _Ready(NamedTuple):
    """A sample from which windows are cut; its pixels stay bytes, as floats of a real data set would not fit."""

    images: tuple[RGB, RGB]
    """(3, height, width), at least as large as a window."""
    light: tuple[Light, Light]
    """Of each image."""
    changed: Mask
    places: NDArray[np.intp]
    """Flat indices of changed pixels."""


def _padded(sample: ChangeSample, side: int) -> _Ready:
    more = [max(0, side - n) for n in sample.changed.shape]
    rim = ((0, more[0]), (0, more[1]))
    first, second = (image.transpose(2, 0, 1) for image in (sample.first, sample.second))
    changed = np.pad(sample.changed, rim, "symmetric")
    return _Ready(
        (np.pad(first, ((0, 0), *rim), "symmetric"), np.pad(second, ((0, 0), *rim), "symmetric")),
        (_light(first.astype(np.float32)), _light(second.astype(np.float32))),
        changed,
        np.flatnonzero(changed),
    )


def _view(ready: _Ready, config: ChangeDetectorConfig, random: np.random.Generator) -> list[NDArray[np.float32]]:
    """A window, turned, mirrored, its two images swapped, each in a light of its own."""
    places = ready.places
    height, width = ready.changed.shape
    limits = height - config.crop, width - config.crop
    if places.size and random.random() < config.on_change:
        middle = np.array(divmod(int(places[random.integers(places.size)]), width))
        jitter = random.integers(-config.crop // 2, config.crop // 2 + 1, 2)
        top, left = np.clip(middle + jitter - config.crop // 2, 0, limits)
    else:
        top, left = random.integers(0, np.add(limits, 1))
    turns, mirror, swap = int(random.integers(4)), random.integers(2), random.integers(2)
    parts = []
    for array in (*ready.images, ready.changed):
        part = array[..., top : top + config.crop, left : left + config.crop].astype(np.float32)
        part = np.rot90(part, turns, (-2, -1))
        parts.append(part[..., ::-1] if mirror else part)
    for k, (mean, deviation) in enumerate(ready.light):
        parts[k] = (parts[k] - mean) / deviation
        gain = np.exp(random.normal(0, config.colour, (3, 1, 1))).astype(np.float32)
        parts[k] = parts[k] * gain + random.normal(0, config.colour, (3, 1, 1)).astype(np.float32)
    if swap:
        parts[0], parts[1] = parts[1], parts[0]
    return [np.ascontiguousarray(p) for p in parts]


@torch.no_grad()
def detect(net: ChangeDetector, first: RGB, second: RGB) -> NDArray[np.float32]:
    """Probability of change, (height, width)."""
    height, width = first.shape[:2]
    rim = ((0, 0), (0, -height % 8), (0, -width % 8))
    device = next(net.parameters()).device
    pair = [torch.from_numpy(np.pad(standardised(i), rim, "edge"))[None].to(device) for i in (first, second)]
    found: NDArray[np.float32] = net(*pair)[0, :height, :width].sigmoid().cpu().numpy()
    return found


def change_scores(net: ChangeDetector, samples: Iterable[ChangeSample], threshold: float = 0.5) -> dict[str, float]:
    """Precision, recall and F1 of changed pixels over all samples together, 0 to 1."""
    right = told = there = 0
    for sample in samples:
        found = detect(net, sample.first, sample.second) >= threshold
        right += int(np.count_nonzero(found & sample.changed))
        told += int(np.count_nonzero(found))
        there += int(np.count_nonzero(sample.changed))
    return {
        "precision": right / told if told else 0.0,
        "recall": right / there if there else 0.0,
        "f1": 2 * right / (told + there) if told + there else 0.0,
    }
