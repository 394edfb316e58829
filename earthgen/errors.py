"""Errors that earthgen raises. Each also inherits the built-in error a caller would expect."""

from __future__ import annotations


class EarthgenError(Exception):
    """Base of every error earthgen raises on purpose."""


class ArgumentError(EarthgenError, ValueError):
    """An argument breaks a rule.

    The message names the argument, the rule and the value received.
    """

    def __init__(self, argument: str, rule: str, value: object) -> None:
        self.argument, self.rule, self.value = argument, rule, value
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"`{argument}` {rule}, but got {shown}")


class WeightsError(EarthgenError, OSError):
    """A weights file is missing, damaged, altered, or of a kind that is refused."""


class DataError(EarthgenError, OSError):
    """A data set is missing or not laid out as its reader expects."""


class OutputError(EarthgenError, OSError):
    """An output cannot be written where it was asked for."""
