"""Checks of what a person wrote in YAML: each gives the value in its own type, or an error that names it."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from earthgen.errors import ArgumentError, DataError

_MAX_YAML = 1 << 20  # bytes


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that is there twice, of which YAML itself would drop one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """The mapping of a node."""
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ArgumentError(str(key), "must stand only once in its section", keys)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        DataError: The file cannot be read, or is larger than 1 MiB.
        ArgumentError: It is no YAML mapping, or has a key twice.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_YAML:
            raise DataError(f"the configuration {str(path)!r} is larger than {_MAX_YAML >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read the configuration {str(path)!r}: {error}") from error
    try:
        record = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ArgumentError("config", f"must be YAML ({' '.join(str(error).split())})", str(path)) from error
    return dict(mapping("config", {} if record is None else record))


def section(cls: type[Any], values: object, where: str) -> Any:
    """A dataclass from a mapping. An unknown key is refused with the nearest known one."""
    names = [f.name for f in fields(cls)]
    values = mapping(where or "configuration", values)
    for key, value in values.items():
        if key not in names:
            hint = nearest(key, names) or f" (settings are {', '.join(names)})"
            raise ArgumentError(f"{where}.{key}".lstrip("."), f"is no setting{hint}", value)
    try:
        return cls(**values)
    except TypeError as error:  # a required one is missing
        raise ArgumentError(where or "configuration", f"is incomplete ({error})", dict(values)) from error


def nearest(name: object, names: Iterable[str]) -> str:
    """A hint at the name that was perhaps meant, to end a rule with."""
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def mapping(name: str, value: object) -> Mapping[str, Any]:
    """A mapping with strings for keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ArgumentError(name, "must be a mapping of names to values", value)
    return value


def items(name: str, value: object) -> tuple[Any, ...]:
    """A list as a tuple; a single string, or nothing, too."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, (list, tuple)):
        raise ArgumentError(name, "must be a list", value)
    return tuple(value)


def names(name: str, value: object) -> tuple[str, ...]:
    """Distinct non-empty strings."""
    found = items(name, value)
    if not all(isinstance(item, str) and item.strip() for item in found) or len(set(found)) < len(found):
        raise ArgumentError(name, "must be a list of distinct names", value)
    return found


def whole(name: str, value: object, low: int, high: int) -> None:
    """Raise `ArgumentError` unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ArgumentError(name, f"must be a whole number from {low} to {high}", value)


def pair(name: str, value: object) -> tuple[Any, Any] | None:
    """A range: a pair, or one value twice."""
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        return value, value
    if len(value) != 2:
        raise ArgumentError(name, "must be one value or a pair [low, high]", value)
    return value[0], value[1]


def ordered(name: str, pair: Any) -> Any:
    """A pair whose first value is not above its second."""
    if pair[0] > pair[1]:
        raise ArgumentError(name, "must be a pair [low, high], low first", list(pair))
    return pair


def day(name: str, value: object) -> dt.date:
    """A day, or YYYY-MM-DD."""
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise ArgumentError(name, "must be a day as YYYY-MM-DD", value) from None
