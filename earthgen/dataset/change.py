"""Data sets of change: series of images from a folder of images, labelled or not, or from nothing, and their exports.

    resolved.yaml        the configuration, with the digest of the model
    source/<id>/         a series: t0.png, t1.png, ..., label_0_1.tif, ..., series.json
    <format>/            one folder for each format asked for, images hard-linked to those of the source
    SHA256SUMS           of every file, written last: where it is, the data set is whole

A series is a pure function of the configuration and its number, and its folder appears whole or not at all, so the same
command goes on where it was stopped.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from tqdm.auto import tqdm

from earthgen import __version__, weights
from earthgen.conditions import Conditions, Guidance
from earthgen.dataset.change_config import WITHOUT_EFFECT, ChangeConfig
from earthgen.dataset.change_sources import first_of, read_sources
from earthgen.dataset.checks import read_yaml
from earthgen.dataset.real import digest
from earthgen.dataset.store import Store
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import LabelledSet, Split
from earthgen.labels.change import FORMATS, ChangePair, bands_of, export_changes, read_bands
from earthgen.labels.change_formats import label_geotiff
from earthgen.labels.pictures import read_header
from earthgen.output.atomic import StrPath, write_text
from earthgen.output.png import write_png
from earthgen.output.provenance import Provenance
from earthgen.simulate.events import Event, stream
from earthgen.simulate.nuisance import Nuisance
from earthgen.steps import usual_steps


def make_changes(config: ChangeConfig, folder: StrPath, *, progress: bool = False) -> dict[str, Any]:
    """Make the data set that `config` describes in `folder`, or what is left of it. Returns a JSON-ready report.

    Raises:
        ArgumentError: The configuration breaks a rule, or the folder holds a data set of another one.
        DataError: A source cannot be read.
        OutputError: The folder cannot be written; what is done is kept.
        WeightsError: There is no such model, or it is damaged.
    """
    store, sources = Store(folder), read_sources(config)
    made_with = {"version": __version__, "model_sha256": weights.model_sha256(weights.resolve(config.model))}
    if sources.images:
        made_with["source_sha256"] = digest(sources)
    with store.locked():
        # A run that failed before its first series has left nothing that another configuration could spoil.
        there = read_yaml(store.resolved) if any(store.source.glob("*/series.json")) else {}
        today = dt.datetime.now(dt.timezone.utc).date()
        config = replace(config, made_with=made_with, created=config.created or there.get("created") or today)
        if there:
            _check_same(store, there, config)
        store.reopen()
        write_text(store.resolved, yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True, width=120))
        ids = [f"s{config.seed}-{index:06d}" for index in range(config.count)]
        missing = [i for i, name in enumerate(ids) if not (store.source / name / "series.json").is_file()]
        maker = _Maker(config, store, sources) if missing else None
        for index in tqdm(
            missing, total=config.count, initial=config.count - len(missing), unit="series", disable=not progress
        ):
            assert maker is not None
            maker.make(index, ids[index])
        pairs = [pair for name in ids for pair in pairs_of(store.source / name, config.pairs)]
        draft = store.work / "formats"
        if pairs:
            for name in set(FORMATS) - set(config.formats):
                shutil.rmtree(store.folder / name, ignore_errors=True)  # of an earlier run
            shutil.rmtree(draft, ignore_errors=True)
            done = export_changes(pairs, draft, config.formats, second_classes=config.second_classes, progress=progress)
            for name, made in done.items():
                store.put(made, name)
        store.finish()
    lacking = sum(sum(step.values()) for name in ids for step in _record(store.source / name)["missing"])
    return {
        "output": str(store.folder),
        "formats": {name: str(store.folder / name) for name in config.formats},
        "seed": config.seed,
        "series": config.count,
        "series_made": len(missing),
        "pairs": len(pairs),
        "changed": round(float(np.mean([pair.extra["changed"] for pair in pairs])), 5),
        "events_without_place": lacking,
    }


def pairs_of(folder: Path, which: str = "next") -> list[ChangePair]:
    """The pairs of a series' folder. Raises `DataError` where it is none."""
    record = _record(folder)
    count = len(record["images"])
    found = []
    for first, second in itertools.combinations(range(count), 2):
        if which == "next" and second - first > 1:
            continue
        label = folder / f"label_{first}_{second}.tif"
        header = read_header(label)
        own = record["pairs"][f"{first}_{second}"]
        found.append(
            ChangePair(
                id=record["id"] if count == 2 else f"{record['id']}-{first}-{second}",
                first=folder / f"t{first}.png",
                second=folder / f"t{second}.png",
                height=header.height,
                width=header.width,
                label=partial(read_bands, label),
                split=record["split"],
                classes=tuple(record["classes"]),
                events=tuple(Event.from_dict(e) for step in record["events"][first:second] for e in step),
                sentences=tuple(own["sentences"]),
                crs=header.crs,
                transform=header.transform,
                extra={
                    "seed": record["seed"],
                    "changed": own["changed"],
                    "contrast": own["contrast"],
                    "dates": [record["dates"][k] for k in (first, second)] if record["dates"] else None,
                    "nuisances": [record["nuisances"][k] for k in (first, second)],
                },
            )
        )
    return found


