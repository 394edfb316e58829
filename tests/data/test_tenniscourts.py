"""Courts painted into pictures are found to a pixel; what is no court is not, and doubt is said."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthgen.conditions import Box
from earthgen.data import tenniscourts

FOUR = 4  # painted so many times larger, and averaged


def picture(courts: list[tuple[float, float, float]], line: int = 230, scale: float = 1.0) -> NDArray[np.uint8]:
    """Grey ground with noise and courts at (x, y, angle)."""
    image = Image.new("L", (200 * FOUR, 200 * FOUR), 110)
    draw = ImageDraw.Draw(image)
    for x, y, angle in courts:
        a = np.radians(angle)
        turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) * scale
        for ends in tenniscourts._LINES @ turn + (x, y):
            draw.line([tuple(p) for p in (ends * FOUR).tolist()], fill=line, width=FOUR)
    small = np.array(image.resize((200, 200), Image.Resampling.BOX), float)
    noisy = small + np.random.default_rng(0).normal(0, 3, small.shape)
    return np.repeat(noisy.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("scale", [1.0, 0.95])
def test_courts_are_found(scale: float) -> None:
    asked = [(60.0, 70.0, 20.0), (76.4, 115.1, 20.0), (165.0, 150.0, -70.0)]
    boxes = tenniscourts.find(picture(asked, scale=scale), tenniscourts.FOOT / scale)
    assert boxes is not None
    found = sorted(boxes, key=lambda b: b.cx)
    assert len(found) == 3
    for box, (x, y, angle) in zip(found, asked, strict=True):
        assert (box.label, box.width, box.height) == ("tennis court", 78 * scale, 36 * scale)
        assert (box.cx, box.cy) == pytest.approx((x, y), abs=1.5)
        assert abs((box.angle - angle + 90) % 180 - 90) <= 2


def test_a_court_cut_by_the_border_keeps_its_size() -> None:
    boxes = tenniscourts.find(picture([(190.0, 100.0, 5.0)]), tenniscourts.FOOT)
    assert boxes is not None
    (box,) = boxes
    assert isinstance(box, Box)
    assert (box.cx, box.cy) == pytest.approx((190, 100), abs=2)


def test_no_court_or_a_doubtful_one_says_nothing() -> None:
    assert tenniscourts.find(picture([]), tenniscourts.FOOT) is None
    assert tenniscourts.find(picture([(60.0, 70.0, 20.0), (140.0, 140.0, 20.0)], line=116), tenniscourts.FOOT) is None
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    assert tenniscourts.find(noise, tenniscourts.FOOT) is None


def test_courts_of_another_size_are_none() -> None:
    assert tenniscourts.find(picture([(100.0, 100.0, 0.0)], scale=0.7), tenniscourts.FOOT) is None
