"""`earthgen evaluate`: how good a model's images are, measured against real ones."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earthgen.weights import BUNDLED

if TYPE_CHECKING:
    from earthgen.cli.models import Model

# As `earthgen.metrics.evaluate.PARTS`, which a test makes sure of; importing that would slow `--help` down.
PARTS = (
    *("eurosat/accuracy", "eurosat/distances", "eurosat/spectrum", "eurosat/cells", "eurosat/memorisation"),
    *("eurosat/score", "eurosat/augmented"),
    *("ucmerced/accuracy", "ucmerced/distances", "ucmerced/spectrum", "ucmerced/cells", "ucmerced/memorisation"),
    "ucmerced/score",
    "gsd",
)


def evaluate(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Folder of the real data sets. Default: $EARTHGEN_DATA."),
    ] = None,
    what: Annotated[
        list[str] | None,
        typer.Option("--what", metavar="PART", help="What to measure, see above. Repeat it for more. Default: all."),
    ] = None,
    model: Annotated[str, typer.Option(help="The bundled model's name or a model folder.")] = BUNDLED,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Keep images and figures here; a stopped run goes on."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep judges here. Default: $EARTHGEN_CACHE or ~/.cache/earthgen."),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(metavar="N", help="Images of each class, of every data set. Default: 200 and 40.")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Sampling steps. Default: the model's.")] = None,
    guidance: Annotated[
        str | None, typer.Option(metavar="W|NAME=W,...", help="As in generate. Default: the model's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of images and of the first image.")] = 0,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Images at once.")] = 16,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to compute.")] = "auto",
    redo: Annotated[bool, typer.Option("--redo", help="Measure again what --output holds already.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Measure a model's images against real images of places that it never saw.

    Each generated image is asked for by what is known of a real one.
    The judges are trained on real images once, minutes on a CPU, and kept.
    Nothing is downloaded: the data sets must be in --data, each laid out
    as its reader in earthgen.data says.

    \b
    What can be measured; a data set's name stands for all its parts:
      eurosat/accuracy    is the class asked for the class seen
      eurosat/distances   Fréchet and kernel distances to held-out real images
      eurosat/spectrum    power at every spatial frequency against real images
      eurosat/cells       do the 4 px cells of a latent show
      eurosat/memorisation  are images nearer to training images than new real ones are
      eurosat/score       train a classifier on generated images, test it on real ones
      eurosat/augmented   a tenth of the real images plus generated against the tenth alone
      ucmerced/...        the same but for augmented
      gsd                 the GSD asked for against the GSD seen

    \b
    Everything, with tables and sheets of images:
      earthgen evaluate --data data -o out/evaluation
    A quick look at classes and scales:
      earthgen evaluate --data data --what eurosat/accuracy --what gsd --per-class 20
    """
    from earthgen import weights
    from earthgen.cli import parse
    from earthgen.data.base import data_root
    from earthgen.errors import ArgumentError, DataError

    wanted = what or list(PARTS)
    sets = {part.split("/")[0] for part in PARTS}
    if unknown := [name for name in wanted if name not in PARTS and name not in sets]:
        raise ArgumentError("what", f"must be among {', '.join(PARTS)}, or a data set of them", unknown[0])
    for name, number in (("per-class", per_class), ("steps", steps), ("batch-size", batch_size)):
        parse.at_least_one(name, number)
    weight = parse.guidance(guidance)
    parse.seed(seed)
    root = data_root(data)
    if not root.is_dir():
        raise DataError(f"there is no folder of data sets at {root}")
    folder = weights.resolve(model)
    if output is not None:
        from earthgen.output.atomic import check_writable

        check_writable(output)

    from earthgen.cli import models
    from earthgen.metrics import report
    from earthgen.metrics.evaluate import EvaluationConfig
    from earthgen.metrics.evaluate import evaluate as measure
    from earthgen.metrics.generated import from_pipeline

    counts = EvaluationConfig().counts if per_class is None else (("eurosat", per_class), ("ucmerced", per_class))
    config = EvaluationConfig(counts=counts, batch_size=batch_size, seed=seed)
    loaded = models.load(model, folder, models.find_device(device), steps, weight, steps_bar=False)
    if output is not None:
        _claim(output, loaded)
    record = measure(
        from_pipeline(loaded.pipe, num_inference_steps=loaded.steps, guidance=loaded.guidance),
        root,
        wanted,
        config,
        out=output,
        cache=cache,
        redo=redo,
        progress=True,
    )
    if json:
        parse.print_json({"model": loaded.about(), **record})
    else:
        typer.echo(report.markdown(record))


def _claim(output: Path, model: Model) -> None:
    """Refuse a folder whose images another model, or other settings of it, made."""
    from earthgen.errors import ArgumentError
    from earthgen.output.atomic import write_text

    path = output / "model.json"
    about = model.about()
    if not path.exists():
        write_text(path, json_module.dumps(about, indent=1) + "\n")
        return
    before: dict[str, Any] = json_module.loads(path.read_text())
    if before != about:
        changed = ", ".join(name for name in about if about[name] != before.get(name))
        rule = f"must be another folder: this one holds an evaluation that differs in {changed}"
        raise ArgumentError("output", rule, str(output))
