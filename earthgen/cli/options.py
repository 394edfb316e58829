"""Options that the commands which make data sets share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from earthgen.cli.world import HOW, WHAT, WHERE, Json, option

__all__ = ["ConfigFile", "Device", "Json", "ModelName", "Output", "Seed", "Size", "Steps", "formats"]

ConfigFile = Annotated[
    Path | None, option("--config", "-c", panel=WHAT, metavar="YAML", text="Everything that has no option.")
]
Size = Annotated[str | None, option("--size", panel=WHAT, metavar="SIDE|WxH", text="Pixels. Default: 256.")]
Seed = Annotated[int | None, option("--seed", panel=HOW, text="Same seed, same data set. Default: 0.")]
Steps = Annotated[int | None, option("--steps", panel=HOW, metavar="N", text="Sampling steps.")]
ModelName = Annotated[str | None, option("--model", panel=HOW, text="The bundled model's name or a folder.")]
Device = Annotated[str | None, option("--device", panel=HOW, metavar="auto|cpu|cuda", text="Where to compute.")]
Output = Annotated[Path, option("-o", "--output", panel=WHERE, metavar="FOLDER", text="New or its own.")]


def formats(names: str) -> typer.models.OptionInfo:
    """The option that chooses among these formats."""
    return option("--format", "-f", panel=WHERE, metavar="NAME", text=f"Of {names}. Repeat it.")
