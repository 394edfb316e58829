"""The root of the command line, and what becomes of errors.

Exit codes: 0 done, 1 an error that is not the caller's wording (weights, data, disk), 2 a wrong argument, 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from earthgen import __version__
from earthgen.cli import app as canvas
from earthgen.cli import bench, dataset, evaluate, generate, train, upscale, weights, window, world
from earthgen.errors import ArgumentError, EarthgenError


class _Group(TyperGroup):
    """A group of commands that turns errors raised on purpose into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; every error that earthgen raises ends here."""
        try:
            return super().invoke(ctx)
        except ArgumentError as error:
            raise _failed(str(error), 2) from None
        except EarthgenError as error:
            raise _failed(str(error), 1) from None
        except KeyboardInterrupt:
            raise _failed("interrupted", 130) from None


def _failed(message: str, code: int) -> typer.Exit:
    typer.echo(f"earthgen: {' '.join(message.split())}", err=True)
    return typer.Exit(code)


app = typer.Typer(
    name="earthgen",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"earthgen {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Earth imagery from a sentence, a place and a resolution.

    \b
    Start with
      earthgen generate "a river through farmland" --gsd 10 --lat 45.4 --lon 9.2 -o river.tif

    Every command explains itself: earthgen COMMAND --help
    """


app.command("generate")(generate.generate)
app.command("upscale")(upscale.upscale)
app.command("window")(window.window)
app.command("world")(world.world)
app.command("app")(canvas.app)
app.command("train", context_settings=train.CONTEXT)(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.add_typer(dataset.app, name="dataset")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Run the command line."""
    if not sys.stderr.isatty():  # a log is to tell now and then how far it is, not ten times a second
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    app()
