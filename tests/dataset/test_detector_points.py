"""The dense detector: what it is taught is where the objects are, and it says what it is taught."""

import pytest
import torch

from earthgen.dataset.detector_points import Points, TurnedPoints, distance, painted

BOXES = torch.tensor([[0.25, 0.5, 0.25, 0.5], [0.75, 0.25, 0.125, 0.125]])  # centre and size
TARGET = {"boxes": BOXES, "class_labels": torch.tensor([1, 0])}
NOTHING = {"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.int64)}


def test_heat_peaks_at_the_objects_and_boxes_lie_around_them():
    heat, weight, boxes = painted([TARGET, NOTHING], 2, 16)
    assert heat.shape == (2, 2, 16, 16) and boxes.shape == (2, 5, 16, 16)
    assert heat[0, 1, 8, 4] == 1 and heat[0, 0, 4, 12] == 1 and (heat == 1).sum() == 2
    assert boxes[0, :, 8, 4].tolist() == [*BOXES[0].tolist(), 0]
    assert boxes[0, :, 4, 12].tolist() == [*BOXES[1].tolist(), 0]
    assert weight[0, 8, 4] > weight[0, 9, 4] > 0 and weight[0, 15, 15] == 0
    assert not heat[1].any() and not weight[1].any()


def test_a_small_object_lies_on_a_large_one():
    both = torch.tensor([[0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 1, 1]])
    _, _, boxes = painted([{"boxes": both, "class_labels": torch.tensor([0, 0])}], 1, 16)
    assert boxes[0, :, 8, 8].tolist() == pytest.approx([0.5, 0.5, 0.1, 0.1, 0])


def test_distance_by_hand():
    def corners(*sides):
        return torch.tensor(sides, dtype=torch.float32)[None]

    assert distance(corners(0, 0, 2, 2), corners(0, 0, 2, 2)).item() == 0
    assert distance(corners(0, 0, 2, 2), corners(0, 0, 2, 1)).item() == pytest.approx(0.5)
    # Apart: 1 - 0 + the share of the hull, 1 x 4, that is in neither.
    assert distance(corners(0, 0, 1, 1), corners(3, 0, 4, 1)).item() == pytest.approx(1.5)


@pytest.mark.parametrize("kind", [Points, TurnedPoints])
def test_it_finds_what_it_was_shown(kind):
    torch.manual_seed(0)
    x = torch.full((2, 3, 64, 64), -1.0)
    x[0, :, 16:48, 8:24] = 1
    boxes = torch.tensor([[0.25, 0.5, 0.25, 0.5]])
    target = {"boxes": boxes, "class_labels": torch.tensor([0]), "rotated": torch.tensor([[0.25, 0.5, 0.25, 0.5, 0.0]])}
    targets = [target, NOTHING]
    net = kind(1, (8, 16, 16), 16, 20)
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    for _ in range(120):
        loss = net.loss(x, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores, found = net.eval().found(x)
    assert scores.shape == (2, 20, 1) and scores[0].max() > 0.5 > 0.2 > scores[1].max()
    best = found[0, scores[0, :, 0].argmax()]
    if kind is Points:
        assert best.tolist() == pytest.approx(boxes[0].tolist(), abs=0.05)
    else:  # the long side is upright
        assert best[:4].tolist() == pytest.approx([0.25, 0.5, 0.5, 0.25], abs=0.08)
        assert abs(best[4]) == pytest.approx(90, abs=10)
