"""How benchmarks report: a Markdown table of figures beside their aims, and the same as JSON for `earthgen bench`."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from earthgen.metrics.bench import machine
from earthgen.metrics.figures import Figure
from earthgen.output.atomic import write_text

__all__ = ["Figure", "add_out", "median_error", "report"]


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="JSON file to write, with the arguments and the machine")


def report(
    figures: Sequence[Figure],
    args: argparse.Namespace,
    more: Sequence[Figure] = (),
    record: dict[str, Any] | None = None,
    table: bool = True,
) -> None:
    """Print the table, and write it where `--out` says, with how it was made.

    Args:
        figures: Of the table.
        args: What the benchmark was asked.
        more: Figures that are written and not in the table.
        record: What is written besides.
        table: Whether to print it.
    """
    if table:
        print("| | reached | aim | |\n|---|---|---|---|")
        for f in figures:
            value = f.value if isinstance(f.value, str) else f"{f.value:.4g}"
            spread = f" ± {f.noise:.2g}" if f.noise else ""
            mark = {None: "", True: "yes", False: "no"}[f.reached]
            print(f"| {f.what} | {value}{spread} | {f.aim} | {mark} |")
    if args.out is not None:
        given = {name: str(v) if isinstance(v, Path) else v for name, v in vars(args).items() if name != "out"}
        written = {**machine(), "arguments": given, **(record or {})}
        written["figures"] = [f.record() for f in [*figures, *more]]
        write_text(args.out, json.dumps(written, indent=1) + "\n")


def median_error(values: Sequence[float]) -> float | None:
    """Standard error of the median of repeated measurements, by their interquartile range, as if they were normal."""
    if len(values) < 4:
        return None
    low, _, high = statistics.quantiles(values, n=4)
    return 1.2533 * (high - low) / 1.349 / len(values) ** 0.5
