"""What a synthetic data set is worth: networks trained on real images, synthetic ones and both, tested on real ones.

An arm is one training: on a share of the real images, on the synthetic ones, or on both, from one seed. All arms take
equally many steps of equally many windows, so that none wins by being trained longer; with both, half of each batch is
real. An arm's result is kept as soon as it is there, and a loop that was stopped goes on with the next.

`earthgen.dataset.verify_change` has the same loop for pairs of change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from tqdm.auto import tqdm

from earthgen.data.base import split_of
from earthgen.dataset import verify_learners
from earthgen.dataset.detector import DetectorConfig
from earthgen.dataset.filter_evaluator import EvaluatorConfig
from earthgen.dataset.verify_data import fraction_of
from earthgen.errors import ArgumentError
from earthgen.labels.base import LabelledImage, LabelledSet
from earthgen.labels.change import ChangePair
from earthgen.metrics.network import FitConfig
from earthgen.output.atomic import StrPath, check_writable, write_text

Task = Literal["detection", "segmentation", "classification", "oriented"]
TASKS: tuple[Task, ...] = ("detection", "segmentation", "classification", "oriented")
"""Oriented: detection of boxes with headings."""
METRICS = {
    "detection": ("map50", "map"),
    "segmentation": ("miou", "pixel_accuracy"),
    "classification": ("accuracy",),
    "oriented": ("map50", "map"),
}
"""What is told of each task, the headline first; see `verify_scores`."""


@dataclass(frozen=True, slots=True)
class ArmsConfig:
    """Which arms there are."""

    fractions: tuple[float, ...] = (0.1, 0.25, 1.0)
    seeds: int = 3
    held_out: float = 0.25  # share of the real images to test on, where they have neither split "test" nor "val"

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < f <= 1 for f in self.fractions):
            raise ArgumentError("fractions", "must be shares of the real images, above 0 and up to 1", self.fractions)
        if self.seeds < 1:
            raise ArgumentError("seeds", "must be at least 1", self.seeds)
        object.__setattr__(self, "fractions", tuple(sorted(set(self.fractions))))


@dataclass(frozen=True, slots=True)
class VerifyConfig(ArmsConfig):
    """Which arms there are, and how each is trained."""

    detector: DetectorConfig = field(default_factory=DetectorConfig)
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)  # what segments
    side: int = 64  # pixels a side that images are resized to for their class
    classifier: FitConfig = field(default_factory=lambda: FitConfig(steps=1_000, batch_size=64, colour=0.15))

    def with_steps(self, steps: int) -> VerifyConfig:
        """The same, every network trained for that many steps."""
        evaluator = replace(self.evaluator, fit=replace(self.evaluator.fit, steps=steps))
        detector, classifier = replace(self.detector, steps=steps), replace(self.classifier, steps=steps)
        return replace(self, detector=detector, evaluator=evaluator, classifier=classifier)


@dataclass(frozen=True, slots=True)
class Arm:
    """One training."""

    kind: Literal["real", "synthetic", "both"]
    fraction: float | None
    """Of the real images; None without real images."""
    seed: int

    @property
    def name(self) -> str:
        """For instance `both-10-seed0`."""
        share = "" if self.fraction is None else f"-{100 * self.fraction:g}"
        return f"{self.kind}{share}-seed{self.seed}"


Item = TypeVar("Item", LabelledImage, ChangePair)


@dataclass(frozen=True, slots=True)
class Sets(Generic[Item]):
    """What arms are trained and tested on."""

    train: Sequence[Item]
    test: Sequence[Item]
    synthetic: Sequence[Item]
    digests: Mapping[str, str]
    """Of each, by its name."""


Learner = Callable[[Sequence[Sequence[Item]], Sequence[Item], int, str | None], dict[str, Any]]
"""Figures of a network trained on sources (real, synthetic, or real and then synthetic), tested on images, from a seed,
with the title of its progress bar."""


def arms(config: ArmsConfig) -> list[Arm]:
    """All arms; those of the first seed come first, so that a stopped loop has a whole table of fewer seeds."""
    kinds: tuple[Literal["real", "both"], ...] = ("real", "both")
    return [
        arm
        for seed in range(config.seeds)
        for arm in (Arm("synthetic", None, seed), *(Arm(k, f, seed) for f in config.fractions for k in kinds))
    ]


def verify(
    real: LabelledSet,
    synthetic: LabelledSet,
    folder: StrPath,
    config: VerifyConfig | None = None,
    task: Task | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train all arms and test them on the real images of the split "test", or "val", or on some held out.

    Args:
        real: With labels of the task. What is not tested on is trained on.
        synthetic: Likewise; all splits are trained on. Classes are those of `real`, others are ignored.
        folder: Keeps `settings.json`, `arms/NAME.json`, and at the end `verify.json`.
        config: None takes the defaults.
        task: None takes the first of `TASKS` that both sets have labels of.
        progress: Whether to show progress bars.

    Returns:
        JSON-ready: `task`, `metrics`, numbers of `images`, and `arms` with the figures of each.

    Raises:
        ArgumentError: The sets have no such labels in common, there is nothing to test on, or `folder` holds the
            figures of other sets or settings.
    """
    config = config or VerifyConfig()
    task = task or _task_of(real, synthetic)
    train, test = halves(_known(real.images, task), task, config.held_out)
    extra = _known(synthetic.images, task)
    learn = _learner(task, real, synthetic, config)
    if not extra:
        raise ArgumentError("synthetic", f"must hold images with labels for {task}", len(synthetic))
    digests = {name: _digest(part) for name, part in (("train", train), ("test", test), ("synthetic", extra))}
    return run(task, METRICS[task], Sets(train, test, extra, digests), learn, fraction_of, folder, config, progress)


