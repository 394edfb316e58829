"""The benchmark suite: runs the commands behind the figures, keeps what they say, compares it with a stored report.

A suite is a YAML file, part → name → {run, full, quick}: a command, and what is added to it in a full or a quick run; a
`quick` of null leaves the measurement out of quick runs. `earthgen ...` and `benchmarks/....py ...` are run in
processes of their own by this interpreter, in the folder of the checkout; {model}, {folder} and {out} are filled in.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from tqdm.auto import tqdm

import earthgen
from earthgen import weights
from earthgen.errors import ArgumentError, DataError
from earthgen.metrics.figures import Figure, bounds
from earthgen.output.atomic import check_writable, write_text

PARTS = ("quality", "cascade", "canvas", "throughput", "memory", "peers")
OF_THE_MACHINE = ("throughput", "memory")
"""Parts whose figures are comparable on one machine only."""
SIGMAS = 2.0
"""Standard errors beyond which a change is one."""
_STOPPING = 30.0
"""Seconds that a command has to end after Ctrl-C."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One command of the suite."""

    part: str
    name: str
    words: tuple[str, ...]
    """Of the command line, after the interpreter."""
    command: str
    """As a person would type it in the checkout; without paths of this machine."""

    @property
    def key(self) -> str:
        """Part and name."""
        return f"{self.part}/{self.name}"


@dataclass(frozen=True, slots=True)
class Change:
    """A figure beside its stored value."""

    key: str
    what: str
    before: float | str
    now: float | str
    noise: float | None
    """Standard error of the difference; None where nobody knows."""
    better: bool | None
    """By the figure's aim; None where it has none, or both are alike."""

    @property
    def moved(self) -> bool | None:
        """Whether beyond noise; None where nobody knows."""
        if self.before == self.now:
            return False
        if isinstance(self.before, str) or isinstance(self.now, str):
            return True
        return None if self.noise is None else abs(self.now - self.before) > SIGMAS * self.noise


