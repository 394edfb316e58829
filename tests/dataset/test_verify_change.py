"""The verify loop of change: zero-shot, supervised, one after the other; resumed; from formats, by the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from earthgen.cli.main import app
from earthgen.dataset import verify_change, verify_report
from earthgen.dataset.change_detector import ChangeDetector, ChangeDetectorConfig
from earthgen.dataset.verify_change import ChangeLearner, ChangeVerifyConfig, verify_changes
from earthgen.errors import ArgumentError, DataError
from earthgen.labels.base import Split
from earthgen.labels.change import ChangePair, export_changes

DETECTOR = ChangeDetectorConfig(width=4, crop=24, steps=8, batch_size=2, learning_rate=4e-3)
TINY = ChangeVerifyConfig(fractions=(0.5, 1.0), seeds=1, detector=DETECTOR)


def pairs(folder: Path, splits: list[Split], seed: int) -> list[ChangePair]:
    """A bright roof appears in each, in another light."""
    folder.mkdir()
    random, made = np.random.default_rng(seed), []
    for k, split in enumerate(splits):
        first = random.integers(90, 130, (40, 36, 3), np.uint8)
        second, bands = np.clip(first * 1.2, 0, 255).astype(np.uint8), np.full((3, 40, 36), 255, np.uint8)
        top, left = random.integers(2, 22, 2)
        second[top : top + 12, left : left + 10], bands[0] = random.integers(190, 255, 3), 0
        bands[0, top : top + 12, left : left + 10] = 1
        files = folder / f"{k}a.png", folder / f"{k}b.png"
        for path, pixels in zip(files, (first, second), strict=True):
            Image.fromarray(pixels).save(path)
        made.append(ChangePair.of_files(f"p{k}", *files, bands, split=split, sentences=()))
    return made


Sets = tuple[list[ChangePair], list[ChangePair]]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    folder = tmp_path_factory.mktemp("pairs")
    return pairs(folder / "real", ["train"] * 4 + ["test"] * 2, 0), pairs(folder / "made", ["train"] * 5, 1)


@pytest.fixture(scope="module")
def measured(sets: Sets, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("out")
    return folder, verify_changes(*sets, folder, TINY)


def test_arms_are_zero_shot_supervised_and_one_after_the_other(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, record = measured
    assert record["task"] == "change" and record["images"] == {"real": 4, "synthetic": 5, "test": 2}
    assert {(a["kind"], a["fraction"], a["images"]) for a in record["arms"]} == {
        ("synthetic", None, 5), ("real", 0.5, 2), ("both", 0.5, 7), ("real", 1.0, 4), ("both", 1.0, 9)
    }  # fmt: skip
    assert all(set(arm["figures"]) == {"f1", "precision", "recall"} for arm in record["arms"])
    assert json.loads((folder / "verify.json").read_text()) == record


def test_what_can_be_learned_is_learned(sets: Sets) -> None:
    real, synthetic = sets
    config = replace(TINY, detector=replace(DETECTOR, width=8, steps=60, batch_size=4, learning_rate=6e-3))
    learner = ChangeLearner(config, synthetic)
    zero_shot, further = (learner(sources, real[4:], 0, None)["f1"] for sources in ([synthetic], [real[:4], synthetic]))
    assert zero_shot > 0.5 and further > 0.5


def test_a_stopped_loop_repeats_nothing_and_ends_as_if_it_had_not_stopped(
    sets: Sets, measured: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, int, float, bool]] = []
    train = verify_change.train_detector

    def counted(samples: Any, config: ChangeDetectorConfig, start: ChangeDetector | None, progress: bool) -> Any:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((len(samples), config.steps, config.learning_rate, start is not None))
        return train(samples, config, start, progress=progress)

    monkeypatch.setattr(verify_change, "train_detector", counted)
    with pytest.raises(KeyboardInterrupt):
        verify_changes(*sets, tmp_path, TINY)
    # Zero-shot, supervised on half, and the first of them further on that half: for a quarter of the steps, slowly.
    assert trained == [(5, 8, 4e-3, False), (2, 8, 4e-3, False), (2, 2, pytest.approx(1.2e-3), True)]
    assert len(list((tmp_path / "arms").glob("*.json"))) == 3
    monkeypatch.undo()
    assert verify_changes(*sets, tmp_path, TINY) == measured[1]


def test_a_folder_of_other_pairs_or_settings_is_refused(sets: Sets, measured: tuple[Path, dict[str, Any]]) -> None:
    real, synthetic = sets
    with pytest.raises(ArgumentError, match="differ in config"):
        verify_changes(real, synthetic, measured[0], TINY.with_steps(9))
    bands = real[0].bands().copy()
    bands[0, 0, 0] ^= 1
    with pytest.raises(ArgumentError, match="differ in sets"):
        verify_changes([real[0].replace(label=bands), *real[1:]], synthetic, measured[0], TINY)


def test_what_is_wrong_with_pairs_is_found_before_any_training(sets: Sets, tmp_path: Path) -> None:
    real, synthetic = sets
    out = tmp_path / "out"
    same = [pair.replace(label=np.zeros((3, 40, 36), np.uint8), classes=("a",)) for pair in synthetic]
    with pytest.raises(ArgumentError, match=r"`synthetic` must hold pairs .* show a change"):
        verify_changes(real, same, out, TINY)
    with pytest.raises(ArgumentError, match=r"`real` .* to train on"):
        verify_changes(real[4:], synthetic, out, TINY)
    cut = tmp_path / "cut.png"
    cut.write_bytes(real[5].second.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"cut\.png"):
        verify_changes([*real[:5], real[5].replace(second=cut)], synthetic, out, TINY)
    assert not out.exists()


def test_the_command_reads_formats_and_writes_a_table_and_a_plot(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_change, "ChangeVerifyConfig", lambda **given: replace(TINY, **given))
    real, synthetic = sets
    export_changes(real, tmp_path / "real", ["levir-cd-split"])
    export_changes(synthetic, tmp_path / "made", ["levir-cd", "change-captions"])
    out = tmp_path / "out"
    asked = ["dataset", "verify", "--real", str(tmp_path / "real/levir-cd-split"), "--fraction", "1", "--seeds", "1"]
    asked += ["--steps", "2", "-o", str(out), "--synthetic"]
    result = CliRunner().invoke(app, [*asked, str(tmp_path / "made/levir-cd")])
    assert result.exit_code == 0, result.output
    assert "4 real pairs to train on, 5 synthetic, 2 real to test on" in result.output
    assert "F1 of change, %" in result.output
    assert "| real pairs | real alone | synthetic, then real | gain |" in result.output
    record = json.loads((out / "verify.json").read_text())
    assert record["metrics"] == ["f1", "precision", "recall"] and len(record["arms"]) == 3
    assert (out / "verify.md").read_text() == verify_report.markdown(record)
    assert Image.open(out / "verify.png").size == (720, 460)
    for name, words in (("made", "one of the folders ['levir-cd'"), ("made/change-captions", "single pixels")):
        refused = CliRunner().invoke(app, [*asked, str(tmp_path / name)])
        assert refused.exit_code and words in f"{refused.output} {refused.exception}"
