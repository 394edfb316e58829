"""From the words of the command line to values, with errors that name option, rule and value."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import typer

from earthgen.conditions import Box, Guidance, Polygon
from earthgen.errors import ArgumentError

MIN_SIDE, MAX_SIDE = 8, 16_384
MAX_SEED = 2**63 - 1


def size(text: str) -> tuple[int, int]:
    """`256` or `WIDTHxHEIGHT` in pixels, as (height, width)."""
    match = re.fullmatch(r"(\d{1,9})(?:[xX×](\d{1,9}))?", text.strip())
    sides = [int(side) for side in match.groups() if side] if match else []
    if not sides or not all(MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise ArgumentError("size", f"must be SIDE or WIDTHxHEIGHT in pixels, each from {MIN_SIDE} to {MAX_SIDE}", text)
    return sides[-1], sides[0]


def date(text: str | None) -> dt.date | None:
    """`YYYY-MM-DD`."""
    if text is None:
        return None
    try:
        return dt.datetime.strptime(text.strip(), "%Y-%m-%d").date()
    except ValueError:
        raise ArgumentError("date", "must be a day as YYYY-MM-DD", text) from None


def guidance(text: str | None, usual: Guidance | None = None) -> Guidance | None:
    """`3`, or `text=3,gsd=2` where what is not named keeps its usual weight. `None` leaves it all to the model."""
    if text is None:
        return None
    names = [f.name for f in fields(Guidance)]
    try:
        if "=" not in text:
            return Guidance.uniform(float(text))
        pairs = [part.partition("=") for part in text.split(",")]
        weights = {name.strip(): float(value) for name, _, value in pairs}
        if len(weights) == len(pairs) and set(weights) <= set(names):
            return replace(usual or Guidance(), **weights)
    except ArgumentError:
        raise
    except ValueError:
        pass
    raise ArgumentError("guidance", f"must be a number, or name=number pairs of {', '.join(names)}", text)


def seed(number: int | None) -> int:
    """The seed asked for, or a fresh one of 31 bits."""
    if number is None:
        return secrets.randbelow(2**31)
    if not 0 <= number <= MAX_SEED:
        raise ArgumentError("seed", f"must be from 0 to {MAX_SEED}", number)
    return number


def boxes(texts: list[str] | None) -> tuple[Box, ...] | None:
    """Each `LABEL,X,Y,WIDTH,HEIGHT` or with `,ANGLE` after it; pixels and degrees. The label may hold commas."""
    if not texts:
        return None
    found = []
    for text in texts:
        label, numbers = _labelled(text, 5)
        if len(numbers) < 4 or not label:
            raise ArgumentError("box", "must be LABEL,X,Y,WIDTH,HEIGHT or LABEL,X,Y,WIDTH,HEIGHT,ANGLE", text)
        found.append(Box(label, *numbers))
    return tuple(found)


def polygons(texts: list[str] | None) -> tuple[Polygon, ...] | None:
    """Each `LABEL,X,Y,X,Y,X,Y,...` in pixels. The label may hold commas."""
    if not texts:
        return None
    found = []
    for text in texts:
        label, numbers = _labelled(text, len(text))
        if len(numbers) < 6 or len(numbers) % 2 or not label:
            raise ArgumentError("polygon", "must be LABEL,X,Y,X,Y,X,Y,... of at least three corners", text)
        found.append(Polygon(label, tuple(zip(numbers[::2], numbers[1::2], strict=True))))
    return tuple(found)


def _labelled(text: str, most: int) -> tuple[str, list[float]]:
    """What stands before the last numbers of a list, and these, `most` at most."""
    parts = text.split(",")
    numbers: list[float] = []
    while parts and len(numbers) < most and (number := _number(parts[-1])) is not None:
        numbers.insert(0, number)
        parts.pop()
    return ",".join(parts), numbers


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def at_least_one(name: str, number: int | None) -> None:
    """Refuse a count that is given but not positive."""
    if number is not None and number < 1:
        raise ArgumentError(name, "must be a whole number >= 1", number)


@contextmanager
def spoken_warnings() -> Iterator[None]:
    """Warnings, such as what was repaired in labels, as lines of the command's own on stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: typer.echo(f"earthgen: {message}", err=True)
        yield


def print_json(value: Any) -> None:
    """One JSON document on stdout; numbers that JSON does not know become null."""
    typer.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def counted(number: int, thing: str) -> str:
    """A number of things in words: `1 pair`, `2 pairs`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
