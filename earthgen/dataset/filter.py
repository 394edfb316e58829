"""Keeping an image only if it shows what was asked, by evaluators trained on the user's real labels.

Each score has a threshold that a stated share of held-out real images or more pass when judged against their own
labels: a generated image has to be as clear as most real ones are. Scores:

    class         probability of the class asked for, where the text names one
    objects       probability of the class asked for, averaged over each object's box, or its outline where that is
                  known, then over the objects
    false_alarm   probability of any object, averaged over the pixels farther than `MARGIN` from all objects
    mask          probability of the class asked for, averaged over each class's pixels, then over the classes
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from earthgen.conditions import Box, Conditions, Polygon
from earthgen.data.captions import CLASS_WORDS
from earthgen.dataset.filter_evaluator import Evaluator, EvaluatorConfig
from earthgen.dataset.verify_data import Pictures, box_map, corners, mask_of, resized
from earthgen.errors import ArgumentError, WeightsError
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.labels.shapes import as_polygon
from earthgen.metrics.classifier import Classifier
from earthgen.metrics.network import FitConfig
from earthgen.output.atomic import write_text

MARGIN = 4
"""Pixels around an object where neither object nor background is expected."""
NAMED = 3
"""Objects that a reason names."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an image shows what was asked of it. All fields are JSON-ready."""

    kept: bool
    scores: dict[str, float]
    """What was measured, by name; empty where nothing asked could be judged."""
    reason: str | None = None
    """Why it was rejected, in words with numbers; None where it was kept."""


class Filter(Protocol):
    """What judges images against what was asked of them."""

    def judge(self, images: Sequence[NDArray[np.uint8]], conditions: Sequence[Conditions]) -> list[Verdict]:
        """One verdict for each image (height, width, 3), uint8 RGB; an image's does not depend on the others.

        Objects are the `boxes` and the `polygons`.
        """
        ...


@dataclass(frozen=True, slots=True)
class FilterConfig:
    """How an `AgreementFilter` is made."""

    passing: float = 0.95  # share of held-out real images that pass each threshold
    held_out: float = 0.25  # share of the images kept from training for that, where no split "val" is
    window: int = 256  # pixels a side of the parts of real images that are judged
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    side: int = 64  # pixels a side that images are resized to for their class
    classifier: FitConfig = field(default_factory=lambda: FitConfig(steps=1_000, batch_size=64, colour=0.15))

    def __post_init__(self) -> None:
        for name in ("passing", "held_out"):
            if not 0 < getattr(self, name) < 1:
                raise ArgumentError(name, "must be a share between 0 and 1", getattr(self, name))


