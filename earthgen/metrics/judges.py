"""The evaluators as they are used: trained once on real images, then kept in a cache folder.

Minutes of training on a CPU each. The cache is keyed by the images and the configuration, so a judge is never older
than what it was made from; folders can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earthgen.data.base import Reader
from earthgen.data.mixture import readers
from earthgen.errors import ArgumentError, WeightsError
from earthgen.metrics.classifier import Classifier, confusion
from earthgen.metrics.gsd import GSDReader, crops_at_random_gsd, rank_correlation
from earthgen.metrics.network import FitConfig, NetworkConfig
from earthgen.metrics.real import LabelledImages, labelled_images, shrink

CACHE_VARIABLE = "EARTHGEN_CACHE"


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """How the classifier of a data set is made and what it looks at."""

    size: int  # pixels a side that images are shrunk to
    fit: FitConfig
    widths: tuple[int, ...] = (32, 64, 128, 256)
    blocks: tuple[int, ...] = (0, 1, 1, 1)
    patch: int = 2
    dropout: float = 0.0

    def network(self, classes: int) -> NetworkConfig:
        """The network's shape for a number of classes."""
        return NetworkConfig(classes, self.widths, self.blocks, self.patch, self.dropout)


JUDGES = {
    # Another place was pictured on another day. 0.15 for 0.05 and 4,000 steps for 2,500 gained two points held-out.
    "eurosat": JudgeConfig(64, FitConfig(steps=4_000, batch_size=96, colour=0.15)),
    "ucmerced": JudgeConfig(128, FitConfig(steps=2_000, batch_size=64, shift=12), (64, 96, 160, 256), patch=4),
}
GSD_FIT = FitConfig(steps=2_500, batch_size=64, colour=0.15)
GSD_SETS = ("bluemarble", "eurosat_scenes", "naip", "oscd", "ucmerced")
SQUARES_EACH = 4_000
"""Squares that the reader of GSD is trained on from each of its data sets."""


def cache_folder(cache: Path | str | None = None) -> Path:
    """Where judges are kept: `cache`, or what `EARTHGEN_CACHE` names, or `~/.cache/earthgen`."""
    chosen = cache or os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "earthgen"
    return Path(chosen).expanduser() / "judges"


def classifier_judge(
    name: str,
    root: Path | str | None = None,
    cache: Path | str | None = None,
    train: LabelledImages | None = None,
    config: JudgeConfig | None = None,
    progress: bool = False,
) -> Classifier:
    """The classifier of `eurosat` or `ucmerced`, from the cache or trained now.

    Its `about["held_out"]` says how well it does on the real images of the test split, and `about["size"]` at which
    size it looks at images.

    Args:
        name: Of the data set.
        root: Folder of the data sets.
        cache: Folder to keep judges in; see `cache_folder`.
        train: The training images, where they have been read already.
        config: None takes that of `JUDGES`.
        progress: Whether to show progress bars.
    """
    if name not in JUDGES:
        raise ArgumentError("name", f"must be one of {tuple(JUDGES)}", name)
    config = config or JUDGES[name]
    train = train or labelled_images(name, root, "train", progress)
    folder = cache_folder(cache) / f"{name}-{_key(asdict(config), train.digest())}"
    try:
        return Classifier.load(folder)
    except WeightsError:
        pass  # not there yet, or damaged: made anew
    title = f"training the {name} judge" if progress else None
    network = config.network(len(train.classes))
    judge = Classifier.fit(shrink(train.images, config.size), train.labels, train.classes, config.fit, network, title)
    judge.about["size"] = config.size
    test = labelled_images(name, root, "test", progress)
    seen = judge.predict(shrink(test.images, config.size))
    judge.about["held_out"] = accuracy_report(test.labels, seen, test.classes)
    judge.save(folder)
    return judge


def gsd_judge(root: Path | str | None = None, cache: Path | str | None = None, progress: bool = False) -> GSDReader:
    """The reader of GSD, from the cache or trained now; `about["held_out"]` says how well it reads real images."""
    sets = readers(root, "train", GSD_SETS)
    folder = cache_folder(cache) / f"gsd-{_key(asdict(GSD_FIT), _listing(sets.values()))}"
    try:
        return GSDReader.load(folder)
    except WeightsError:
        pass
    title = "squares" if progress else None
    images, gsd = crops_at_random_gsd(sets.values(), SQUARES_EACH, 0, progress=title)
    judge = GSDReader.fit(images, gsd, GSD_FIT, progress="training the reader of GSD" if progress else None)
    images, gsd = crops_at_random_gsd(readers(root, "test", GSD_SETS).values(), SQUARES_EACH // 8, 1, progress=title)
    read = judge.predict(images)
    judge.about["held_out"] = {
        "squares": len(gsd),
        "rank_correlation": rank_correlation(np.log2(gsd), read),
        "median_octaves_off": float(np.median(np.abs(np.log2(gsd) - read))),
    }
    judge.save(folder)
    return judge


def accuracy_report(truth: Any, seen: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """Share of images seen as what they are, over all and by class, and who is taken for whom. JSON-ready."""
    counts = confusion(truth, seen, len(classes))
    number = counts.sum(1)
    by_class = {c: float(counts[k, k] / number[k]) for k, c in enumerate(classes) if number[k]}
    return {
        "images": int(counts.sum()),
        "accuracy": float(np.trace(counts) / counts.sum()),
        "mean_over_classes": float(np.mean(list(by_class.values()))),
        "worst_class": min(by_class, key=lambda c: by_class[c]),
        "by_class": by_class,
        "confusion": counts.tolist(),
        "classes": list(classes),
    }


def _listing(sets: Iterable[Reader]) -> str:
    """Names and sizes of the files behind data sets too large to be read just to name them: SHA-256, hexadecimal."""
    state = hashlib.sha256()
    for reader in sets:
        files = sorted(p for p in reader.path.rglob("*") if p.is_file())
        state.update(repr((reader.name, len(reader), SQUARES_EACH)).encode())
        state.update(repr([(p.relative_to(reader.path).as_posix(), p.stat().st_size) for p in files]).encode())
    return state.hexdigest()


def _key(config: dict[str, Any], data: str) -> str:
    return hashlib.sha256(json.dumps([1, config, data], sort_keys=True).encode()).hexdigest()[:16]
