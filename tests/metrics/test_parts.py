"""Each measurement on generators that are known to be perfect, useless, blurred or disobedient."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from earthgen.metrics import parts
from earthgen.metrics.classifier import Classifier
from earthgen.metrics.judges import JudgeConfig, accuracy_report
from earthgen.metrics.network import FitConfig

JUDGE = JudgeConfig(32, FitConfig(steps=40, batch_size=16, learning_rate=1e-2, average=0.8), (8, 16), (0, 1))


@pytest.fixture(scope="module")
def judge(train, held_out):
    made = Classifier.fit(train.images, train.labels, train.classes, JUDGE.fit, JUDGE.network(3))
    seen = made.predict(held_out.images)
    made.about |= {"size": 32, "held_out": accuracy_report(held_out.labels, seen, train.classes)}
    return made


def _swapped(images):
    """Bright where dark was asked for, and dark where bright was."""
    return replace(images, images=images.images[::-1].copy())


def test_accuracy_finds_the_class_that_is_missed(judge, train, labelled):
    good = parts.accuracy(labelled(10, 3), train, judge)
    assert good["accuracy"] > 0.9
    assert good["real_held_out"]["accuracy"] > 0.9
    assert good["real_partners"]["images"] == 60
    some = labelled(10, 3)
    wrong = parts.accuracy(_swapped(some), train, judge)
    assert wrong["by_class"]["dark"] < 0.1
    assert wrong["by_class"]["stripes"] > 0.9
    assert wrong["confusion"][0][2] > 8
    json.dumps(wrong)


def test_distances_of_another_real_set_have_ratio_one_and_of_noise_a_large_one(judge, train, held_out, labelled):
    same = parts.distances(labelled(20, 7), train, held_out, judge)
    assert same["images"] == 36
    assert 0 < same["frechet"]["ratio_error"] < 1
    assert same["frechet"]["ratio"] == pytest.approx(1, abs=0.9)
    noise = labelled(20, 7)
    noise.images[:] = np.random.default_rng(0).integers(0, 256, noise.images.shape)
    bad = parts.distances(noise, train, held_out, judge)
    assert bad["frechet"]["ratio"] > 5
    assert bad["kernel"]["generated_to_real"] > same["kernel"]["generated_to_real"]
    json.dumps(bad)


def test_power_finds_missing_detail(train, held_out, labelled):
    blurred = labelled(20, 7)
    wide = blurred.images.astype(int) + np.roll(blurred.images, 1, 1)
    blurred.images[:] = (wide + np.roll(wide, 1, 2)) // 4
    record = parts.power(blurred, train, held_out)
    assert record["generated_to_real"]["2-4 px"] < 0.7
    assert 0 < record["generated_to_real_error"]["2-4 px"] < 0.1
    assert record["real_to_real"]["2-4 px"] == pytest.approx(1, abs=0.05)


def test_score_is_one_for_real_images_and_low_for_wrong_ones(train, held_out, labelled):
    assert parts.score(labelled(20, 7), train, held_out, JUDGE)["ratio"] == pytest.approx(1, abs=0.1)
    assert parts.score(_swapped(labelled(20, 7)), train, held_out, JUDGE)["ratio"] < 0.6


def test_augmented_compares_the_same_real_images_with_and_without(train, held_out, labelled, tmp_path, monkeypatch):
    kept = tmp_path / "augmented"
    first = parts.augmented(labelled(10, 7), train, held_out, JUDGE, seeds=(0,), folder=kept)
    record = parts.augmented(labelled(10, 7), train, held_out, JUDGE, seeds=(0, 1), folder=kept)
    assert record["real_alone"][:1] == first["real_alone"]
    monkeypatch.setattr(parts, "_learned", None)  # nothing is learned twice
    assert parts.augmented(labelled(10, 7), train, held_out, JUDGE, seeds=(0, 1), folder=kept) == record
    assert record["real_images"] == 6
    assert len(record["real_alone"]) == len(record["real_and_generated"]) == 2
    gain = np.mean(record["real_and_generated"]) - np.mean(record["real_alone"])
    assert record["gain_points"] == pytest.approx(100 * gain)
    assert record["gain_standard_error"] >= 0


def test_copies_are_found_and_new_images_are_not(judge, train, held_out, labelled):
    fresh = parts.memorisation(labelled(12, 9), train, held_out, judge)
    assert fresh["images"] == 36 and fresh["train_images"] == 60
    assert fresh["ratio"] == pytest.approx(1, abs=0.5)
    assert fresh["share_nearer_than_1_percent_of_real"] < 0.2
    copying = labelled(12, 9)
    copied = [0, 20, 40]  # of each class one
    copying.images[[0, 12, 24]] = train.images[copied]
    record = parts.memorisation(copying, train, held_out, judge)
    assert [(p["generated"], p["train"]) for p in sorted(record["closest"][:3], key=lambda p: p["train"])] == [
        (0, 0), (12, 20), (24, 40)
    ]  # fmt: skip
    assert record["closest"][0]["distance"] == pytest.approx(0, abs=1e-4)
    all_copied = parts.memorisation(train, train, held_out, judge)
    assert all_copied["ratio"] < 1e-3
    assert all_copied["share_nearer_than_1_percent_of_real"] == 1
    json.dumps(record)


def test_the_closest_are_numbered_as_in_the_generated_set(judge, train, held_out, labelled):
    more = labelled(20, 9)  # more of each class than are held out
    more.images[45] = train.images[50]
    closest = parts.memorisation(more, train, held_out, judge, shown=1)["closest"]
    assert (closest[0]["generated"], closest[0]["train"]) == (45, 50)


def test_cells_that_show_are_found(train, labelled):
    record = parts.cells(labelled(20, 7), train)
    gridded = labelled(20, 7)
    gridded.images[:] = gridded.images // 2 + (np.arange(32) // 4 % 2 * 100).astype(np.uint8)[:, None, None]
    shown = parts.cells(gridded, train)
    assert shown["generated"] > 1.2 * record["generated"]
    assert record["generated"] == pytest.approx(record["real"], abs=4 * record["generated_error"])
    assert set(shown["by_class"]) == {"dark", "stripes", "bright"}
    json.dumps(shown)


@pytest.mark.parametrize("obeys", [True, False])
def test_gsd_is_read_off_what_was_asked(obeys):
    asked = []

    def generate(conditions, height, width, seeds):
        asked.extend(conditions)
        level = [20 * np.log2(c.gsd) if obeys else s * 997 % 256 for c, s in zip(conditions, seeds, strict=True)]
        return np.clip(60 + np.array(level), 0, 255).astype(np.uint8)[:, None, None, None] + np.zeros(
            (1, height, width, 3), np.uint8
        )

    reader = SimpleNamespace(predict=lambda x: (x.mean((1, 2, 3)) - 60) / 20, about={"held_out": {}})
    record = parts.gsd_obedience(generate, reader, steps=9, each=2, side=64, batch_size=5)
    for key in ("prompted", "gsd_alone"):
        assert (record[key]["rank_correlation"] > 0.95) == obeys
    assert len(asked) == 36
    assert all(c.text and c.gsd for c in asked[:18])
    assert not any(c.text or c.lat for c in asked[18:])
    assert asked[0].gsd == pytest.approx(0.3)
    assert asked[17].gsd == pytest.approx(10_000)
    json.dumps(record)


def test_every_gsd_has_prompts():
    for value in np.geomspace(0.05, 200_000, 50):
        assert any(low <= value < high for low, high, *_ in parts.PROBES)


def test_matched_sets_have_as_many_of_each_class(labelled):
    a, b = labelled(5, 0), labelled(9, 1).take(np.arange(20))
    x, y = parts.matched(a, b)
    assert x.class_counts() == y.class_counts() == [5, 5, 2]
    assert np.array_equal(x.labels, y.labels)
