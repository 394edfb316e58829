"""Contact sheets: many images on one page, each in a cell of the same size with its caption below."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from earthgen.errors import ArgumentError

_PAPER, _INK, _FRAME = (250, 250, 248), (45, 48, 52), (214, 214, 210)
_MAX_LINES = 4
_ELLIPSIS = "..."
_WIDER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "arial.ttf")
"""Looked for by name in the system's folders of fonts: Linux, macOS, Windows."""

Picture = Image.Image | NDArray[np.uint8]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def contact_sheet(images: Sequence[Picture], titles: Sequence[str], columns: int, cell: int = 256) -> Image.Image:
    """Lay images out in rows, left to right and top to bottom, captions below.

    `images` are PIL images or uint8 arrays, (height, width, 3) RGB or (height, width) grey, of any size: each is fitted
    into a square of `cell` pixels, keeping its proportions. Small images are enlarged by whole factors without
    smoothing, so that their true pixels are seen. Captions wrap at words, to four lines at most. Without `titles`
    (an empty sequence) there are no captions.
    Raises `ArgumentError` for no images, another number of titles than of images, or a bad size.
    """
    if not images:
        raise ArgumentError("images", "must hold at least one image", images)
    if titles and len(titles) != len(images):
        raise ArgumentError("titles", f"must be one for each of the {len(images)} images, or none", len(titles))
    if columns < 1:
        raise ArgumentError("columns", "must be > 0", columns)
    if cell < 32:
        raise ArgumentError("cell", "must be at least 32 pixels", cell)
    columns = min(columns, len(images))
    gap = max(8, cell // 16)
    size = max(11, round(cell / 18))
    font, titles = _font_for(titles, size)
    line_height = round(size * 1.3)
    captions = [_wrap(title, font, cell) for title in titles] or [[] for _ in images]

    rows = [range(i, min(i + columns, len(images))) for i in range(0, len(images), columns)]
    depths = [max(len(captions[i]) for i in row) for row in rows]  # lines of the row's longest caption
    heights = [cell + (gap // 3 + depth * line_height if depth else 0) for depth in depths]
    page_size = (columns * (cell + gap) + gap, sum(heights) + gap * (len(rows) + 1))
    page = Image.new("RGB", page_size, _PAPER)
    draw = ImageDraw.Draw(page)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = gap + column * (cell + gap)
            picture = _fit(_as_picture(images[i]), cell)
            x, y = left + (cell - picture.width) // 2, top + (cell - picture.height) // 2
            page.paste(picture, (x, y))
            draw.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=_FRAME)
            # A caption stands below its cell, not its picture, so that those of a row share a line.
            for n, line in enumerate(captions[i]):
                draw.text((left, top + cell + gap // 3 + n * line_height), line, fill=_INK, font=font)
        top += height + gap
    return page


def _as_picture(image: Picture) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    grey_or_rgb = isinstance(image, np.ndarray) and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    if not grey_or_rgb or image.dtype != np.uint8 or 0 in image.shape:
        shown = (image.dtype, image.shape) if isinstance(image, np.ndarray) else image
        raise ArgumentError("images", "must be PIL images or uint8 arrays (height, width[, 3])", shown)
    return Image.fromarray(image).convert("RGB")


def _fit(picture: Image.Image, cell: int) -> Image.Image:
    longest = max(picture.size)
    if longest <= cell:
        factor = cell // longest
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(side * cell / longest)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _font_for(titles: Sequence[str], size: int) -> tuple[_Font, list[str]]:
    """A font that has the titles' letters, and the titles as it can write them.

    Pillow's own font is the same everywhere but knows ASCII alone. For other letters a font of the system is taken,
    and where there is none, accents are left off.
    """
    if not all(title.isascii() for title in titles):
        for name in _WIDER_FONTS:
            with suppress(OSError):
                return ImageFont.truetype(name, size), list(titles)
    plain = (unicodedata.normalize("NFKD", title) for title in titles)
    return ImageFont.load_default(size), ["".join(c for c in t if not unicodedata.combining(c)) for t in plain]


def _length(font: _Font, text: str) -> float:
    return float(font.getlength(text))


def _wrap(text: str, font: _Font, width: float) -> list[str]:
    """Lines no wider than `width` pixels, broken at spaces, in words only where a word is wider than a line."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            candidate = f"{line} {word}" if line else word
            if _length(font, candidate) <= width:
                line = candidate
                continue
            if line:
                lines.append(line)
            while _length(font, word) > width:
                fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or _length(font, word[:n]) <= width)
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        if line:
            lines.append(line)
    if len(lines) > _MAX_LINES:
        last = lines[_MAX_LINES - 1]
        while last and _length(font, last + _ELLIPSIS) > width:
            last = last[:-1]
        lines = [*lines[: _MAX_LINES - 1], last.rstrip() + _ELLIPSIS]
    return lines
