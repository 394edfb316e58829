"""The measurements of a generator, each a function from images to a JSON-ready record."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from earthgen.conditions import Conditions
from earthgen.metrics.classifier import Classifier
from earthgen.metrics.distances import frechet_distance, kernel_distance, nearest
from earthgen.metrics.figures import GROUPS, Groups, group_error, jackknife_error
from earthgen.metrics.generated import Generate, ask
from earthgen.metrics.gsd import GSDReader, rank_correlation
from earthgen.metrics.judges import JudgeConfig, accuracy_report
from earthgen.metrics.network import Images
from earthgen.metrics.real import LabelledImages, shrink
from earthgen.metrics.seams import border_score, gradients
from earthgen.metrics.spectrum import octave_ratio
from earthgen.output.atomic import write_text

Record = dict[str, Any]

PROBES: tuple[tuple[float, float, str, float | None, float | None], ...] = (
    (0.0, 3.0, "an aerial photo of a residential area", None, None),
    (0.0, 3.0, "an aerial photo of a parking lot", None, None),
    (0.0, 3.0, "an aerial photo of forest", None, None),
    (0.0, 3.0, "an aerial photo of a runway", None, None),
    (3.0, 9.0, "an aerial photo of farmland", 47.7, -98.1),
    (3.0, 9.0, "a satellite image of farmland", 48.5, 2.5),
    (3.0, 9.0, "a satellite image of a town", 50.1, 8.6),
    (9.0, 150.0, "a satellite image of annual crops", 48.5, 2.5),
    (9.0, 150.0, "a satellite image of a residential area", 50.1, 8.6),
    (9.0, 150.0, "a satellite image of forest", 49.0, 13.4),
    (9.0, 150.0, "a satellite image of a river", 45.0, 9.7),
    (150.0, np.inf, "a satellite image of mountains", 46.5, 10.0),
    (150.0, np.inf, "a satellite image of plains", 52.0, 65.0),
    (150.0, np.inf, "a satellite image of a coast", 38.0, 22.5),
    (150.0, np.inf, "a satellite image", 23.0, 15.0),
)
"""Prompts that make sense from one GSD up to another, with a place where there is such ground."""


def accuracy(generated: LabelledImages, partners: LabelledImages, judge: Classifier) -> Record:
    """How often the class asked for is the class that the judge of real images sees.

    Beside it, how often the judge is right about real images: held-out ones, and the partners, which it was trained on.
    """
    reports = []
    for images in (generated, partners):
        seen = judge.predict(shrink(images.images, judge.about["size"]))
        reports.append(accuracy_report(images.labels, seen, images.classes))
    kept = ("images", "accuracy", "mean_over_classes", "by_class")
    held_out, known = ({k: r[k] for k in kept} for r in (judge.about["held_out"], reports[1]))
    return {**reports[0], "real_held_out": held_out, "real_partners": known}


def score(
    generated: LabelledImages,
    partners: LabelledImages,
    held_out: LabelledImages,
    config: JudgeConfig,
    progress: bool = False,
) -> Record:
    """Classification accuracy score: what a classifier learns about real images from generated ones alone.

    Ravuri and Vinyals 2019, arXiv:1905.10887. The same training on the real partners is the yardstick.
    """
    result = {
        name: _learned(train, held_out, config, 0, f"training on {name} images", progress)
        for name, train in (("real", partners), ("generated", generated))
    }
    return {
        "images": len(generated),
        "steps": config.fit.steps,
        "train_on_real": result["real"],
        "train_on_generated": result["generated"],
        "ratio": result["generated"] / result["real"],
    }


def augmented(
    generated: LabelledImages,
    train: LabelledImages,
    held_out: LabelledImages,
    config: JudgeConfig,
    share: float = 0.1,
    seeds: Sequence[int] = (0, 1, 2),
    progress: bool = False,
    folder: Path | None = None,
) -> Record:
    """What generated images add to a share of the real ones, over several draws of that share.

    Both classifiers take as many steps, and see real images no less often than generated ones. Each draw's result is
    kept in `folder`, and not measured again.
    """
    results = []
    for seed in seeds:
        few = train.draw([max(2, round(share * n)) for n in train.class_counts()], seed)
        file = folder / f"{seed}.json" if folder else None
        if file and file.exists():
            results.append(json.loads(file.read_text()))
            continue
        times = max(1, round(len(generated) / len(few)))
        title = f"training on {share:.0%} real, seed {seed}"
        result = [
            _learned(images, held_out, config, seed, title + more, progress)
            for images, more in ((few, ""), (_joined([few] * times + [generated]), ", and generated"))
        ]
        if file:
            write_text(file, json.dumps(result) + "\n")
        results.append(result)
    alone, together = map(list, zip(*results, strict=True))
    return {
        "real_images": len(few),
        "generated_images": len(generated),
        "steps": config.fit.steps,
        "seeds": list(seeds),
        "real_alone": alone,
        "real_and_generated": together,
        "gain_points": 100 * float(np.mean(together) - np.mean(alone)),
        "gain_standard_error": 100 * float(np.std(np.subtract(together, alone), ddof=1) / np.sqrt(len(seeds)))
        if len(seeds) > 1
        else None,
    }


def distances(
    generated: LabelledImages, partners: LabelledImages, held_out: LabelledImages, judge: Classifier
) -> Record:
    """Fréchet and kernel distances to held-out real images in the judge's features, beside those of real partners.

    All three sets have as many images of each class, because both distances depend on it.
    """
    sets = matched(generated, partners, held_out)
    g, p, h = (judge.features(shrink(s.images, judge.about["size"])) for s in sets)
    record: Record = {"images": len(g), "features": int(g.shape[1])}
    for name, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
        generated_to_real, real_to_real = distance(g, h), distance(p, h)
        error = jackknife_error(functools.partial(distance, b=h), g, _dealt(sets[0]))
        record[name] = {
            "generated_to_real": generated_to_real,
            "real_to_real": real_to_real,
            "ratio": generated_to_real / real_to_real if real_to_real > 0 else None,
            "ratio_error": error / real_to_real if error is not None and real_to_real > 0 else None,
        }
    return record


def power(generated: LabelledImages, partners: LabelledImages, held_out: LabelledImages) -> Record:
    """Power by octave of wavelength: generated ÷ held-out real, and for comparison real partners ÷ held-out real."""
    g, p, h = matched(generated, partners, held_out)
    ratio = octave_ratio(g.images, h.images)
    errors = group_error(lambda x: list(octave_ratio(x, h.images).values()), g.images, _dealt(g))
    return {
        "images": len(g),
        "generated_to_real": ratio,
        "generated_to_real_error": errors and dict(zip(ratio, errors, strict=True)),
        "real_to_real": octave_ratio(p.images, h.images),
        "generated_to_partners": octave_ratio(g.images, p.images),
    }


def cells(generated: LabelledImages, partners: LabelledImages, side: int = 4) -> Record:
    """Whether the cells of `side` px that a latent stands for show (`earthgen.metrics.seams`), beside real images."""

    def score(images: Images) -> float:
        return border_score(gradients(images, side))

    by_class = {
        name: score(generated.images[generated.labels == k])
        for k, name in enumerate(generated.classes)
        if (generated.labels == k).any()
    }
    return {
        "images": len(generated),
        "side": side,
        "generated": score(generated.images),
        "generated_error": group_error(score, generated.images, _dealt(generated)),
        "real": score(partners.images),
        "by_class": by_class,
    }


def memorisation(
    generated: LabelledImages, train: LabelledImages, held_out: LabelledImages, judge: Classifier, shown: int = 16
) -> Record:
    """Whether generated images are nearer to images of the train split than held-out real ones are.

    Distances are those to the nearest training image in the judge's features (as Meehan et al. 2020, arXiv:2004.05675,
    compare them), of as many images of each class. A generator that copies has a small ratio of medians, and more than
    a hundredth of its images nearer than the nearest hundredth of the real ones.
    """
    g, h = matched(generated, held_out)
    of_g, of_h, known = (judge.features(shrink(s.images, judge.about["size"])) for s in (g, h, train))
    (near_g, which), (near_h, _) = nearest(of_g, known), nearest(of_h, known)
    middle = float(np.median(near_h))
    threshold = float(np.quantile(near_h, 0.01))
    error = group_error(np.median, near_g, _dealt(g))
    closest = np.argsort(near_g, kind="stable")[:shown]
    kept = [np.flatnonzero(generated.labels == k)[:n] for k, n in enumerate(g.class_counts())]
    place = np.concatenate(kept)  # of `g` in `generated`
    return {
        "images": len(g),
        "train_images": len(train),
        "median_generated": float(np.median(near_g)),
        "median_real": middle,
        "ratio": float(np.median(near_g)) / middle if middle > 0 else None,
        "ratio_error": error / middle if error is not None and middle > 0 else None,
        "share_nearer_than_1_percent_of_real": float((near_g < threshold).mean()),
        "closest": [
            {"generated": int(place[k]), "train": int(which[k]), "distance": float(near_g[k])} for k in closest
        ],
    }


def gsd_obedience(
    generate: Generate,
    judge: GSDReader,
    steps: int = 24,
    each: int = 4,
    side: int = 128,
    batch_size: int = 16,
    progress: bool = False,
) -> Record:
    """Asks for GSDs from 0.3 m to 10 km and reads them off: with prompts that suit them, and with the GSD alone.

    Prompts hint at the GSD themselves; what is read without them is due to the number alone.
    """
    gsd = np.repeat(np.geomspace(0.3, 10_000, steps), each)
    prompted = []
    for k, value in enumerate(gsd):
        suitable = [probe[2:] for probe in PROBES if probe[0] <= value < probe[1]]
        text, lat, lon = suitable[k % each % len(suitable)]
        prompted.append(Conditions(text=text, gsd=float(value), lat=lat, lon=lon, cloud_cover=0.0))
    alone = [Conditions(gsd=float(value), cloud_cover=0.0) for value in gsd]
    record: Record = {"side": side, "images": len(gsd), "asked": gsd.tolist(), "real_held_out": judge.about["held_out"]}
    for name, conditions in (("prompted", prompted), ("gsd_alone", alone)):
        read = judge.predict(ask(generate, conditions, side, 7_000_000, f"GSD, {name}", batch_size, progress))
        record[name] = {
            "rank_correlation": rank_correlation(np.log2(gsd), read),
            "median_octaves_off": float(np.median(np.abs(np.log2(gsd) - read))),
            "read": np.exp2(read).tolist(),
        }
    return record


def matched(*sets: LabelledImages) -> list[LabelledImages]:
    """The first images of each class of each set, as many as every set has."""
    counts = np.min([s.class_counts() for s in sets], axis=0)
    chosen = [[np.flatnonzero(s.labels == k)[:n] for k, n in enumerate(counts)] for s in sets]
    return [s.take(np.concatenate(index)) for s, index in zip(sets, chosen, strict=True)]


def _dealt(images: LabelledImages) -> Groups:
    """A number below `GROUPS` for each image, such that every group has as many of each class, or nearly."""
    groups = np.zeros(len(images), np.int64)
    for k in range(len(images.classes)):
        here = images.labels == k
        groups[here] = np.arange(np.count_nonzero(here)) % GROUPS
    return groups


def _joined(sets: Sequence[LabelledImages]) -> LabelledImages:
    images, labels = np.concatenate([s.images for s in sets]), np.concatenate([s.labels for s in sets])
    return LabelledImages(images, labels, sets[0].classes, tuple(c for s in sets for c in s.asked))


def _learned(
    train: LabelledImages, held_out: LabelledImages, config: JudgeConfig, seed: int, title: str, progress: bool
) -> float:
    """Accuracy on held-out real images, the mean over classes, of a new classifier trained on `train`."""
    fit, network = replace(config.fit, seed=seed), config.network(len(train.classes))
    images = shrink(train.images, config.size)
    made = Classifier.fit(images, train.labels, train.classes, fit, network, title if progress else None)
    seen = made.predict(shrink(held_out.images, config.size))
    return float(accuracy_report(held_out.labels, seen, held_out.classes)["mean_over_classes"])