def machine() -> Record:
    """What a figure depends on besides code, weights and arguments."""
    import torch

    packages = {}
    for name in ("torch", "diffusers", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:  # a build without metadata
            packages[name] = ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0.0
    return {
        "version": earthgen.__version__,
        "python": platform.python_version(),
        **packages,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "memory_GiB": round(memory, 1),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def read_suite(file: Path, model: str, out: Path, quick: bool = False) -> list[Measurement]:
    """The measurements of a suite, in its order.

    Args:
        file: The suite, in a folder below that of the checkout.
        model: The bundled model's name or a model folder.
        out: Folder for what commands keep.
        quick: As little as each command can do.

    Raises:
        WeightsError: There is no such model.
        DataError: The suite is damaged.
    """
    root, folder = file.resolve().parents[1], weights.resolve(model).resolve()
    bundled = weights.is_bundled(model)
    filled = {"model": model if bundled else str(folder), "folder": str(folder), "out": str(out.resolve())}
    inside = folder.relative_to(root) if folder.is_relative_to(root) else folder.name
    shown = {"model": model if bundled else folder.name, "folder": str(inside), "out": "OUT"}
    try:
        found = []
        for part, entries in yaml.safe_load(file.read_text()).items():
            for name, how in entries.items():
                more = how.get("quick", how.get("full", "")) if quick else how.get("full", "")
                if more is None:
                    continue
                words = [word.format(**filled) for word in shlex.split(f"{how['run']} {more}")]
                words[:1] = ["-m", "earthgen.cli"] if words[0] == "earthgen" else [str(root / words[0])]
                command = " ".join(f"{how['run']} {more}".format(**shown).split())
                command = command if command.startswith("earthgen ") else f"python {command}"
                found.append(Measurement(part, name, tuple(words), command))
    except (AttributeError, KeyError, TypeError, IndexError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"the suite {file.name} is damaged: {error!r}") from error
    if unknown := {m.part for m in found} - set(PARTS):
        raise DataError(f"the suite {file.name} has parts that there are not: {sorted(unknown)}")
    return found


def chosen(measurements: Sequence[Measurement], what: Sequence[str] | None) -> list[Measurement]:
    """Those of some parts, or with some `part/name`; None for all.

    Raises:
        ArgumentError: One of `what` is neither.
    """
    for word in what or ():
        if word not in PARTS and word not in [m.key for m in measurements]:
            known = (*PARTS, *(m.key for m in measurements))
            raise ArgumentError("what", f"must be among {', '.join(known)}", word)
    return [m for m in measurements if what is None or m.part in what or m.key in what]


def run(
    measurements: Sequence[Measurement], model: str, out: Path, redo: bool = False, progress: bool = False
) -> Record:
    """Run each command, one after the other, but for those whose figures `out` holds already.

    A command that fails leaves its `error` in the report, and the others are run all the same.

    Args:
        measurements: Of `read_suite`.
        model: That they were read for.
        out: The folder that they were read for. Gets `measured/` and `logs/`.
        redo: Measure again what `out` holds.
        progress: Whether to show which of them runs; commands show their own on stderr.

    Returns:
        {"machine", "model", "model_sha256", "measurements": {part/name: {"command", "date", "seconds", "figures"}}},
        JSON-ready.

    Raises:
        OutputError: `out` cannot be written.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.
    """
    check_writable(out)
    sha = weights.model_sha256(weights.resolve(model))
    name = weights.shown(model)
    report: Record = {"machine": machine(), "model": name, "model_sha256": sha, "measurements": {}}
    bar = tqdm(measurements, desc="bench", disable=not progress, unit="command")
    for m in bar:
        bar.set_postfix_str(m.key)
        file = out / "measured" / f"{m.part}-{m.name}.json"
        stamp = {"command": m.command, "model_sha256": sha, "version": earthgen.__version__}
        kept = None if redo else _kept(file, stamp)
        if kept is None:
            kept = {**stamp, **_measured(m, out)}
            if "error" not in kept:
                write_text(file, json.dumps(kept, indent=1) + "\n")
        report["measurements"][m.key] = {k: v for k, v in kept.items() if k not in ("model_sha256", "version")}
    return report


def _kept(file: Path, stamp: Record) -> Record | None:
    try:
        record: Record = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if stamp.items() <= record.items() else None


def _measured(m: Measurement, out: Path) -> Record:
    """Run one command. Its stdout is kept in a file; stderr is the user's."""
    log, figures = (out / "logs" / f"{m.part}-{m.name}.{suffix}" for suffix in ("txt", "json"))
    log.parent.mkdir(parents=True, exist_ok=True)
    figures.unlink(missing_ok=True)
    evaluating = m.words[0] == "-m"
    words = [sys.executable, *m.words, *(["--json"] if evaluating else ["--out", str(figures.resolve())])]
    root = None if evaluating else Path(m.words[0]).parents[1]
    date, start = datetime.now(timezone.utc).date().isoformat(), time.monotonic()
    with log.open("w") as stream:
        status = _call(words, root, stream)
    record: Record = {"date": date, "seconds": round(time.monotonic() - start, 1)}
    if status:
        return {**record, "error": f"ended with status {status}"}
    try:
        found = json.loads((log if evaluating else figures).read_text())
    except (OSError, ValueError) as error:
        return {**record, "error": f"left no figures: {error}"}
    if "figures" not in found:  # of `earthgen evaluate`
        from earthgen.metrics.report import figures as of_evaluation

        found["figures"] = [figure.record() for figure in of_evaluation(found)]
    return {**record, "figures": found["figures"]}


def _call(words: list[str], root: Path | None, stream: Any) -> int:
    with subprocess.Popen(words, cwd=root, stdout=stream, stdin=subprocess.DEVNULL) as process:
        try:
            return process.wait()
        except BaseException:  # the terminal's Ctrl-C reached the command too
            process.terminate()
            try:
                process.wait(_STOPPING)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def figures_of(report: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """(part/name, figure) of a report."""
    for key, measurement in report["measurements"].items():
        for record in measurement.get("figures", ()):
            yield key, Figure.of(record)


def compare(report: Mapping[str, Any], stored: Mapping[str, Any]) -> tuple[list[Change], list[str]]:
    """Figures of both, and why others are not compared."""
    changes, notes = [], []
    same = ("system", "processor", "threads", "device")
    moved = [name for name in same if report["machine"].get(name) != stored["machine"].get(name)]
    before = {(key, figure.what): figure for key, figure in figures_of(stored)}
    for key, measurement in report["measurements"].items():
        old = stored["measurements"].get(key)
        if "error" in measurement or old is None or "error" in old:
            notes.append(f"{key}: {'failed now' if 'error' in measurement else 'was not measured before'}")
        elif old["command"] != measurement["command"]:
            notes.append(f"{key}: the stored command is another, {old['command']}")
        elif moved and key.split("/")[0] in OF_THE_MACHINE:
            notes.append(f"{key}: the stored one is of another machine ({', '.join(moved)})")
        else:
            now = {record["what"]: Figure.of(record) for record in measurement["figures"]}
            for what, figure in now.items():
                if (then := before.pop((key, what), None)) is None:
                    notes.append(f"{key}: {what} is new")
                else:
                    changes.append(_change(key, then, figure))
            notes += [f"{key}: {what} is gone" for where, what in before if where == key]
    return changes, notes


def _change(key: str, before: Figure, now: Figure) -> Change:
    noises = [figure.noise for figure in (before, now) if figure.noise is not None]
    # Of one whose noise is unknown, that of the other stands in.
    noise = math.hypot(*noises) * math.sqrt(2 / len(noises)) if noises else None
    left = [_short_of(figure, now.aim) for figure in (before, now)]
    better = None if None in left or left[0] == left[1] else left[1] < left[0]  # type: ignore[operator]
    return Change(key, now.what, before.value, now.value, noise, better)


def _short_of(figure: Figure, aim: str) -> float | None:
    """How far from the best that an aim asks: less is better. None where there is no telling."""
    limits = bounds(aim)
    if limits is None or isinstance(figure.value, str):
        return None
    low, high = limits
    if math.isinf(low):
        return figure.value
    return -figure.value if math.isinf(high) else abs(figure.value - (low + high) / 2)


def markdown(report: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> str:
    """The report as tables, and what moved since the stored one."""
    told = ", ".join(f"{name} {value}" for name, value in report["machine"].items() if value)
    lines = [f"{report['model']} ({report['model_sha256'][:16]}); {told}"]
    for key, measurement in report["measurements"].items():
        lines += ["", f"**{key}**: `{measurement['command']}`, {measurement['seconds']:.0f} s", ""]
        if "error" in measurement:
            lines.append(f"FAILED: {measurement['error']}")
            continue
        lines += ["| figure | value | aim | reached |", "|---|---|---|---|"]
        for figure in map(Figure.of, measurement["figures"]):
            spread = f" ± {figure.noise:.2g}" if figure.noise else ""
            mark = {None: "", True: "yes", False: "no"}[figure.reached]
            lines.append(f"| {figure.what} | {_shown(figure.value)}{spread} | {figure.aim} | {mark} |")
    if stored is not None:
        lines += ["", *_moved(*compare(report, stored))]
    return "\n".join(lines) + "\n"


def _moved(changes: Sequence[Change], notes: Sequence[str]) -> list[str]:
    beyond = [c for c in changes if c.moved]
    unknown = [c for c in changes if c.moved is None]
    still = len(changes) - len(beyond) - len(unknown)
    lines = [f"**Against the stored report**: {len(beyond)} moved beyond their noise, {still} did not, "
             f"{len(unknown)} differ and have no known noise"]  # fmt: skip
    if beyond or unknown:
        lines += ["", "| figure | stored | now | twice the noise | |", "|---|---|---|---|---|"]
    for c in (*beyond, *unknown):
        noise = "unknown" if c.noise is None else f"{SIGMAS * c.noise:.2g}"
        verdict = {None: "", True: "better", False: "worse"}[c.better]
        lines.append(f"| {c.key}: {c.what} | {_shown(c.before)} | {_shown(c.now)} | {noise} | {verdict} |")
    return [*lines, "", *(f"- {note}" for note in notes)]


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
