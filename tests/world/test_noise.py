"""The noise field: known answers, windows that agree, and statistics at four to five standard errors."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from earthgen.errors import ArgumentError
from earthgen.world import noise
from earthgen.world.noise import MAX_COORDINATE, noise_field

FAR = MAX_COORDINATE
seeds = st.integers(-(2**63), 2**64 - 1)
levels = st.integers(0, 63)
coordinates = st.integers(-FAR, FAR) | st.integers(-40, 40)


def ranges(longest: int = 24) -> st.SearchStrategy[range]:
    starts = coordinates.map(lambda c: min(c, FAR + 1 - longest))
    return st.builds(lambda start, length: range(start, start + length), starts, st.integers(1, longest))


cuts = st.builds(slice, st.integers(0, 12), st.integers(8, 24))


def one(seed: int, level: int, row: int, column: int, channel: int = 0) -> float:
    return float(noise_field(seed, level, range(row, row + 1), range(column, column + 1), channel + 1)[channel, 0, 0])


def words(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


# Known answers


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [  # the vectors published with Random123; keys with their second word in the upper half
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((2**32 - 1,) * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0_A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_answers(counter: tuple[int, ...], key: int, answer: str) -> None:
    a, b, c, d = (words(w) for w in counter)
    assert " ".join(f"{int(w[0]):08x}" for w in noise.philox((a, b, c, d), key)) == answer


GOLDEN = [
    (0, 0, 0, 0, 0, "-0x1.05f4a00000000p-2"),
    (7, 14, -1, 5, 3, "0x1.4a71220000000p+0"),
    (2**64 - 1, 63, -FAR, FAR, 4, "-0x1.a48dd40000000p-2"),
    (1234567890123456789, 8, FAR, -FAR, 32, "0x1.c44a100000000p+0"),
]


@pytest.mark.parametrize(("seed", "level", "row", "column", "channel", "value"), GOLDEN)
def test_golden_bits(seed: int, level: int, row: int, column: int, channel: int, value: str) -> None:
    """A change of these changes every world that was ever made."""
    assert one(seed, level, row, column, channel).hex() == value


@pytest.mark.gpu
def test_golden_bits_on_a_gpu() -> None:
    field = noise_field(7, 14, range(-1, 0), range(5, 6), 4, device="cuda")
    assert field.device.type == "cuda"
    assert float(field[3, 0, 0]).hex() == GOLDEN[1][-1]


def scalar(seed: int, level: int, row: int, column: int, channel: int) -> float:
    """The definition once more, in Python's own integers and the standard library's quantile."""
    i, j = row % 2**48, column % 2**48
    a, b, c, d = j % 2**32, i % 2**32, j >> 32 | i >> 32 << 16, level << 24 | channel // 4
    k, h = seed % 2**32, seed % 2**64 >> 32
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = q >> 32 ^ b ^ k, q % 2**32, p >> 32 ^ d ^ h, p % 2**32
        k, h = (k + 0x9E3779B9) % 2**32, (h + 0xBB67AE85) % 2**32
    return NormalDist().inv_cdf(((a, b, c, d)[channel % 4] + 0.5) / 2**32)


@settings(max_examples=150, deadline=None)
@given(seeds, levels, coordinates, coordinates, st.integers(0, 9))
@example(-(2**63), 63, FAR, -FAR, 9)
@example(2**64 - 1, 0, -FAR, FAR, 0)
def test_a_value_is_its_definition(seed: int, level: int, row: int, column: int, channel: int) -> None:
    assert one(seed, level, row, column, channel) == pytest.approx(scalar(seed, level, row, column, channel), rel=1e-7)


@settings(max_examples=200, deadline=None)
@given(levels, coordinates, coordinates, st.integers(0, noise.MAX_CHANNELS // 4 - 1))
@example(63, -1, -1, noise.MAX_CHANNELS // 4 - 1)
def test_level_place_and_channel_can_be_read_off_the_counter(level: int, row: int, column: int, block: int) -> None:
    """So no two of them share a counter."""
    counter = noise._counter(level, np.array([row]), np.array([column]), block)
    a, b, c, d = (int(w[0, 0]) for w in counter)
    assert max(a, b, c, d) < 2**32

    def signed(v: int) -> int:
        return v - 2**48 if v >= 2**47 else v

    assert (signed(b | c >> 16 << 32), signed(a | c % 2**16 << 32)) == (row, column)
    assert (d >> 24, d % 2**24) == (level, block)


def test_quantiles_agree_with_scipy() -> None:
    """In both tails and between, to 1e-13: far beyond what float32 keeps."""
    rng = np.random.default_rng(0)
    tail = np.concatenate([np.arange(20_000), 2 ** rng.uniform(0, 31, 50_000)]).astype(np.uint64)
    lower = np.concatenate([tail, rng.integers(0, 2**31, 200_000).astype(np.uint64), words(2**31 - 1)])
    x = noise.gaussian(lower)
    assert np.abs(x / ndtri((lower.astype(float) + 0.5) / 2**32) - 1).max() < 1e-13
    assert x[0] == pytest.approx(-6.338, abs=1e-3)
    np.testing.assert_array_equal(noise.gaussian(words(2**32 - 1) - lower), -x)


def test_quantiles_rise_with_the_word_also_where_centre_and_tail_meet() -> None:
    meet = int(0.075 * 2**32)
    for start in (0, meet - 5_000, 2**31 - 5_000, 2**32 - meet - 5_000, 2**32 - 10_000):
        x = noise.gaussian(np.arange(start, start + 10_000).astype(np.uint64))
        assert (np.diff(x) > 0).all()


def test_same_bits_without_vector_instructions() -> None:
    """Numpy's loops for newer processors and for the oldest it supports, told apart before numpy is imported."""
    features = ",".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
    if not features:
        pytest.skip("numpy uses no vector instructions here")
    script = (
        "import hashlib; from earthgen.world.noise import noise_field as f;"
        "print(hashlib.sha256(f(5, 9, range(-60, 70), range(-70, 60), 5).numpy().tobytes()).hexdigest())"
    )
    plain = {**os.environ, "NPY_DISABLE_CPU_FEATURES": features}
    other = subprocess.run([sys.executable, "-c", script], env=plain, capture_output=True, text=True, check=True)
    here = noise_field(5, 9, range(-60, 70), range(-70, 60), 5).numpy().tobytes()
    assert other.stdout.strip() == hashlib.sha256(here).hexdigest()


