"""What was repaired or left out while labels were read or written: one warning a kind, not one an object."""

from __future__ import annotations

import warnings
from collections import defaultdict

_SHOWN = 3


class LabelWarning(UserWarning):
    """Labels were repaired or left out; the message says what, how often, and where first."""


class Notes:
    """Collects places by kind of repair."""

    def __init__(self) -> None:
        self.places: dict[str, dict[str, None]] = defaultdict(dict)
        """By kind, in their order; what several formats leave out is one place."""

    def add(self, kind: str, place: str) -> None:
        """Note one repair. `kind` is a sentence without its end, `place` says where: file, and line or object."""
        self.places[kind][place] = None

    def count(self, kind: str) -> int:
        """How often a kind was noted."""
        return len(self.places.get(kind, ()))

    def tell(self, stacklevel: int = 3) -> None:
        """Warn once a kind, with the first places."""
        for kind, places in self.places.items():
            more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
            warnings.warn(f"{kind}: {', '.join([*places][:_SHOWN])}{more}", LabelWarning, stacklevel=stacklevel)
