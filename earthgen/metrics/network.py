"""The small residual network behind the evaluators, its training on arrays in memory, and its file format.

Evaluators are judges, not part of the engine: they may pool over space and normalise over batches, which
the engine's own networks must not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from tqdm.auto import tqdm

from earthgen.errors import ArgumentError, WeightsError
from earthgen.output.atomic import atomic_path, write_text
from earthgen.precision import mixed_precision

Images = NDArray[np.uint8]
"""RGB images of one size, (number, height, width, 3)."""
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of a `ResidualNetwork`."""

    outputs: int
    widths: tuple[int, ...] = (32, 64, 128, 256)  # channels at 1/patch of the image's size, at half of that, ...
    blocks: tuple[int, ...] = (0, 1, 1, 1)  # residual blocks at each of these sizes
    patch: int = 2  # side of the squares of pixels that are shuffled into channels first
    dropout: float = 0.0  # share of the features the last layer is denied in training


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How a network is trained: AdamW, a linear warm-up of a twentieth of the steps, then cosine to 0."""

    steps: int = 2_500
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    shift: int = 4  # pixels an image is moved at random at most, its border mirrored
    colour: float = 0.05  # standard deviation of the log of each channel's random gain
    offset: float = 0.05  # standard deviation of what is added to each channel at random; 1 is the whole range
    average: float = 0.99  # decay of the running mean of the weights, which is what is kept
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ArgumentError("steps", "must be at least 1", self.steps)
        if self.batch_size < 2:
            raise ArgumentError("batch_size", "must be at least 2, as batches are normalised", self.batch_size)


class Pace(Protocol):
    """What `fit` reads of a configuration; see `FitConfig`."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def seed(self) -> int: ...


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch normalisation beside a short cut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        nn.init.zeros_(self.norm2.weight)  # starts as the short cut alone (Goyal et al. 2017, arXiv:1706.02677)
        self.short: nn.Module = nn.Identity()
        if stride > 1 or inner != outer:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.short = nn.Sequential(pool, nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


class ResidualNetwork(nn.Module):
    """Images (batch, 3, height, width) in [-1, 1], sides divisible by `patch`, to (batch, outputs)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if len(config.widths) != len(config.blocks):
            raise ArgumentError("blocks", f"must have one number for each of {config.widths}", config.blocks)
        self.config = config
        width = config.widths[0]
        stem = nn.Conv2d(3 * config.patch**2, width, 3, 1, 1, bias=False)
        layers: list[nn.Module] = [nn.PixelUnshuffle(config.patch), stem, nn.BatchNorm2d(width), nn.ReLU()]
        for level, (outer, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for index in range(count):
                layers.append(ResidualBlock(width, outer, 2 if level and not index else 1))
                width = outer
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.outputs)

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees, averaged over the image: (batch, channels)."""
        pooled: Tensor = self.body(x).float().mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.drop(self.features(x)))
        return out


def check_images(images: Images) -> None:
    """Raise `ArgumentError` unless `images` is a uint8 array (number, height, width, 3) with even sides."""
    shape = np.shape(images)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
        shown = (images.dtype, shape) if isinstance(images, np.ndarray) else images
        raise ArgumentError("images", "must be a uint8 array of shape (number, height, width, 3)", shown)
    if shape[1] % 2 or shape[2] % 2:
        raise ArgumentError("images", "must have an even height and width", shape)


def to_tensor(images: Images) -> Tensor:
    """(number, height, width, 3) uint8 to (number, 3, height, width) float in [-1, 1], channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def augment(images: Images, config: FitConfig, generator: np.random.Generator) -> Tensor:
    """Turn, mirror and shift each image at random and vary its colours a little; as `to_tensor` otherwise.

    The eight symmetries of the square are as likely each: seen from above, no direction is special.
    Images that are not square are only mirrored.
    """
    number, height, width, _ = images.shape
    rows = np.broadcast_to(np.arange(height)[None, :, None], (number, height, width))
    columns = np.broadcast_to(np.arange(width)[None, None, :], (number, height, width))
    flip_y, flip_x, swap = (generator.random((3, number)) < 0.5)[..., None, None]
    if height == width:
        rows, columns = np.where(swap, columns, rows), np.where(swap, rows, columns)
    if config.shift:
        move = generator.integers(-config.shift, config.shift + 1, (2, number, 1, 1))
        rows, columns = _mirrored(rows + move[0], height), _mirrored(columns + move[1], width)
    rows, columns = np.where(flip_y, height - 1 - rows, rows), np.where(flip_x, width - 1 - columns, columns)
    x = to_tensor(images[np.arange(number)[:, None, None], rows, columns])
    if config.colour or config.offset:
        gain, offset = generator.normal(0, 1, (2, number, 3, 1, 1)).astype(np.float32)
        gain, offset = gain * config.colour, offset * config.offset
        x = (x + 1) * torch.from_numpy(np.exp(gain)) + 2 * torch.from_numpy(offset) - 1
    return x


def _mirrored(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices outside 0 to size - 1 reflected at the border, whose pixel is not repeated."""
    return np.asarray((size - 1) - np.abs((size - 1) - np.abs(index)))


