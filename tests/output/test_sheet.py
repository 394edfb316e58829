"""Contact sheets: everything on the page, nothing over anything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from earthgen.errors import ArgumentError
from earthgen.output.sheet import _FRAME, _PAPER, _wrap, contact_sheet

RED = np.full((64, 64, 3), (200, 0, 0), np.uint8)
LONG = "a dense residential area beside a river with several bridges, in late autumn, under thin cloud, from far above"


def area_of(page: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(page) == colour).all(2).sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 4), st.sampled_from([64, 100, 256]))
def test_every_image_is_shown_in_full(count: int, columns: int, cell: int) -> None:
    page = contact_sheet([RED] * count, [LONG] * count, columns, cell)
    side = 64 * (cell // 64)
    assert area_of(page, (200, 0, 0)) == count * side**2


def test_margins_are_equal_all_round() -> None:
    page = np.asarray(contact_sheet([RED] * 4, [], 2, 64))
    ink = (page != _PAPER).any(2) & (page != _FRAME).any(2)
    rows, cols = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    margins = {rows[0], cols[0], page.shape[0] - 1 - rows[-1], page.shape[1] - 1 - cols[-1]}
    assert margins == {8}
    gaps = {int(np.diff(rows).max()) - 1, int(np.diff(cols).max()) - 1}
    assert gaps == {8}


def test_proportions_are_kept() -> None:
    page = contact_sheet([np.full((200, 1000, 3), (0, 0, 200), np.uint8)], [], 1, 100)
    assert area_of(page, (0, 0, 200)) == 100 * 20


def test_takes_pil_and_grey_too() -> None:
    grey = np.full((64, 64), 77, np.uint8)
    page = contact_sheet([Image.new("L", (64, 64), 77), grey], ["", "grey"], 2, 64)
    assert area_of(page, (77, 77, 77)) == 2 * 64**2


def test_fewer_images_than_columns_make_a_narrow_page() -> None:
    assert contact_sheet([RED], [""], 5, 64).width == 64 + 16


@given(st.text(max_size=200), st.integers(20, 300))
def test_captions_fit_their_cell(text: str, width: int) -> None:
    font = ImageFont.load_default(size=12)
    lines = _wrap(text, font, width)
    assert len(lines) <= 4
    assert all(font.getlength(line) <= width or len(line) == 1 for line in lines)
    if lines and not lines[-1].endswith("..."):
        assert "".join(lines).replace(" ", "") == "".join(text.split())


def test_letters_beyond_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthgen.output.sheet._WIDER_FONTS", ("no such font.ttf",))
    with_accents, without = (np.asarray(contact_sheet([RED], [t], 1, 64)) for t in ("Zürich", "Zurich"))
    np.testing.assert_array_equal(with_accents, without)


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        (([], [], 2), "images"),
        (([RED], ["a", "b"], 2), "titles"),
        (([RED], ["a"], 0), "columns"),
        (([RED], ["a"], 1, 8), "cell"),
        (([np.zeros((3, 3, 4), np.uint8)], ["a"], 1), "images"),
        (([np.zeros((3, 3, 3))], ["a"], 1), "images"),
        ((["a.png"], ["a"], 1), "images"),
    ],
)
def test_refusals(arguments: tuple[object, ...], argument: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        contact_sheet(*arguments)  # type: ignore[arg-type]
    assert caught.value.argument == argument
