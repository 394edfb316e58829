"""The verify loop: fair arms, figures that are kept, a stop that loses at most one arm, tables and plot."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from earthgen.cli import verify as command
from earthgen.cli.main import app
from earthgen.conditions import Box
from earthgen.dataset import verify_report
from earthgen.dataset.detector import DetectorConfig
from earthgen.dataset.filter_evaluator import EvaluatorConfig
from earthgen.dataset.verify import TASKS, VerifyConfig, arms, verify
from earthgen.dataset.verify_learners import Classification, Segmentation
from earthgen.errors import ArgumentError
from earthgen.labels import export
from earthgen.labels.base import LabelledImage, LabelledSet, Shape
from earthgen.metrics.network import FitConfig

QUICK = FitConfig(steps=30, batch_size=8, learning_rate=5e-3, average=0.8)
TINY = VerifyConfig(
    fractions=(0.5, 1.0),
    seeds=1,
    detector=DetectorConfig(
        size=64, widths=(8, 8, 16, 16), hidden=16, decoder_layers=2, queries=10, denoising=0, steps=1, batch_size=2
    ),
    evaluator=EvaluatorConfig((8, 8, 8, 8), 8, 32, QUICK),
    side=32,
    classifier=QUICK,
)


def labelled(folder, number, seed, split=lambda k: "train", label=None):
    """Dark squares, every other with a bright roof, known by box, mask and class."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    images = []
    for k in range(number):
        pixels = generator.integers(20, 60, (64, 64, 3), np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        shapes = ()
        if k % 2:
            x, y = generator.integers(0, 40, 2)
            pixels[y : y + 24, x : x + 24], mask[y : y + 24, x : x + 24] = 220, 1
            shapes = (Shape(Box.from_xyxy("roof", x, y, x + 24, y + 24)),)
        path = folder / f"{seed}_{k}.png"
        Image.fromarray(pixels).save(path)
        fields = {"shapes": shapes, "mask": mask, "label": ("open", "built")[k % 2]}
        images.append(LabelledImage(path.stem, path, 64, 64, split(k), **fields))
    return LabelledSet(images, ("roof",), ("ground", "roof"))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    real = labelled(folder / "real", 12, 0, lambda k: "test" if k >= 8 else "train")
    return real, labelled(folder / "synthetic", 6, 1)


@pytest.fixture(scope="module")
def measured(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    return folder, verify(*sets, folder, TINY, "classification")


def test_arms_are_all_pairs_the_first_seed_first():
    names = [arm.name for arm in arms(VerifyConfig(fractions=(1.0, 0.1), seeds=2))]
    assert names[:5] == ["synthetic-seed0", "real-10-seed0", "both-10-seed0", "real-100-seed0", "both-100-seed0"]
    assert len(names) == len(set(names)) == 10


def test_every_arm_is_measured_and_learns_what_can_be_learned(measured):
    folder, record = measured
    assert record["images"] == {"real": 8, "synthetic": 6, "test": 4}
    assert {(a["kind"], a["fraction"], a["images"]) for a in record["arms"]} == {
        ("synthetic", None, 6), ("real", 0.5, 4), ("both", 0.5, 10), ("real", 1.0, 8), ("both", 1.0, 14)
    }  # fmt: skip
    assert np.mean([arm["figures"]["accuracy"] for arm in record["arms"]]) > 0.9
    assert json.loads((folder / "verify.json").read_text()) == record


def test_a_stopped_loop_goes_on_and_repeats_nothing(sets, measured, tmp_path, monkeypatch):
    _, whole = measured
    learned = []
    learn = Classification.__call__

    def stopped(self, sources, test, seed, progress):
        if len(learned) == 2:
            raise KeyboardInterrupt
        learned.append(seed)
        return learn(self, sources, test, seed, progress)

    monkeypatch.setattr(Classification, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        verify(*sets, tmp_path, TINY, "classification")
    assert len(list((tmp_path / "arms").glob("*.json"))) == 2
    monkeypatch.undo()
    resumed = []
    monkeypatch.setattr(Classification, "__call__", lambda self, *a: resumed.append(1) or learn(self, *a))
    assert verify(*sets, tmp_path, TINY, "classification") == whole
    assert len(resumed) == len(whole["arms"]) - 2


def test_a_folder_of_other_settings_or_sets_is_refused(sets, measured):
    real, synthetic = sets
    with pytest.raises(ArgumentError, match="differ in config"):
        verify(real, synthetic, measured[0], replace(TINY, seeds=2), "classification")
    with pytest.raises(ArgumentError, match="differ in sets"):
        verify(real, replace(synthetic, images=synthetic.images[:4]), measured[0], TINY, "classification")


def test_masks_are_learned(sets):
    real, synthetic = sets
    learner = Segmentation(real.mask_classes, TINY.evaluator)
    figures = learner([synthetic.images], real.of_split("test").images, 0, None)
    assert figures["miou"] > 0.7 and set(figures["iou_by_class"]) == {"ground", "roof"}


def test_sources_of_a_class_have_equal_shares(sets, monkeypatch):
    real, synthetic = sets
    seen = {}

    def fit(images, labels, classes, config, progress):
        seen.update(images=images, labels=labels)
        raise KeyboardInterrupt

    monkeypatch.setattr("earthgen.dataset.verify_learners.Classifier.fit", fit)
    with pytest.raises(KeyboardInterrupt):
        Classification(["built", "open"], QUICK, 32)([real.images, synthetic.images[:2]], [], 0, None)
    assert len(seen["labels"]) == 24 and (seen["labels"] == 0).sum() == 12
    repeated = [np.array_equal(image, seen["images"][12]) for image in seen["images"][12:]]
    assert sum(repeated) == 6


def test_sets_that_cannot_be_compared_are_refused(sets, tmp_path):
    real, synthetic = sets
    bare = LabelledSet([i.replace(shapes=None, mask=None, label=None) for i in synthetic.images])
    with pytest.raises(ArgumentError, match="labels of a kind"):
        verify(real, bare, tmp_path, TINY)
    with pytest.raises(ArgumentError, match="classes"):
        verify(real, LabelledSet([], ("ship",)), tmp_path, TINY, "detection")
    with pytest.raises(ArgumentError, match=r"synthetic.*detection"):
        verify(real, LabelledSet([], ("roof",)), tmp_path, TINY, "detection")
    with pytest.raises(ArgumentError, match=r"nothing of \['built'\]"):
        verify(real, replace(synthetic, images=synthetic.images[:1]), tmp_path, TINY, "classification")
    with pytest.raises(ArgumentError, match="mask's classes"):
        verify(real, replace(synthetic, mask_classes=("roof", "ground")), tmp_path, TINY, "segmentation")
    only_tests = replace(real, images=real.of_split("test").images)
    with pytest.raises(ArgumentError, match="to train on"):
        verify(only_tests, synthetic, tmp_path, TINY)
    for wrong in ({"fractions": (0.0, 1.0)}, {"fractions": ()}, {"seeds": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            VerifyConfig(**wrong)


def test_without_a_split_to_test_on_some_images_are_held_out(sets, tmp_path):
    real, synthetic = sets
    together = replace(real, images=[image.replace(split="train") for image in real.images])
    record = verify(together, synthetic, tmp_path, replace(TINY, fractions=(1.0,)), "classification")
    assert record["images"]["real"] + record["images"]["test"] == 12 and record["images"]["test"] >= 1


def made_up(task="detection", metrics=("map50", "map")):
    figures = {
        ("real", 0.1): (0.1, 0.2),
        ("both", 0.1): (0.2, 0.4),
        ("real", 1.0): (0.5, 0.5),
        ("both", 1.0): (0.5, 0.6),
    }
    rows = [
        {"kind": kind, "fraction": fraction, "seed": seed, "figures": dict.fromkeys(metrics, value)}
        for (kind, fraction), values in {**figures, ("synthetic", None): (0.3, 0.5)}.items()
        for seed, value in enumerate(values)
    ]
    images = {"real": 8, "synthetic": 6, "test": 4}
    return {"task": task, "metrics": list(metrics), "images": images, "arms": rows}


def test_figures_are_means_and_deviations_over_seeds():
    record = made_up()
    assert str(verify_report.spread(record, "map50", "real", 0.1)) == "15.0 ± 7.1"
    assert verify_report.gain(record, "map50", 0.1).signed() == "+15.0 ± 7.1"  # by seed: 10 and 20 points
    assert verify_report.ratio(record, "map50") == pytest.approx(0.8)
    text = verify_report.markdown(record)
    assert "| 10% | 15.0 ± 7.1 | 30.0 ± 14.1 | +15.0 ± 7.1 |" in text
    assert "| none (synthetic alone) | | 40.0 ± 14.1 | |" in text
    assert "Synthetic alone ÷ real alone: 0.80" in text
    nothing = made_up()
    for arm in nothing["arms"]:
        arm["figures"] = {"map50": 0.0, "map": 0.0}
    assert verify_report.ratio(nothing, "map50") is None and "÷" not in verify_report.markdown(nothing)
    assert verify_report.plot(nothing).size == (720, 460)


def test_the_plot_shows_each_kind_at_its_height():
    pixels = np.asarray(verify_report.plot(made_up()))[80:]
    heights = {}
    for kind, colour in verify_report._COLOURS.items():
        rows = np.nonzero((pixels == colour).all(2).sum(1) >= 5)[0]
        heights[kind] = (rows.min(), rows.max())
    assert heights["real"][1] > heights["both"][1]  # 15 % lies below 30 %
    assert heights["synthetic"][0] > heights["both"][0]  # 40 % lies below 55 %


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "oriented"])
def test_the_command_trains_detectors_and_writes_tables_and_a_plot(sets, tmp_path, monkeypatch, task):
    real, synthetic = sets
    monkeypatch.setattr("earthgen.dataset.verify.VerifyConfig", lambda **changes: replace(TINY, **changes))
    for name, images in (("real", real), ("synthetic", synthetic)):
        export(images, tmp_path / name, ["coco"])
    arguments = ["dataset", "verify", "--fraction", "1", "--seeds", "1", "--steps", "2", "--task", task]
    arguments += ["-o", str(tmp_path / "out")]
    for name in ("real", "synthetic"):
        arguments += [f"--{name}", str(tmp_path / name / "coco")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "mAP50, %" in result.output and "| 100% |" in result.output
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert record["task"] == task and len(record["arms"]) == 3
    assert all(0 <= arm["figures"]["map50"] <= 1 and arm["figures"]["objects"] == 2 for arm in record["arms"])
    assert (tmp_path / "out" / "verify.md").read_text().strip() in result.output
    assert Image.open(tmp_path / "out" / "verify.png").size == (720, 460)
    refused = CliRunner().invoke(app, [*arguments, "--task", "counting"])
    assert refused.exit_code == 2 and "task" in refused.output


def test_the_command_knows_the_tasks():
    assert command.TASKS == (*TASKS, "change")
