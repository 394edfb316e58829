"""The change pipeline on real components, tiny and untrained: what is unchanged is equal, whatever else happens."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler

from earthgen import Box, Conditions
from earthgen.errors import ArgumentError
from earthgen.pipelines import ChangePipeline
from earthgen.pipelines.change import CONTEXT, windows
from earthgen.simulate.event_boxes import simulate_boxes
from earthgen.simulate.event_maps import simulate_maps
from earthgen.simulate.event_rules import EventRules
from earthgen.simulate.event_segments import simulate_segments
from earthgen.simulate.events import Series
from earthgen.simulate.nuisance import Nuisance

CLASSES = ("land", "building", "water")
RULES = EventRules(smallest=16)


def town(side: int = 64) -> np.ndarray:
    labels = np.zeros((side, side), np.uint8)
    labels[8:14, 8:16] = labels[40:48, 24:32] = 1
    labels[:, 50:] = 2
    return labels


def photo(side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


@pytest.fixture(scope="module")
def change(components: dict[str, object]) -> ChangePipeline:
    pipe = ChangePipeline(**(components | {"scheduler": FlowMatchEulerDiscreteScheduler()}))  # type: ignore[arg-type]
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe: ChangePipeline, series: Series, **options: object):  # type: ignore[no-untyped-def]
    return pipe(series, **({"num_inference_steps": 2, "output_type": "np", "margin": 4} | options))  # type: ignore[arg-type]


def near(changed: np.ndarray, margin: int) -> np.ndarray:
    rows, columns = np.nonzero(changed)
    y, x = np.mgrid[: changed.shape[0], : changed.shape[1]]
    return ((y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2).min(-1) <= margin**2


@pytest.mark.parametrize("given", [True, False])
def test_pixels_beyond_the_margin_are_equal_and_changed_ones_are_not(change: ChangePipeline, given: bool) -> None:
    series = simulate_maps(town(), CLASSES, 3, [{"add": 1}, {"remove": 1}], RULES)
    out = run(change, series, image=photo() if given else None)
    if given:
        assert (out.images[0] == photo()).all()
    for k in range(2):
        changed = series.changed(k, k + 1)
        differs = (out.images[k] != out.images[k + 1]).any(-1)
        assert changed.any() and not differs[~near(changed, 4)].any()
        # What an untrained network makes is often beyond what pixels hold: black or white in every channel, both times.
        cut_off = (np.isin(out.images[k], (0, 255)) & np.isin(out.images[k + 1], (0, 255))).all(-1)
        assert (changed & ~cut_off).any() and differs[changed & ~cut_off].mean() > 0.95
        assert (out.made[k + 1] == near(changed, 4)).all()


def test_without_margin_only_the_change_differs(change: ChangePipeline) -> None:
    series = simulate_maps(town(), CLASSES, 3, [{"add": 1}], RULES)
    out = run(change, series, image=photo(), margin=0)
    assert not (out.images[0] != out.images[1]).any(-1)[~series.changed()].any()


def test_it_is_a_function_of_its_arguments(change: ChangePipeline) -> None:
    series = simulate_maps(town(), CLASSES, 3, [{"add": 1}], RULES)
    nuisance = Nuisance(noise=0.5, misregistration=2, rectangles=1)
    first = run(change, series, seed=5, nuisance=nuisance)
    run(change, series, seed=6)  # what ran between is of no influence
    again = run(change, series, seed=5, nuisance=nuisance)
    assert (first.images == again.images).all() and first.nuisances == again.nuisances
    assert (first.images != run(change, series, seed=6, nuisance=nuisance).images).any()


def test_the_first_dates_of_a_longer_series_are_those_of_a_shorter(change: ChangePipeline) -> None:
    plans = [{"add": 1}, {"move": 1}, {"transition": 1}]
    short = run(change, simulate_maps(town(), CLASSES, 4, plans[:2], RULES))
    long = run(change, simulate_maps(town(), CLASSES, 4, plans, RULES))
    assert (long.images[:3] == short.images).all()


def test_what_becomes_the_same_again_is_another_scene_but_labelled_so(change: ChangePipeline) -> None:
    before, after = town(), town()
    after[20:30, 20:30] = 1
    series = Series.of_maps([before, after, before], CLASSES)
    out = run(change, series, image=photo())
    assert (series.maps[0] == series.maps[2]).all() and series.changed(0, 2).sum() == 100
    assert not (out.images[0] != out.images[2]).any(-1)[~near(series.changed(0, 2), 4)].any()


def test_boxes_are_told_to_the_model_as_boxes(change: ChangePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from earthgen.pipelines.earth import EarthPipeline

    asked: list[Conditions] = []
    real = EarthPipeline.__call__

    def spy(self, *a, **k):  # type: ignore[no-untyped-def]
        asked.append(k["conditions"])
        return real(self, *a, **k)

    monkeypatch.setattr(EarthPipeline, "__call__", spy)
    boxes = [Box("house", 20, 20, 10, 8, 30), Box("house", 48, 40, 8, 8)]
    series = simulate_boxes(boxes, 64, 64, 1, [{"remove": 1}], RULES)
    run(change, series, conditions=Conditions(gsd=1), dates=[dt.date(2020, 1, 1), dt.date(2021, 1, 1)])
    assert asked[0].boxes == tuple(boxes) and asked[0].mask is None and asked[0].date == dt.date(2020, 1, 1)
    assert len(asked[1].boxes or ()) == 1 and asked[1].date == dt.date(2021, 1, 1) and asked[1].known is not None


def test_segments_vanish_into_what_surrounds_them(change: ChangePipeline) -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    image[24:36, 20:32] = 220
    series = simulate_segments(image, 0, (1,))
    assert series.maps is None and series.changed().sum() >= 144
    out = run(change, series, image=image)
    assert not (out.images[0] != out.images[1]).any(-1)[~near(series.changed(), 4)].any()


def test_places_become_what_the_text_of_their_event_says(
    change: ChangePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from earthgen.pipelines.earth import EarthPipeline

    asked: list[tuple[Conditions, bool]] = []
    real = EarthPipeline.__call__

    def spy(self, *a, **k):  # type: ignore[no-untyped-def]
        asked.append((k["conditions"], "image" in k))
        return real(self, *a, **k)

    monkeypatch.setattr(EarthPipeline, "__call__", spy)
    image = np.full((96, 96, 3), 120, np.uint8)
    image[40:60, 40:60] = 255  # stands out, so it may go
    texts = ("an industrial area", "a lake")
    series = simulate_segments(image, 4, ({"transition": 4, "remove": 1},), become=texts)
    assert {event.became for event in series.events[0]} == {*texts, None}
    out = run(change, series, image=image, conditions=Conditions(text="a town", gsd=10))
    # What goes is drawn over what its surroundings say, under the text of the whole; the rest is drawn from nothing.
    assert {(c.text, healed) for c, healed in asked} == {(texts[0], False), (texts[1], False), ("a town", True)}
    assert all(c.mask is None and c.gsd == 10 for c, _ in asked)
    assert series.maps is not None
    for index, text in enumerate(texts):
        hidden = sum(int((~c.known_mask).sum()) for c, _ in asked if c.text == text and c.known_mask is not None)
        assert hidden == near(series.maps[1] == index, 4).sum()  # in its place alone
    differs = (out.images[0] != out.images[1]).any(-1)
    assert not differs[~near(series.changed(), 4)].any() and differs[series.changed()].mean() > 0.9
    assert (out.made[1] == near(series.changed(), 4)).all()


def test_rectangles_without_change_are_made_anew_and_recorded(change: ChangePipeline) -> None:
    series = simulate_maps(town(), CLASSES, 3, [{"add": 1}], RULES)
    out = run(change, series, image=photo(), nuisance=Nuisance(rectangles=2))
    boxes = out.nuisances[1]["rectangles"]
    assert boxes and out.nuisances[0] == {}
    differs = (out.images[0] != out.images[1]).any(-1)
    inside = np.zeros_like(differs)
    for top, left, height, width in boxes:
        inside[top : top + height, left : left + width] = True
        assert differs[top : top + height, left : left + width].any()
    assert not (inside & near(series.changed(), 4)).any()
    assert not differs[~inside & ~near(series.changed(), 4)].any()
    assert out.made[1][inside].all()


@pytest.mark.parametrize("given", [True, False])
def test_a_date_draws_nothing_unless_guidance_says_so(change: ChangePipeline, given: bool) -> None:
    """The bundled model makes grain of a date beside labels."""
    series = simulate_maps(town(), CLASSES, 3, [{"add": 1}], RULES)
    days = {"dates": [dt.date(2020, 1, 1), dt.date(2021, 7, 1)]}
    image = photo() if given else None
    plain, dated = (run(change, series, image=image, **more).images for more in ({}, days))
    assert (plain == dated).all()
    scale = {"image": image, "guidance_scale": 2.0}
    plain, dated = (run(change, series, **scale, **more).images for more in ({}, days))
    assert (plain[1] != dated[1]).any() and (given or (plain[0] != dated[0]).any())


def test_nuisances_reach_only_the_dates_they_are_asked_for(change: ChangePipeline) -> None:
    series = simulate_maps(town(), CLASSES, 3, [{"add": 1}], RULES)
    plain = run(change, series, image=photo())
    first = run(change, series, image=photo(), nuisance=[Nuisance(haze=1), Nuisance()])
    assert (first.images[0] != plain.images[0]).mean() > 0.9 and (first.images[1] == plain.images[1]).all()
    assert set(first.nuisances[0]) == {"haze"}


def test_a_window_of_a_canvas_has_the_canvas_s_noise(change: ChangePipeline) -> None:
    labels = town()
    series = Series.of_maps([labels, labels], CLASSES)
    whole = run(change, series, seed=2).images[0]
    assert (run(change, series, seed=2, origin=(64, 0)).images[0] != whole).any()


def test_windows_hold_the_region_with_its_context_and_do_not_meet() -> None:
    region = np.zeros((400, 333), np.bool_)
    region[10:14, 10:14] = region[200:210, 300:333] = region[14, 90] = True
    found = list(windows(region, CONTEXT, 16))
    assert len(found) == 2
    held = np.zeros_like(region)
    for rows, columns in found:
        assert rows.start % 16 == columns.start % 16 == 0 and not held[rows, columns].any()
        held[rows, columns] = True
    assert held[region].all() and held[210 + CONTEXT - 1, 320] and held[14 + 20, 90 + CONTEXT]
    assert not list(windows(np.zeros((40, 40), np.bool_), CONTEXT, 16))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"image": np.zeros((32, 64, 3), np.uint8)}, "size of the series"),
        ({"dates": [dt.date(2021, 1, 1), dt.date(2020, 1, 1)]}, "later than the one before"),
        ({"dates": [dt.date(2021, 1, 1)]}, "2 dates"),
        ({"conditions": Conditions(mask=town(), mask_classes=CLASSES)}, "conditions.mask"),
        ({"margin": -1}, "margin"),
        ({"seed": -1}, "seed"),
        ({"origin": (2, 0)}, "origin"),
        ({"nuisance": [Nuisance()]}, "one a date"),
        ({"output_type": "pt"}, "output_type"),
    ],
)
def test_wrong_arguments_are_refused(change: ChangePipeline, options: dict[str, object], word: str) -> None:
    series = simulate_maps(town(), CLASSES, 3, [{"add": 1}], RULES)
    with pytest.raises(ArgumentError, match=word):
        run(change, series, **options)


def test_a_series_without_classes_needs_an_image(change: ChangePipeline) -> None:
    series = Series((np.zeros((64, 64), np.uint16),) * 2)
    told = simulate_segments(photo(), 0, (1,), become=("a lake",))
    for one in (series, told):
        with pytest.raises(ArgumentError, match="image"):
            run(change, one)
    with pytest.raises(ArgumentError, match="series"):
        run(change, town())  # type: ignore[arg-type]
