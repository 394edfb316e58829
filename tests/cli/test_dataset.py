"""`earthgen dataset`: options, files, several workers, and what becomes of them when they or their parent die."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from earthgen.cli.dataset import _FORMATS
from earthgen.labels import FORMATS

TASKS = ["detection", "segmentation", "classification", "captions"]


def tree(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def command(tiny_model: Path, tmp_path: Path) -> list[str]:
    """Six images, some with objects, from a tiny model."""
    rules = {"building": {"density": 3000, "length": [4, 12]}}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"task": "detection", "layout": {"rules": rules}, "created": "2026-11-21"}))
    options = ["--class", "building", "-n", 6, "--size", 32, "--steps", 1, "--guidance", 1, "--model", tiny_model]
    return [str(word) for word in ("dataset", "detection", "-c", path, *options, "-f", "coco", "-f", "dota")]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_explains_itself(run, task: str) -> None:
    result = run("dataset", task, "--help")
    assert result.exit_code == 0
    assert f"earthgen dataset {task}" in result.stdout
    assert "resolved.yaml" in result.stdout


def test_the_help_names_the_formats_that_there_are() -> None:
    assert _FORMATS.split(", ") == list(FORMATS)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['earthgen', 'dataset', 'detection', '--help']\n"
        "from earthgen.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'torch', 'diffusers', 'rasterio', 'yaml', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_options_and_file_come_together(run, monkeypatch, tmp_path: Path) -> None:
    from earthgen.dataset import engine

    asked: list[Any] = []

    def make(config: Any, folder: Path, **options: Any) -> dict[str, Any]:
        asked.append((config, folder, options))
        return {"images": 0}

    monkeypatch.setattr(engine, "make", make)
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\ncount: 5\ntiles: 64\nconditions: {cloud: 0.5, gsd: 3}\nclasses: [ship]\n")
    where = ["-o", tmp_path / "o", "-f", "voc", "-j", 3, "--json"]
    how = ["-n", 9, "--gsd", "0.3-0.6", "--overlap", 8, "--no-filter", "--guidance", "boxes=7"]
    assert run("dataset", "detection", "-c", path, *how, *where).exit_code == 0
    config, folder, how = asked[0]
    assert (config.seed, config.count, config.classes, config.formats) == (1, 9, ("ship",), ("voc",))
    assert (config.conditions.gsd, config.conditions.cloud) == ((0.3, 0.6), (0.5, 0.5))
    assert (config.tiles.size, config.tiles.overlap) == (64, 8)
    assert config.guidance.boxes == 7
    assert not config.filter.enabled
    assert (folder, how) == (tmp_path / "o", {"processes": 3, "progress": False})


@pytest.mark.parametrize(
    ("text", "gsd"), [("1", (1, 1)), ("3e-1", (0.3, 0.3)), ("0.3-6E-1", (0.3, 0.6)), ("1-2", (1, 2))]
)
def test_one_gsd_or_a_range(run, monkeypatch, tmp_path: Path, text: str, gsd: tuple[float, float]) -> None:
    from earthgen.dataset import engine

    asked: list[Any] = []
    monkeypatch.setattr(engine, "make", lambda config, *_, **__: asked.append(config) or {})
    assert run("dataset", "detection", "--class", "ship", "--gsd", text, "-o", tmp_path, "--json").exit_code == 0
    assert asked[0].conditions.gsd == gsd


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "`classes` must name what is shown"),
        (["--class", "a", "--gsd", "fine"], 2, "`gsd` must be a number, or two as LOW-HIGH, but got 'fine'"),
        (["--class", "a", "--size", "4"], 2, "`size` must be SIDE or WIDTHxHEIGHT"),
        (["--class", "a", "-j", "0"], 2, "`workers` must be a whole number >= 1"),
        (["--class", "a", "-f", "koko"], 2, "`formats` must be among coco"),
        (["--class", "a", "-c", "none.yaml"], 1, "cannot read the configuration 'none.yaml'"),
        (["--class", "a", "-c", "bad.yaml"], 2, "`sed` is no setting (did you mean `seed`?), but got 1"),
        (["--class", "a", "-c", "other.yaml"], 2, "`config` must be for detection, the command's task"),
        (["--class", "a", "--model", "none"], 1, "there is no model folder 'none'"),
        (["--real", "none"], 1, "none"),
    ],
)
def test_errors(run, stand_in, tmp_path: Path, monkeypatch, options: list[str], code: int, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("sed: 1\n")
    Path("other.yaml").write_text("task: captions\nprompts: a lake\n")
    result = run("dataset", "detection", *options, "-o", tmp_path / "out")
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert stand_in.loaded == 0 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("background", [None, "grass"])
def test_masks_from_one_line(run, tiny_model: Path, tmp_path: Path, background: str | None) -> None:
    from earthgen import labels

    ground = [] if background is None else ["--background", background]
    how = ["-n", 2, "--size", 32, "--steps", 1, "--guidance", 1, "--model", tiny_model, "-o", tmp_path / "out"]
    result = run("dataset", "segmentation", "--class", "building", *ground, *how)
    assert result.exit_code == 0, result.output
    assert "2/2" in result.stderr  # how far it is, in a log as on a terminal
    assert labels.read(tmp_path / "out" / "masks").mask_classes == (background or "background", "building")
    resolved = yaml.safe_load((tmp_path / "out" / "resolved.yaml").read_text())
    assert resolved["layout"]["background"] == (background or "background")
    again = run("dataset", "segmentation", "--config", tmp_path / "out" / "resolved.yaml", "-o", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert tree(tmp_path / "out") == tree(tmp_path / "again")
    refused = run("dataset", "detection", "--class", "building", "--background", "grass", "-o", tmp_path / "no")
    assert refused.exit_code == 2 and "`layout.background` must be absent but for segmentation" in refused.stderr


def test_two_workers_make_the_same_files_as_one(run, command: list[str], tmp_path: Path) -> None:
    alone = run(*command, "-o", tmp_path / "1")
    assert alone.exit_code == 0, alone.output
    assert "6 images" in alone.stdout
    report = json.loads(run(*command, "-o", tmp_path / "2", "-j", 2, "--json").stdout)
    assert (report["images"], report["rows_made"]) == (6, 6)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert "was there already" in run(*command, "-o", tmp_path / "2").stdout
    result = run(*command, "-o", tmp_path / "2", "--seed", 9)
    assert result.exit_code == 2
    assert "another configuration (another seed)" in result.stderr


@pytest.mark.slow
class TestProcesses:
    """The command in a process of its own, with two workers."""

    @pytest.fixture(autouse=True)
    def heeding(self, heed_ctrl_c: Callable[[], None]) -> None:
        self.heed = heed_ctrl_c

    def start(self, command: list[str], out: Path) -> subprocess.Popen[bytes]:
        whole = [sys.executable, "-m", "earthgen.cli", *command, "-o", str(out), "-j", "2"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(whole, start_new_session=True, preexec_fn=self.heed, **quiet)  # type: ignore[call-overload, no-any-return]

    def wait_for_rows(self, out: Path, count: int) -> None:
        for _ in range(3000):
            if len(list((out / ".work").rglob("*.json"))) >= count:
                return
            time.sleep(0.05)
        pytest.fail("no row was made")

    def workers(self, process: subprocess.Popen[bytes]) -> list[int]:
        found = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True)
        return [int(line) for line in found.stdout.split()]

    def test_killed_and_resumed(self, run, command: list[str], tmp_path: Path) -> None:
        command = [*command, "-n", "100"]  # enough that none ends before it is killed
        assert run(*command, "-o", tmp_path / "whole").exit_code == 0
        draw = random.Random(0)
        out = tmp_path / "out"
        for count in (1, 9, 20):
            process = self.start(command, out)
            self.wait_for_rows(out, count)
            time.sleep(draw.uniform(0, 0.1))
            workers = self.workers(process)
            assert len(workers) == 2
            os.kill(process.pid, signal.SIGKILL)  # the parent alone: its workers have to notice
            process.wait()
            for _ in range(200):
                if not any(Path(f"/proc/{worker}").exists() for worker in workers):
                    break
                time.sleep(0.05)
            assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
        assert run(*command, "-o", out).exit_code == 0
        assert tree(out) == tree(tmp_path / "whole")

    def test_ctrl_c(self, command: list[str], tmp_path: Path) -> None:
        process = self.start([*command, "-n", "400"], tmp_path / "out")
        self.wait_for_rows(tmp_path / "out", 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all
        error = process.communicate(timeout=60)[1].decode()
        assert process.returncode == 130
        assert error.splitlines()[-1] == "earthgen: interrupted"
        assert "Traceback" not in error
        assert not list((tmp_path / "out").rglob("*.tmp"))

    def test_a_worker_that_is_killed(self, command: list[str], tmp_path: Path) -> None:
        process = self.start([*command, "-n", "400"], tmp_path / "out")
        self.wait_for_rows(tmp_path / "out", 1)
        os.kill(self.workers(process)[0], signal.SIGKILL)
        error = process.communicate(timeout=60)[1].decode()
        assert process.returncode == 1
        assert "a worker ended with exit code -9" in error
        assert "the same command goes on there" in error
