"""The evaluation as a whole on two tiny data sets in their true layouts."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from earthgen.conditions import Conditions
from earthgen.errors import ArgumentError, OutputError
from earthgen.metrics import judges, report
from earthgen.metrics.evaluate import EvaluationConfig, evaluate
from earthgen.metrics.generated import ask, from_pipeline
from earthgen.metrics.judges import JudgeConfig, cache_folder, classifier_judge, gsd_judge
from earthgen.metrics.network import FitConfig
from earthgen.metrics.real import labelled_images, shrink

LEVELS = {"forest": 60, "sea or lake": 190, "a river": 190}
TINY = JudgeConfig(32, FitConfig(steps=12, batch_size=8, learning_rate=1e-2, average=0.8), (8, 16), (0, 1))
CONFIG = EvaluationConfig(
    counts=(("eurosat", 4), ("ucmerced", 3)), score_steps=4, gsd_steps=4, gsd_each=2, gsd_side=64, batch_size=3
)


def _picture(level: int, side: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(level, 15, (side, side, 3))
    return noise.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """EuroSAT and UC Merced with two classes each, dark and bright, in places of both splits."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for label, level in (("Forest", 60), ("SeaLake", 190)):
        (folder / "eurosat_rgb" / label).mkdir(parents=True)
        for k in range(60):
            path = f"{label}/{label}_{k}.jpg"
            Image.fromarray(_picture(level, 64, k)).save(folder / "eurosat_rgb" / path)
            rows.append((path, label, 40 + k % 20 + 0.5, 5.5))
    with (folder / "eurosat_centres.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "lat", "lon"), *rows])
    for label, level in (("forest", 60), ("river", 190)):
        (folder / "ucmerced" / label).mkdir(parents=True)
        for k in range(0, 100, 5):
            Image.fromarray(_picture(level, 256, k)).save(folder / "ucmerced" / label / f"{label}{k:02d}.jpg")
    return folder


class _Generator:
    """Gives the right brightness for each prompt and counts what it is asked for."""

    def __init__(self):
        self.images = 0

    def __call__(self, conditions, height, width, seeds):
        self.images += len(conditions)
        levels = [LEVELS.get((c.text or "").split(" of ")[-1], 128) for c in conditions]
        return np.stack([_picture(level, height, seed) for level, seed in zip(levels, seeds, strict=True)])


def _evaluate(generate, root, tmp_path, **options):
    options = {"what": ("eurosat", "ucmerced/accuracy"), "config": CONFIG, "out": tmp_path / "out", **options}
    return evaluate(generate, root, cache=tmp_path / "cache", judges={"eurosat": TINY, "ucmerced": TINY}, **options)


def test_an_evaluation_writes_its_figures_and_is_not_done_twice(root, tmp_path):
    generate = _Generator()
    record = _evaluate(generate, root, tmp_path)
    assert set(record) == {"config", "ucmerced/accuracy", *(f"eurosat/{p}" for p in _parts())}
    assert record["eurosat/accuracy"]["images"] == 8
    assert generate.images == 8 + 6
    out = tmp_path / "out"
    assert json.loads((out / "evaluation.json").read_text()).keys() == record.keys()
    table = (out / "evaluation.md").read_text()
    assert "EuroSAT: class asked is the class seen" in table
    assert "| SeaLake |" in table
    assert Image.open(out / "eurosat.png").width > 1000
    assert Image.open(out / "eurosat-nearest.png").width > 600
    found = {figure.what: figure for figure in report.figures(record)}
    assert found["EuroSAT: Forest is seen as asked"].value == record["eurosat/accuracy"]["by_class"]["Forest"]
    assert found["EuroSAT: class asked is the class seen"].noise > 0
    assert all(row.split(" | ")[0].strip("| ") in found for row in table.split("\n\n")[0].splitlines()[2:])
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]
    assert len(list((tmp_path / "cache" / "judges").iterdir())) == 2

    again = _evaluate(generate, root, tmp_path)
    assert generate.images == 14
    assert json.dumps(again) == json.dumps(record)


def _parts():
    return ("accuracy", "distances", "spectrum", "cells", "memorisation", "score", "augmented")


