"""Everything that is measured of a generator, with one call: `evaluate`.

Every generated image has a real partner, an image of the train split: it is asked for by the partner's class (as a
prompt), GSD and, in EuroSAT, position. A generator as good as more real images would score as the partners do,
which is why their figures stand beside its own everywhere. All comparisons are with real images of the test split,
other places that neither the generator nor the judges were trained on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from earthgen.errors import ArgumentError
from earthgen.metrics import parts, report
from earthgen.metrics.classifier import Classifier
from earthgen.metrics.generated import Generate, like
from earthgen.metrics.judges import JUDGES, JudgeConfig, classifier_judge, gsd_judge
from earthgen.metrics.real import LabelledImages, labelled_images
from earthgen.output.atomic import check_writable, write_text

PARTS = (
    *("eurosat/accuracy", "eurosat/distances", "eurosat/spectrum", "eurosat/cells", "eurosat/memorisation"),
    *("eurosat/score", "eurosat/augmented"),
    *("ucmerced/accuracy", "ucmerced/distances", "ucmerced/spectrum", "ucmerced/cells", "ucmerced/memorisation"),
    "ucmerced/score",
    "gsd",
)
"""What can be measured; a data set's name stands for all its parts."""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How much is generated and trained. Figures of different configurations are not comparable."""

    counts: tuple[tuple[str, int], ...] = (("eurosat", 200), ("ucmerced", 40))  # images of each class
    score_steps: int = 1_500  # of each classifier that is trained for a score
    gsd_steps: int = 24  # GSDs asked for, evenly spaced in their logarithm
    gsd_each: int = 4  # prompts for each
    gsd_side: int = 128  # pixels a side of these images
    batch_size: int = 16  # images asked of the generator at a time
    seed: int = 0


def evaluate(
    generate: Generate,
    root: Path | str | None = None,
    what: Sequence[str] = PARTS,
    config: EvaluationConfig | None = None,
    out: Path | str | None = None,
    cache: Path | str | None = None,
    redo: bool = False,
    progress: bool = False,
    judges: dict[str, JudgeConfig] | None = None,
) -> dict[str, Any]:
    """Measure a generator.

    Args:
        generate: (conditions, height, width, seeds) to uint8 images (number, height, width, 3).
        root: Folder of the data sets. None takes the environment variable `EARTHGEN_DATA`.
        what: Of `PARTS`, or names of data sets.
        config: None takes the defaults.
        out: Folder for the generated images, a JSON file for each part, `evaluation.json`, `evaluation.md` and a
            picture sheet for each data set, and one of the generated images that are nearest to a training image,
            beside that. What is there already is not made again. None writes nothing.
        cache: Folder to keep the judges in; see `judges.cache_folder`.
        redo: Measure again what has been measured; generated images are kept.
        progress: Whether to show progress bars.
        judges: Configuration of the classifiers; None takes `judges.JUDGES`.

    Returns:
        {"config": ..., part: record, ...}, JSON-ready.

    Raises:
        ArgumentError: A part is unknown, or `out` holds an evaluation of another configuration.
        OutputError: `out` cannot be written.
        DataError: A data set is missing.
    """
    config = config or EvaluationConfig()
    chosen = [part for part in PARTS if part in what or part.split("/")[0] in what]
    unknown = [w for w in what if w not in PARTS and not any(p.startswith(f"{w}/") for p in PARTS)]
    if unknown or not chosen:
        raise ArgumentError("what", f"must be among {PARTS}, or names of their data sets", tuple(what))
    folder = Path(out) if out else None
    record: dict[str, Any] = {"config": {**asdict(config), "counts": dict(config.counts)}}
    if folder:
        _claim(folder, record["config"])
    sets = {
        name: _Set(name, generate, config, (judges or JUDGES)[name], root, folder, cache, progress)
        for name in dict(config.counts)
    }
    for part in chosen:
        file = folder / "parts" / f"{part.replace('/', '_')}.json" if folder else None
        if file and file.exists() and not redo:
            record[part] = json.loads(file.read_text())
            continue
        if part == "gsd":
            judge = gsd_judge(root, cache, progress)
            c = config
            record[part] = parts.gsd_obedience(
                generate, judge, c.gsd_steps, c.gsd_each, c.gsd_side, c.batch_size, progress
            )
        else:
            kept = file.with_suffix("") if file else None  # of parts that are long
            if kept and redo:
                shutil.rmtree(kept, ignore_errors=True)
            record[part] = sets[part.split("/")[0]].measure(part.split("/")[1], kept)
        if file:
            write_text(file, json.dumps(record[part], indent=1) + "\n")
    if folder:
        write_text(folder / "evaluation.json", json.dumps(record, indent=1) + "\n")
        write_text(folder / "evaluation.md", report.markdown(record))
        for name in {part.split("/")[0] for part in chosen} & set(sets):
            if redo or not (folder / f"{name}.png").exists():
                report.sheet(sets[name].generated, sets[name].partners, folder / f"{name}.png")
            nearest = folder / f"{name}-nearest.png"
            if f"{name}/memorisation" in chosen and (redo or not nearest.exists()):
                closest = record[f"{name}/memorisation"]["closest"]
                report.nearest_sheet(sets[name].generated, sets[name].train, closest, nearest)
    return record


