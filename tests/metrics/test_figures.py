"""Aims are read as they are written, and standard errors are those of repeated measurements."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthgen.metrics.figures import Figure, bounds, group_error, jackknife_error, share_error


@pytest.mark.parametrize(
    ("aim", "value", "reached"),
    [
        ("≤ 4", 4.0, True), ("≤ 4", 4.1, False), ("≥ 0.95", 0.95, True), ("≥ 0.95", 0.94, False),
        ("1.00 ± 0.02", 0.981, True), ("1 ± 0.02", 1.03, False), ("0.9 to 1.1", 1.1, True), ("0.9 to 1.1", 0.8, False),
        ("identical bytes", "identical bytes", True), ("identical bytes", "abc", False), ("", 1.0, None),
        ("≤ 4", float("nan"), False), ("≤ 4", "many", None),
    ],
)  # fmt: skip
def test_an_aim_is_reached_or_not(aim, value, reached):
    figure = Figure("it", value, aim, 0.1)
    assert figure.reached is reached
    assert json.loads(json.dumps(figure.record()))["aim"] == aim
    assert Figure.of(figure.record()).aim == aim


@given(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), st.floats(0, 1e6).map(lambda x: round(x, 3)))
def test_bounds_enclose_what_they_are_written_with(a, b):
    assert bounds(f"{a:.3f} ± {b:.3f}") == pytest.approx((a - b, a + b))
    assert bounds(f"≤ {a:.3f}")[1] == a
    assert bounds(f"≥ {a:.3f}")[0] == a
    assert bounds("fast") is None


def test_standard_errors_are_those_of_repeated_measurements():
    generator = np.random.default_rng(0)
    many = generator.normal(3, 2, (400, 500))
    for error in (group_error, jackknife_error):
        told = np.mean([error(np.mean, x) for x in many])
        assert told == pytest.approx(many.mean(1).std(), rel=0.1)
    assert group_error(lambda x: [x.mean(), 2 * x.mean()], many[0]) == pytest.approx(
        [group_error(np.mean, many[0]), 2 * group_error(np.mean, many[0])]
    )
    every = np.arange(500) // 50
    assert group_error(np.mean, many[0], every) == pytest.approx(many[0].reshape(10, 50).mean(1).std(ddof=1) / 10**0.5)
    assert group_error(np.mean, many[0, :19]) is None
    assert jackknife_error(np.mean, many[0, :19]) is None


def test_the_error_of_a_share_is_that_of_repeated_draws_and_never_nothing():
    shares = np.random.default_rng(0).binomial(400, 0.86, 4000) / 400
    assert share_error(0.86, 400) == pytest.approx(shares.std(), rel=0.05)
    assert share_error(1.0, 40) > 0.01
    assert share_error(0.5, 0) is None
