"""What routes answer with: pictures that say they are synthetic, statistics, and how fine a tile is."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from earthgen.output.provenance import GENERATED, MARK_TAG, SOURCE_TYPE_TAG, SYNTHETIC_MARK
from earthgen.output.scene import Scene


def tile_headers(level: int, z: int) -> dict[str, str]:
    """What is told of the level that an answer is of."""
    return {
        "Earthgen-Preview": "true" if level < z else "false",
        "Earthgen-Level": str(level),
        "Cache-Control": "no-store",
    }


def png(image: Any) -> bytes:
    """Pixels (height, width, 3), uint8, as PNG that says it is synthetic."""
    marks = PngInfo()
    marks.add_text(MARK_TAG, SYNTHETIC_MARK)
    marks.add_text(SOURCE_TYPE_TAG, GENERATED)
    buffer = io.BytesIO()
    Picture.fromarray(image).save(buffer, "PNG", compress_level=1, pnginfo=marks)
    return buffer.getvalue()


def tiff(scene: Scene, folder: Path) -> bytes:
    """A scene as a GeoTIFF, which lies in a folder meanwhile."""
    with TemporaryDirectory(dir=folder) as inside:
        path = Path(inside) / "earth.tif"
        scene.write(path)
        return path.read_bytes()


def summary(band: Any) -> dict[str, Any]:
    """Statistics of a band, uint8."""
    counts, edges = np.histogram(band, bins=16, range=(0, 256))
    low, middle, high = np.percentile(band, (2, 50, 98))
    return {
        "min": int(band.min()),
        "max": int(band.max()),
        "mean": float(band.mean()),
        "std": float(band.std()),
        "percentile_2": float(low),
        "median": float(middle),
        "percentile_98": float(high),
        "histogram": [counts.tolist(), edges.tolist()],
    }
