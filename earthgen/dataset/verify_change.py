"""What synthetic pairs of change are worth: a siamese detector of real pairs, of synthetic ones, and of both in turn.

The loop is that of `earthgen.dataset.verify`. Synthetic alone is zero-shot: its detector never saw a real label. Real
alone is supervised. Both is synthetic, then real: the zero-shot detector goes on with real pairs, slowly and for a part
of the steps, as one would who has few labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from earthgen.dataset.change_detector import (
    ChangeDetector,
    ChangeDetectorConfig,
    ChangeSample,
    change_scores,
    train_detector,
)
from earthgen.dataset.verify import ArmsConfig, Sets, halves, run
from earthgen.errors import ArgumentError
from earthgen.labels.change import ChangePair
from earthgen.labels.pictures import read_pixels
from earthgen.output.atomic import StrPath

METRICS = ("f1", "precision", "recall")
"""Of changed pixels, over all test pairs together."""


@dataclass(frozen=True, slots=True)
class ChangeVerifyConfig(ArmsConfig):
    """Which arms there are, and how the detector is trained."""

    detector: ChangeDetectorConfig = field(default_factory=ChangeDetectorConfig)
    further_steps: float = 0.25  # on real pairs after synthetic ones, as a share of the detector's
    further_rate: float = 0.3  # learning rate there, as a share of the detector's

    def with_steps(self, steps: int) -> ChangeVerifyConfig:
        """The same, every detector trained for that many steps."""
        return replace(self, detector=replace(self.detector, steps=steps))


def verify_changes(
    real: Sequence[ChangePair],
    synthetic: Sequence[ChangePair],
    folder: StrPath,
    config: ChangeVerifyConfig | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Train all arms and test them on the real pairs of the split "test", or "val", or on some held out.

    Args:
        real: What is not tested on is trained on.
        synthetic: All splits are trained on.
        folder: As of `earthgen.dataset.verify.verify`.
        config: None takes the defaults.
        progress: Whether to show progress bars.

    Returns:
        JSON-ready, as of `earthgen.dataset.verify.verify`, with the figures of `METRICS`, 0 to 1.

    Raises:
        ArgumentError: Pairs to train or to test on are missing or show no change, or `folder` holds the figures of
            other pairs or settings.
        DataError: A picture or a label cannot be read.
    """
    config = config or ChangeVerifyConfig()
    train, test = halves(real, "change", config.held_out)
    parts = (("real", "train", train), ("real", "test", test), ("synthetic", "synthetic", synthetic))
    digests = {part: _digest(argument, pairs) for argument, part, pairs in parts}
    learn = ChangeLearner(config, synthetic)
    return run("change", METRICS, Sets(train, test, synthetic, digests), learn, _share, folder, config, progress)


class ChangeLearner:
    """F1, precision and recall of a change detector; from synthetic pairs it goes on with real ones."""

    def __init__(self, config: ChangeVerifyConfig, synthetic: Sequence[ChangePair]) -> None:
        self.config, self.synthetic = config, synthetic
        self.kept: dict[int, ChangeDetector] = {}
        """Of synthetic pairs, by its seed: that of the last one, with which several arms begin."""

    def __call__(
        self, sources: Sequence[Sequence[ChangePair]], test: Sequence[ChangePair], seed: int, progress: str | None
    ) -> dict[str, Any]:
        """Figures of a detector trained on `sources`, on the test pairs."""
        real = [pairs for pairs in sources if pairs is not self.synthetic]
        net = self._zero_shot(seed, progress) if len(real) < len(sources) else None
        for pairs in real:
            net = self._trained(pairs, seed, net, progress)
        assert net is not None
        return change_scores(net, _samples(test))

    def _zero_shot(self, seed: int, progress: str | None) -> ChangeDetector:
        if seed not in self.kept:
            self.kept = {seed: self._trained(self.synthetic, seed, None, progress)}
        return self.kept[seed]

    def _trained(
        self, pairs: Sequence[ChangePair], seed: int, start: ChangeDetector | None, progress: str | None
    ) -> ChangeDetector:
        config = replace(self.config.detector, seed=seed)
        if start is not None:
            steps, rate = config.steps * self.config.further_steps, config.learning_rate * self.config.further_rate
            config = replace(config, steps=max(1, round(steps)), learning_rate=rate)
        return train_detector(list(_samples(pairs)), config, start, progress=progress is not None)


def _samples(pairs: Sequence[ChangePair]) -> Iterator[ChangeSample]:
    """Pixels and labels of pairs, read when it is their turn."""
    for pair in pairs:
        first, second = (read_pixels(path)[0] for path in (pair.first, pair.second))
        yield ChangeSample(first, second, pair.bands()[0] > 0)


def _digest(argument: str, pairs: Sequence[ChangePair]) -> str:
    """Of all that a detector sees, which shows before any training that it can be read."""
    state, any_change = hashlib.sha256(), False
    for sample in _samples(pairs):
        state.update(repr(sample.changed.shape).encode())
        for array in (sample.first, sample.second, sample.changed):
            state.update(array.tobytes())
        any_change |= bool(sample.changed.any())
    if not any_change:
        raise ArgumentError(argument, "must hold pairs to train and to test on that show a change", len(pairs))
    return state.hexdigest()


def _share(pairs: Sequence[ChangePair], fraction: float, seed: int) -> list[ChangePair]:
    """That share of the pairs, at least one; for one seed, a smaller share is part of a larger one."""
    order = np.random.default_rng([seed, len(pairs)]).permutation(len(pairs))
    return [pairs[k] for k in order[: max(1, round(fraction * len(pairs)))]]
