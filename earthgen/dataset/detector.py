"""A small object detector that learns from few images on a CPU, from random weights: the yardstick of the verify loop.

Horizontal boxes. Two networks, fed alike: `Points`, plain and dense, and D-FINE of transformers, whose queries have to
learn where to look first (Peng et al., "D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution
Refinement", arXiv:2410.13842).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from earthgen.dataset.detector_points import Points, TurnedPoints
from earthgen.dataset.verify_data import Objects, Pictures, objects_of, random_corner, turned, window
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledImage
from earthgen.metrics.network import fit, load_weights, save_weights, to_tensor
from earthgen.precision import mixed_precision

DISTINCT = 0.6
"""Intersection over union from which two detections of a class are one."""


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Shape of the network and how it is trained: AdamW, a linear warm-up, then cosine to 0."""

    network: Literal["points", "d-fine"] = "points"
    oriented: bool = False  # whether boxes have headings, which D-FINE's have not
    size: int = 256  # pixels a side of the windows it learns from and looks at
    widths: tuple[int, ...] = (32, 48, 64, 96)  # channels at 1/4, 1/8, 1/16 and 1/32 of the size
    hidden: int = 48  # channels of the pyramid; of D-FINE's encoder and decoder
    queries: int = 100  # most objects found in a window
    decoder_layers: int = 2  # of D-FINE
    denoising: int = 30  # queries of D-FINE that start at noisy true boxes in training
    steps: int = 1_500
    batch_size: int = 8
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    colour: float = 0.1  # standard deviation of the log of each channel's random gain
    average: float = 0.995  # decay of the running mean of the weights, which is what is kept
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network not in ("points", "d-fine"):
            raise ArgumentError("network", 'must be "points" or "d-fine"', self.network)
        if self.oriented and self.network != "points":
            raise ArgumentError("network", 'must be "points" for boxes with headings', self.network)
        if self.size < 64 or self.size % 32:
            raise ArgumentError("size", "must be a multiple of 32, at least 64", self.size)
        if self.hidden < 8 or self.hidden % 8:
            raise ArgumentError("hidden", "must be a multiple of 8", self.hidden)
        for name, least in (("steps", 1), ("batch_size", 2), ("queries", 1), ("decoder_layers", 2)):
            if getattr(self, name) < least:
                raise ArgumentError(name, f"must be at least {least}", getattr(self, name))


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one image, surest first."""

    boxes: NDArray[np.float32]
    """(n, 4) as left, top, right, bottom in pixels."""
    scores: NDArray[np.float32]
    """0 to 1."""
    labels: NDArray[np.int64]
    """Numbers of the classes."""
    corners: NDArray[np.float32] | None = None
    """(n, 4, 2) of boxes with headings, as (x, y) in pixels."""


class Detector:
    """A trained network with the names of its classes. Made by `fit` or `load`."""

    def __init__(self, network: Any, classes: Sequence[str], config: DetectorConfig) -> None:
        self.network = network
        self.classes = tuple(classes)
        self.config = config

    @classmethod
    def fit(
        cls,
        sources: Sequence[Sequence[LabelledImage]],
        classes: Sequence[str],
        config: DetectorConfig | None = None,
        progress: str | None = None,
    ) -> Detector:
        """Train on random windows, turned and mirrored, of images whose objects are known.

        Args:
            sources: Sets of images; windows are drawn from each set equally often, and from its images alike.
            classes: Names of what is to be found; objects of others are ignored.
            config: None takes the defaults.
            progress: Title of a progress bar; None shows none.

        Raises:
            ArgumentError: A set has no image whose objects are known.
        """
        config = config or DetectorConfig()
        known = [[image for image in images if image.shapes is not None] for images in sources]
        if not known or not all(known):
            raise ArgumentError("sources", "must each hold images whose objects are known", [len(k) for k in known])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # of the weights, and of the noise on boxes in training
            network = _fitted(
                _network(len(classes), config).train(), _Windows(known, classes, config), config, progress
            )
        return cls(network, classes, config)

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]], progress: str | None = None) -> list[Detections]:
        """Objects in images (size, size, 3), uint8 RGB, of the size it was trained on."""
        size = self.config.size
        for image in images:
            if image.dtype != np.uint8 or image.shape != (size, size, 3):
                rule = f"must be uint8 arrays of shape ({size}, {size}, 3)"
                raise ArgumentError("images", rule, (image.dtype, image.shape))
        found = []
        starts = range(0, len(images), self.config.batch_size)
        for start in tqdm(starts, desc=progress, disable=progress is None, unit="batch", leave=False):
            batch = to_tensor(np.stack(images[start : start + self.config.batch_size]))
            for scores, boxes in zip(*self.network.found(batch), strict=True):
                found.append(_detections(scores, boxes, size))
        return found

    def save(self, folder: Path | str) -> None:
        """Write `detector.safetensors` and `detector.json` into `folder`."""
        record = {"classes": self.classes, "config": asdict(self.config)}
        save_weights(*_files(folder), self.network, record)

    @classmethod
    def load(cls, folder: Path | str) -> Detector:
        """What `save` wrote.

        Raises:
            WeightsError: The files are missing or damaged.
        """
        network, record = load_weights(
            *_files(folder), "detector", lambda record: _network(len(record["classes"]), _config(record["config"]))
        )
        return cls(network, record["classes"], _config(record["config"]))


def _files(folder: Path | str) -> tuple[Path, Path]:
    return Path(folder) / "detector.safetensors", Path(folder) / "detector.json"


def _config(record: dict[str, Any]) -> DetectorConfig:
    return DetectorConfig(**{**record, "widths": tuple(record["widths"])})


class _Windows:
    """Batches of windows with their objects, a function of the generator alone."""

    def __init__(self, sources: Sequence[Sequence[LabelledImage]], classes: Sequence[str], config: DetectorConfig):
        self.config = config
        self.pictures = [Pictures(images) for images in sources]
        self.objects = [[objects_of(image, classes) for image in images] for images in sources]

    def batch(self, generator: np.random.Generator) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Images (batch, 3, size, size) and the model's labels: classes, and boxes as centre and size, 0 to 1."""
        windows = [self.window(int(k), generator) for k in self._sources(generator)]
        x = to_tensor(np.stack([pixels for pixels, _ in windows]))
        gain = np.exp(generator.normal(0, self.config.colour, (len(x), 3, 1, 1))).astype(np.float32)
        targets = []
        for _, objects in windows:
            low, high = objects.boxes[:, :2] / self.config.size, objects.boxes[:, 2:] / self.config.size
            boxes = torch.from_numpy(np.concatenate([(low + high) / 2, high - low], 1))
            target = {"class_labels": torch.from_numpy(objects.labels), "boxes": boxes}
            if self.config.oriented and objects.rotated is not None:
                shares = np.array([self.config.size] * 4 + [1], np.float32)
                target["rotated"] = torch.from_numpy(objects.rotated / shares)
            targets.append(target)
        return (x + 1) * torch.from_numpy(gain) - 1, targets

    def _sources(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Which set each window of a batch is drawn from: in turn, so that sets have equal shares of each batch."""
        return (np.arange(self.config.batch_size) + generator.integers(len(self.pictures))) % len(self.pictures)

    def window(self, source: int, generator: np.random.Generator) -> tuple[NDArray[np.uint8], Objects]:
        """A random window of a random image of a set, turned and mirrored at random."""
        size = self.config.size
        index = int(generator.integers(len(self.objects[source])))
        pixels = self.pictures[source][index]
        height, width = pixels.shape[:2]
        left, top = random_corner(height, width, size, generator)
        mirror, quarters = bool(generator.integers(2)), int(generator.integers(4))
        objects = self.objects[source][index].within(left, top, size).certain().turned(size, mirror, quarters)
        return turned(window(pixels, left, top, size), mirror, quarters), objects


class _DFine(nn.Module):
    """D-FINE of random weights with a short ResNet before it; as `Points`."""

    def __init__(self, classes: int, config: DetectorConfig) -> None:
        from transformers import DFineConfig, DFineForObjectDetection, RTDetrResNetConfig

        super().__init__()
        backbone = RTDetrResNetConfig(
            embedding_size=config.widths[0],
            hidden_sizes=list(config.widths),
            depths=[1] * len(config.widths),
            layer_type="basic",
            out_indices=[2, 3, 4],
        )
        shape = DFineConfig(
            backbone_config=backbone,
            freeze_backbone_batch_norms=False,
            encoder_in_channels=list(config.widths[1:]),
            encoder_hidden_dim=config.hidden,
            encoder_ffn_dim=2 * config.hidden,
            encoder_attention_heads=4,
            hidden_expansion=0.5,
            depth_mult=0.34,
            d_model=config.hidden,
            decoder_in_channels=[config.hidden] * 3,
            decoder_ffn_dim=2 * config.hidden,
            decoder_attention_heads=4,
            decoder_layers=config.decoder_layers,
            decoder_n_points=2,
            num_queries=config.queries,
            num_denoising=config.denoising,
            num_labels=classes,
        )
        self.network = DFineForObjectDetection(shape)

    def loss(self, x: Tensor, targets: list[dict[str, Tensor]]) -> Tensor:
        value: Tensor = self.network(pixel_values=x, labels=targets).loss
        return value

    def found(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.network(pixel_values=x)
        return out.logits.float().sigmoid(), out.pred_boxes.float()


def _network(classes: int, config: DetectorConfig) -> Any:
    if config.network == "points":
        return (TurnedPoints if config.oriented else Points)(classes, config.widths, config.hidden, config.queries)
    return _DFine(classes, config)


def _fitted(network: Any, windows: _Windows, config: DetectorConfig, progress: str | None) -> Any:
    def loss(generator: np.random.Generator) -> Tensor:
        x, targets = windows.batch(generator)
        with mixed_precision(x.device.type):
            value: Tensor = network.loss(x, targets)
        return value

    return fit(network, loss, config, progress, max_grad_norm=1.0)


def _detections(scores: Tensor, boxes: Tensor, size: int) -> Detections:
    """Surest first, without those that overlap a surer one of their class.

    Args:
        scores: (queries, classes), 0 to 1.
        boxes: (queries, 4) as centre and size, 0 to 1; or (queries, 5) with an angle in degrees, of which peaks alone
            tell which overlap.
        size: Pixels a side of the image.
    """
    best, order = scores.flatten().sort(descending=True, stable=True)
    best, order = best[: len(scores)], order[: len(scores)]
    labels = order % scores.shape[1]
    if boxes.shape[1] == 5:
        turned = _corners(boxes[order // scores.shape[1]], size)
        hulls = torch.cat([turned.amin(1), turned.amax(1)], 1)
        return Detections(hulls.numpy(), best.numpy(), labels.numpy(), turned.numpy())
    centre, extent = boxes[order // scores.shape[1]].split(2, 1)
    corners = (torch.cat([centre - extent / 2, centre + extent / 2], 1) * size).clamp(0, size)
    kept = _distinct(corners, labels)
    return Detections(corners[kept].numpy(), best[kept].numpy(), labels[kept].numpy())


def _corners(boxes: Tensor, size: int) -> Tensor:
    """(n, 4, 2) in pixels of boxes (n, 5) as centre and size, 0 to 1, and angle in degrees."""
    cosine, sine = boxes[:, 4].deg2rad().cos(), boxes[:, 4].deg2rad().sin()
    half = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * boxes[:, None, 2:4] / 2
    turn = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    return (half @ turn + boxes[:, None, :2]) * size


def _distinct(corners: Tensor, labels: Tensor) -> list[int]:
    """Non-maximum suppression: what overlaps none of its class that is kept before it."""
    low = torch.maximum(corners[:, None, :2], corners[None, :, :2])
    high = torch.minimum(corners[:, None, 2:], corners[None, :, 2:])
    both = (high - low).clamp(0).prod(2)
    area = (corners[:, 2:] - corners[:, :2]).prod(1)
    overlap = both / (area[:, None] + area[None] - both).clamp(1e-6)
    clash = ((overlap > DISTINCT) & (labels[:, None] == labels[None])).numpy()
    kept: list[int] = []
    for k in range(len(labels)):
        if not clash[k, kept].any():
            kept.append(k)
    return kept
