"""How benchmarks report: a Markdown table of figures beside their aims, and the same as JSON."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import earthgen
from earthgen.output.atomic import write_text


@dataclass(frozen=True)
class Figure:
    """What was measured."""

    what: str
    value: float | str
    aim: str = ""
    reached: bool | None = None
    """None where there is no aim."""


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="JSON file to write, with the arguments and the machine")


def report(figures: list[Figure], args: argparse.Namespace, more: Sequence[Figure] = ()) -> None:
    """Print the table, and write it where `--out` says, with how it was made and figures that are not in the table."""
    print("| | reached | aim | |\n|---|---|---|---|")
    for f in figures:
        value = f.value if isinstance(f.value, str) else f"{f.value:.4g}"
        mark = {None: "", True: "yes", False: "no"}[f.reached]
        print(f"| {f.what} | {value} | {f.aim} | {mark} |")
    if args.out is not None:
        write_text(
            args.out, json.dumps(record(args) | {"figures": [asdict(f) for f in [*figures, *more]]}, indent=1) + "\n"
        )


def record(args: argparse.Namespace) -> dict[str, object]:
    """What a figure depends on besides the code."""
    machine = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    machine |= {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"}
    given = {name: str(v) if isinstance(v, Path) else v for name, v in vars(args).items() if name != "out"}
    return {"version": earthgen.__version__, **machine, "arguments": given}
