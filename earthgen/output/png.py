"""Scenes as PNG or JPEG, without georeference but with their provenance, and reading that back.

A PNG holds the tags as text chunks; a JPEG, which knows no named texts, as JSON in its comment. Both hold
the XMP packet.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from earthgen.errors import ArgumentError
from earthgen.output.atomic import StrPath, write_bytes
from earthgen.output.provenance import SYNTHETIC_MARK, Provenance
from earthgen.output.xmp import xmp_packet

_XMP_KEY = "XML:com.adobe.xmp"
_MAX_JPEG_COMMENT = 65_533
"""Bytes in a JPEG segment after its length."""


def write_png(
    path: StrPath, image: NDArray[np.uint8], provenance: Provenance, tags: Mapping[str, str] | None = None
) -> Path:
    """Write `image` (height, width, 3), uint8 RGB, as PNG, with `tags` beside those of its provenance.

    Raises `OutputError` where the file cannot be written.
    """
    chunks = PngImagePlugin.PngInfo()
    # The keywords that PNG itself defines come first: they are what viewers show.
    texts = {"Description": SYNTHETIC_MARK, "Software": f"earthgen {provenance.version}"}
    for key, value in {**texts, **provenance.to_tags(), **(tags or {})}.items():
        chunks.add_text(key, value)
    chunks.add_itxt(_XMP_KEY, xmp_packet(provenance))
    return _save(path, image, format="PNG", pnginfo=chunks)


def write_jpeg(
    path: StrPath,
    image: NDArray[np.uint8],
    provenance: Provenance,
    tags: Mapping[str, str] | None = None,
    quality: int = 92,
) -> Path:
    """Write `image` (height, width, 3), uint8 RGB, as JPEG without chroma subsampling.

    Raises `ArgumentError` where the provenance (thousands of boxes) outgrows a JPEG's 64 kB comment, `OutputError`
    where the file cannot be written.
    """
    comment = json.dumps({**provenance.to_tags(), **(tags or {})}).encode()
    if len(comment) > _MAX_JPEG_COMMENT:
        rule = f"must be .png or .tif, as the provenance of {len(comment)} bytes does not fit into a JPEG"
        raise ArgumentError("path", rule, str(path))
    packet = xmp_packet(provenance).encode()
    return _save(path, image, format="JPEG", quality=quality, subsampling=0, comment=comment, xmp=packet)


def _save(path: StrPath, image: NDArray[np.uint8], **options: Any) -> Path:
    # Through memory: on a disk that fills up at the last, Pillow cuts a JPEG short without an error.
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)
    return write_bytes(path, buffer.getbuffer())


def read_tags(path: StrPath) -> dict[str, str]:
    """The text tags of a PNG or JPEG that earthgen wrote; empty where it has none."""
    with Image.open(path) as picture:
        if picture.format == "JPEG":
            try:
                tags = json.loads(picture.info.get("comment", b"{}"))
            except ValueError:  # someone else's comment
                return {}
            return tags if isinstance(tags, dict) else {}
        picture.load()  # text chunks may follow the pixels
        texts = {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
        return {key: str(value) for key, value in texts.items() if key != _XMP_KEY}
