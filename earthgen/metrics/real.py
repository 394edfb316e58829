"""Real images with their classes, held in memory, as the evaluators train on and generators are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from earthgen.conditions import Conditions
from earthgen.data.base import Split
from earthgen.data.captions import class_prompt
from earthgen.data.mixture import readers
from earthgen.errors import ArgumentError
from earthgen.metrics.network import Images

LABELLED = ("eurosat", "ucmerced")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Images of one size, the class of each, and what a generator would be asked for to make its like."""

    images: Images
    """(number, height, width, 3)."""
    labels: NDArray[np.int64]
    """Indices into `classes`: (number,)."""
    classes: tuple[str, ...]
    asked: tuple[Conditions, ...]
    """Prompt of the class, GSD and, where known, position of each image; no cloud."""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: NDArray[np.integer[Any]]) -> LabelledImages:
        """The images at these indices, in this order."""
        asked = tuple(self.asked[k] for k in index)
        return replace(self, images=self.images[index], labels=self.labels[index], asked=asked)

    def draw(self, counts: int | Sequence[int], seed: int) -> LabelledImages:
        """At random as many images of each class as `counts` says, or all there are if fewer; class after class."""
        wanted = [counts] * len(self.classes) if isinstance(counts, int) else list(counts)
        generator = np.random.default_rng(seed)
        members = [generator.permutation(np.flatnonzero(self.labels == k)) for k in range(len(self.classes))]
        return self.take(np.concatenate([m[:n] for m, n in zip(members, wanted, strict=True)]))

    def class_counts(self) -> list[int]:
        """Number of images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes)).tolist()

    def digest(self) -> str:
        """Of pixels and labels: SHA-256, hexadecimal."""
        state = hashlib.sha256(repr((self.classes, self.images.shape)).encode())
        state.update(np.ascontiguousarray(self.images).tobytes())
        state.update(self.labels.tobytes())
        return state.hexdigest()


def labelled_images(
    name: str, root: Path | str | None = None, split: Split = "train", progress: bool = False
) -> LabelledImages:
    """All images of a data set that has one class an image: `eurosat` or `ucmerced`.

    Raises:
        ArgumentError: The data set has no such classes.
        DataError: The data set is missing.
    """
    if name not in LABELLED:
        raise ArgumentError("name", f"must be a data set with one class an image, of {LABELLED}", name)
    reader = readers(root, split, (name,))[name]
    classes: tuple[str, ...] = getattr(reader, "classes")  # noqa: B009
    bar = tqdm(range(len(reader)), desc=f"reading {name}, {split}", disable=not progress, unit="image")
    samples = [reader[k] for k in bar]
    labels = [sample.facts.label or "" for sample in samples]
    asked = tuple(
        Conditions(text=class_prompt(label), gsd=s.gsd, lat=s.lat, lon=s.lon, cloud_cover=0.0)
        for label, s in zip(labels, samples, strict=True)
    )
    indices = np.array([classes.index(label) for label in labels], np.int64)
    return LabelledImages(np.stack([s.image for s in samples]), indices, classes, asked)


def shrink(images: Images, side: int) -> Images:
    """Square images at `side` pixels, by means over areas; as they are where they have that size already.

    Raises:
        ArgumentError: The images are not square, or their side is not a multiple of `side`.
    """
    number, height, width, _ = images.shape
    if height != width or height % side:
        raise ArgumentError("images", f"must be square, their side a multiple of {side}", images.shape)
    factor = height // side
    if factor == 1:
        return images
    shrunk = np.empty((number, side, side, 3), np.uint8)
    for k, image in enumerate(images):
        shrunk[k] = np.rint(image.reshape(side, factor, side, factor, 3).mean((1, 3)))
    return shrunk
