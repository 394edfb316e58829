"""Captions composed from what is known of a sample, from a bare word to a sentence.

Nothing is said that the sample does not hold. Numbers are rounded and facets few, so that the sentences of an epoch
number thousands, not millions: their embeddings are cached.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from earthgen.conditions import Box
from earthgen.data import places
from earthgen.data.base import METRES_PER_DEGREE, Sample

CLASS_WORDS: dict[str, tuple[str, ...]] = {
    # EuroSAT
    "AnnualCrop": ("annual crops", "fields of crops", "farmland", "arable fields", "cropland"),
    "Forest": ("forest", "woodland", "dense trees", "a wood"),
    "HerbaceousVegetation": ("herbaceous vegetation", "wild grass and shrubs", "natural grassland", "scrubland"),
    "Highway": ("a highway", "a motorway", "a main road", "a highway through the countryside"),
    "Industrial": ("industrial buildings", "an industrial area", "factories and warehouses", "a commercial district"),
    "Pasture": ("pasture", "meadows", "grazing land", "green pasture"),
    "PermanentCrop": ("permanent crops", "orchards and vineyards", "plantations of trees", "an orchard"),
    "Residential": ("a residential area", "houses", "a town", "a neighbourhood of houses", "a village or suburb"),
    "River": ("a river", "a river with its banks", "a stream", "a waterway"),
    "SeaLake": ("sea or lake", "open water", "water", "a lake or the sea"),
    # UC Merced
    "agricultural": ("agricultural fields", "farmland", "rows of crops", "a cultivated field"),
    "airplane": ("airplanes", "an aircraft on the ground", "parked airplanes", "planes at an airport"),
    "baseballdiamond": ("a baseball diamond", "a baseball field", "a ball park"),
    "beach": ("a beach", "a sandy beach and surf", "the seashore"),
    "buildings": ("large buildings", "buildings", "a built-up block", "office buildings"),
    "chaparral": ("chaparral", "dry shrubland", "scattered shrubs", "desert scrub"),
    "denseresidential": ("dense housing", "a dense residential area", "closely built houses"),
    "forest": ("forest", "dense trees", "woodland", "tree canopy"),
    "freeway": ("a freeway", "a motorway", "a multi-lane road", "a highway with traffic lanes"),
    "golfcourse": ("a golf course", "fairways and bunkers of a golf course", "golf greens"),
    "harbor": ("a harbour", "boats at their berths", "a marina", "docked boats"),
    "intersection": ("a road intersection", "crossing streets", "a crossroads"),
    "mediumresidential": ("a residential area", "houses with gardens", "suburban houses"),
    "mobilehomepark": ("a mobile home park", "rows of mobile homes", "a trailer park"),
    "overpass": ("an overpass", "a road bridge over another road", "a flyover"),
    "parkinglot": ("a parking lot", "parked cars", "a car park full of cars"),
    "river": ("a river", "a river with wooded banks", "a stream"),
    "runway": ("a runway", "an airport runway", "a landing strip"),
    "sparseresidential": ("scattered houses", "a sparse residential area", "a country house among trees"),
    "storagetanks": ("storage tanks", "round oil tanks", "a tank farm"),
    "tenniscourt": ("tennis courts", "a tennis court", "courts for tennis"),
    # masks
    "building": ("buildings", "houses"),
    "land": ("bare land", "open ground"),
    "road": ("roads", "streets"),
    "vegetation": ("vegetation", "greenery"),
    "water": ("water",),
}
"""Words for each label of the data sets. The first entry is the one prompts use."""

MASK_CLASSES = frozenset(("building", "land", "road", "vegetation", "water"))
AERIAL_CLASSES = frozenset(name for name in CLASS_WORDS if name[0].islower()) - MASK_CLASSES
AERIAL_GSD = 2.0
"""Metres a pixel up to which a picture of which no more is known is called an aerial photo."""
OVERCAST = 0.95
"""Cover from which only clouds are seen."""
SUMMED_UP = {
    "AnnualCrop": "crops",
    "Highway": "a road",
    "Industrial": "industry",
    "PermanentCrop": "orchards",
    "Residential": "houses",
    "HerbaceousVegetation": "grassland",
    "SeaLake": "water",
}
"""Shorter words for the classes of a scene that shows several."""

ROUND_GSD = (
    0.15,
    0.3,
    0.6,
    1.2,
    2.5,
    5,
    10,
    20,
    40,
    80,
    150,
    300,
    600,
    1200,
    2500,
    5000,
    10_000,
    20_000,
    40_000,
    80_000,
)
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
SEASONS = ("winter", "spring", "summer", "autumn")


def words_for(label: str) -> tuple[str, ...]:
    """Ways to name a class, whoever's it is."""
    return CLASS_WORDS.get(label) or (label.replace("_", " "),)


