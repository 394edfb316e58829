"""What the first dates of a data set of change are cut from: images with masks, with boxes, or with neither."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.random import RandomState
from numpy.typing import NDArray

from earthgen import labels
from earthgen.conditions import Box
from earthgen.dataset.change_config import ChangeConfig
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import LabelledImage, LabelledSet
from earthgen.labels.pictures import SUFFIXES, centre, check_indices, read_header, read_mask, read_pixels
from earthgen.simulate.event_boxes import BACKGROUND, classes_on, simulate_boxes
from earthgen.simulate.event_maps import draw_map, simulate_maps
from earthgen.simulate.event_segments import simulate_segments
from earthgen.simulate.events import Series

RGB = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class First:
    """The first date of a series, as far as it is known. All arrays have its size."""

    key: str
    """Name of the source, or the number of a series that has none."""
    image: RGB | None = None
    gsd: float | None = None
    crs: str | None = None
    transform: Affine | None = None
    place: tuple[float, float] | None = None
    """Latitude and longitude of the middle, degrees, WGS 84."""
    boxes: tuple[Box, ...] | None = None
    """In pixels, those that lie in the image at least in part."""
    box_classes: tuple[str, ...] = ()
    """Of all the boxes of the data set: what may appear in this image too."""
    mask: NDArray[np.uint8] | None = None
    """Indices into `mask_classes`, 255 where unknown; the ground where there are boxes."""
    mask_classes: tuple[str, ...] = ()

    def series(self, config: ChangeConfig, seed: int) -> Series:
        """Change events on what is known: boxes, or the mask, or segments of the image."""
        plans, rules = config.plans, config.rules
        if self.boxes is not None:
            return simulate_boxes(
                self.boxes, *config.size, seed, plans, rules,
                classes=self.box_classes, ground=self.mask, ground_classes=self.mask_classes,
            )  # fmt: skip
        if self.mask is not None:
            return simulate_maps(self.mask, self.mask_classes, seed, plans, rules)
        assert self.image is not None
        return simulate_segments(
            self.image, seed, config.segment_plans,
            become=config.become, smallest=rules.smallest, largest=rules.largest,
        )  # fmt: skip


def read_sources(config: ChangeConfig) -> LabelledSet:
    """The images that a configuration names, by name, with what is known of them; none where it names none.

    Raises:
        ArgumentError: The labels name no format, or no image's objects; an image is smaller than the windows, a mask
            names no class, or nothing can happen to the classes.
        DataError: There are no images, or a mask is missing, or a file cannot be read, its pixels included.
    """
    if config.labels is not None:
        found = labels.read(config.labels, classes=config.classes or None)
        images = [image for image in found.images if image.shapes is not None]
        if not images:
            raise ArgumentError("labels", "must hold images whose objects are known", config.labels)
        for ground in {_ground_classes(image, found) for image in images}:
            config.check_classes(*classes_on(ground or (BACKGROUND,), found.classes, config.rules))
        return _checked(replace(found, images=images), config)
    if config.source is None:
        return LabelledSet([])
    paths = _pictures(config.source)
    masks = {} if config.masks is None else _pictures(config.masks)
    lacking = sorted(set(paths) - set(masks))
    if masks and lacking:
        raise DataError(f"{config.masks} holds no mask for {', '.join(lacking[:5])}")
    found = LabelledSet([_image(path, masks.get(stem)) for stem, path in paths.items()], (), config.classes)
    return _checked(found, config)


def first_of(sources: LabelledSet, index: int, config: ChangeConfig, random: RandomState, seed: int) -> First:
    """The first date of series `index`: a random window of a source, or a map drawn from nothing."""
    height, width = config.size
    if not sources.images:
        drawn = draw_map(height, width, config.classes, seed, config.rules)
        return First(str(index), mask=drawn, mask_classes=config.classes)
    image = sources.images[index % len(sources)]
    top, left = random.randint(image.height - height + 1), random.randint(image.width - width + 1)
    window = slice(top, top + height), slice(left, left + width)
    pixels, mask = read_pixels(image.path)[0], read_mask(image)
    boxes: tuple[Box, ...] | None = None
    if image.shapes is not None:
        moved = (replace(s.box, cx=s.box.cx - left, cy=s.box.cy - top) for s in image.shapes)
        boxes = tuple(box for box in moved if box.overlaps(height, width))
    transform = None if image.transform is None else image.transform @ Affine.translation(left, top)
    return First(
        image.path.name,
        np.ascontiguousarray(pixels[window]),
        image.gsd,
        image.crs,
        transform,
        centre(image.crs, transform, height, width),
        boxes,
        sources.classes,
        None if mask is None else np.ascontiguousarray(mask[window]),
        _ground_classes(image, sources),
    )


def _ground_classes(image: LabelledImage, sources: LabelledSet) -> tuple[str, ...]:
    return () if image.mask is None else sources.mask_classes


def _checked(sources: LabelledSet, config: ChangeConfig) -> LabelledSet:
    """The sources, once each is found to serve: a fault would else be met when many series are made."""
    height, width = config.size
    for image in sources.images:
        if image.height < height or image.width < width:
            rule = f"must be at most that of {image.path}, {image.width}x{image.height}"
            raise ArgumentError("size", rule, f"{width}x{height}")
        mask = read_mask(image)
        if mask is not None:
            check_indices(mask, sources.mask_classes, str(image.mask if isinstance(image.mask, Path) else image.path))
    for image in sources.images[: config.count]:
        read_pixels(image.path)  # a header is sound even where the file is cut short
    return sources


def _pictures(folder: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).expanduser().glob("*")):
        if path.suffix.lower() in SUFFIXES and found.setdefault(path.stem, path) is not path:
            raise DataError(f"{found[path.stem]} and {path} have one name, by which masks go: rename one")
    if not found:
        raise DataError(f"there are no images in {folder!r} itself")
    return found


def _image(path: Path, mask: Path | None) -> LabelledImage:
    header = read_header(path)
    place = {"gsd": header.gsd, "crs": header.crs, "transform": header.transform}
    return LabelledImage(path.stem, path, header.height, header.width, mask=mask, **place)  # type: ignore[arg-type]
