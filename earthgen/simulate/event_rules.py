"""What may lie where, and what may become what: the tables that change events follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from earthgen.conditions import check_number
from earthgen.errors import ArgumentError
from earthgen.labels.base import class_key

_LAND = (
    "land", "ground", "bare land", "bareland", "bare soil", "low vegetation", "vegetation", "grass", "grassland",
    "rangeland", "farmland", "agriculture", "agriculture land", "pasture", "annual crop", "herbaceous vegetation",
    "developed space", "background",
)  # fmt: skip
_WATER = ("water", "sea", "lake", "river", "harbour", "harbor", "sea lake")
_PAVED = ("road", "pavement", "parking lot", "impervious surface", "land", "ground", "background")

OBJECTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("building", "house", "storage tank", "greenhouse", "sports field", "tennis court"), _LAND),
    **dict.fromkeys(("tree", "swimming pool", "pool"), _LAND),
    **dict.fromkeys(("vehicle", "car", "truck", "plane", "airplane"), _PAVED),
    **dict.fromkeys(("ship", "boat"), (*_WATER, "background")),
}
"""Classes that are objects, each with the classes it may lie on. A building never stands in the sea."""

_GREEN = ("vegetation", "low vegetation", "grass", "grassland", "rangeland", "pasture", "herbaceous vegetation")
_WOOD = ("tree", "trees", "forest")
_BARE = ("land", "ground", "bare land", "bareland", "bare soil")
_FIELD = ("farmland", "agriculture", "agriculture land", "annual crop", "permanent crop")
_BUILT = ("building", "residential", "industrial", "developed space", "urban land")


def _to(*targets: tuple[Sequence[str], float]) -> dict[str, float]:
    return {name: weight for names, weight in targets for name in names}


TRANSITIONS: dict[str, dict[str, float]] = {
    **dict.fromkeys(_GREEN, _to((_BARE, 2), (_BUILT, 2), (_FIELD, 1), (_WOOD, 1))),
    **dict.fromkeys(_WOOD, _to((_BARE, 2), (_FIELD, 2), (_GREEN, 1), (_BUILT, 1))),
    **dict.fromkeys(_BARE, _to((_BUILT, 2), (_GREEN, 2), (_FIELD, 1), (("water",), 0.5))),
    **dict.fromkeys(_FIELD, _to((_BUILT, 2), (_BARE, 1), (_GREEN, 1), (_WOOD, 0.5))),
    **dict.fromkeys(_BUILT, _to((_BARE, 2), (_GREEN, 1))),
    **dict.fromkeys(("water", "lake", "river"), _to((_BARE, 1))),
}
"""Class → what it may become, with weights."""


@dataclass(frozen=True)
class EventRules:
    """Tables and limits of change events. Raises `ArgumentError` for what is out of range."""

    objects: Mapping[str, Sequence[str]] = field(default_factory=lambda: OBJECTS)
    """Classes that can be added, removed, moved, grown and shrunk → classes they may lie on."""
    transitions: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: TRANSITIONS)
    """Class → classes it may become, with weights > 0."""
    smallest: int = 64
    """Pixels of the smallest object that is touched or made."""
    largest: float = 0.1
    """Largest share of the image that one event may change; of a larger region a part makes a transition."""
    gap: int = 2
    """Pixels kept free between what is added and anything that it may not lie on."""

    def __post_init__(self) -> None:
        check_number("rules.smallest", self.smallest, "must be a number of pixels from 1", 1, 1e9)
        check_number("rules.largest", self.largest, "must be above 0 and at most 1", 0, 1, low_open=True)
        check_number("rules.gap", self.gap, "must be a number of pixels from 0 to 1000", 0, 1000)
        for source, targets in self.transitions.items():
            for target, weight in targets.items():
                name = f"rules.transitions[{source!r}][{target!r}]"
                check_number(name, weight, "must be a number > 0", 0, 1e9, low_open=True)
                if source == target:
                    raise ArgumentError("rules.transitions", "must lead to another class", source)

    def check(self, classes: Sequence[str], kinds: Sequence[str]) -> None:
        """Raise `ArgumentError` where no class of a map takes part in a kind of event that is asked for."""
        lies = "one of `rules.objects` and one that it may lie on"
        turns = "one of `rules.transitions` and one that it may become"
        for kind in kinds:
            if not self.changing(classes, [kind]):
                lacking = {"transition": turns, "any": f"{lies}, or {turns}"}.get(kind, lies)
                of_kind = "" if kind == "any" else f" of the kind {kind}"
                example = "rules: {objects: {hut: [meadow]}, transitions: {meadow: {hut: 1}}}"
                rule = f"must hold, for events{of_kind}, {lacking} (a configuration says which, as in {example})"
                raise ArgumentError("classes", rule, tuple(classes))

    def changing(self, classes: Sequence[str], kinds: Sequence[str]) -> set[str]:
        """Classes of a map that pixels may have before or after events of these kinds; "any" is all kinds."""
        rules, found = self.spelled(classes), set[str]()
        for name in classes:
            targets = rules.targets(name, classes) if {"transition", "any"} & set(kinds) else ()
            grounds = rules.grounds(name, classes) if set(kinds) - {"transition"} else ()
            if targets or grounds:
                found |= {name, *targets, *grounds}
        return found

    def spelled(self, classes: Sequence[str]) -> EventRules:
        """These rules in a map's own words: case, "-", "_" and " " make no difference, as in `earthgen.labels.read`."""
        words = {class_key(name): name for name in classes}

        def own(name: str) -> str:
            return name if name in classes else words.get(class_key(name), name)

        return replace(
            self,
            objects={own(name): tuple(map(own, grounds)) for name, grounds in self.objects.items()},
            transitions={own(name): {own(to): w for to, w in row.items()} for name, row in self.transitions.items()},
        )

    def grounds(self, name: str, classes: Sequence[str]) -> tuple[str, ...]:
        """What an object of a class may lie on among the classes of a map; nothing where it is no object."""
        return tuple(on for on in classes if on in self.objects.get(name, ()) and on != name)

    def targets(self, name: str, classes: Sequence[str]) -> dict[str, float]:
        """What a class may become among the classes of a map, with weights."""
        return {to: w for to, w in self.transitions.get(name, {}).items() if to in classes and to != name}