class AgreementFilter:
    """Evaluators of class and layout with their thresholds. Made by `fit` or `load`.

    What they do not know is not judged: a class they were not shown, or conditions without class, boxes and mask.
    """

    def __init__(
        self,
        evaluator: Evaluator | None,
        classifier: Classifier | None,
        thresholds: Mapping[str, float],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.evaluator, self.classifier = evaluator, classifier
        self.thresholds = dict(thresholds)
        """By score: the least that passes; of `false_alarm`, the most. Scores without one are told, not judged."""
        self.about = dict(about or {})
        """How the thresholds were found, and what the filter is worth on real images. JSON-ready."""

    @classmethod
    def fit(cls, real: LabelledSet, config: FilterConfig | None = None, progress: bool = False) -> AgreementFilter:
        """Train on the images of `real` that are not its split "test"; minutes on a CPU, a function of the arguments.

        Raises:
            ArgumentError: Fewer than two images, or none with objects, a mask, or a class among at least two.
        """
        config = config or FilterConfig()
        train, held = _halves(real, config.held_out)
        evaluator, classifier = None, None
        has_objects = real.classes and any(image.shapes is not None for image in train)
        has_masks = real.mask_classes and any(image.mask is not None for image in train)
        if has_objects or has_masks:
            classes, mask_classes = real.classes if has_objects else (), real.mask_classes if has_masks else ()
            title = "training the evaluator of layouts" if progress else None
            evaluator = Evaluator.fit([train], classes, mask_classes, config.evaluator, title)
        labels = sorted({image.label for image in train if image.label is not None})
        if len(labels) > 1:
            title = "training the evaluator of classes" if progress else None
            classifier = _classifier(train, labels, config, title)
        if evaluator is None and classifier is None:
            raise ArgumentError("real", "must hold objects, masks, or images of at least two classes", len(train))
        judge = cls(evaluator, classifier, {})
        judge._set_thresholds(held, real.mask_classes, config)
        return judge

    def judge(self, images: Sequence[NDArray[np.uint8]], conditions: Sequence[Conditions]) -> list[Verdict]:
        """One verdict for each image (height, width, 3), uint8 RGB; an image's does not depend on the others.

        Raises:
            ArgumentError: There are not as many conditions as images, or a mask or box does not fit its image.
        """
        if len(images) != len(conditions):
            raise ArgumentError("conditions", f"must be one for each of the {len(images)} images", len(conditions))
        return [self._verdict(image, asked) for image, asked in zip(images, conditions, strict=True)]

    def save(self, folder: Path | str) -> None:
        """Write weights (safetensors) and their description (JSON) into `folder`; `filter.json` comes last."""
        folder = Path(folder)
        if self.evaluator is not None:
            self.evaluator.save(folder / "layout")
        if self.classifier is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self.classifier.save(folder / "class")
        parts = {"layout": self.evaluator is not None, "class": self.classifier is not None}
        record = {"kind": "agreement filter", "parts": parts, "thresholds": self.thresholds, **self.about}
        write_text(folder / "filter.json", json.dumps(record, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path | str, **thresholds: float) -> AgreementFilter:
        """What `save` wrote, with other thresholds where some are given.

        Raises:
            WeightsError: The files are missing or damaged.
            ArgumentError: A threshold's name is none of the scores.
        """
        folder = Path(folder)
        if unknown := sorted(set(thresholds) - {*_REASONS}):
            raise ArgumentError("thresholds", f"must be of {', '.join(_REASONS)}", unknown[0])
        try:
            about = json.loads((folder / "filter.json").read_text())
            if about.pop("kind") != "agreement filter":
                raise ValueError("it is of another kind")
            parts, own = about.pop("parts"), {str(k): float(v) for k, v in about.pop("thresholds").items()}
        except FileNotFoundError as error:
            raise WeightsError(f"{folder} holds no filter: {error.filename} is missing") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"the filter in {folder} is damaged: {error}") from error
        evaluator = Evaluator.load(folder / "layout") if parts.get("layout") else None
        classifier = Classifier.load(folder / "class") if parts.get("class") else None
        return cls(evaluator, classifier, {**own, **thresholds}, about)

    def _verdict(self, image: NDArray[np.uint8], asked: Conditions) -> Verdict:
        scores, weakest = self._scores(image, asked)
        failed = [name for name, value in scores.items() if not self._passes(name, value)]
        reasons = [_REASONS[name].format(seen=scores[name], limit=self.thresholds[name]) for name in failed]
        if "objects" in failed:
            reasons[failed.index("objects")] += f" (least: {weakest})"
        return Verdict(not failed, scores, "; ".join(reasons) or None)

    def _passes(self, name: str, value: float) -> bool:
        limit = self.thresholds.get(name)
        return limit is None or (value <= limit if name == "false_alarm" else value >= limit)

    def _scores(self, image: NDArray[np.uint8], asked: Conditions) -> tuple[dict[str, float], str]:
        """What was asked and is known, with its score, and the objects that are seen least, in words."""
        asked.check_size(*image.shape[:2])
        scores: dict[str, float] = {}
        weakest = ""
        if self.classifier is not None and (name := asked_class(asked.text, self.classifier.classes)) is not None:
            pixels = resized(image, self.classifier.about["size"])[None]
            scores["class"] = float(self.classifier.probabilities(pixels)[0, self.classifier.classes.index(name)])
        laid_out = asked.boxes is not None or asked.polygons is not None
        if self.evaluator is not None and (laid_out or asked.mask is not None):
            seen = self.evaluator.see(image)
            if seen.objects is not None and laid_out:
                objects: list[Box | Polygon] = [*(asked.boxes or ()), *(asked.polygons or ())]
                agreements = object_agreements(seen.objects, objects, self.evaluator.classes)
                if agreements:
                    scores["objects"] = float(np.mean([a for _, a in agreements]))
                    least = sorted(agreements, key=lambda pair: pair[1])[:NAMED]
                    places = [(one.label, *one.corners().mean(0), a) for one, a in least]
                    weakest = ", ".join(f"{label} at ({x:.0f}, {y:.0f}) {a:.2f}" for label, x, y, a in places)
                if (alarm := false_alarm(seen.objects, objects)) is not None:
                    scores["false_alarm"] = alarm
            if seen.mask is not None and asked.mask is not None:
                agreement = mask_agreement(seen.mask, asked.mask, asked.mask_classes, self.evaluator.mask_classes)
                if agreement is not None:
                    scores["mask"] = agreement
        return {name: round(value, 4) for name, value in scores.items()}, weakest

    def _set_thresholds(self, held: Sequence[LabelledImage], mask_classes: Sequence[str], config: FilterConfig) -> None:
        """Judge parts of held-out real images against their own labels, and against another's for comparison."""
        parts = list(_parts(held, mask_classes, config.window))
        own = [self._scores(pixels, asked)[0] for pixels, asked in parts]
        found: dict[str, Any] = {}
        for name in _REASONS:
            values = np.array([scores[name] for scores in own if name in scores])
            if values.size:
                if name == "false_alarm":
                    limit = np.quantile(values, config.passing, method="higher")
                else:
                    limit = np.quantile(values, 1 - config.passing, method="lower")
                self.thresholds[name] = float(limit)
                found[name] = {"images": len(values), "median": round(float(np.median(values)), 4)}
        others = parts[len(parts) // 2 :] + parts[: len(parts) // 2]
        exchanged = [
            self._verdict(pixels, asked).kept
            for (pixels, _), (other, asked) in zip(parts, others, strict=True)
            if pixels.shape == other.shape
        ]
        self.about |= {
            "thresholds_are": f"what {config.passing:.0%} or more of held-out real images pass, each by its own labels",
            "held_out": {
                "images": len(held),
                "parts": len(parts),
                "scores": found,
                "kept": round(float(np.mean([self._verdict(*part).kept for part in parts])), 4),
                "kept_against_the_labels_of_another": round(float(np.mean(exchanged or [False])), 4),
            },
            "config": asdict(config),
        }


_REASONS = {
    "class": "the class asked is seen with a probability of {seen:.2f}, at least {limit:.2f} is needed",
    "objects": "the objects asked are seen with a probability of {seen:.2f} on average, at least {limit:.2f} is needed",
    "false_alarm": "where none were asked, objects are seen with a probability of {seen:.3f}, over {limit:.3f}",
    "mask": "the mask asked is seen with a probability of {seen:.2f}, at least {limit:.2f} is needed",
}


def object_agreements(
    seen: NDArray[np.float32], objects: Sequence[Box | Polygon], classes: Sequence[str]
) -> list[tuple[Box | Polygon, float]]:
    """Each object of a known class that covers a pixel, with the mean probability of its class there, 0 to 1.

    Args:
        seen: (1 + classes, height, width), the first that of no object.
        objects: In pixels of the image.
        classes: Of `seen`; case, spaces, hyphens and underscores of names make no difference.
    """
    numbers = {_key(name): k + 1 for k, name in enumerate(classes)}
    found = []
    for one in objects:
        inside = box_map([one], *seen.shape[1:])
        if _key(one.label) in numbers and inside.any():
            found.append((one, float(seen[numbers[_key(one.label)]][inside].mean())))
    return found


def false_alarm(seen: NDArray[np.float32], objects: Sequence[Box | Polygon]) -> float | None:
    """Mean probability of any object over the pixels away from all that are asked; None where these leave none."""
    empty = ~box_map(map(_grown, objects), *seen.shape[1:])
    return float(1 - seen[0][empty].mean()) if empty.any() else None


def _grown(one: Box | Polygon) -> Box | Polygon:
    if isinstance(one, Box):
        return replace(one, width=one.width + 2 * MARGIN, height=one.height + 2 * MARGIN)
    around = shapely.Polygon(one.points).buffer(MARGIN, join_style="mitre")
    return Polygon(one.label, tuple(around.exterior.coords[:-1]))


def mask_agreement(
    seen: NDArray[np.float32], mask: NDArray[np.uint8], asked: Sequence[str], classes: Sequence[str]
) -> float | None:
    """Mean probability of each class asked over its pixels, averaged over the classes; None where none is known."""
    numbers = {_key(name): k for k, name in enumerate(classes)}
    values = [
        float(seen[numbers[_key(name)]][mask == k].mean())
        for k, name in enumerate(asked)
        if _key(name) in numbers and (mask == k).any()
    ]
    return float(np.mean(values)) if values else None


def asked_class(text: str | None, classes: Sequence[str]) -> str | None:
    """The class that a text names by its name or by the words that captions say for it; None for none or several.

    The longest words count: "a residential area" names `Residential`, "dense residential area" another class.
    """
    words = f" {_words(text or '')} "
    found: dict[str, int] = {}
    for name in classes:
        phrases = (re.sub("^(an?|the) ", "", _words(phrase)) for phrase in (name, *CLASS_WORDS.get(name, ())))
        found[name] = max((len(phrase) for phrase in phrases if f" {phrase} " in words), default=0)
    best = max(found.values(), default=0)
    named = [name for name, length in found.items() if length == best]
    return named[0] if best and len(named) == 1 else None


def _words(name: str) -> str:
    """Lower-case words of a name or sentence: `SeaLake` and "sea_lake" are "sea lake"."""
    return " ".join(re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().lower())


def _classifier(
    images: Sequence[LabelledImage], labels: list[str], config: FilterConfig, progress: str | None
) -> Classifier:
    known = [image for image in images if image.label is not None]
    pictures = Pictures(known, budget=0)
    small = np.stack([resized(pictures[k], config.side) for k in range(len(known))])
    numbers = np.array([labels.index(image.label or "") for image in known])
    classifier = Classifier.fit(small, numbers, labels, config.classifier, progress=progress)
    classifier.about["size"] = config.side
    return classifier


def _halves(real: LabelledSet, share: float) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Images to train on and to hold out: the split "val", or else that share of each class by the hash of the id."""
    held = list(real.of_split("val").images)
    train = list(real.of_split("train").images)
    if not held:
        by_label: dict[str, list[LabelledImage]] = {}
        for image in sorted(train, key=lambda i: hashlib.sha256(i.id.encode()).digest()):
            by_label.setdefault(image.label or "", []).append(image)
        for images in by_label.values():
            held += images[: min(max(round(share * len(images)), 1), len(images) - 1)]
        train = [image for image in train if image not in held]
    if not train or not held:
        rule = 'must have images to learn a filter on and others to hold out, "test" aside; or do without, --no-filter'
        raise ArgumentError("real", rule, len(real))
    return train, held


def _parts(
    images: Sequence[LabelledImage], mask_classes: Sequence[str], size: int
) -> Iterator[tuple[NDArray[np.uint8], Conditions]]:
    """Real images with what they would be asked for by: whole for their class, in windows for their layout."""
    pictures = Pictures(images, budget=0)
    for index, image in enumerate(images):
        pixels = pictures[index]
        if image.label is not None:
            yield pixels, Conditions(text=_words(image.label))
        if image.shapes is None and image.mask is None:
            continue
        mask = None if image.mask is None else mask_of(image, mask_classes)
        for left, top in corners(image.height, image.width, size):
            part = slice(top, top + size), slice(left, left + size)
            height, width = pixels[part].shape[:2]
            objects = [_at(shape, left, top) for shape in image.shapes or ()]
            objects = [one for one in objects if one.overlaps(height, width)]
            boxes = tuple(one for one in objects if isinstance(one, Box))
            yield (
                pixels[part],
                Conditions(
                    boxes=None if image.shapes is None else boxes,
                    polygons=tuple(one for one in objects if isinstance(one, Polygon)),
                    mask=None if mask is None else mask[part],
                    mask_classes=() if mask is None else tuple(mask_classes),
                ),
            )


def _at(shape: Shape, left: int, top: int) -> Box | Polygon:
    """An object in pixels of a window: its outline where it has one."""
    moved = replace(shape, polygon=None if shape.polygon is None else shape.polygon - (left, top))
    return as_polygon(moved) or replace(shape.box, cx=shape.box.cx - left, cy=shape.box.cy - top)
