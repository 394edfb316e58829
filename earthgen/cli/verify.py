"""`earthgen dataset verify`: what a synthetic data set is worth to a network that is tested on real images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

# As `earthgen.dataset.verify.TASKS`, which a test makes sure of, and change; importing that would slow `--help` down.
TASKS = ("detection", "segmentation", "classification", "oriented", "change")


def verify(
    real: Annotated[
        Path,
        typer.Option(
            "--real", metavar="DIR", help="Labelled real images, or pairs; what is of the split test is tested on."
        ),
    ],
    synthetic: Annotated[Path, typer.Option("--synthetic", metavar="DIR", help="Labelled synthetic images, or pairs.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Keep figures here; a stopped run goes on.")
    ],
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="What to train for. Default: what both sets have labels of.")
    ] = None,
    fraction: Annotated[
        list[float] | None,
        typer.Option("--fraction", metavar="F", help="Shares of the real images, 0 to 1. Repeat. Default: 0.1 0.25 1."),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Trainings of each arm.")] = 3,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Training steps of every arm. Default: what the task needs.")
    ] = None,
    detector: Annotated[
        str, typer.Option(metavar="NETWORK", help="points, dense and soon trained, or d-fine, of transformers.")
    ] = "points",
    real_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Of the real labels. Default: found out from the files.")
    ] = None,
    synthetic_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="Of the synthetic labels.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Train on real images, on synthetic ones and on both, and test on held-out real images.

    Every arm is trained for equally many steps from random weights:
    real alone, synthetic alone, real + synthetic, for several shares of
    the real images and several seeds. A stopped run goes on with the next
    arm. Written: verify.json, verify.md with tables, verify.png.
    Of change, what learned from synthetic pairs goes on with real ones.

    \b
    Tasks, their networks and figures:
      detection       a dense detector of horizontal boxes, or D-FINE;
                      mAP50 and mAP by pycocotools
      oriented        the dense one, of boxes with headings; mAP50 and mAP
                      by supervision
      segmentation    a small feature pyramid; mean intersection over union
      classification  a small residual network; accuracy
      change          a siamese U-Net on pairs, as earthgen dataset change
                      makes them; F1, precision and recall of the pixels

    \b
    The whole table:
      earthgen dataset verify --real mine --synthetic made/coco -o worth
    Pairs of change, as LEVIR-CD, SECOND or three-band GeoTIFFs:
      earthgen dataset verify --real pairs --synthetic changes/second -o worth
    A quick look, in a folder of its own:
      earthgen dataset verify --real mine --synthetic made/coco -o look \\
        --fraction 1 --seeds 1 --steps 300
    """
    from earthgen.cli import parse
    from earthgen.dataset import verify_report
    from earthgen.errors import ArgumentError
    from earthgen.labels.change import format_of
    from earthgen.output.atomic import atomic_path, write_text

    if task is not None and task not in TASKS:
        raise ArgumentError("task", f"must be one of {', '.join(TASKS)}", task)
    parse.at_least_one("seeds", seeds)
    parse.at_least_one("steps", steps)
    given: dict[str, Any] = {"seeds": seeds} | ({"fractions": tuple(fraction)} if fraction else {})
    sources = (real, real_format), (synthetic, synthetic_format)
    if task == "change" or (task is None and format_of(real)):
        record = _changes(*sources, output, steps, given)
    else:
        record = _images(*sources, output, task, steps, detector, given)
    text = verify_report.markdown(record)
    write_text(output / "verify.md", text)
    with atomic_path(output / "verify.png") as path:
        verify_report.plot(record).save(path, format="PNG")
    if json:
        parse.print_json(record)
    else:
        typer.echo(text)


Source = tuple[Path, str | None]
"""Folder and format."""


def _images(
    real: Source,
    synthetic: Source,
    output: Path,
    task: str | None,
    steps: int | None,
    detector: str,
    given: dict[str, Any],
) -> dict[str, Any]:
    """Of labelled images."""
    from earthgen.cli import parse
    from earthgen.dataset.verify import VerifyConfig
    from earthgen.dataset.verify import verify as measure
    from earthgen.labels import read

    config = VerifyConfig(**given)
    config = replace(config, detector=replace(config.detector, network=detector))  # type: ignore[arg-type]
    config = config if steps is None else config.with_steps(steps)
    with parse.spoken_warnings():
        ours = read(*real)
        names = ours.classes or ours.mask_classes or sorted({image.label for image in ours.images if image.label})
        theirs = read(*synthetic, classes=names or None)
    return measure(ours, theirs, output, config, task, progress=True)  # type: ignore[arg-type]


def _changes(real: Source, synthetic: Source, output: Path, steps: int | None, given: dict[str, Any]) -> dict[str, Any]:
    """Of pairs of change."""
    from earthgen.dataset.verify_change import ChangeVerifyConfig, verify_changes
    from earthgen.labels.change import read_changes

    config = ChangeVerifyConfig(**given)
    config = config if steps is None else config.with_steps(steps)
    return verify_changes(read_changes(*real), read_changes(*synthetic), output, config, progress=True)
