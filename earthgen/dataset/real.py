"""A user's real labels, as far as a data set is learned from them: layouts and filter."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthgen import labels
from earthgen.data.dubai import TOLD
from earthgen.data.rectangles import of_components
from earthgen.dataset import checks
from earthgen.dataset.config import Config
from earthgen.dataset.store import sha256
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.output.atomic import write_bytes, write_text
from earthgen.simulate.layout_masks import carve
from earthgen.simulate.layouts import Layout


def read(config: Config) -> LabelledSet | None:
    """The labels that the configuration names, in any format that `earthgen.labels.read` knows; None without any.

    Raises `ArgumentError` or `DataError` where they cannot be read or understood.
    """
    if config.real is None:
        return None
    try:
        return labels.read(config.real)
    except ArgumentError as error:
        rule = f"must be labels whose {error.argument} can be told, which {error.rule}"
        raise ArgumentError("real", rule, config.real) from error


def classes(config: Config, real: LabelledSet | None) -> tuple[str, ...]:
    """The classes asked for, or all that the labels name for the task."""
    if config.classes or real is None:
        return config.classes
    found = {
        "detection": real.classes,
        "segmentation": real.mask_classes or real.classes,
        "classification": tuple(sorted({image.label for image in real.images if image.label})),
        "captions": (),
    }[config.task]
    if not found and config.task != "captions":
        raise ArgumentError("real", f"must have labels for {config.task}, or `classes` be given", config.real)
    return found


def learnable(real: LabelledSet, wanted: Sequence[str], objects: bool) -> LabelledSet:
    """What layouts and filter may learn from: no test images, and only the wanted classes' objects.

    Where there are masks alone, but `objects` are needed, these are the rectangles around the parts of a class in the
    mask. An image in which they stand for too little of the class is left without.
    """
    known = {*real.classes, *real.mask_classes, *(image.label for image in real.images if image.label)}
    for name in wanted:
        if name not in known:
            rule = f"must be among those of the real labels, {sorted(known)}{checks.nearest(name, known)}"
            raise ArgumentError("classes", rule, name)
    images = [image for image in real.images if image.split != "test"]
    if objects and all(image.shapes is None for image in images):
        return _with_objects(dataclasses.replace(real, images=images), wanted)
    kept = [
        image if image.shapes is None else image.replace(shapes=tuple(s for s in image.shapes if s.label in wanted))
        for image in images
    ]
    return dataclasses.replace(real, images=kept)


class CarvedMasks:
    """Layouts that are masks alone: parts of real ones, turned, flipped, joined."""

    def __init__(self, masks: Sequence[NDArray[np.uint8]], mask_classes: Sequence[str]) -> None:
        self.masks, self.mask_classes = list(masks), tuple(mask_classes)

    @classmethod
    def fit(cls, real: LabelledSet) -> CarvedMasks:
        """Those of labelled images. Raises `ArgumentError` where none has a mask."""
        masks = [_mask(image) for image in real.images if image.mask is not None]
        if not masks:
            raise ArgumentError("real", "must have masks to learn from", len(real))
        return cls(masks, real.mask_classes)

    def sample(self, rng: np.random.Generator, height: int, width: int) -> Layout:
        """A mask of this size, in pixels."""
        return Layout(height, width, (), carve(rng, self.masks, height, width), self.mask_classes)

    def save(self, folder: Path) -> None:
        """Write the masks as PNG, their classes last."""
        for number, mask in enumerate(self.masks):
            write_mask(folder / f"{number:06d}.png", mask)
        write_text(folder / "classes.json", json.dumps(self.mask_classes))

    @classmethod
    def load(cls, folder: Path) -> CarvedMasks:
        """Read what `save` wrote."""
        return cls(
            [read_mask(path) for path in sorted(folder.glob("*.png"))],
            json.loads((folder / "classes.json").read_text()),
        )


def digest(real: LabelledSet) -> str:
    """SHA-256 of all that a labelled set says, its files included, wherever they lie."""
    total = hashlib.sha256(json.dumps([real.classes, real.mask_classes]).encode())
    for image in real.images:
        facts = [image.id, image.height, image.width, image.split, image.label, image.caption, image.gsd]
        shapes = None if image.shapes is None else [
            [repr(shape.box), None if shape.polygon is None else shape.polygon.tolist(), shape.difficult]
            for shape in image.shapes
        ]  # fmt: skip
        total.update(json.dumps([facts, shapes, sha256(image.path)]).encode())
        if image.mask is not None:
            total.update(_mask(image).tobytes())
    return total.hexdigest()


def _with_objects(real: LabelledSet, wanted: Sequence[str]) -> LabelledSet:
    names = [name for name in real.mask_classes if name in wanted]
    found: list[dict[str, tuple[Shape, ...]]] = []
    for image in real.images:
        mask = None if image.mask is None else _mask(image)
        found.append({})
        if mask is None:
            continue
        for name in names:
            boxes, share = of_components(np.equal(mask, real.mask_classes.index(name)), name)
            if share >= TOLD:
                found[-1][name] = tuple(Shape(box) for box in boxes)
    images = []
    for image, told in zip(real.images, found, strict=True):
        known = image.mask is not None and set(names) <= set(told)
        images.append(image.replace(shapes=tuple(s for name in names for s in told[name]) if known else None))
    return dataclasses.replace(real, images=images, classes=tuple(names))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask, (height, width), from an index PNG."""
    with Image.open(path) as file:
        return np.array(file, np.uint8)


def write_mask(path: Path, mask: NDArray[np.uint8]) -> Path:
    """Write a mask, (height, width), as an index PNG."""
    buffer = io.BytesIO()  # through memory: Pillow may cut a file short on a full disk
    Image.fromarray(np.ascontiguousarray(mask)).save(buffer, format="PNG")
    return write_bytes(path, buffer.getbuffer())


def _mask(image: LabelledImage) -> NDArray[np.uint8]:
    assert image.mask is not None
    return read_mask(image.mask) if isinstance(image.mask, Path) else image.mask
