"""Asks a generator for the images the evaluation needs, keeping each group on disk so that a stopped run goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from earthgen.conditions import Conditions
from earthgen.errors import ArgumentError
from earthgen.metrics.network import Images
from earthgen.metrics.real import LabelledImages
from earthgen.output.atomic import atomic_path

Generate = Callable[[list[Conditions], int, int, list[int]], NDArray[np.uint8]]
"""(conditions, height, width, seeds) to images (number, height, width, 3), one for each of the conditions."""


def ask(
    generate: Generate,
    conditions: Sequence[Conditions],
    side: int,
    first_seed: int,
    title: str,
    batch_size: int = 16,
    progress: bool = False,
) -> Images:
    """One square image for each of the conditions, with the seeds `first_seed`, `first_seed` + 1, ...

    Raises:
        ArgumentError: What `generate` returned is no uint8 array of the shape asked for.
    """
    parts = []
    with tqdm(total=len(conditions), desc=title, disable=not progress, unit="image") as bar:
        for start in range(0, len(conditions), batch_size):
            asked = list(conditions[start : start + batch_size])
            images = generate(asked, side, side, [first_seed + start + k for k in range(len(asked))])
            wanted = (len(asked), side, side, 3)
            if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != wanted:
                shown = (images.dtype, images.shape) if isinstance(images, np.ndarray) else type(images)
                raise ArgumentError("generate", f"must return a uint8 array of shape {wanted}", shown)
            parts.append(images)
            bar.update(len(asked))
    return np.concatenate(parts)


def like(
    real: LabelledImages,
    generate: Generate,
    folder: Path | None,
    first_seed: int,
    title: str,
    batch_size: int = 16,
    progress: bool = False,
) -> LabelledImages:
    """A generated image for each real one, asked for by what is known of it; class after class.

    Args:
        real: Whose classes, prompts, GSDs and positions are asked for.
        generate: The generator.
        folder: Where the images of each class are kept as `<class>.npy`, and taken from if they are there already.
        first_seed: The k-th image has the seed `first_seed` + k.
        title: Of the progress bar.
        batch_size: Images asked for at a time.
        progress: Whether to show progress bars.
    """
    result = np.empty_like(real.images)
    side = real.images.shape[1]
    for k, name in enumerate(real.classes):
        members = np.flatnonzero(real.labels == k)
        file = folder / f"{name}.npy" if folder else None
        if file and file.exists():
            images = np.load(file, allow_pickle=False)
            if images.shape != (len(members), side, side, 3):
                raise ArgumentError("out", f"holds {file.name} of another evaluation, use another folder", images.shape)
        elif members.size:
            # Seeds go with the class, so that they do not change when another class has more images.
            asked = [real.asked[m] for m in members]
            seed = first_seed + 100_000 * k
            images = ask(generate, asked, side, seed, f"{title}: {name}", batch_size, progress)
            if file:
                with atomic_path(file) as temporary, temporary.open("wb") as stream:
                    np.save(stream, images, allow_pickle=False)
        else:
            continue
        result[members] = images
    return LabelledImages(result, real.labels, real.classes, real.asked)


def from_pipeline(pipeline: Callable[..., Any], **options: Any) -> Generate:
    """An `EarthPipeline` as a generator: one `torch.Generator` an image, so that images do not depend on their batch.

    Args:
        pipeline: Takes `conditions`, `height`, `width`, `generator` and `output_type="np"`.
        options: Given to it besides, such as `num_inference_steps` or `guidance`.
    """

    def generate(conditions: list[Conditions], height: int, width: int, seeds: list[int]) -> NDArray[np.uint8]:
        noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        size = {"height": height, "width": width}
        images = pipeline(conditions=conditions, **size, generator=noise, output_type="np", **options).images
        return np.asarray(np.rint(np.clip(images, 0, 1) * 255), np.uint8)

    return generate
