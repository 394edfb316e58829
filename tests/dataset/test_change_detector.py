import numpy as np
import pytest
import torch

from earthgen.dataset.change_detector import (
    ChangeDetector,
    ChangeDetectorConfig,
    ChangeSample,
    change_scores,
    detect,
    train_detector,
)
from earthgen.errors import ArgumentError

TINY = ChangeDetectorConfig(width=8, crop=32, steps=120, batch_size=6, learning_rate=3e-3)


def samples(count: int, seed: int = 0) -> list[ChangeSample]:
    random, made = np.random.default_rng(seed), []
    for _ in range(count):
        first = random.integers(90, 130, (40, 37, 3), np.uint8)
        second, changed = np.clip(first * 1.2, 0, 255).astype(np.uint8), np.zeros((40, 37), bool)
        top, left = random.integers(2, 24, 2)
        second[top : top + 12, left : left + 10] = random.integers(180, 255, 3)
        changed[top : top + 12, left : left + 10] = True
        made.append(ChangeSample(first, second, changed))
    return made


def test_it_learns_what_changed_and_not_the_light() -> None:
    net = train_detector(samples(6), TINY)
    assert change_scores(net, samples(4, seed=1))["f1"] > 0.8


def test_it_follows_from_samples_configuration_and_start() -> None:
    short = ChangeDetectorConfig(width=4, crop=32, steps=2, batch_size=2)
    net, again = (train_detector(samples(2), short) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    further = train_detector(samples(2), short, start=net)
    assert all(torch.equal(net.state_dict()[name], weight) for name, weight in before.items())
    moved = [(further.state_dict()[n] - w).abs().max() for n, w in before.items()]
    assert 0 < max(moved) < 0.05  # it went on from there


def test_the_order_of_the_images_makes_no_difference() -> None:
    net, sample = ChangeDetector(4).eval(), samples(1)[0]
    one, other = detect(net, sample.first, sample.second), detect(net, sample.second, sample.first)
    assert one.shape == (40, 37) and np.allclose(one, other)


def test_scores_by_hand() -> None:
    class Half(ChangeDetector):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            logits = torch.full(first.shape[:1] + first.shape[2:], -1.0)
            logits[:, :, :10] = 1
            return logits

    image = np.zeros((20, 20, 3), np.uint8)
    changed = np.zeros((20, 20), bool)
    changed[:10] = True
    scores = change_scores(Half(1), [ChangeSample(image, image, changed)])
    assert scores == {"precision": 0.5, "recall": 0.5, "f1": 0.5}


def test_wrong_arguments_are_refused() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ArgumentError, match="size"):
        ChangeSample(image, image[:4], np.zeros((8, 8), bool))
    with pytest.raises(ArgumentError, match="samples"):
        train_detector([])
    for wrong in ({"crop": 20}, {"steps": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            ChangeDetectorConfig(**wrong)  # type: ignore[arg-type]
