"""What the verify loop trains and tests, one class a task; all are fed the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthgen.dataset.detector import Detector, DetectorConfig
from earthgen.dataset.filter_evaluator import Evaluator, EvaluatorConfig
from earthgen.dataset.verify_data import Objects, Pictures, corners, mask_of, objects_of, resized, window
from earthgen.dataset.verify_scores import Overlap, mean_average_precision, oriented_mean_average_precision
from earthgen.labels.base import LabelledImage
from earthgen.metrics.classifier import Classifier
from earthgen.metrics.judges import accuracy_report
from earthgen.metrics.network import FitConfig

Sources = Sequence[Sequence[LabelledImage]]


@dataclass(frozen=True, slots=True)
class Detection:
    """Mean average precision of a detector, of boxes with headings if it is configured so; see `verify_scores`."""

    classes: tuple[str, ...]
    config: DetectorConfig

    def __call__(
        self, sources: Sources, test: Sequence[LabelledImage], seed: int, progress: str | None
    ) -> dict[str, Any]:
        """Figures of a detector trained on `sources`, on the windows of the test images."""
        detector = Detector.fit(sources, self.classes, replace(self.config, seed=seed), progress)
        return detection_figures(detector, test)


def detection_figures(detector: Detector, images: Sequence[LabelledImage]) -> dict[str, Any]:
    """What a detector is worth on the windows that together show the images."""
    parts, truth = windows_of(images, detector.classes, detector.config.size)
    score = oriented_mean_average_precision if detector.config.oriented else mean_average_precision
    return score(truth, detector.predict(parts), detector.classes)


def windows_of(
    images: Sequence[LabelledImage], classes: Sequence[str], size: int
) -> tuple[list[NDArray[np.uint8]], list[Objects]]:
    """Windows of `size` pixels that together show the images, and their objects."""
    parts, truth = [], []
    pictures = Pictures(images, budget=0)
    for index, image in enumerate(images):
        pixels, objects = pictures[index], objects_of(image, classes)
        for left, top in corners(image.height, image.width, size):
            parts.append(window(pixels, left, top, size))
            truth.append(objects.within(left, top, size))
    return parts, truth


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Intersection over union of the masks that an evaluator sees; see `verify_scores.Overlap`."""

    classes: tuple[str, ...]
    config: EvaluatorConfig

    def __call__(
        self, sources: Sources, test: Sequence[LabelledImage], seed: int, progress: str | None
    ) -> dict[str, Any]:
        """Figures of an evaluator trained on `sources`, on the whole test images."""
        config = replace(self.config, fit=replace(self.config.fit, seed=seed))
        evaluator = Evaluator.fit(sources, (), self.classes, config, progress)
        overlap, pictures = Overlap(self.classes), Pictures(test, budget=0)
        for index, image in enumerate(test):
            seen = evaluator.see(pictures[index]).mask
            assert seen is not None
            overlap.add(mask_of(image, self.classes), seen.argmax(0))
        return overlap.record()


@dataclass(frozen=True, slots=True)
class Classification:
    """Accuracy of a classifier; see `earthgen.metrics.judges.accuracy_report`."""

    classes: Sequence[str]
    config: FitConfig
    side: int

    def __call__(
        self, sources: Sources, test: Sequence[LabelledImage], seed: int, progress: str | None
    ) -> dict[str, Any]:
        """Figures of a classifier trained on `sources`, on the whole test images."""
        read = [self._read(images) for images in sources]
        # The images of each class of each source are repeated until sources have equal shares of each class.
        chosen = [np.arange(0)] * len(read)
        for k in range(len(self.classes)):
            members = [np.flatnonzero(labels == k) for _, labels in read]
            most = max(map(len, members))
            for n, member in enumerate(members):
                chosen[n] = np.concatenate([chosen[n], np.resize(member, most if member.size else 0)])
        images = np.concatenate([pixels[index] for (pixels, _), index in zip(read, chosen, strict=True)])
        labels = np.concatenate([numbers[index] for (_, numbers), index in zip(read, chosen, strict=True)])
        config = replace(self.config, seed=seed)
        classifier = Classifier.fit(images, labels, self.classes, config, progress=progress)
        pixels, truth = self._read(test)
        return accuracy_report(truth, classifier.predict(pixels), tuple(self.classes))

    def _read(self, images: Sequence[LabelledImage]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images resized to (number, side, side, 3), and the numbers of their classes; those of others are left out."""
        images = [image for image in images if image.label in self.classes]
        pictures = Pictures(images, budget=0)
        return (
            np.stack([resized(pictures[k], self.side) for k in range(len(images))]),
            np.array([self.classes.index(image.label or "") for image in images], np.int64),
        )