# Windows


@settings(max_examples=60, deadline=None)
@given(seeds, levels, ranges(), ranges(), cuts, cuts, st.integers(1, 9), st.integers(1, 9))
@example(0, 0, range(-FAR, -FAR + 3), range(FAR - 2, FAR + 1), slice(1, 3), slice(0, 2), 5, 6)
def test_a_window_is_a_crop_of_a_larger_one(
    seed: int, level: int, rows: range, columns: range, down: slice, across: slice, fewer: int, more: int
) -> None:
    fewer, more = sorted((fewer, more))
    whole = noise_field(seed, level, rows, columns, more)
    assert whole.shape == (more, len(rows), len(columns))
    assert whole.dtype == torch.float32
    part = noise_field(seed, level, rows[down], columns[across], fewer)
    assert torch.equal(part, whole[:fewer, down, across])


@pytest.mark.parametrize("shape", [(2, 40_000), (40_000, 2), (150, 131), (1, noise._CHUNK + 1)])
def test_windows_larger_than_what_is_computed_at_once(shape: tuple[int, int]) -> None:
    rows, columns = range(-7, shape[0] - 7), range(FAR + 1 - shape[1], FAR + 1)
    whole = noise_field(3, 2, rows, columns, 2)
    for i, j in [(0, 0), (-1, -1), (shape[0] // 2, shape[1] // 3), (-1, 0), (0, -1)]:
        assert whole[1, i, j] == one(3, 2, rows[i], columns[j], 1)


@settings(max_examples=60, deadline=None)
@given(seeds, ranges(), coordinates, st.integers(1, 60), st.integers(1, FAR))
@example(0, range(2), -5, 60, 7)  # several times around
@example(0, range(2), -5, 60, 1)
def test_wrapped_columns_go_around(seed: int, rows: range, start: int, width: int, period: int) -> None:
    start = min(start, FAR + 1 - width)
    field = noise_field(seed, 1, rows, range(start, start + width), 2, wrap=period)
    for n in range(width):
        column = (start + n) % period
        assert torch.equal(field[:, :, n], noise_field(seed, 1, rows, range(column, column + 1), 2)[:, :, 0])


def test_empty_windows_are_empty() -> None:
    assert noise_field(0, 0, range(5, 5), range(3), 2).shape == (2, 0, 3)
    assert noise_field(0, 0, range(3), range(9, 4), 2).shape == (2, 3, 0)


def test_a_negative_seed_is_its_complement() -> None:
    assert torch.equal(noise_field(-1, 0, range(4), range(4), 4), noise_field(2**64 - 1, 0, range(4), range(4), 4))


def test_values_may_be_written_to_and_are_the_callers_own() -> None:
    field = noise_field(0, 0, range(2), range(2), 1)
    kept = field.clone()
    field.zero_()
    assert torch.equal(noise_field(0, 0, range(2), range(2), 1), kept)


# Statistics. The seeds are fixed, so that these never fail by chance.

PLACES = [(0, 0, 0, 0), (1, 0, 0, 0), (2**63, 14, -128, -256), (7, 63, FAR - 300, -FAR), (7, 62, -FAR, FAR - 600)]


def field_at(seed: int, level: int, top: int, left: int, channels: int = 8) -> np.ndarray:
    return noise_field(seed, level, range(top, top + 256), range(left, left + 512), channels).double().numpy()


@pytest.mark.parametrize("place", PLACES)
def test_moments(place: tuple[int, int, int, int]) -> None:
    x = field_at(*place).ravel()
    error = 1 / math.sqrt(x.size)
    assert abs(x.mean()) < 4 * error
    assert abs(x.var() - 1) < 4 * math.sqrt(2) * error
    assert abs(stats.skew(x)) < 4 * math.sqrt(6) * error
    assert abs(stats.kurtosis(x)) < 4 * math.sqrt(24) * error


@pytest.mark.parametrize("place", PLACES)
def test_distribution(place: tuple[int, int, int, int]) -> None:
    x = field_at(*place, channels=4).ravel()
    assert stats.kstest(x[::2], "norm").pvalue > 1e-3
    assert stats.cramervonmises(x[1::2], "norm").pvalue > 1e-3


def test_tails() -> None:
    """How many of eight million lie beyond 3, 4 and 5 deviations, on each side."""
    x = noise_field(11, 5, range(-500, 524), range(-1000, 1048), 4).numpy()
    for bound in (3, 4, 5):
        low, high = stats.poisson.interval(0.9999, x.size * stats.norm.sf(bound))
        assert low <= (x > bound).sum() <= high
        assert low <= (x < -bound).sum() <= high


@pytest.mark.parametrize("place", PLACES)
def test_no_autocorrelation(place: tuple[int, int, int, int]) -> None:
    """Of the values and of their squares, at every lag of up to four rows and columns."""
    x = field_at(*place, channels=2)
    for y in (x, (x * x - 1) / math.sqrt(2)):
        for down in range(5):
            for across in range(-4, 5):
                if (down, across) > (0, 0):
                    height, width = y.shape[1] - down, y.shape[2] - abs(across)
                    left, other = max(-across, 0), max(across, 0)
                    a = y[:, :height, left : left + width]
                    b = y[:, down:, other : other + width]
                    assert abs((a * b).mean()) < 5 / math.sqrt(a.size), (down, across)


@pytest.mark.parametrize("place", PLACES)
def test_the_spectrum_is_flat(place: tuple[int, int, int, int]) -> None:
    """No lattice: of n independent periodogram values, the greatest is about ln n, beyond ln n + 7 once in 1,000."""
    x = field_at(*place, channels=1)[0]
    power = np.abs(np.fft.rfft2(x)[:, 1:-1].ravel()) ** 2 / x.size
    assert power.max() < math.log(power.size) + 7
    assert power.mean() == pytest.approx(1, abs=5 / math.sqrt(power.size))


def test_seeds_levels_and_channels_are_independent() -> None:
    fields = {("seed", s): field_at(s, 3, 0, 0, 1) for s in (0, 1, 2, 3, 2**32, 2**32 + 1, 2**63, 2**64 - 1)}
    fields |= {("level", n): field_at(0, n, 0, 0, 1) for n in (0, 1, 2, 62, 63)}
    fields |= {("far", n): field_at(0, 3, n, 0, 1) for n in (2**32, 2**33, 2**39, -(2**32), -(2**39))}
    fields |= {("far across", n): field_at(0, 3, 0, n, 1) for n in (2**32, 2**33, 2**39, -(2**32), -(2**39))}
    x = np.stack([f.ravel() for f in fields.values()] + [f.ravel() for f in field_at(0, 4, 0, 0, 9)])
    for y in (x, x * x):
        correlation = np.corrcoef(y) - np.eye(len(y))
        assert np.abs(correlation).max() < 5 / math.sqrt(x.shape[1])


@settings(max_examples=50, deadline=None)
@given(seeds, levels, coordinates, coordinates, st.integers(0, 63), st.integers(0, 5))
def test_one_bit_of_any_argument_changes_the_field(
    seed: int, level: int, row: int, column: int, bit: int, which: int
) -> None:
    def field(s: int, n: int, i: int, j: int) -> np.ndarray:
        return noise_field(s, n, range(i, i + 1), range(j, j + 1), 8).numpy().ravel()

    row, column = row % 2**40, column % 2**40
    there = [(seed % 2**64 ^ 1 << bit, level, row, column), (seed, level ^ 1 << bit % 6, row, column)]
    there += [(seed, level, row ^ 1 << bit % 40, column), (seed, level, row, column ^ 1 << bit % 40)]
    there += [(seed, level, column, row + 1), (seed, level, -1 - row, column)]
    assert not (field(seed, level, row, column) == field(*there[which])).any()


# Bad input


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("seed", 2**64),
        ("seed", -(2**63) - 1),
        ("seed", 1.0),
        ("seed", True),
        ("seed", None),
        ("level", -1),
        ("level", 64),
        ("level", 3.5),
        ("channels", 0),
        ("channels", noise.MAX_CHANNELS + 1),
        ("channels", "4"),
        ("rows", range(0, 10, 2)),
        ("rows", range(10, 0, -1)),
        ("rows", slice(0, 10)),
        ("rows", [0, 1]),
        ("rows", range(-FAR - 1, 0)),
        ("columns", range(FAR, FAR + 2)),
        ("columns", 5),
        ("wrap", 0),
        ("wrap", -8),
        ("wrap", FAR + 1),
        ("wrap", 8.0),
    ],
)
def test_bad_input(argument: str, value: object) -> None:
    arguments = {"seed": 0, "level": 0, "rows": range(4), "columns": range(4), "channels": 4, argument: value}
    with pytest.raises(ArgumentError, match=f"`{argument}` must be"):
        noise_field(**arguments)


def test_numpys_whole_numbers_are_whole_numbers() -> None:
    asked = noise_field(np.uint64(2**64 - 1), np.int32(3), range(2), range(2), np.int64(4), wrap=np.int64(7))
    assert torch.equal(asked, noise_field(2**64 - 1, 3, range(2), range(2), 4))
