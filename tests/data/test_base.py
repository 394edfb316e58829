from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.data.base import Facts, Sample, cell_of, data_root, mask_fractions, moved, split_of, wrapped
from earthgen.data.ucmerced import UCMerced
from earthgen.errors import ArgumentError, DataError


def test_splits_are_the_same_for_ever() -> None:
    assert [k for k in range(40) if split_of(f"key {k}") == "test"] == [
        1,
        2,
        7,
        10,
        14,
        18,
        19,
        20,
        21,
        25,
        27,
        28,
        29,
        30,
    ]
    assert cell_of(-0.5, 179.9) == "-1_179"


@settings(deadline=None)
@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_more_test_keeps_what_was_test(key: str, a: float, b: float) -> None:
    small, large = sorted((a, b))
    if split_of(key, small) == "test":
        assert split_of(key, large) == "test"
    assert split_of(key, 0.0) == "train"


def test_a_fifth_is_test() -> None:
    share = np.mean([split_of(f"cell {k}") == "test" for k in range(4000)])
    assert abs(share - 0.2) < 0.02


@settings(deadline=None)
@given(st.floats(-80, 80), st.floats(-180, 179), st.floats(-200, 200), st.floats(-200, 200))
def test_moving_there_and_back_in_mercator_is_exact(lat: float, lon: float, dx: float, dy: float) -> None:
    there = moved(lat, lon, 100.0, dx, dy, "mercator")
    back = moved(*there, -dx, -dy, "mercator")
    assert back[0] == pytest.approx(lat, abs=1e-9)
    assert wrapped(back[1] - lon) == pytest.approx(0, abs=1e-9)
    assert back[2] == pytest.approx(100.0)


def test_moving_on_the_local_plane() -> None:
    lat, lon, gsd = moved(60.0, 179.999, 10.0, 100, 100)
    assert lat == pytest.approx(60 - 1000 / 111_319.49)
    assert lon == pytest.approx(-180 + 2000 / 111_319.49 - 0.001, abs=1e-6)
    assert gsd == 10.0


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_longitudes_wrap(lon: float) -> None:
    assert -180 <= wrapped(lon) < 180
    assert math.isclose(math.cos(math.radians(wrapped(lon))), math.cos(math.radians(lon)), abs_tol=1e-6)


def test_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EARTHGEN_DATA", str(tmp_path))
    assert data_root() == tmp_path
    assert data_root(tmp_path / "other") == tmp_path / "other"
    with pytest.raises(DataError, match=r"ucmerced.*missing.*http"):
        UCMerced()
    monkeypatch.delenv("EARTHGEN_DATA")
    with pytest.raises(DataError, match="EARTHGEN_DATA"):
        data_root()


def test_a_split_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="split"):
        UCMerced(tmp_path, "validation")  # type: ignore[arg-type]


def test_sample_checks_its_arrays() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    sample = Sample(image, 1.0, 0.0, 0.0, dt.date(2020, 1, 1), "x", "y")
    assert (sample.height, sample.width) == (4, 6)
    with pytest.raises(ArgumentError, match="mask"):
        sample.replace(mask=np.zeros((4, 4), np.uint8))
    with pytest.raises(ArgumentError, match="lat"):
        sample.replace(lat=None)
    with pytest.raises(ArgumentError, match="image"):
        sample.replace(image=image.astype(float))


def test_fractions_of_known_pixels() -> None:
    mask = np.array([[0, 1, 1, 255]], np.uint8)
    assert mask_fractions(mask, ("a", "b", "c")) == (("b", 2 / 3), ("a", 1 / 3))
    assert mask_fractions(np.full((2, 2), 255, np.uint8), ("a",)) == ()


def test_label_alone_when_there_are_no_regions() -> None:
    assert Facts(label="Forest").label_fractions() == (("Forest", 1.0),)
    assert Facts().label_fractions() == ()
