"""`earthgen dataset verify`: what a synthetic data set is worth to a network that is tested on real images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

# As `earthgen.dataset.verify.TASKS`, which a test makes sure of; importing that would slow `--help` down.
TASKS = ("detection", "segmentation", "classification", "oriented")


def verify(
    real: Annotated[
        Path,
        typer.Option("--real", metavar="DIR", help="Labelled real images; what is of the split test is tested on."),
    ],
    synthetic: Annotated[Path, typer.Option("--synthetic", metavar="DIR", help="Labelled synthetic images.")],
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

    \b
    Tasks, their networks and figures:
      detection       a dense detector of horizontal boxes, or D-FINE;
                      mAP50 and mAP by pycocotools
      oriented        the dense one, of boxes with headings; mAP50 and mAP
                      by supervision
      segmentation    a small feature pyramid; mean intersection over union
      classification  a small residual network; accuracy

    \b
    The whole table:
      earthgen dataset verify --real mine --synthetic made/coco -o worth
    A quick look, in a folder of its own:
      earthgen dataset verify --real mine --synthetic made/coco -o look \\
        --fraction 1 --seeds 1 --steps 300
    """
    from earthgen.cli import parse
    from earthgen.dataset import verify_report
    from earthgen.dataset.verify import VerifyConfig
    from earthgen.dataset.verify import verify as measure
    from earthgen.errors import ArgumentError
    from earthgen.labels import read
    from earthgen.output.atomic import atomic_path, write_text

    if task is not None and task not in TASKS:
        raise ArgumentError("task", f"must be one of {', '.join(TASKS)}", task)
    parse.at_least_one("seeds", seeds)
    parse.at_least_one("steps", steps)
    config = VerifyConfig(seeds=seeds)
    config = replace(config, detector=replace(config.detector, network=detector))  # type: ignore[arg-type]
    if fraction:
        config = replace(config, fractions=tuple(fraction))
    if steps is not None:
        config = config.with_steps(steps)
    with parse.spoken_warnings():
        ours = read(real, real_format)
        names = ours.classes or ours.mask_classes or sorted({image.label for image in ours.images if image.label})
        theirs = read(synthetic, synthetic_format, classes=names or None)
    record = measure(ours, theirs, output, config, task, progress=True)  # type: ignore[arg-type]
    text = verify_report.markdown(record)
    write_text(output / "verify.md", text)
    with atomic_path(output / "verify.png") as path:
        verify_report.plot(record).save(path, format="PNG")
    if json:
        parse.print_json(record)
    else:
        typer.echo(text)
