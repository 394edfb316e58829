"""The classifier learns, is a function of its arguments, and comes back from its files as it was."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earthgen.errors import ArgumentError, WeightsError
from earthgen.metrics.classifier import Classifier, confusion
from earthgen.metrics.network import (
    FitConfig,
    NetworkConfig,
    ResidualNetwork,
    augment,
    load_network,
    seeded_network,
    to_tensor,
)

TINY = NetworkConfig(3, widths=(8, 16), blocks=(0, 1))
QUICK = FitConfig(steps=40, batch_size=16, learning_rate=1e-2, average=0.8)


@pytest.fixture(scope="module")
def fitted(train):
    return Classifier.fit(train.images, train.labels, train.classes, QUICK, TINY)


def test_it_learns_what_can_be_learned(fitted, held_out):
    assert (fitted.predict(held_out.images) == held_out.labels).mean() > 0.95


def test_probabilities_and_features_have_their_shapes(fitted, held_out):
    p = fitted.probabilities(held_out.images)
    assert p.shape == (36, 3)
    assert p.sum(1) == pytest.approx(1, abs=1e-5)
    assert fitted.probabilities(np.rot90(held_out.images, 1, (1, 2)).copy()) == pytest.approx(p, abs=1e-5)
    assert fitted.probabilities(held_out.images[:, :, :16].copy()).shape == (36, 3)
    assert fitted.features(held_out.images).shape == (36, 16)


def test_the_same_arguments_give_the_same_network(fitted, train, held_out):
    before = torch.random.get_rng_state()
    again = Classifier.fit(train.images, train.labels, train.classes, QUICK, TINY)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(fitted.features(held_out.images), again.features(held_out.images))
    other = seeded_network(TINY, 1).head.weight
    assert not torch.equal(other, seeded_network(TINY, 0).head.weight)


def test_it_is_saved_without_pickles_and_loaded_whole(fitted, held_out, tmp_path):
    fitted.about["size"] = 32
    fitted.save(tmp_path / "judge")
    assert {p.name for p in (tmp_path / "judge").iterdir()} == {"config.json", "model.safetensors"}
    assert [p.name for p in tmp_path.iterdir()] == ["judge"]
    loaded = Classifier.load(tmp_path / "judge")
    assert loaded.classes == fitted.classes
    assert loaded.about["size"] == 32
    assert np.array_equal(loaded.features(held_out.images), fitted.features(held_out.images))
    fitted.save(tmp_path / "judge")  # over itself
    assert [p.name for p in tmp_path.iterdir()] == ["judge"]


@pytest.mark.parametrize("harm", ["missing", "cut", "no config", "other kind", "other shape"])
def test_damaged_files_are_refused(fitted, tmp_path, harm):
    folder = tmp_path / "judge"
    fitted.save(folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    record = json.loads(config.read_text())
    if harm == "missing":
        weights.unlink()
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif harm == "no config":
        config.unlink()
    elif harm == "other kind":
        config.write_text(json.dumps({**record, "kind": "gsd"}))
    else:
        config.write_text(json.dumps({**record, "network": {**record["network"], "widths": [8, 24]}}))
    with pytest.raises(WeightsError):
        Classifier.load(folder)


def test_labels_are_checked(train):
    with pytest.raises(ArgumentError, match="labels"):
        Classifier.fit(train.images, train.labels[:-1], train.classes, QUICK, TINY)
    with pytest.raises(ArgumentError, match="each of which occurs"):
        Classifier.fit(train.images, train.labels, (*train.classes, "another"), QUICK)
    with pytest.raises(ArgumentError, match="images"):
        Classifier.fit(train.images / 255, train.labels, train.classes, QUICK, TINY)
    with pytest.raises(ArgumentError, match="classes"):
        Classifier(ResidualNetwork(TINY), ("one",))
    with pytest.raises(ArgumentError, match="steps"):
        FitConfig(steps=0)


def test_a_network_of_another_patch_sees_the_same_shapes(tmp_path):
    network = ResidualNetwork(NetworkConfig(5, (8, 16, 24), (1, 1, 1), patch=4, dropout=0.5)).eval()
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    with pytest.raises(WeightsError, match="missing"):
        load_network(tmp_path)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([(8, 8), (8, 12)]))
def test_turns_and_mirrors_only_move_pixels(seed, size):
    images = np.random.default_rng(seed).integers(0, 256, (6, *size, 3), np.uint8)
    plain = FitConfig(shift=0, colour=0, offset=0)
    turned = augment(images, plain, np.random.default_rng(seed))
    assert turned.shape == (6, 3, *size)
    sort = lambda x: x.flatten(2).sort(-1).values  # noqa: E731
    assert torch.equal(sort(turned), sort(to_tensor(images)))


def test_all_eight_symmetries_occur():
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, 0, 1] = 255
    seen = augment(image.repeat(200, 0), FitConfig(shift=0, colour=0, offset=0), np.random.default_rng(0))
    assert len(seen.unique(dim=0)) == 8


def test_shifts_stay_within_their_limit_and_mirror_the_border():
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, None, :, None] * 10, (64, 16, 16, 3)).copy()
    moved = augment(ramp, FitConfig(shift=2, colour=0, offset=0), np.random.default_rng(0))
    values = ((moved + 1) * 127.5).round()
    assert values.min() >= 0
    assert values.max() <= 150
    assert {int(v) % 10 for v in values.flatten()} == {0}


def test_confusion_counts_rows_as_truth():
    counts = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