def class_prompt(label: str) -> str:
    """The prompt for a class when a model is evaluated, one of the captions it is trained with."""
    view = "an aerial photo" if label in AERIAL_CLASSES else "a satellite image"
    return f"{view} of {words_for(label)[0]}"


def is_aerial(gsd: float | None, label: str | None) -> bool:
    """Whether a picture is called an aerial photo: by its metres a pixel, or where that is unknown, by its class."""
    return gsd <= AERIAL_GSD if gsd is not None else label in AERIAL_CLASSES


def listed(labels: Iterable[str]) -> str:
    """Classes as in a sentence: houses, roads and water."""
    return _listed([words_for(label)[0] for label in labels])


def by_number(boxes: Iterable[Box]) -> list[str]:
    """The classes of objects, the most frequent first."""
    counts = Counter(box.label for box in boxes)
    return sorted(counts, key=lambda name: (-counts[name], name))


def caption(sample: Sample, rng: np.random.Generator) -> str:
    """A sentence or less about a sample, or the empty string when there is nothing to say.

    Three in ten are a bare subject; the others name the kind of picture or one or two facets: place, terrain,
    climate, resolution, season, cloud.
    """
    subject = _pick(rng, _subjects(sample))
    facets = _facets(sample)
    style = rng.random()
    if sample.facts.label and style < 0.1 and (sample.cloud_cover or 0.0) < OVERCAST:
        return class_prompt(sample.facts.label)
    if style < 0.35 and subject:
        return subject
    view = _pick(rng, _views(sample))
    head = subject if subject and rng.random() < 0.4 else view if not subject else f"{view} of {subject}"
    count = min(len(facets), 0 if style < 0.45 else 1 if style < 0.8 else 2)
    chosen = sorted(rng.permutation(len(facets))[:count].tolist()) if count else []
    return "".join((head, *(_pick(rng, facets[k]) for k in chosen)))


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))] if choices else ""


def span_of(sample: Sample) -> float:
    """Degrees of latitude that a sample is high; 0 when its GSD is unknown."""
    return (sample.gsd or 0.0) * max(sample.height, sample.width) / METRES_PER_DEGREE


def _subjects(sample: Sample) -> tuple[str, ...]:
    """Ways to say what is seen."""
    facts = sample.facts
    if sample.cloud_cover is not None and sample.cloud_cover >= OVERCAST:
        return ("clouds", "cloud cover", "an overcast sky from above")
    if facts.label:
        return words_for(facts.label)
    if facts.regions:
        shown = [label for label, share in facts.label_fractions() if share >= 0.15][:3]
        words = tuple(dict.fromkeys(SUMMED_UP.get(label, words_for(label)[0]) for label in shown))
        return (*([_listed(words)] if words else ()), *facts.subjects)
    if facts.mask_fractions:
        return _of_mask(facts.mask_fractions)
    if facts.subjects:
        return facts.subjects
    if sample.boxes and not facts.place:
        return (listed(by_number(sample.boxes)),)
    if facts.place:
        return (facts.place, facts.place.split(",")[0])
    return _of_terrain(sample)


