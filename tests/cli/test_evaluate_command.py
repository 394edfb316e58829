"""`earthgen evaluate`: what it asks of `earthgen.metrics.evaluate`, whose own tests say whether that is right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthgen.cli import evaluate as command
from earthgen.conditions import Conditions, Guidance
from earthgen.metrics import evaluate as metrics


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the measuring function was called with; it makes one image and reports a figure of it."""
    got: dict[str, Any] = {}

    def measure(generate: Any, root: Path, what: list[str], config: Any, **options: Any) -> dict[str, Any]:
        images = generate([Conditions(text="a"), Conditions(text="b")], 16, 24, [1, 2])
        got.update(root=root, what=what, config=config, images=images, **options)
        return {"config": {}, "gsd": {k: {"rank_correlation": 0.5} for k in ("real_held_out", "prompted", "gsd_alone")}}

    monkeypatch.setattr(metrics, "evaluate", measure)
    return got


def test_the_parts_are_those_that_can_be_measured() -> None:
    assert command.PARTS == metrics.PARTS


def test_options_arrive(run, stand_in, asked: dict[str, Any], tmp_path: Path) -> None:
    parts = ["--what", "gsd", "--what", "eurosat", "--per-class", 3, "--seed", 5, "--batch-size", 2]
    more = ["--steps", 7, "--guidance", "text=4", "--cache", tmp_path / "c"]
    result = run("evaluate", "--data", tmp_path, *parts, *more)
    assert result.exit_code == 0, result.output
    assert "rank correlation" in result.stdout
    assert asked["what"] == ["gsd", "eurosat"]
    assert asked["config"] == metrics.EvaluationConfig((("eurosat", 3), ("ucmerced", 3)), batch_size=2, seed=5)
    assert (asked["root"], asked["cache"], asked["out"]) == (tmp_path, tmp_path / "c", None)
    assert asked["images"].shape == (2, 16, 24, 3)
    assert asked["images"].dtype == np.uint8
    assert stand_in.calls[0]["steps"] == 7
    assert stand_in.calls[0]["guidance"] == Guidance(text=4)


def test_json(run, stand_in, asked: dict[str, Any], tmp_path: Path) -> None:
    record = json.loads(run("evaluate", "--data", tmp_path, "--json").stdout)
    assert record["gsd"]["prompted"] == {"rank_correlation": 0.5}
    assert record["model"]["model"] == "earthgen/mini"
    assert asked["what"] == list(metrics.PARTS)


def test_a_folder_of_another_model_or_other_settings_is_refused(run, stand_in, asked, tmp_path: Path) -> None:
    common = ["evaluate", "--data", tmp_path, "-o", tmp_path / "out"]
    assert run(*common, "--steps", 3).exit_code == 0
    assert run(*common, "--steps", 3).exit_code == 0
    result = run(*common, "--steps", 4)
    assert result.exit_code == 2
    assert "differs in steps" in result.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--what", "beauty"], 2, "`what` must be among eurosat/accuracy"),
        (["--per-class", 0], 2, "`per-class` must be"),
        (["--data", "no-such-folder"], 1, "there is no folder of data sets at no-such-folder"),
        ([], 1, "EARTHGEN_DATA"),
    ],
)
def test_refused_before_any_model_is_loaded(run, stand_in, monkeypatch, options, code: int, message: str) -> None:
    monkeypatch.delenv("EARTHGEN_DATA", raising=False)
    result = run("evaluate", *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert stand_in.loaded == 0
