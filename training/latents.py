"""Recipe: the latent cache. Everything a denoiser trains on, coded once by a trained autoencoder.

    python -m earthgen.training.latents --data_root DATA --autoencoder runs/autoencoder/autoencoder --output_dir latents

A record is one view of one image: a random crop at a random resolution, perhaps under simulated clouds; the same ground
four times coarser and degraded; a caption; the metadata; the layout where there are labels. Records lie in buckets by
size. A bucket is a pure function of (data, autoencoder, seed), is written under another name and renamed when whole,
so a killed run loses one bucket at most.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm

from earthgen import labels
from earthgen.conditions import COARSE_FACTOR
from earthgen.data import elevation
from earthgen.data.augment import coarser, draw
from earthgen.data.base import Sample
from earthgen.data.captions import caption
from earthgen.data.clouds import add_clouds
from earthgen.data.degrade import degrade
from earthgen.data.elevation import Elevation, with_terrain
from earthgen.data.labelled import NAME, LabelledSamples
from earthgen.data.mixture import readers
from earthgen.errors import DataError
from earthgen.layout import BOX_CHANNELS, CELL, LAYOUT_CHANNELS, MASK_CHANNELS, class_vectors, paint_boxes, paint_mask
from earthgen.models import EarthAutoencoder
from earthgen.precision import native_dtype
from earthgen.text import TEXT_DIM, encode_text, load_text_encoder, sentence_vectors
from earthgen.training.autoencoder import to_tensor
from earthgen.training.common import network_of

RECORDS: dict[int, dict[str, int]] = {
    64: {
        "eurosat": 42_000, "ucmerced": 14_000, "bluemarble": 9_000, "eurosat_scenes": 4_000, "oscd": 3_000,
        "naip": 600, "dubai": 2_000,
    },
    128: {"eurosat_scenes": 5_000, "ucmerced": 7_000, "bluemarble": 5_000, "oscd": 2_500, "naip": 300, "dubai": 1_500},
    256: {"eurosat_scenes": 1_000, "ucmerced": 2_500, "bluemarble": 2_000, "oscd": 1_200, "naip": 150, "dubai": 700},
}  # fmt: skip
"""How many records of each set a bucket of this many pixels a side holds."""
OWN_RECORDS = {64: 3_000, 128: 1_500, 256: 400}
"""Likewise of labelled images of one's own."""

CLOUDY_SHARE = 0.12
CLOUDY_SOURCES = ("eurosat", "eurosat_scenes", "bluemarble", "oscd")
"""Sets seen from orbit, cloudless as they come: only these get clouds."""
MAX_WORDS = 40  # tokens of a caption kept in the cache

META = np.dtype([(n, np.float32) for n in ("gsd", "lat", "lon", "day", "year", "cloud", "degradation")])
"""Numbers of a record; NaN where unknown. `day` is the day of the year, 1 to 366."""


@dataclass(frozen=True)
class View:
    """One record before it is coded."""

    sample: Sample
    coarse: np.ndarray
    degradation: float
    caption: str


