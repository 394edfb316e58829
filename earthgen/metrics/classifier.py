"""A classifier of whole images, and the feature space of the Fréchet and kernel distances.

Pretrained judges such as Inception were never shown the Earth from above and would have to be downloaded;
this one is trained on the real images themselves, in minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

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


class Classifier:
    """A trained network with the names of its classes. Made by `fit` or `load`."""

    def __init__(self, network: ResidualNetwork, classes: Sequence[str], about: dict[str, Any] | None = None) -> None:
        if network.config.outputs != len(classes):
            rule = f"must be as many as the network's outputs, {network.config.outputs}"
            raise ArgumentError("classes", rule, classes)
        self.network = network
        self.classes = tuple(classes)
        self.about = dict(about or {})
        """How it was trained, and what is worth keeping beside it. JSON-ready."""

    @classmethod
    def fit(
        cls,
        images: Images,
        labels: NDArray[np.integer[Any]],
        classes: Sequence[str],
        config: FitConfig | None = None,
        network: NetworkConfig | None = None,
        progress: str | None = None,
    ) -> Classifier:
        """Train on images (number, height, width, 3) and their indices into `classes` (number,).

        Classes are drawn equally often, whatever their share of the images. The result is a function of the
        arguments (on one machine; floating point differs between processors).

        Raises:
            ArgumentError: Images and labels do not fit each other or `classes`.
        """
        config, network = config or FitConfig(), network or NetworkConfig(len(classes))
        check_images(images)
        labels = np.asarray(labels)
        if labels.shape != (len(images),):
            raise ArgumentError("labels", f"must have the shape {(len(images),)}, one for each image", labels.shape)
        members = [np.flatnonzero(labels == k) for k in range(len(classes))]
        empty = [name for name, member in zip(classes, members, strict=True) if not member.size]
        if empty or sum(map(len, members)) != len(images):
            rule = f"must be indices from 0 to {len(classes) - 1}, each of which occurs"
            raise ArgumentError("labels", rule, np.unique(labels).tolist())

        def batch(generator: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
            y = generator.integers(0, len(classes), config.batch_size)
            chosen = np.array([generator.choice(members[k]) for k in y])
            return augment(images[chosen], config, generator), torch.from_numpy(y)

        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(output, target, label_smoothing=0.1)

        fitted = fit_network(seeded_network(network, config.seed), batch, loss, config, progress)
        return cls(fitted, classes, {"fit": asdict(config), "images": len(images)})

    def probabilities(self, images: Images, progress: str | None = None) -> NDArray[np.float32]:
        """Of each class for each image, the mean over the image's eight turns and mirrorings: (number, classes).

        Images that are not square are only mirrored.
        """
        square = images.ndim == 4 and images.shape[1] == images.shape[2]

        def mean(x: torch.Tensor) -> torch.Tensor:
            seen = [x, x.flip(2), x.flip(3), x.flip(2, 3)]
            seen += [y.transpose(2, 3) for y in seen] if square else []
            return torch.stack([self.network(y).softmax(1) for y in seen]).mean(0)

        return run(mean, images, progress=progress)

    def predict(self, images: Images, progress: str | None = None) -> NDArray[np.int64]:
        """Index of the likeliest class of each image: (number,)."""
        return self.probabilities(images, progress).argmax(1).astype(np.int64)

    def features(self, images: Images, progress: str | None = None) -> NDArray[np.float32]:
        """What the last layer sees of each image: (number, channels)."""
        return run(self.network.features, images, progress=progress)

    def save(self, folder: Path | str) -> None:
        """Write weights (safetensors) and their description (JSON) into `folder`."""
        save_network(Path(folder), self.network, {"kind": "classifier", "classes": self.classes, **self.about})

    @classmethod
    def load(cls, folder: Path | str) -> Classifier:
        """What `save` wrote.

        Raises:
            WeightsError: The files are missing, damaged, or of another evaluator.
        """
        network, about = load_network(Path(folder))
        if about.pop("kind", None) != "classifier":
            raise WeightsError(f"{folder} holds another kind of evaluator than a classifier")
        return cls(network, about.pop("classes"), about)


def confusion(truth: NDArray[np.integer[Any]], seen: NDArray[np.integer[Any]], classes: int) -> NDArray[np.int64]:
    """How often an image of class [row] was taken for class [column]: (classes, classes)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, seen), 1)
    return counts
