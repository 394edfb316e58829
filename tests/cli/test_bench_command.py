"""`earthgen bench`: what it runs and writes; `tests/metrics/test_bench.py` says whether that is right."""

import json
from pathlib import Path

import pytest

from earthgen.cli import bench as command
from earthgen.metrics import bench

SCRIPT = """
import json, pathlib, sys
figure = {"what": "it, s", "value": 3.0, "aim": "≤ 2", "noise": None, "reached": False}
if "--fail" in sys.argv:
    sys.exit(1)
pathlib.Path(sys.argv[-1]).write_text(json.dumps({"figures": [figure]}))
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "machine", lambda: {"processor": "a"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "one.py").write_text(SCRIPT)
    suite = {
        "throughput": {"one": {"run": "benchmarks/one.py", "quick": "--q"}},
        "memory": {"two": {"run": "benchmarks/one.py"}},
    }
    (tmp_path / "benchmarks" / "suite.yaml").write_text(json.dumps(suite))
    return tmp_path


def test_a_full_run_is_stored_and_compared_with(run, checkout: Path) -> None:
    assert "one.py" in run("bench", "--list").stdout
    assert not (checkout / "out").exists()
    result = run("bench", "--store", "-o", "made")
    assert result.exit_code == 0, result.output
    assert "| it, s | 3 | ≤ 2 | no |" in result.stdout
    for folder in ("made", "benchmarks"):
        assert set(json.loads((checkout / folder / "report.json").read_text())["measurements"]) == {
            "throughput/one", "memory/two",
        }  # fmt: skip
    assert (checkout / "benchmarks" / "plots" / "aims.svg").is_file()
    assert (checkout / "made" / "aims.svg").is_file()
    text = run("bench", "--what", "memory", "-o", "made").stdout
    assert "0 moved beyond their noise, 1 did not" in text
    assert text == (checkout / "made" / "report.md").read_text() + "\n"
    quick = json.loads(run("bench", "--quick", "--json", "-o", "made").stdout)
    assert quick["measurements"]["throughput/one"]["command"] == "python benchmarks/one.py --q"


def test_failures_end_in_an_error_and_are_not_stored(run, checkout: Path) -> None:
    suite = checkout / "benchmarks" / "suite.yaml"
    suite.write_text(suite.read_text().replace('"quick": "--q"', '"full": "--fail"'))
    result = run("bench", "--store")
    assert result.exit_code == 1
    assert "1 of 2 failed: throughput/one" in result.stderr
    assert not (checkout / "benchmarks" / "report.json").exists()
    assert (checkout / "out" / "bench" / "report.json").is_file()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--what", "beauty"], 2, "`what` must be among quality"),
        (["--store", "--quick"], 2, "`store` goes with a full run"),
        (["--against", "nothing.json"], 1, "nothing.json is no report"),
        (["--model", "nowhere"], 1, "no model folder"),
    ],
)
def test_wrong_requests_are_refused_before_anything_runs(run, checkout: Path, options, code: int, message: str) -> None:
    result = run("bench", *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert not (checkout / "out").exists()


def test_without_a_checkout_the_way_out_is_said(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    result = run("bench")
    assert result.exit_code == 1
    assert "clone the repository" in result.stderr


def test_the_parts_in_the_help_are_those_there_are() -> None:
    assert all(f"\n      {part} " in (command.bench.__doc__ or "") for part in bench.PARTS)
