"""Steps at borders of blocks go, edges stay, and no window decides."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.world.deblock import REACH, take_steps

RNG = np.random.default_rng(0)


def test_a_step_at_a_border_goes_and_one_elsewhere_stays() -> None:
    ramp = np.add.outer(0.3 * np.arange(64), 0.5 * np.arange(64)).astype(np.float32)
    blocks = RNG.normal(0, 1, (4, 4)).repeat(16, 0).repeat(16, 1).astype(np.float32)
    x = ramp + blocks
    take_steps(x, {16: 2.0})
    steps = np.abs(np.diff(x - ramp, axis=1))
    assert steps[:, 15::16].mean() < 0.35 * np.abs(np.diff(blocks, axis=1))[:, 15::16].mean()
    other = ramp + RNG.normal(0, 1, (4, 4)).repeat(16, 0).repeat(16, 1).astype(np.float32)
    beside = np.roll(other, 5, (0, 1))
    before = beside.copy()
    take_steps(beside, {16: 2.0})
    assert np.abs(beside - before).max() < 0.1 * np.abs(before).max()


def test_a_coast_at_a_border_stays() -> None:
    x = np.where(np.arange(64) < 32, 20, 140).astype(np.float32)[:, None].repeat(64, 1)
    before = x.copy()
    take_steps(x, {16: 2.0, 32: 40.0})
    assert np.abs(x - before).max() < 1


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_window_is_part_of_the_whole(top: int, left: int, height: int, width: int) -> None:
    whole = np.random.default_rng(1).normal(100, 5, (160, 160, 3)).astype(np.float32)
    rows, columns = slice(top + 20, top + 20 + height), slice(left + 20, left + 20 + width)
    wide = whole[rows.start - REACH : rows.stop + REACH, columns.start - REACH : columns.stop + REACH].copy()
    take_steps(whole, {16: 2.0, 64: 40.0})
    take_steps(wide, {16: 2.0, 64: 40.0}, rows.start - REACH, columns.start - REACH)
    assert (wide[REACH:-REACH, REACH:-REACH] == whole[rows, columns]).all()