def fit_network(
    network: AnyNetwork,
    batch: Callable[[np.random.Generator], tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    config: FitConfig,
    progress: str | None = None,
) -> AnyNetwork:
    """Train `network` in place and return it, in evaluation mode, its weights averaged over the last steps.

    Args:
        network: Weights to start from.
        batch: Draws inputs (batch, 3, height, width) in [-1, 1] and targets with the generator it is given.
        loss: Of outputs and targets.
        config: Length, pace and seed of the training.
        progress: Title of a progress bar; None shows none.
    """
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def value(generator: np.random.Generator) -> Tensor:
        x, y = batch(generator)
        with mixed_precision(x.device.type):
            output = network(x)
        return loss(output.float(), y)

    return fit(network, value, config, progress)


def fit(
    network: AnyNetwork,
    loss: Callable[[np.random.Generator], Tensor],
    config: Pace,
    progress: str | None = None,
    max_grad_norm: float = math.inf,
) -> AnyNetwork:
    """As `fit_network`, with the loss of a step as a function of the generator that draws its batch."""
    network.train()
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    warm = max(1, config.steps // 20)

    def rate(step: int) -> float:
        return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / config.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    decayed = torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)
    mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=decayed, use_buffers=True)
    generator = np.random.default_rng(config.seed)
    bar = tqdm(range(config.steps), desc=progress, disable=progress is None, unit="step")
    for _ in bar:
        value = loss(generator)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        if math.isfinite(max_grad_norm):
            torch.nn.utils.clip_grad_norm_(network.parameters(), max_grad_norm)
        optimizer.step()
        schedule.step()
        mean.update_parameters(network)
        if progress is not None and bar.n % 50 == 0:
            bar.set_postfix(loss=f"{value.item():.3f}", refresh=False)
    network.load_state_dict(mean.module.state_dict())
    return network.eval()


def seeded_network(config: NetworkConfig, seed: int) -> ResidualNetwork:
    """A new network whose weights depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualNetwork(config)


@torch.inference_mode()
def run(
    function: Callable[[Tensor], Tensor], images: Images, batch_size: int = 256, progress: str | None = None
) -> NDArray[np.float32]:
    """`function` of all images in float32, batch after batch: (number, ...)."""
    check_images(images)
    starts = tqdm(range(0, len(images), batch_size), desc=progress, disable=progress is None, unit="batch")
    parts = [function(to_tensor(images[s : s + batch_size])).float().cpu().numpy() for s in starts]
    return np.concatenate(parts)


def save_weights(weights: Path, config: Path, network: nn.Module, record: Mapping[str, Any]) -> None:
    """Write a network's weights (safetensors), then the JSON `record` that `load_weights` makes its shape from."""
    with atomic_path(weights) as temporary:
        save_model(network, str(temporary))
    write_text(config, json.dumps(record, indent=2) + "\n")


def load_weights(
    weights: Path, config: Path, kind: str, build: Callable[[dict[str, Any]], AnyNetwork]
) -> tuple[AnyNetwork, dict[str, Any]]:
    """The network that `save_weights` wrote, in evaluation mode, and its record.

    Args:
        weights: File of the weights.
        config: File of the record.
        kind: What errors call the network.
        build: Makes a network of the right shape from the record; `ValueError`, `KeyError` or `TypeError` say that it
            describes none.

    Raises:
        WeightsError: A file is missing or damaged, or they do not belong together.
    """
    try:
        record = json.loads(config.read_text())
        network = build(record)
        load_model(network, str(weights))
    except FileNotFoundError as error:
        raise WeightsError(f"{config.parent} holds no {kind}: {error.filename or weights} is missing") from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"the {kind} in {config.parent} is damaged: {error}") from error
    network.eval()
    return network, record


def save_network(folder: Path, network: ResidualNetwork, about: dict[str, Any]) -> None:
    """Write `model.safetensors` and `config.json` (the network's shape and `about`) into `folder`."""
    record = {"network": asdict(network.config), **about}
    save_weights(folder / "model.safetensors", folder / "config.json", network, record)


def load_network(folder: Path) -> tuple[ResidualNetwork, dict[str, Any]]:
    """The network that `save_network` wrote, in evaluation mode, and its `about`."""

    def build(about: dict[str, Any]) -> ResidualNetwork:
        shape = about.pop("network")
        lists = {name: tuple(shape[name]) for name in ("widths", "blocks")}
        return ResidualNetwork(NetworkConfig(**{**shape, **lists}))

    return load_weights(folder / "model.safetensors", folder / "config.json", "evaluator", build)
