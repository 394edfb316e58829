"""From the words of the command line to values."""

import datetime as dt
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthgen.cli import parse
from earthgen.conditions import Box, Guidance
from earthgen.errors import ArgumentError

sides = st.integers(parse.MIN_SIDE, parse.MAX_SIDE)


@given(width=sides, height=sides)
def test_size(width: int, height: int) -> None:
    assert parse.size(f"{width}x{height}") == (height, width)
    assert parse.size(f" {width} ") == (width, width)


@pytest.mark.parametrize("text", ["", "x", "0", "7", "-8", "256x", "x256", "8x8x8", "1e3", "16385", "9" * 30, "²"])
def test_size_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"`size` must be SIDE or WIDTHxHEIGHT in pixels"):
        parse.size(text)


@given(st.dates(min_value=dt.date(1000, 1, 1)))
def test_date(day: dt.date) -> None:
    assert parse.date(day.isoformat()) == day


def test_no_date() -> None:
    assert parse.date(None) is None


@pytest.mark.parametrize("text", ["", "2024-13-01", "2023-02-29", "01.02.2024", "yesterday", "2024-06-01T12:00"])
def test_date_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="`date` must be a day as YYYY-MM-DD"):
        parse.date(text)


def test_guidance() -> None:
    assert parse.guidance(None) is None
    assert parse.guidance("3") == Guidance.uniform(3)
    assert parse.guidance("text=3, gsd=1.5") == Guidance(text=3, gsd=1.5)


@given(st.floats(0, 50), st.floats(0, 50))
def test_guidance_by_name(text: float, cloud: float) -> None:
    assert parse.guidance(f"cloud={cloud},text={text}") == Guidance(text=text, cloud=cloud)


@pytest.mark.parametrize("text", ["", "much", "text", "text=", "text=x", "words=3", "text=1,text=2", "text=1,,gsd=2"])
def test_guidance_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="`guidance` must be a number, or name=number pairs of text, gsd"):
        parse.guidance(text)


@pytest.mark.parametrize("text", ["-1", "51", "nan", "inf", "text=nan", "gsd=-2"])
def test_guidance_out_of_range(text: str) -> None:
    with pytest.raises(ArgumentError, match="from 0 to 50"):
        parse.guidance(text)


def test_boxes() -> None:
    assert parse.boxes(None) is None
    assert parse.boxes([]) is None
    assert parse.boxes(["ship,10,20,30,5,45", "tank, round,1,2,3,4"]) == (
        Box("ship", 10, 20, 30, 5, 45),
        Box("tank, round", 1, 2, 3, 4),
    )


@pytest.mark.parametrize("text", ["", "ship", "ship,1,2,3", "1,2,3,4", "ship,1,2,3,x"])
def test_boxes_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="`box` must be LABEL,X,Y,WIDTH,HEIGHT"):
        parse.boxes([text])


def test_a_box_without_area_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"box\.width"):
        parse.boxes(["ship,1,2,0,4"])


def test_seed() -> None:
    assert parse.seed(0) == 0
    assert parse.seed(parse.MAX_SEED) == parse.MAX_SEED
    assert len({parse.seed(None) for _ in range(8)}) > 1
    for number in (-1, parse.MAX_SEED + 1):
        with pytest.raises(ArgumentError, match="`seed` must be from 0"):
            parse.seed(number)


def test_json_is_json_whatever_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    parse.print_json({"a": [1.5, math.nan, (math.inf,)], 2: "é"})
    assert json.loads(capsys.readouterr().out) == {"a": [1.5, None, [None]], "2": "é"}


def test_things_are_counted_in_words() -> None:
    assert [parse.counted(number, "pair") for number in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
