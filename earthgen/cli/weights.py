"""`earthgen weights`: which models are here, and whether they are what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earthgen import weights as store
from earthgen.cli import parse
from earthgen.errors import WeightsError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Model = Annotated[str, typer.Argument(metavar="[MODEL]", help="The bundled model's name or a model folder.")]


@app.callback()
def weights() -> None:
    """What models are here, and whether their files are intact.

    \b
      earthgen weights list
      earthgen weights verify
      earthgen weights verify runs/mine --json
    """


@app.command("list")
def list_(json: Json = False) -> None:
    """List the models that ship with this installation, with their files and sizes."""
    models = []
    try:
        folder: Path | None = store.resolve(store.BUNDLED)
    except WeightsError:
        folder = None
    if folder is not None:
        files = [{"name": status.name, "size": status.size} for status in store.verify(folder)]
        digest = store.model_sha256(folder)
        models.append({"model": store.BUNDLED, "folder": str(folder), "sha256": digest, "files": files})
    if json:
        parse.print_json({"models": models})
        return
    if not models:
        typer.echo("no model ships with this installation: give --model FOLDER where one is asked for")
    for model in models:
        typer.echo(f"{model['model']}  {model['folder']}  sha256 {str(model['sha256'])[:12]}")
        for status in store.verify(Path(str(model["folder"]))):
            typer.echo(f"  {status.size / 1e6:8.2f} MB  {status.name}")


@app.command()
def verify(model: Model = store.BUNDLED, json: Json = False) -> None:
    """Compare every file of a model with its SHA-256. Exit code 1 if one differs, is missing or is not listed.

    A model folder lists them in SHA256SUMS, which whatever saves or trains a
    model writes. One without it cannot be verified, so that the exit code is 1,
    too; what its files tell of themselves is looked at and said.
    """
    folder = store.resolve(model)
    statuses = store.verify(folder)
    broken = [status for status in statuses if not status.ok]
    if json:
        files = [
            {"name": s.name, "size": s.size, "sha256": s.sha256, "ok": s.ok, "problem": s.problem} for s in statuses
        ]
        digest = store.model_sha256(folder)
        parse.print_json({"model": model, "folder": str(folder), "sha256": digest, "ok": not broken, "files": files})
    else:
        for status in statuses:
            typer.echo(f"{'ok     ' if status.ok else 'DAMAGED'}  {status.name}  {status.problem}".rstrip())
        typer.echo(f"{len(statuses) - len(broken)} of {len(statuses)} files are intact in {folder}")
    if broken:
        raise typer.Exit(1)