def enlarged(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A coarser image brought to `size` (height, width) by bicubic interpolation, as the denoiser is given it."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def view(name: str, sample: Sample, size: int, rng: np.random.Generator, relief: Elevation | None) -> View:
    """A random view of one image, `size` pixels a side. `relief` lets captions speak of mountains and coasts."""
    room = min(sample.image.shape[:2]) / size
    # Mostly the finest resolution or the whole image, which show most detail and most structure; else between. The
    # smallest images show structure best, and a cascade may start from them.
    kind, finest = rng.random(), 0.25 if size == min(RECORDS) else 0.5
    if kind < finest:
        scale = 1.0
    elif kind < 0.75:
        scale = min(room, 8.0)
    else:
        scale = float(np.exp(rng.uniform(0, math.log(min(room, 8.0)))))
    sample = draw(sample, rng, size, gsd_scale=scale)
    if name in CLOUDY_SOURCES:
        cover = 0.0
        if rng.random() < CLOUDY_SHARE:
            image, cover, _ = add_clouds(sample.image, float(rng.uniform(0.05, 0.9)), rng, sample.gsd or 10.0)
            sample = replace(sample, image=image)
        sample = replace(sample, cloud_cover=cover)
    level = float(rng.uniform(0, 1)) if rng.random() < 0.8 else 0.0
    coarse = degrade(coarser(sample.image, COARSE_FACTOR), level, rng)
    described = sample if relief is None else with_terrain(sample, relief)
    return View(sample, coarse, level, caption(described, rng))


def numbers(v: View) -> tuple[float, ...]:
    """The record's `META`."""
    s, nan = v.sample, math.nan
    day, year = (s.date.timetuple().tm_yday, s.date.year) if s.date else (nan, nan)

    def known(x: float | None) -> float:
        return nan if x is None else x

    return known(s.gsd), known(s.lat), known(s.lon), day, year, known(s.cloud_cover), v.degradation


def large_enough(images: Sequence[Sample], size: int) -> NDArray[np.integer]:
    """Which images are at least `size` pixels a side. Long sets have one size, which their first image tells."""
    if isinstance(images, LabelledSamples):
        return np.flatnonzero(images.sides >= size)
    if len(images) > 4000:
        return np.arange(len(images) if min(images[0].image.shape[:2]) >= size else 0)
    return np.flatnonzero([min(image.image.shape[:2]) >= size for image in images])


def plan(
    sources: Mapping[str, Sequence[Sample]], size: int, scale: float, seed: int
) -> Iterator[tuple[str, int, np.random.Generator]]:
    """Which images to view, in random order: every image of a set about equally often."""
    order = np.random.default_rng([seed, size])
    jobs = []
    for number, (name, count) in enumerate((RECORDS[size] | {NAME: OWN_RECORDS[size]}).items()):
        eligible = large_enough(sources.get(name, ()), size)
        wanted = math.ceil(count * scale) if len(eligible) else 0
        rounds = math.ceil(wanted / max(len(eligible), 1))
        picks = [i for _ in range(rounds) for i in order.permutation(eligible)][:wanted]
        jobs += [(name, number, int(i)) for i in picks]
    for position, j in enumerate(order.permutation(len(jobs))):
        name, number, index = jobs[j]
        yield name, index, np.random.default_rng([seed, size, number, index, position])


class Painter:
    """Layout fields of labelled samples; class vectors are looked up once."""

    def __init__(self) -> None:
        self.encoder, self.tokenizer = load_text_encoder()
        self.vectors: dict[str, np.ndarray] = {}

    def vector(self, name: str) -> np.ndarray:
        if name not in self.vectors:
            self.vectors[name] = class_vectors(sentence_vectors([name], self.encoder, self.tokenizer))[0]
        return self.vectors[name]

    def __call__(self, sample: Sample) -> np.ndarray:
        """(70, h, w) float32; the parts without labels are zero and will be marked absent."""
        height, width = sample.image.shape[:2]
        field = np.zeros((LAYOUT_CHANNELS, height // CELL, width // CELL), np.float32)
        if sample.mask is not None:
            field[MASK_CHANNELS] = paint_mask(sample.mask, np.stack([self.vector(c) for c in sample.mask_classes]))
        if sample.boxes is not None:
            field[BOX_CHANNELS] = paint_boxes(
                sample.boxes, {b.label: self.vector(b.label) for b in sample.boxes}, height, width
            )
        return field


@torch.inference_mode()
def write_bucket(
    folder: Path, size: int, sources: Mapping[str, Sequence[Sample]], autoencoder: EarthAutoencoder, painter: Painter,
    relief: Elevation | None, scale: float, seed: int,
) -> None:  # fmt: skip
    """Code every view of a bucket into `folder`, which appears only when it is whole."""
    partial = folder.with_name("partial-" + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    jobs = list(plan(sources, size, scale, seed))
    if not jobs:
        raise DataError(f"none of the sets {sorted(sources)} has images for the bucket of {size} px")
    channels, side = autoencoder.config.latent_channels, size // autoencoder.spatial_factor
    shape = (len(jobs), channels, side, side)
    z = np.lib.format.open_memmap(partial / "z.npy", "w+", np.float16, shape)
    c = np.lib.format.open_memmap(partial / "coarse.npy", "w+", np.float16, shape)
    meta, layout_of = np.zeros(len(jobs), META), np.full(len(jobs), -1, np.int32)
    names: list[str] = []
    texts: list[str] = []
    layouts: list[np.ndarray] = []
    has_boxes, has_mask = np.zeros(len(jobs), bool), np.zeros(len(jobs), bool)
    chunk = max(32 * 64 * 64 // size**2, 1)
    with tqdm(total=len(jobs), desc=f"{size} px", mininterval=10) as bar:
        for start in range(0, len(jobs), chunk):
            views = [view(n, sources[n][i], size, rng, relief) for n, i, rng in jobs[start : start + chunk]]
            rows = slice(start, start + len(views))
            x = to_tensor([v.sample.image for v in views] + [enlarged(v.coarse, (size, size)) for v in views])
            coded = autoencoder.encode(x).latent.numpy()
            z[rows], c[rows] = coded[: len(views)], coded[len(views) :]
            for row, v in enumerate(views, start):
                meta[row] = numbers(v)
                names.append(v.sample.source)
                texts.append(v.caption)
                has_boxes[row], has_mask[row] = v.sample.boxes is not None, v.sample.mask is not None
                if has_boxes[row] or has_mask[row]:
                    layout_of[row] = len(layouts)
                    layouts.append(painter(v.sample).astype(np.float16))
            bar.update(len(views))
    z.flush()
    c.flush()
    known = sorted(set(texts))
    number = {t: i for i, t in enumerate(known)}
    np.save(partial / "meta.npy", meta)
    np.save(partial / "layout_of.npy", layout_of)
    np.save(partial / "labelled.npy", np.stack([has_boxes, has_mask], 1))
    np.save(
        partial / "layouts.npy",
        np.stack(layouts) if layouts else np.zeros((0, LAYOUT_CHANNELS, size // CELL, size // CELL), np.float16),
    )
    np.save(partial / "text_of.npy", np.array([number[t] for t in texts], np.int32))
    write_texts(partial, known, painter)
    (partial / "index.json").write_text(json.dumps({"size": size, "sources": names, "texts": known}))
    partial.rename(folder)


def write_texts(folder: Path, texts: Sequence[str], painter: Painter) -> None:
    """Token vectors of every distinct caption: `tokens.npy` (n, MAX_WORDS, 384) float16 and `lengths.npy` (n,)."""
    tokens = np.lib.format.open_memmap(folder / "tokens.npy", "w+", np.float16, (len(texts), MAX_WORDS, TEXT_DIM))
    lengths = np.zeros(len(texts), np.int32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths together: little padding
    for start in tqdm(range(0, len(order), 64), desc="captions", mininterval=10):
        rows = order[start : start + 64]
        hidden, mask = encode_text([texts[i] for i in rows], painter.encoder, painter.tokenizer)
        for i, h, m in zip(rows, hidden.float().numpy(), mask.sum(1).tolist(), strict=True):
            lengths[i] = min(m, MAX_WORDS)
            tokens[i, : lengths[i]] = h[: lengths[i]]
    tokens.flush()
    np.save(folder / "lengths.npy", lengths)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="earthgen train latents", description=__doc__.split("\n\n")[0])
    p.add_argument("--data_root", type=Path, default=None, help="folder of the data sets; default: $EARTHGEN_DATA")
    p.add_argument("--autoencoder", type=Path, required=True, help="folder of a trained autoencoder")
    p.add_argument("--output_dir", type=Path, required=True)
    names = sorted({n for counts in RECORDS.values() for n in counts})
    p.add_argument("--sets", nargs="+", default=names, choices=names, help="the data sets to code")
    p.add_argument("--split", choices=["train", "test"], default="train", help="test: to measure a denoiser's loss on")
    p.add_argument(
        "--sizes", type=int, nargs="+", default=list(RECORDS), choices=list(RECORDS), help="buckets, in pixels a side"
    )
    p.add_argument(
        "--real", type=Path, default=None, help="labelled images of your own, in any format of `dataset --real`: "
        "these alone, not the data sets",
    )  # fmt: skip
    p.add_argument("--gsd", type=float, default=None, help="metres a pixel of those that do not say it themselves")
    p.add_argument("--scale", type=float, default=1.0, help="how many times the usual number of records")
    p.add_argument("--seed", type=int, default=0)
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    autoencoder = network_of(EarthAutoencoder, "autoencoder", args.autoencoder, native_dtype())
    autoencoder.to(memory_format=torch.channels_last)
    # A few large images are kept in memory: reading a whole one for each crop of it takes longer than coding it.
    sources: dict[str, Sequence[Sample]]
    if args.real is not None:
        sources = {NAME: LabelledSamples(labels.read(args.real), args.gsd)}
    else:
        found = readers(args.data_root, args.split, args.sets)
        sources = {name: list(reader) if len(reader) < 100 else reader for name, reader in found.items()}
    painter = Painter()
    relief = None
    try:
        if args.real is None:
            relief = elevation.load(args.data_root)
    except DataError as error:
        print(f"captions will not speak of mountains and coasts: {error}")
    for size in args.sizes:
        folder = args.output_dir / str(size)
        if folder.exists():
            print(f"{folder} is there already")
            continue
        write_bucket(folder, size, sources, autoencoder, painter, relief, args.scale, args.seed)


if __name__ == "__main__":
    main()
