"""`earthgen dataset`: labelled synthetic data sets, one command a task. Other commands on data sets join `app`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from earthgen.cli.change import change
from earthgen.cli.options import ConfigFile, Device, Json, ModelName, Output, Seed, Size, Steps
from earthgen.cli.options import formats as formats_option
from earthgen.cli.verify import verify
from earthgen.cli.world import HOW, WHAT, option

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_HELP = {
    "detection": "Make images with boxes of the objects in them, horizontal or rotated.",
    "segmentation": "Make images with a semantic mask, the class of every pixel.",
    "classification": "Make images of one class each, equally many of every class.",
    "captions": "Make images with a sentence each.",
}
_EXAMPLES = {
    "detection": """\
Layouts and filter learned from your own labels, for two tools at once:
  earthgen dataset detection --real my/coco -n 500 -f coco -f yolo -o synthetic
Without labels of your own, by rules:
  earthgen dataset detection --class building --gsd 0.3-0.6 -o synthetic
Canvases of 4,096 pixels, cut into tiles of 512:
  earthgen dataset detection --class ship --size 4096 --tile 512 -n 4 -o sea""",
    "segmentation": """\
Masks like those of your own, or of objects with your own outlines (COCO, YOLO, DOTA, GeoJSON):
  earthgen dataset segmentation --real my/masks -n 500 -o synthetic
Without labels of your own, by rules:
  earthgen dataset segmentation --class building --background grass --gsd 0.3-0.6 -o synthetic""",
    "classification": """\
A hundred images each of three classes:
  earthgen dataset classification --class forest --class river --class beach -n 300""",
    "captions": """\
Images of two sentences, or of those that a file lists:
  earthgen dataset captions --prompt "a lake" --prompt "a dam" -n 20 -o lakes
  earthgen dataset captions --config captions.yaml -n 200 -o captioned""",
}
_MORE = """\
A YAML file says what options do not: prompts by class, regions, dates, rules
of the layout, thresholds of the filter, splits. Where both say something, the
option counts. What results is written as resolved.yaml, and --config with
that file makes the same data set again, byte for byte.