def run(
    task: str,
    metrics: Sequence[str],
    sets: Sets[Item],
    learn: Learner[Item],
    share: Callable[[Sequence[Item], float, int], list[Item]],
    folder: StrPath,
    config: ArmsConfig,
    progress: bool,
) -> dict[str, Any]:
    """The loop: train and test the arms that `folder` does not hold yet. Returns what `verify` does.

    Args:
        task: Its name.
        metrics: Which figures are told, the headline first.
        sets: What to train and to test on.
        learn: Trains and tests an arm.
        share: A fraction of real images, by a seed.
        folder: As of `verify`.
        config: As of `verify`; all of it is kept in `settings.json`.
        progress: Whether to show progress bars.
    """
    folder = check_writable(folder)
    settings = {"task": task, "config": asdict(config), "sets": dict(sets.digests)}
    _claim(folder, json.loads(json.dumps(settings)))
    rows = []
    bar = tqdm(arms(config), desc="arms", disable=not progress, unit="arm")
    for arm in bar:
        bar.set_postfix_str(arm.name)
        path = folder / "arms" / f"{arm.name}.json"
        if not path.exists():
            chosen = [] if arm.fraction is None else share(sets.train, arm.fraction, arm.seed)
            sources = [images for images in (chosen, sets.synthetic if arm.kind != "real" else []) if images]
            figures = learn(sources, sets.test, arm.seed, arm.name if progress else None)
            row = {**asdict(arm), "images": sum(map(len, sources)), "figures": figures}
            write_text(path, json.dumps(row, indent=1) + "\n")
        rows.append(json.loads(path.read_text()))
    record = {
        "task": task,
        "metrics": list(metrics),
        "images": {"real": len(sets.train), "synthetic": len(sets.synthetic), "test": len(sets.test)},
        "arms": rows,
    }
    write_text(folder / "verify.json", json.dumps(record, indent=1) + "\n")
    return record


def _learner(task: Task, real: LabelledSet, synthetic: LabelledSet, config: VerifyConfig) -> Learner[LabelledImage]:
    if task in ("detection", "oriented"):
        shared = set(real.classes) & set(synthetic.classes)
        if not shared:
            raise ArgumentError("synthetic", f"must show some of the classes {real.classes}", synthetic.classes)
        return verify_learners.Detection(real.classes, replace(config.detector, oriented=task == "oriented"))
    if task == "segmentation":
        if synthetic.mask_classes != real.mask_classes:
            raise ArgumentError(
                "synthetic", f"must have the mask's classes {real.mask_classes}", synthetic.mask_classes
            )
        return verify_learners.Segmentation(real.mask_classes, config.evaluator)
    labels = sorted({image.label for image in real.images if image.label is not None})
    if missing := set(labels) - {image.label for image in synthetic.images}:
        raise ArgumentError("synthetic", f"must show all of the classes {labels}", f"nothing of {sorted(missing)}")
    return verify_learners.Classification(labels, config.classifier, config.side)


def _known(images: Sequence[LabelledImage], task: Task) -> list[LabelledImage]:
    fields = {"detection": "shapes", "oriented": "shapes", "segmentation": "mask", "classification": "label"}
    return [image for image in images if getattr(image, fields[task]) is not None]


def _task_of(real: LabelledSet, synthetic: LabelledSet) -> Task:
    for task in TASKS:
        if _known(real.images, task) and _known(synthetic.images, task):
            return task
    raise ArgumentError("synthetic", "must have labels of a kind that the real images have", len(synthetic))


def halves(known: Sequence[Item], task: str, share: float) -> tuple[list[Item], list[Item]]:
    """Real images with labels of a task: those to train on, and those to test on, a share where no split says which.

    Raises `ArgumentError` where either is empty.
    """
    tested = next((s for s in ("test", "val") if any(image.split == s for image in known)), None)
    if tested is not None:
        test = [image for image in known if image.split == tested]
        train = [image for image in known if image.split != tested]
    else:
        test = [image for image in known if split_of(image.id, share) == "test"]
        train = [image for image in known if split_of(image.id, share) == "train"]
    if not train or not test:
        rule = f'must hold images for {task} to train on and others, of the split "test", to test on'
        raise ArgumentError("real", rule, {"train": len(train), "test": len(test)})
    return train, test


def _digest(images: Sequence[LabelledImage]) -> str:
    """Of which images there are and what is known of them; of the pixels, the files' sizes."""
    state = hashlib.sha256()
    for image in images:
        shapes = [[s.label, s.difficult, s.outline().tolist()] for s in image.shapes or ()]
        state.update(json.dumps([image.id, image.split, image.label, image.path.stat().st_size, shapes]).encode())
        if isinstance(image.mask, np.ndarray):
            state.update(image.mask.tobytes())
        elif image.mask is not None:
            state.update(str(image.mask.stat().st_size).encode())
    return state.hexdigest()


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that holds the arms of other sets or settings."""
    path = folder / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=1) + "\n")
        return
    before = json.loads(path.read_text())
    if before != settings:
        changed = ", ".join(name for name in settings if settings[name] != before.get(name))
        rule = f"must be another folder, or removed first: it holds figures that differ in {changed}"
        raise ArgumentError("output", rule, str(folder))