class _Maker:
    """Makes series, each from its number alone."""

    def __init__(self, config: ChangeConfig, store: Store, sources: LabelledSet) -> None:
        self.config, self.store, self.sources = config, store, sources
        self.module = import_module("earthgen.pipelines.change")  # torch
        self.pipe = self.module.ChangePipeline.from_pretrained(config.model).to(config.device)
        # Dates have no weight, as in the pipeline's own guidance.
        self.guidance = None if config.guidance is None else replace(Guidance.uniform(config.guidance), date=0.0)
        self.pipe.set_progress_bar_config(disable=True)

    def make(self, index: int, name: str) -> None:
        """Make a series and write its folder."""
        config, random = self.config, stream(self.config.seed, index)
        seed = int(np.random.SeedSequence(config.seed, spawn_key=(index, 1)).generate_state(1, np.uint64)[0] >> 11)
        first = first_of(self.sources, index, config, random, seed)
        series, image, backwards = first.series(config, seed), first.image, False
        if first.boxes is None and first.mask is None:
            backwards = bool(random.random_sample() < config.backwards)  # what vanished appears
        start, days = config.start, config.interval
        dates = None if start is None else [start + dt.timedelta(days * k) for k in range(config.dates)]
        lat, lon = (config.lat, config.lon) if config.lat is not None else first.place or (None, None)
        conditions = Conditions(text=config.prompt, gsd=config.gsd or first.gsd, lat=lat, lon=lon)
        nuisances = [config.nuisance if k or config.nuisance_first else Nuisance() for k in range(config.dates)]
        out = self.pipe(
            series,
            image=image,
            conditions=conditions,
            dates=None if backwards else dates,
            seed=seed,
            margin=config.margin,
            nuisance=nuisances[::-1] if backwards else nuisances,
            num_inference_steps=config.steps,
            guidance=self.guidance,
            output_type="np",
        )
        images, records = list(out.images), out.nuisances
        untouched = [image is not None and k == 0 and not records[0] for k in range(config.dates)]
        if backwards:
            series, images, records, untouched = series.reversed(), images[::-1], records[::-1], untouched[::-1]
        draft = self.store.work / name
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        asked = conditions.to_dict() | ({"known": "an image"} if image is not None else {})
        asked |= {"become": list(series.classes)} if series.described else {}
        for number, (picture, plain) in enumerate(zip(images, untouched, strict=True)):
            path = draft / f"t{number}.png"
            known = (number > 0 or image is not None) and not series.described
            usual = self.module.GUIDANCE if known else self.module.FIRST_GUIDANCE
            if plain:
                Image.fromarray(picture).save(path)  # an observation, which is not marked as synthetic
            else:
                dated = {} if dates is None else {"date": dates[number].isoformat()}
                write_png(path, picture, self._provenance(seed, asked | dated, self.guidance or usual))
        pair = ChangePair(
            name, draft, draft, *config.size, bands_of(series), crs=first.crs, transform=first.transform,
            classes=series.classes,
        )  # fmt: skip
        pairs = {}
        for one, other in itertools.combinations(range(config.dates), 2):
            if config.pairs == "next" and other - one > 1:
                continue
            bands = bands_of(series, one, other)
            (draft / f"label_{one}_{other}.tif").write_bytes(label_geotiff(bands, pair))
            changed = bands[0] > 0
            gap = np.abs(images[one].astype(float) - images[other]).mean(-1)
            pairs[f"{one}_{other}"] = {
                "sentences": series.sentences(one, other),
                "changed": round(float(changed.mean()), 6),
                "contrast": round(float(gap[changed].mean()), 2) if changed.any() else None,
            }
        record = {
            "id": name,
            "split": _split(config, first.key),
            "seed": seed,
            "source": None if image is None else first.key,
            "classes": list(series.classes),
            "images": [f"t{k}.png" for k in range(config.dates)],
            "dates": None if dates is None else [d.isoformat() for d in dates],
            "events": [[e.to_dict() for e in step] for step in series.events],
            "missing": [dict(step) for step in series.missing],
            "nuisances": records,
            "pairs": pairs,
        }
        (draft / "series.json").write_text(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
        self.store.put(draft, f"source/{name}")

    def _provenance(self, seed: int, asked: dict[str, Any], guidance: Guidance) -> Provenance:
        config = self.config
        return Provenance(
            seed=seed,
            conditions=asked,
            guidance=asdict(guidance),
            model=weights.shown(config.model),
            model_sha256=config.made_with["model_sha256"],
            version=__version__,
            steps=config.steps or usual_steps(self.pipe).first,
            scheduler=type(self.pipe.scheduler).__name__,
            created=dt.datetime.combine(config.created or dt.date.min, dt.time(), dt.timezone.utc),
        )


def _split(config: ChangeConfig, key: str) -> Split:
    """By the source image, so that no place is in two splits."""
    digest = hashlib.sha256(f"{config.seed} {key}".encode()).digest()
    u = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in config.splits.items():
        if u < share:
            return name  # type: ignore[return-value]
        u -= share
    return max(config.splits.items(), key=lambda item: item[1])[0]  # type: ignore[return-value]


def _check_same(store: Store, there: Mapping[str, Any], config: ChangeConfig) -> None:
    asked = config.to_dict()
    if there.get("count", math.inf) > config.count:
        raise ArgumentError("count", f"must be at least that of the data set in {store.folder}", config.count)
    differing = sorted(
        k for k in {*there, *asked} if k not in WITHOUT_EFFECT and there.get(k) != asked.get(k)
    )  # fmt: skip
    if differing:
        rule = f"holds a data set of another configuration (another {', '.join(differing)}): give another folder"
        raise ArgumentError("output", rule, str(store.folder))


def _record(folder: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((folder / "series.json").read_text(encoding="utf-8"))
        return record
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the series {folder}: {error}") from error