@dataclass
class _Set:
    """Real and generated images of one data set, each made when first asked for."""

    name: str
    generate: Generate
    config: EvaluationConfig
    judge_config: JudgeConfig
    root: Path | str | None
    out: Path | None
    cache: Path | str | None
    progress: bool

    def measure(self, part: str, kept: Path | None) -> dict[str, Any]:
        if part == "accuracy":
            return parts.accuracy(self.generated, self.partners, self.judge)
        if part == "distances":
            return parts.distances(self.generated, self.partners, self.held_out, self.judge)
        if part == "spectrum":
            return parts.power(self.generated, self.partners, self.held_out)
        if part == "cells":
            return parts.cells(self.generated, self.partners)
        if part == "memorisation":
            return parts.memorisation(self.generated, self.train, self.held_out, self.judge)
        training = replace(self.judge_config, fit=replace(self.judge_config.fit, steps=self.config.score_steps))
        if part == "score":
            return parts.score(self.generated, self.partners, self.held_out, training, self.progress)
        return parts.augmented(self.generated, self.train, self.held_out, training, progress=self.progress, folder=kept)

    @cached_property
    def train(self) -> LabelledImages:
        return labelled_images(self.name, self.root, "train", self.progress)

    @cached_property
    def held_out(self) -> LabelledImages:
        # Shuffled, as the first images of each class are taken where fewer are needed.
        test = labelled_images(self.name, self.root, "test", self.progress)
        return test.draw(len(test), self.config.seed)

    @cached_property
    def partners(self) -> LabelledImages:
        return self.train.draw(dict(self.config.counts)[self.name], self.config.seed)

    @cached_property
    def generated(self) -> LabelledImages:
        folder = self.out / "images" / self.name if self.out else None
        title, config = f"generating {self.name}", self.config
        first_seed = 1_000_000 * (1 + config.seed)
        return like(self.partners, self.generate, folder, first_seed, title, config.batch_size, self.progress)

    @cached_property
    def judge(self) -> Classifier:
        return classifier_judge(self.name, self.root, self.cache, self.train, self.judge_config, self.progress)


def _claim(folder: Path, config: dict[str, Any]) -> None:
    """Make sure that `folder` can be written and belongs to this configuration."""
    file = folder / "config.json"
    check_writable(folder)
    if not file.exists():
        write_text(file, json.dumps(config, indent=1) + "\n")
    elif (known := json.loads(file.read_text())) != json.loads(json.dumps(config)):
        raise ArgumentError("out", f"holds an evaluation of another configuration, {known}", str(folder))
