"""Gaussian noise as a function of coordinates: any window of an unbounded field, in any order, on any machine.

Each value depends on (seed, level, row, column, channel) alone. Those are the key and counter of a keyed bijection,
Philox4x32-10 (Salmon et al. 2011), whose 32 bits a value the inverse of the normal distribution (Wichura 1988) turns
into a Gaussian. There is no state and nothing to look up, so a far window costs what a near one does.

Everything is computed on the CPU, in integers and in those float64 operations that IEEE 754 rounds correctly
(+ - × ÷ √), one numpy call each. A GPU's compiler would fuse products and sums, its logarithm and that of each maths
library differ in the last bit, and some devices have no float64; so the finished float32 values are moved instead.
They are few: the noise of a 256 px tile takes about a millisecond (`benchmarks/noise.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthgen.errors import ArgumentError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_COORDINATE = 2**40
"""Rows and columns lie from its negative to it, both included."""
MAX_CHANNELS = 2**26
LEVELS = range(64)

_CHUNK = 2**14
"""Positions at a time, so that the working arrays stay in a core's cache."""

_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10

# Wichura's algorithm AS 241, PPND16: coefficients of the highest power first. Its third region, below exp(-25),
# lies beyond 32 bits.
_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
     1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
     5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0),
)  # fmt: skip
_TAIL = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
     3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
     6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0),
)  # fmt: skip
_LN_2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
_ATANH = tuple(1 / k for k in range(17, 0, -2))
"""artanh(s) / s = 1 + s²/3 + s⁴/5 + …; at the largest s here, 0.172, what is left out is below 1e-14."""

Words = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]
"""Four words of 32 bits, each kept in 64 so that products fit."""


def noise_field(
    seed: int,
    level: int,
    rows: range,
    columns: range,
    channels: int,
    device: torch.device | str = "cpu",
    wrap: int | None = None,
) -> Tensor:
    """Independent standard normal values, float32 (channels, len(rows), len(columns)), the same bits everywhere.

    With 32 bits a value the largest magnitude is 6.34. Windows may be of any shape, also empty.

    Args:
        seed: From -2⁶³ to 2⁶⁴ - 1; taken modulo 2⁶⁴, as torch does, so -1 is the largest.
        level: 0 to 63, each with a field of its own.
        rows: Global coordinates, one after the other, from -2⁴⁰ to 2⁴⁰.
        columns: The same.
        channels: The first so many of the field's.
        device: Where the result is wanted.
        wrap: Period of the columns, 1 to 2⁴⁰: the circumference of a world that closes at the antimeridian.

    Raises:
        ArgumentError: An argument is out of its range.
    """
    seed = whole_number("seed", seed, -(2**63), 2**64 - 1) % 2**64
    level = whole_number("level", level, LEVELS.start, LEVELS.stop - 1)
    channels = whole_number("channels", channels, 1, MAX_CHANNELS)
    i, j = _coordinates("rows", rows), _coordinates("columns", columns)
    if wrap is not None:
        j %= whole_number("wrap", wrap, 1, MAX_COORDINATE)
    field = np.empty((channels, i.size, j.size), np.float32)
    width = max(1, min(j.size, _CHUNK))
    height = _CHUNK // width
    for block in range(0, channels, 4):
        for top in range(0, i.size, height):
            for left in range(0, j.size, width):
                part = field[block : block + 4, top : top + height, left : left + width]
                words = philox(_counter(level, i[top : top + height], j[left : left + width], block // 4), seed)
                for channel, word in zip(part, words, strict=False):  # the last block may need fewer than four
                    channel[...] = gaussian(word)
    import torch  # here alone: coordinates are checked in places that have no use for it

    return torch.from_numpy(field).to(device)


def philox(counter: Words, key: int) -> Words:
    """Philox4x32-10: the four words, each 0 to 2³² - 1, that a counter of four such words gives under a key of 64 bits.

    Words are uint64 arrays that broadcast against each other. Salmon, Moraes, Dror and Shaw, "Parallel random numbers:
    as easy as 1, 2, 3", SC 2011.
    """
    a, b, c, d = counter
    for n in range(_ROUNDS):
        p, q = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        low = np.uint64(((key & 0xFFFFFFFF) + n * _KEY_STEPS[0]) & 0xFFFFFFFF)
        high = np.uint64(((key >> 32) + n * _KEY_STEPS[1]) & 0xFFFFFFFF)
        a, b, c, d = (q >> _WORD) ^ (b ^ low), q & _LOW, (p >> _WORD) ^ (d ^ high), p & _LOW
    return a, b, c, d


def gaussian(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The normal quantile of (word + ½) / 2³², for words from 0 to 2³² - 1.

    Relative error about 1e-15; the same bits everywhere. A word and its complement give opposite values.
    """
    q = (words.view(np.int64) - (2**31 - 0.5)) * 2.0**-32  # the probability less a half, exact
    r = 0.180625 - q * q
    x = q * _ratio(_CENTRE, r)
    tail = np.abs(q) > 0.425
    q = q[tail]
    r = np.sqrt(-_log(0.5 - np.abs(q)))
    x[tail] = np.copysign(_ratio(_TAIL, r - 1.6), q)
    return x


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """`value` as an int; raises `ArgumentError` unless it is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ArgumentError(name, f"must be a whole number from {low} to {high}", value)
    return int(value)


def _counter(level: int, rows: NDArray[np.int64], columns: NDArray[np.int64], block: int) -> Words:
    """128 bits that differ wherever any of the four does: 48 a coordinate, 24 the block of four channels, 8 the level.

    Words 0 and 1 are the lower halves of column and row, word 2 their upper 16 bits, word 3 level and block.
    """
    i, j = rows.view(np.uint64)[:, None], columns.view(np.uint64)[None, :]  # two's complement
    upper = (j >> _WORD & np.uint64(0xFFFF)) | (i >> _WORD & np.uint64(0xFFFF)) << np.uint64(16)
    return j & _LOW, i & _LOW, upper, np.full((1, 1), level << 24 | block, np.uint64)


def _log(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of positive numbers, by series: p = m 2ᵉ, ln m = 2 artanh((m - 1) / (m + 1))."""
    m, e = np.frexp(p)
    small = m < _SQRT_HALF
    m = np.where(small, m + m, m)
    s = (m - 1.0) / (m + 1.0)
    return (e - small) * _LN_2 + (s + s) * _polynomial(_ATANH, s * s)


def _ratio(coefficients: tuple[Sequence[float], Sequence[float]], x: NDArray[np.float64]) -> NDArray[np.float64]:
    above, below = coefficients
    return _polynomial(above, x) / _polynomial(below, x)


def _polynomial(coefficients: Sequence[float], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Horner's rule, in place: numpy's `polyval` makes two arrays a term."""
    y = coefficients[0] * x
    for c in coefficients[1:-1]:
        y += c
        y *= x
    y += coefficients[-1]
    return y


def _coordinates(name: str, positions: object) -> NDArray[np.int64]:
    rule = "must be a range with step 1 within -2**40 to 2**40"
    if not isinstance(positions, range) or positions.step != 1:
        raise ArgumentError(name, rule, positions)
    if positions and (positions[0] < -MAX_COORDINATE or positions[-1] > MAX_COORDINATE):
        raise ArgumentError(name, rule, positions)
    return np.arange(positions.start, max(positions.stop, positions.start), dtype=np.int64)
