"""A layout generator as a file: JSON with the layouts it learned from, masks as PNG in base64, and rules."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from earthgen.errors import DataError
from earthgen.labels.shapes import polygons
from earthgen.output.atomic import write_text
from earthgen.simulate.layout_masks import check_mask
from earthgen.simulate.layout_rules import ClassRule
from earthgen.simulate.layout_statistics import Scene

MAX_SIDE = 1 << 16
"""Of a layout, in pixels."""
_FORMAT = "earthgen-layouts-1"
_MAX_FILE = 1 << 30  # bytes

Parts = tuple[tuple[str, ...], list[Scene], tuple[str, ...], dict[str, ClassRule] | None]
"""Classes, layouts, classes of their masks, rules."""


def write(
    path: Path | str,
    classes: tuple[str, ...],
    scenes: Sequence[Scene],
    mask_classes: tuple[str, ...],
    rules: Mapping[str, ClassRule] | None,
) -> Path:
    """Write what makes a generator."""
    records = []
    for s in scenes:
        boxes = [[int(k), *row] for k, row in zip(s.labels, s.rows.tolist(), strict=True)]
        scene: dict[str, Any] = {"height": s.height, "width": s.width, "boxes": boxes}
        if s.mask is not None:
            png = io.BytesIO()
            Image.fromarray(s.mask).save(png, "PNG")
            scene["mask"] = base64.b64encode(png.getvalue()).decode()
        if s.outlines:
            scene["outlines"] = [None if outline is None else outline.tolist() for outline in s.outlines]
        records.append(scene)
    record = {
        "format": _FORMAT,
        "classes": classes,
        "mask_classes": mask_classes,
        "rules": None if rules is None else {name: asdict(rule) for name, rule in rules.items()},
        "scenes": records,
    }
    return write_text(path, json.dumps(record))


def read(path: Path | str) -> Parts:
    """Read what `write` wrote. Raises `DataError` for any other file."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_FILE:
            raise DataError(f"{path} is larger than a layout generator can be")
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise DataError(f"{path} is no layout generator of this version ({_FORMAT})")
        classes, mask_classes = (tuple(map(str, record[name])) for name in ("classes", "mask_classes"))
        scenes = [_scene(scene, len(classes), len(mask_classes)) for scene in record["scenes"]]
        rules = None
        if record["rules"] is not None:
            rules = {str(name): ClassRule(**rule) for name, rule in record["rules"].items()}
        if not (rules or any(len(scene.rows) for scene in scenes)) or (rules and set(rules) != set(classes)):
            raise ValueError("neither layouts with objects nor a rule a class")
        return classes, scenes, mask_classes, rules
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read the layout generator {path}: {error}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise DataError(f"the layout generator {path} is damaged: {error!r}") from error


def _scene(record: Mapping[str, Any], classes: int, mask_classes: int) -> Scene:
    """A scene as it was saved, checked. Raises `ValueError` and the like for anything else."""
    height, width = int(record["height"]), int(record["width"])
    boxes = np.array(record["boxes"], float).reshape(-1, 6)
    labels, rows = boxes[:, 0].astype(np.int64), boxes[:, 1:]
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE) or not np.isfinite(boxes).all():
        raise ValueError("sizes and boxes must be finite numbers")
    if ((labels < 0) | (labels >= classes)).any() or (rows[:, 2:4] <= 0).any():
        raise ValueError("boxes must have a known class and sides > 0")
    mask = None
    if "mask" in record:
        try:
            picture = Image.open(io.BytesIO(base64.b64decode(record["mask"])), formats=("PNG",))
        except (binascii.Error, OSError) as error:
            raise ValueError(f"unreadable mask: {error}") from error
        if picture.size != (width, height) or picture.mode != "L":
            raise ValueError("a mask must have the size of its layout")
        mask = np.array(picture)
        check_mask(mask, range(mask_classes), height, width)  # type: ignore[arg-type]
    outlines = tuple(None if o is None else np.array(o, float).reshape(-1, 2) for o in record.get("outlines", ()))
    if outlines and len(outlines) != len(rows):
        raise ValueError("outlines must be one or none a box")
    if any(o is not None and not (np.isfinite(o).all() and polygons(o)) for o in outlines):
        raise ValueError("outlines must enclose an area")
    return Scene(height, width, rows, labels, mask, outlines)