Stopped or killed, the same command goes on where it was. Workers change
nothing but the time."""
_FORMATS = "coco, yolo, yolo-obb, yolo-seg, dota, voc, masks, imagefolder, classification, torchgeo, stac"


def _command(task: str) -> Callable[..., None]:
    def command(
        config: ConfigFile = None,
        classes: Annotated[
            list[str] | None,
            option("--class", panel=WHAT, metavar="NAME", text="What is shown. Repeat it. Default: what --real shows."),
        ] = None,
        prompt: Annotated[
            list[str] | None,
            option(
                "--prompt", panel=WHAT, text="A sentence; {classes} stands for what is shown. Repeat it for variants."
            ),
        ] = None,
        count: Annotated[
            int | None, option("--count", "-n", panel=WHAT, metavar="N", text="Images, or canvases. Default: 100.")
        ] = None,
        real: Annotated[
            Path | None,
            option("--real", panel=WHAT, metavar="PATH", text="Your labelled images, to learn from."),
        ] = None,
        background: Annotated[
            str | None,
            option(
                "--background",
                panel=WHAT,
                metavar="NAME",
                text="In segmentation, class of the ground where no masks of yours tell it; images show it. Default: "
                'any ground, whose class is then "background".',
            ),
        ] = None,
        size: Size = None,
        tile: Annotated[
            int | None,
            option("--tile", panel=WHAT, metavar="SIDE", text="Cut images into tiles of so many pixels."),
        ] = None,
        overlap: Annotated[int | None, option("--overlap", panel=WHAT, text="Pixels that tiles share.")] = None,
        gsd: Annotated[
            str | None, option("--gsd", panel=WHAT, metavar="M|LOW-HIGH", text="Metres on the ground a pixel.")
        ] = None,
        judge: Annotated[
            Path | None, option("--filter", panel=HOW, metavar="FOLDER", text="Evaluator that judges the images.")
        ] = None,
        no_filter: Annotated[bool, option("--no-filter", panel=HOW, text="Keep every image.")] = False,
        seed: Seed = None,
        steps: Steps = None,
        guidance: Annotated[
            str | None, option("--guidance", panel=HOW, metavar="W|NAME=W,...", text="As in generate.")
        ] = None,
        model: ModelName = None,
        device: Device = None,
        workers: Annotated[
            int, option("--workers", "-j", panel=HOW, metavar="N", text="Processes, each with its own model in memory.")
        ] = 1,
        formats: Annotated[list[str] | None, formats_option(_FORMATS)] = None,
        output: Output = Path("dataset"),
        json: Json = False,
    ) -> None:
        from earthgen.cli import parse
        from earthgen.dataset.checks import read_yaml
        from earthgen.dataset.config import Config

        parse.at_least_one("workers", workers)
        record = {} if config is None else read_yaml(config)
        if record.setdefault("task", task) != task:
            from earthgen.errors import ArgumentError

            raise ArgumentError("config", f"must be for {task}, the command's task", record["task"])
        given = {
            "classes": classes,
            "prompts": prompt,
            "count": count,
            "real": None if real is None else str(real),
            "size": size,
            "seed": seed,
            "steps": steps,
            "guidance": parse.guidance(guidance),
            "model": model,
            "device": device,
            "formats": formats,
        }
        record |= {name: value for name, value in given.items() if value is not None}
        _into(record, "tiles", size=tile, overlap=overlap)
        _into(record, "conditions", gsd=None if gsd is None else _range("gsd", gsd))
        _into(record, "layout", background=background)
        _into(record, "filter", judge=None if judge is None else str(judge), enabled=False if no_filter else None)
        asked = Config.from_dict(record)

        from earthgen.cli import models
        from earthgen.dataset import engine  # imports torch, so only once the request is known to be sound

        models.hush()
        with parse.spoken_warnings():
            report = engine.make(asked, output, processes=workers, progress=not json)
        parse.print_json(report) if json else _print(report)

    return command


def _into(record: dict[str, Any], name: str, **values: Any) -> None:
    """Put what was given on the command line into a section."""
    given = {key: value for key, value in values.items() if value is not None}
    if given:
        section = record.get(name) or {}
        record[name] = {**({"size": section} if isinstance(section, int) else section), **given}


def _range(name: str, text: str) -> float | list[float]:
    """`0.3` or `0.3-0.6`."""
    from earthgen.errors import ArgumentError

    try:
        low, *more = (float(part) for part in re.split(r"(?<!e)-", text, flags=re.IGNORECASE))
    except ValueError:
        raise ArgumentError(name, "must be a number, or two as LOW-HIGH", text) from None
    return [low, *more] if more else low


def _print(report: dict[str, Any]) -> None:
    """The report for a person."""
    from earthgen.cli import parse

    made = f"{report['rows_made']} of {report['rows']} rows made now" if report["rows_made"] else "was there already"
    what = f"{parse.counted(report['images'], 'image')}, {parse.counted(report['objects'], 'object')}"
    typer.echo(f"{report['output']}  {what}, {made}")
    if report["rejected"]:
        rejected = parse.counted(report["rejected"], "rejected candidate")
        typer.echo(f"{rejected}: why is in manifest.jsonl and on the page")
    if not report["images"]:
        typer.echo("no image was kept, so no format was written", err=True)
    for name, folder in report["formats"].items():
        typer.echo(f"{name}: {folder}")
    typer.echo(report["summary"])
    if report["rows_made"]:
        spent = ", ".join(f"{name} {value:.1f} s" for name, value in report["seconds_by_stage"].items())
        typer.echo(f"{report['seconds']:.1f} s ({spent})")


@app.callback()
def dataset() -> None:
    """Labelled synthetic data sets, ready for the tools of the trade.

    \b
      earthgen dataset detection --class building -n 100 --format coco -o synthetic
      earthgen dataset classification --class forest --class river -n 200 -o classes
    """


def _register() -> None:
    for task, summary in _HELP.items():
        text = f"{summary}\n\n\b\n{_EXAMPLES[task]}\n\n{_MORE}"
        app.command(task, help=text)(_command(task))


_register()
app.command("verify")(verify)
app.command("change")(change)
