"""A small labelled set with every kind of label, in every split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from earthgen import Box
from earthgen.labels import LabelledImage, LabelledSet, Shape

HEIGHT, WIDTH = 48, 64


def _picture(path: Path, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """A picture of smooth colours, which JPEG keeps well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 3 % 256, y * 4 % 256, 0 * x + seed * 40 % 256], -1).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., Path]:
    """Writes a picture: path, seed of its blue, height, width."""
    return _picture


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledSet:
    star = np.array([[10.0, 30.0], [20.0, 28.0], [30.0, 31.0], [28.0, 44.0], [12.0, 42.0]])
    shapes = {
        "town": (
            Shape(Box("storage tank", 20, 14, 12, 8)),
            Shape(Box("ship", 40, 20, 16, 6, 30.0), difficult=True),
            Shape(Box.from_xyxy("ship", 10, 28, 30, 44), star),
            Shape(Box("ship", 62, 40, 14, 8, 120.0)),  # cut by the right border
        ),
        "empty": (),
        "coast": (Shape(Box("ship", 32, 24, 20, 10, -75.0)), Shape(Box.from_xyxy("storage tank", -4, -4, 9, 7))),
        "port": (Shape(Box("storage tank", 30, 30, 10, 10)),),
    }
    splits = {"town": "train", "empty": "train", "coast": "val", "port": "test"}
    mask = (np.mgrid[:HEIGHT, :WIDTH][1] // 30).astype(np.uint8)
    mask[:5] = 255
    images = [
        LabelledImage(
            name,
            _picture(tmp_path / "source" / f"{name}.png", k),
            HEIGHT,
            WIDTH,
            split=splits[name],  # type: ignore[arg-type]
            shapes=shapes[name],
            mask=mask,
            label="harbour" if k % 2 else "inner city",
            caption=f"a {name} seen from above" if name != "port" else None,
            gsd=0.5,
            crs="EPSG:32632",
            transform=Affine(0.5, 0, 500_000 + 100 * k, 0, -0.5, 5_200_000),
            extra={"seed": k, "date": "2024-06-01", "model": {"name": "mini"}},
        )
        for k, name in enumerate(shapes)
    ]
    return LabelledSet(images, ("storage tank", "ship", "airport"), ("water", "land", "road"))