def test_a_stopped_evaluation_goes_on_and_redo_keeps_the_images(root, tmp_path):
    class Stops(_Generator):
        def __call__(self, conditions, height, width, seeds):
            if self.images >= 4:
                raise KeyboardInterrupt
            return super().__call__(conditions, height, width, seeds)

    what = {"what": ("eurosat/spectrum",)}
    with pytest.raises(KeyboardInterrupt):
        _evaluate(Stops(), root, tmp_path, **what)
    generate = _Generator()
    first = _evaluate(generate, root, tmp_path, **what)
    assert generate.images == 4  # the first class was there
    redone = _evaluate(generate, root, tmp_path, **what, redo=True)
    assert generate.images == 4
    assert redone == first


def test_without_a_folder_nothing_is_written_and_figures_are_the_same(root, tmp_path):
    what = {"what": ("eurosat/spectrum",)}
    first = _evaluate(_Generator(), root, tmp_path, **what)
    second = _evaluate(_Generator(), root, tmp_path, **what, out=None)
    assert first == second


def test_wrong_requests_are_refused_before_any_work(root, tmp_path):
    generate = _Generator()
    with pytest.raises(ArgumentError, match="what"):
        _evaluate(generate, root, tmp_path, what=("nothing",))
    _evaluate(generate, root, tmp_path, what=("eurosat/spectrum",))
    other = EvaluationConfig(counts=(("eurosat", 5),))
    with pytest.raises(ArgumentError, match="another configuration"):
        _evaluate(generate, root, tmp_path, config=other, what=("eurosat",))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        _evaluate(generate, root, tmp_path, out=tmp_path / "file")
    with pytest.raises(ArgumentError, match="uint8"):
        ask(lambda *_: np.zeros((1, 8, 8, 3)), [Conditions()], 8, 0, "")


def test_partners_carry_prompt_gsd_and_place(root):
    images = labelled_images("eurosat", root, "train")
    drawn = images.draw([2, 1], 0)
    assert drawn.class_counts() == [2, 1]
    asked = drawn.asked[2]
    assert (asked.text, asked.gsd, asked.lon) == ("a satellite image of sea or lake", 10.0, 5.5)
    assert drawn.digest() != images.draw([2, 1], 1).digest()
    with pytest.raises(ArgumentError, match="class"):
        labelled_images("bluemarble", root)


def test_a_judge_is_made_once_for_its_images_and_configuration(root, tmp_path, monkeypatch):
    train = labelled_images("eurosat", root)
    first = classifier_judge("eurosat", root, tmp_path, train, TINY)
    assert first.about["held_out"]["images"] > 0
    monkeypatch.setattr(judges.Classifier, "fit", None)
    again = classifier_judge("eurosat", root, tmp_path, train, TINY)
    assert again.about == first.about
    with pytest.raises(TypeError):
        classifier_judge("eurosat", root, tmp_path, train.take(np.arange(len(train) - 1)), TINY)
    with pytest.raises(ArgumentError, match="name"):
        classifier_judge("naip", root, tmp_path)


def test_the_reader_of_gsd_is_cached_too(root, tmp_path, monkeypatch):
    monkeypatch.setattr(judges, "GSD_SETS", ("ucmerced",))
    monkeypatch.setattr(judges, "SQUARES_EACH", 40)
    monkeypatch.setattr(judges, "GSD_FIT", FitConfig(steps=2, batch_size=8))
    first = gsd_judge(root, tmp_path)
    assert first.about["held_out"]["squares"] == 5
    monkeypatch.setattr(judges.GSDReader, "fit", None)
    assert gsd_judge(root, tmp_path).about == first.about


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("EARTHGEN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "judges"
    monkeypatch.delenv("EARTHGEN_CACHE")
    assert cache_folder().parts[-3:] == (".cache", "earthgen", "judges")


def test_shrinking_is_the_mean_over_areas():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    assert shrink(images, 2)[1, 1, 0, 2] == np.rint(images[1, 2:, :2, 2].mean())
    assert shrink(images, 4) is images
    with pytest.raises(ArgumentError, match="multiple"):
        shrink(images, 3)


def test_a_pipeline_gets_one_generator_an_image():
    def pipeline(conditions, height, width, generator, output_type, num_inference_steps):
        assert (output_type, num_inference_steps) == ("np", 3)
        images = np.stack([np.full((height, width, 3), g.initial_seed() / 10) for g in generator])
        return type("Output", (), {"images": images})

    made = from_pipeline(pipeline, num_inference_steps=3)([Conditions(), Conditions()], 4, 6, [1, 20])
    assert made.shape == (2, 4, 6, 3)
    assert made[:, 0, 0, 0].tolist() == [26, 255]