def _of_mask(fractions: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
    much = [name for name, share in fractions if share >= 0.15][:3]
    some = [name for name, share in fractions if 0.02 <= share < 0.15][:1]
    versions = []
    for k in (0, -1):
        words = [words_for(name)[k] for name in much]
        rest = [f"some {words_for(name)[k]}" for name in some]
        versions.append(_listed((*words, *rest)))
    return tuple(dict.fromkeys(v for v in versions if v))


def _of_terrain(sample: Sample) -> tuple[str, ...]:
    """Ways to name the ground of a picture of which only the elevation grid tells."""
    facts, span = sample.facts, span_of(sample)
    if facts.land_fraction is None or facts.elevation is None or facts.relief is None:
        return ()
    if span > 60:
        return ("the Earth from space", "continents and oceans", "the globe")
    if facts.land_fraction < 0.02:
        return ("open ocean", "the sea", "ocean water") if facts.elevation < -200 else ("shallow sea", "the sea")
    if span > 0.5 and 0.1 < facts.land_fraction < 0.9:
        return ("a coast", "land and sea", "a coastline")
    if facts.land_fraction < 0.9:
        return ()
    if facts.relief > 350:
        return ("mountains", "a mountain range", "rugged mountains")
    if facts.relief > 120:
        return ("hills", "hilly land", "uplands")
    if facts.relief < 40:
        return ("plains", "flat land", "a plain")
    return ("land", "gently rolling land")


def _views(sample: Sample) -> tuple[str, ...]:
    """Names of the kind of picture."""
    gsd = sample.gsd
    if gsd is not None and gsd > 300:
        return ("a satellite image", "a view from space", "a satellite map")
    if sample.facts.sensor == "aerial" and gsd is not None and gsd < 1.5:
        return ("an aerial photo", "a high resolution aerial image", "an overhead view")
    if sample.facts.sensor == "aerial":
        return ("an aerial photo", "an overhead view")
    return ("a satellite image", "a satellite photo", "an overhead view")


def _facets(sample: Sample) -> list[tuple[str, ...]]:
    """What else is known, each facet as a few endings of a sentence."""
    facets = [_where(sample), _terrain(sample), _climate(sample), _resolution(sample), _when(sample), _cloud(sample)]
    return [facet for facet in facets if facet]


def _where(sample: Sample) -> tuple[str, ...]:
    facts = sample.facts
    if facts.place:
        told = not (facts.label or facts.regions or facts.mask_fractions or facts.subjects)
        return () if told else (f" in {facts.place}",)
    if sample.lat is None or sample.lon is None:
        return ()
    span = span_of(sample)
    if facts.land_fraction is not None and facts.land_fraction < 0.02:
        return tuple(f" in {name}" for name in places.names_at(sample.lat, sample.lon, span, (places.OCEANS,)))
    if facts.land_fraction is None or facts.land_fraction > 0.3:
        tables = (places.COUNTRIES, places.DESERTS, places.RANGES, places.CONTINENTS)
        return tuple(f" in {name}" for name in dict.fromkeys(places.names_at(sample.lat, sample.lon, span, tables)))
    return ()


def _terrain(sample: Sample) -> tuple[str, ...]:
    facts = sample.facts
    if facts.relief is None or facts.elevation is None or facts.land_fraction is None:
        return ()
    if not (facts.label or facts.regions or facts.subjects or facts.place) or span_of(sample) > 3:
        return ()  # the subject tells it already, or the picture holds too much to say one thing
    if 0.15 < facts.land_fraction < 0.85 and facts.elevation < 150:
        return (" near the coast",)
    if facts.land_fraction < 0.85:
        return ()
    if facts.relief > 350:
        return (" in the mountains", " in mountainous terrain")
    if facts.relief > 120:
        return (" in hilly country",)
    return (" in flat country",) if facts.relief < 40 else ()


def _climate(sample: Sample) -> tuple[str, ...]:
    if sample.lat is None:
        return ()
    zone = places.climate_at(sample.lat, sample.facts.elevation, span_of(sample))
    land = sample.facts.land_fraction
    if zone is None:
        return ()
    if land is not None and land < 0.02:
        return (f", {zone} waters",)
    return (f", {zone} climate", f", {zone}")


def _resolution(sample: Sample) -> tuple[str, ...]:
    if sample.gsd is None:
        return ()
    nearest = min(ROUND_GSD, key=lambda g: abs(math.log(g / (sample.gsd or 1.0))))
    number = f"{nearest:g} m" if nearest < 1000 else f"{nearest / 1000:g} km"
    return (f" at {number} resolution", f", {number} per pixel")


def _when(sample: Sample) -> tuple[str, ...]:
    if sample.date is None:
        return ()
    month = f" in {MONTHS[sample.date.month - 1]}"
    if sample.lat is None or abs(sample.lat) < 23.4:  # no such seasons in the tropics
        return (month,)
    index = sample.date.month % 12 // 3
    return (month, f" in {SEASONS[index if sample.lat > 0 else (index + 2) % 4]}")


def _cloud(sample: Sample) -> tuple[str, ...]:
    cover = sample.cloud_cover
    if cover is None:
        return ()
    for limit, words in (
        (0.02, (", clear sky", ", no clouds")),
        (0.15, (" with a few clouds", ", mostly clear")),
        (0.5, (" with scattered clouds", ", partly cloudy")),
        (0.85, (", mostly cloudy", " under many clouds")),
    ):
        if cover < limit:
            return words
    return (", overcast", " covered by clouds")


def _listed(words: Sequence[str]) -> str:
    """Words joined as in a sentence: a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
