"""Worlds by a published UNet: group norm and attention over whole windows, and yet pure functions of their places."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
from conftest import awake, tiny_published  # the same components as the pipelines' tests

from earthgen import weights
from earthgen.conditions import Conditions, Guidance
from earthgen.errors import ArgumentError, WeightsError
from earthgen.models.published import Schedule, schedule_of, told_level
from earthgen.pipelines import EarthPipeline, load_published
from earthgen.world import Window, World
from earthgen.world.base import Image, surrounding
from earthgen.world.blended import BlendedStage, Mosaic
from earthgen.world.noise import noise_field
from earthgen.world.projection import gsd_at, world_size
from earthgen.world.pyramid import Tile
from earthgen.world.rules import InfiniteDiffusion
from earthgen.world.store import LatentStore

pytestmark = pytest.mark.usefixtures("one_thread")

BASE, LEVEL = 8, 10
"""Of the coarse map, and the first that is made: 153 m a pixel at the equator, which a network can be told."""
MIDDLE = 2 ** (LEVEL - 1)
"""The tile's row and column east and south of 0° N 0° E."""
SQUARE = [[[0, -5], [5, -5], [5, 0], [0, 0], [0, -5]]]


class Painted:
    """A coarse map that is smooth, closes around the world and differs everywhere."""

    levels = (BASE,)
    key = "painted"

    def pixels(self, window: Window) -> Image:
        def read(rows: range, columns: range) -> Image:
            turn = np.asarray(columns) * (2 * np.pi / world_size(BASE))
            down = np.asarray(rows)[:, None] * (2 * np.pi / world_size(BASE))
            bands = [np.sin(2000 * turn), np.cos(3000 * down), np.sin(1500 * turn + 900 * down)]
            return np.stack([np.rint(128 + 60 * b) for b in np.broadcast_arrays(*bands)], -1).astype(np.uint8)

        return surrounding(window, read)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_published(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One that is told levels, as Text2Earth's."""
    return tiny_published(tmp_path_factory.mktemp("tokenizer"), class_embed_type="timestep")


def opened(pipe: Any, folder: Path, **options: Any) -> World:
    given = {"seed": 7, "base": Painted(), "model": pipe, "steps": 2, "strength": 1.0, "cache": folder}
    return World.open(**(given | options))


def stage_of(world: World, level: int = LEVEL, **changes: Any) -> BlendedStage:
    """The maker's stage of a level, sampled otherwise if said."""
    how = replace(world._epochs.sampling[level], **changes)
    return BlendedStage(world.request, level, how, world._epochs.base.pixels, repr(changes))


def some(world: World, row: int = 16 * MIDDLE, column: int = 16 * MIDDLE) -> Tensor:
    """A few latents, less work than a tile."""
    return stage_of(world).canvas.sample(range(row, row + 4), range(column, column + 4))


@pytest.fixture(scope="module")
def world(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> World:
    return opened(pipe, tmp_path_factory.mktemp("cache"))


# One Earth, whatever window it is asked in

EAST = Window(LEVEL, 256 * MIDDLE + 30, world_size(LEVEL) - 40, 60, 80)
"""Across the antimeridian."""


def test_windows_orders_and_both_sides_of_the_antimeridian_are_the_same(
    world: World, pipe: Any, tmp_path: Path
) -> None:
    whole = world.pixels(EAST)
    other = opened(pipe, tmp_path)
    assert other.request.key == world.request.key
    parts = (Window(LEVEL, EAST.top + 40, EAST.left + 50, 20, 30), Window(LEVEL, EAST.top, EAST.left, 60, 40))
    for part in parts:
        other.request.store.clear()
        top, left = part.top - EAST.top, part.left - EAST.left
        assert (other.pixels(part) == whole[top : top + part.height, left : left + part.width]).all()
    around = Window(LEVEL, EAST.top, EAST.left - world_size(LEVEL), 60, 80)
    assert (other.pixels(around) == whole).all()


def test_another_process_gives_the_same(world: World, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import torch; torch.set_num_threads(1);"
        "import hashlib, test_published as t; from pathlib import Path; at = Path(sys.argv[1]);"
        "w = t.opened(t.tiny_published(at / 'tokenizer'), at / 'cache');"
        "print(w.request.key, hashlib.sha256(w.tile(t.LEVEL, t.MIDDLE, t.MIDDLE).tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    tile = world.tile(LEVEL, MIDDLE, MIDDLE)
    assert done.stdout.split() == [world.request.key, hashlib.sha256(tile.tobytes()).hexdigest()]


def test_neighbours_meet_and_are_no_copies(pipe: Any, tmp_path: Path) -> None:
    world = opened(pipe, tmp_path, consistent=False, steps=1)
    image = world.pixels(Window(LEVEL, 256 * MIDDLE + 64, 256 * MIDDLE + 128, 64, 256)).astype(float)
    steps = np.abs(np.diff(image, axis=1)).mean((0, 2))
    assert steps[127] < 2.5 * np.median(steps)  # across the tiles' border; 4.7 if pieces did not blend there
    assert np.abs(image[:, :64] - image[:, 128:192]).mean() > 5


def test_levels_average_to_those_they_are_made_from(world: World) -> None:
    tile = world.tile(LEVEL, MIDDLE, MIDDLE).astype(float)
    coarser = world.pixels(Tile(LEVEL, MIDDLE, MIDDLE).window.at_level(BASE)).astype(float)
    means = tile.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(means - coarser).max() <= 1
    # The network's own detail is in it: it is no enlargement.
    assert np.abs(tile - means.repeat(4, 0).repeat(4, 1)).mean() > 1
    between = world.tile(LEVEL - 1, MIDDLE // 2, MIDDLE // 2)
    assert np.abs(between[:128, :128] - tile.reshape(128, 2, 128, 2, 3).mean((1, 3))).max() <= 1


def test_a_seed_and_a_strength_of_their_own(world: World, pipe: Any, tmp_path: Path) -> None:
    for options in ({"seed": 8}, {"strength": 0.5}, {"steps": 3}, {"tile": 12}):
        other = opened(pipe, tmp_path, **options)
        assert other.request.key != world.request.key
        assert not torch.equal(some(other), some(world)), options


def test_weak_noise_leaves_the_coarser_image(pipe: Any, tmp_path: Path) -> None:
    """Little strength comes nearer to the coarser image's latents than much."""
    far = [float(some(opened(pipe, tmp_path, strength=s, steps=4)).abs().mean()) for s in (0.25, 1.0)]
    assert far[0] < far[1] / 4


# The same steps as diffusers takes


def alone(stage: BlendedStage, world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Latents of a window that no other reaches; those of the coarser image there; the noise."""
    rows = columns = range(16 * MIDDLE, 16 * MIDDLE + 16)
    assert stage.canvas.rule.stride == stage.canvas.rule.window == 16
    latents = stage._with_coarse(stage.canvas.sample(rows, columns), rows, columns)
    latents = latents * stage._how.schedule.share(stage.canvas.sigmas[-1])
    noise = noise_field(world.request.seed, LEVEL, rows, columns, 4)
    return latents[None], stage._coarse.read(rows, columns)[None], noise[None]


ALONE = InfiniteDiffusion(16, 16, 1, grid=2)


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("ends_at_one", [False, True])
def test_a_window_is_denoised_as_by_diffusers_ddim(
    pipe: Any, tmp_path: Path, prediction: str, ends_at_one: bool
) -> None:
    own = type(pipe)(**pipe.components, requires_safety_checker=False)
    config = dict(pipe.scheduler.config) | {"prediction_type": prediction, "set_alpha_to_one": ends_at_one}
    own.scheduler = DDIMScheduler.from_config(config)
    guidance = Guidance(text=3)
    world = opened(own, tmp_path, steps=10, strength=0.5, guidance=guidance, conditions=Conditions(text="sea"))
    latents, coarse, noise = alone(stage_of(world, rule=ALONE), world)

    scheduler = DDIMScheduler.from_config(config)
    scheduler.set_timesteps(10)
    times = scheduler.timesteps[5:]
    x = scheduler.add_noise(coarse, noise, times[:1])
    texts, empty = own.encode_prompt("sea", "cpu", 1, True)
    for t in times:
        without, told = (own.unet(x, t, encoder_hidden_states=e).sample for e in (empty, texts))
        x = scheduler.step(without + 3 * (told - without), t, x, eta=0.0).prev_sample
    assert torch.allclose(latents, x, atol=1e-4 * float(x.abs().max()))
    assert float((x - coarse).abs().mean()) > 0.01


@torch.no_grad()
def test_a_window_is_denoised_as_by_diffusers_flow_matching(pipe: Any, tmp_path: Path) -> None:
    own = type(pipe)(**pipe.components | {"scheduler": FlowMatchEulerDiscreteScheduler(shift=2.0)})
    world = opened(own, tmp_path, steps=4, strength=0.5)
    latents, coarse, noise = alone(stage_of(world, rule=ALONE), world)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    scheduler.set_timesteps(sigmas=[1, 0.75, 0.5, 0.25])
    scheduler.set_begin_index(2)
    x = scheduler.scale_noise(coarse, scheduler.timesteps[2:3], noise)
    _, empty = own.encode_prompt("", "cpu", 1, True)
    for t in scheduler.timesteps[2:]:
        x = scheduler.step(own.unet(x, t, encoder_hidden_states=empty).sample, t, x).prev_sample
    assert torch.allclose(latents, x, atol=1e-4 * float(x.abs().max()))
    for strength in (1.0, None):
        with pytest.raises(ArgumentError, match="strength" if strength else "base"):
            opened(own, tmp_path, strength=strength, base=Painted() if strength else "imagined")


class AsVelocity(UNet2DConditionModel):  # type: ignore[misc]
    """The same network, giving v in place of ε."""

    def forward(self, sample: Tensor, timestep: Tensor, *args: Any, **options: Any) -> Any:
        out = super().forward(sample, timestep, *args, **options)
        clean = self.alphas[int(timestep)]
        out.sample = (out.sample - (1 - clean) ** 0.5 * sample) / clean**0.5
        return out


def test_noise_and_velocity_of_one_network_are_one_image(pipe: Any, world: World, tmp_path: Path) -> None:
    unet = AsVelocity(**{k: v for k, v in pipe.unet.config.items() if not k.startswith("_")})
    unet.load_state_dict(pipe.unet.state_dict())
    unet.alphas = pipe.scheduler.alphas_cumprod
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    own = type(pipe)(**pipe.components | {"unet": unet.eval(), "scheduler": scheduler})
    other = opened(own, tmp_path)
    latents = [some(world), some(other)]
    assert torch.allclose(*latents, atol=1e-3 * float(latents[0].abs().max()))


@pytest.mark.parametrize("kind", [PNDMScheduler, EulerDiscreteScheduler])
def test_other_schedulers_give_their_betas(pipe: Any, kind: Any) -> None:
    schedule = schedule_of(kind.from_config(pipe.scheduler.config, timestep_spacing="leading"), 5)
    assert schedule.sigmas[:5] == schedule_of(pipe.scheduler, 5).sigmas[:5]
    assert len(schedule.times) == 5 and schedule.last(0.4).times == schedule.times[3:]


def test_schedules_that_none_can_follow_are_refused(pipe: Any) -> None:
    with pytest.raises(ArgumentError, match=r"steps.*1000"):
        schedule_of(pipe.scheduler, 1001)
    with pytest.raises(ArgumentError, match="alike"):
        schedule_of(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), 4)
    with pytest.raises(ArgumentError, match="betas"):
        schedule_of(DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="other"), 4)
    spaced = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="linspace", steps_offset=0)
    schedule = schedule_of(spaced, 5)  # its last level is the end itself
    assert len(schedule.times) == 4 and len(schedule.sigmas) == 5


# What it is told


def test_a_text_shows_and_a_region_has_its_own(pipe: Any, world: World, tmp_path: Path) -> None:
    sea = opened(pipe, tmp_path, conditions=Conditions(text="sea"))
    assert not torch.equal(some(sea), some(world))
    once = [stage_of(opened(pipe, tmp_path, conditions=Conditions(text=t), steps=1)) for t in (None, "sea")]
    plain, shown = (stage.tile(MIDDLE, MIDDLE) for stage in once)
    assert (plain != shown).any()
    harder = opened(pipe, tmp_path, conditions=Conditions(text="sea"), guidance=Guidance(text=8))
    assert not torch.equal(some(harder), some(sea))
    ignored = opened(pipe, tmp_path, conditions=Conditions(text="sea"), guidance=Guidance(text=0))
    assert torch.equal(some(ignored), some(world))
    feature = {"properties": {"prompt": "sea"}, "geometry": {"type": "Polygon", "coordinates": SQUARE}}
    parted = opened(pipe, tmp_path, regions={"type": "FeatureCollection", "features": [feature]})
    inside, outside, edge = 16 * (MIDDLE + 4), 16 * (MIDDLE - 8), 16 * MIDDLE
    assert torch.equal(some(parted, inside, inside), some(sea, inside, inside))
    assert torch.equal(some(parted, outside, inside), some(world, outside, inside))
    between = some(parted, edge, inside)
    assert not torch.equal(between, some(sea, edge, inside)) and not torch.equal(between, some(world, edge, inside))


def test_the_resolution_is_told_by_text2earths_map(told: Any, tmp_path: Path) -> None:
    assert [told_level(2.0 ** (17 - n)) for n in range(8, 21)] == [0, 10, *range(10, 19), 18, 0]
    assert told_level(150) == 10 and told_level(0.6) == 18 and told_level(611) == 0
    seen: list[int] = []
    hook = told.unet.register_forward_hook(
        lambda _module, _given, options, _out: seen.append(int(options["class_labels"])), with_kwargs=True
    )
    try:
        world = opened(told, tmp_path, steps=1, guidance=Guidance(gsd=2))
        stage = stage_of(world, rule=ALONE)
        assert world.provenance().guidance == {"text": 4.0, "gsd": 2}
        for row, expected in ((MIDDLE, {0, 10}), (MIDDLE // 16, {0, 13})):
            # The true GSD: near the map's northern edge a pixel of level 10 has 17 m.
            rows = range(16 * row, 16 * row + 16)
            gsd = float(gsd_at(LEVEL, 16 * (rows.start + 8)))
            assert told_level(gsd) == max(expected)
            seen.clear()
            stage.canvas.sample(rows, rows)
            assert set(seen) == expected
        # Deeper than it knows and without weight, it is told nothing.
        seen.clear()
        silent = opened(told, tmp_path, steps=1, guidance=Guidance(gsd=0))
        stage_of(silent, rule=ALONE).canvas.sample(rows, rows)
        assert set(seen) == {0}
    finally:
        hook.remove()


def test_a_level_changes_pixels(told: Any, tmp_path: Path) -> None:
    worlds = [opened(told, tmp_path, steps=1, guidance=Guidance(gsd=weight)) for weight in (0, 1, 4)]
    latents = [some(world) for world in worlds]
    assert not torch.equal(latents[0], latents[1]) and not torch.equal(latents[1], latents[2])
    tiles = [stage_of(world).tile(MIDDLE, MIDDLE) for world in worlds[::2]]
    assert (tiles[0] != tiles[1]).any()


def test_a_planet_from_noise(pipe: Any, tmp_path: Path) -> None:
    world = opened(pipe, tmp_path, base="imagined", steps={4: 2, 6: 1}, strength=None)
    first = world._epochs.sampling[4].schedule
    assert first.times[0] > 500 and len(first.times) == 2  # all of the schedule, whatever the strength
    tile = world.tile(4, 15, 3)
    assert tile.std() > 0 and (tile == world.tile(4, -1, 3)).all()
    finer = world.tile(6, 60, 12).astype(float).reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(finer - tile[:64, :64]).max() <= 1


def test_a_local_autoencoder_does_as_well(pipe: Any, tmp_path: Path) -> None:
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4, num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1), latent_channels=4,
    )  # fmt: skip
    world = opened(type(pipe)(**pipe.components | {"vae": awake(tiny)}), tmp_path, steps=1)
    tile = world.tile(LEVEL, MIDDLE, MIDDLE)
    coarser = world.pixels(Tile(LEVEL, MIDDLE, MIDDLE).window.at_level(BASE)).astype(float)
    assert np.abs(tile.astype(float).reshape(64, 4, 64, 4, 3).mean((1, 3)) - coarser).max() <= 1


# What it cannot take


def refusals(tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    box = {"type": "Polygon", "coordinates": SQUARE}
    dated = {"type": "FeatureCollection", "features": [{"properties": {"date": "2024-07-01"}, "geometry": box}]}
    object_ = {"type": "Feature", "properties": {"class": "building"}, "geometry": box}
    return [
        ("layout", {"layout": {"type": "FeatureCollection", "features": [object_]}}),
        ("conditions.cloud_cover", {"conditions": Conditions(cloud_cover=0.5)}),
        ("conditions.coarse_degradation", {"conditions": Conditions(coarse_degradation=0.7)}),
        ("regions.features[0].properties.date", {"regions": dated}),
        ("halo", {"halo": 4}),
        ("strength", {"strength": 0}),
        ("strength", {"strength": 1.5}),
        ("tile", {"tile": 33}),
        ("tile", {"tile": 2}),
        ("steps", {"steps": 0}),
    ]


@pytest.mark.parametrize("number", range(10))
def test_what_it_cannot_take_is_refused_by_name(pipe: Any, tmp_path: Path, number: int) -> None:
    name, options = refusals(tmp_path)[number]
    with pytest.raises(ArgumentError) as error:
        opened(pipe, tmp_path, **options)
    assert error.value.argument == name


def test_known_imagery_is_refused(pipe: Any, world: World, tmp_path: Path) -> None:
    scene = opened(pipe, tmp_path).window(0, 0, 700, 20, crs="EPSG:3857")
    with pytest.raises(ArgumentError, match=r"known.*text and a resolution"):
        opened(pipe, tmp_path, known=[scene])


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"in_channels": 9}, "inpainting"),
        ({"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4}, "projection"),
        ({"num_class_embeds": 10}, "levels"),
        ({"cross_attention_dim": 8}, "text encoder's 16"),
        ({"time_cond_proj_dim": 4}, "time_cond_proj_dim=4"),
    ],
)
def test_networks_of_other_kinds_are_refused(tmp_path: Path, shape: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as error:
        opened(tiny_published(tmp_path, **shape), tmp_path)
    assert error.value.argument == "model.unet"


def test_strength_is_of_no_use_to_models_that_know_the_coarser_image() -> None:
    with pytest.raises(ArgumentError, match=r"strength.*told of the coarser image"):
        World.open(strength=0.5)


# Folders


@pytest.fixture(scope="module")
def folder(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `save_pretrained` leaves it."""
    path = tmp_path_factory.mktemp("models") / "published"
    pipe.save_pretrained(path)
    return path


def test_a_folder_is_the_pipeline_that_was_saved(folder: Path, pipe: Any, tmp_path: Path) -> None:
    loaded = load_published(folder, torch.float32)
    for name in ("unet", "vae", "text_encoder"):
        mine, theirs = getattr(loaded, name).state_dict(), getattr(pipe, name).state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert loaded.tokenizer("sea").input_ids == pipe.tokenizer("sea").input_ids
    world = opened(folder, tmp_path)
    assert world.provenance().model == "published"
    assert world.provenance().model_sha256 == weights.model_sha256(folder)
    assert world.request.key != opened(loaded, tmp_path).request.key
    with pytest.raises(ArgumentError, match="backend"):
        opened(folder, tmp_path, backend="onnx")
    with pytest.raises(WeightsError, match="earthgen window"):
        EarthPipeline.from_pretrained(folder)


def copied(folder: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, target))


def test_pickles_and_other_classes_are_refused(folder: Path, tmp_path: Path) -> None:
    pickled = copied(folder, tmp_path / "pickled")
    file = pickled / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({"weight": torch.ones(3)}, file.with_suffix(".bin"))
    file.unlink()
    with pytest.raises(WeightsError, match="pickle"):
        opened(pickled, tmp_path)
    disguised = copied(folder, tmp_path / "disguised")
    torch.save({"weight": torch.ones(3)}, disguised / "text_encoder" / "model.safetensors")
    with pytest.raises(WeightsError, match="pickle"):
        opened(disguised, tmp_path)
    other = copied(folder, tmp_path / "other")
    index = json.loads((other / "model_index.json").read_text())
    for name, entry in (("vae", "AutoencoderDC"), ("scheduler", "AutoencoderKL"), ("text_encoder", "T5EncoderModel")):
        (other / "model_index.json").write_text(json.dumps(index | {name: ["diffusers", entry]}))
        with pytest.raises(WeightsError, match=name):
            opened(other, tmp_path)
    missing = copied(folder, tmp_path / "missing")
    from safetensors.torch import load_file, save_file

    file = missing / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors.pop("conv_out.bias")
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"conv_out\.bias"):
        opened(missing, tmp_path)


def test_halved_weights_and_code_in_a_folder(folder: Path, tmp_path: Path) -> None:
    half = copied(folder, tmp_path / "half")
    for file in half.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    (half / "unet" / "unet_2d_condition.py").write_text("raise SystemExit('code of a folder was run')")
    assert load_published(half).unet.config.in_channels == 4


# What it is made of


def test_a_mosaic_is_the_plane_where_pieces_agree() -> None:
    calls = []

    def piece(rows: range, columns: range) -> Tensor:
        calls.append((rows.start, columns.start))
        return torch.stack([torch.tensor([[float(r * 100 + c % 32) for c in columns] for r in rows])])

    mosaic = Mosaic(piece, 8, 32, 1, LatentStore(), "key")
    rows, columns = range(-5, 20), range(-3, 30)
    expected = torch.tensor([[float(r * 100 + c % 32) for c in columns] for r in rows])
    assert torch.allclose(mosaic.read(rows, columns)[0], expected)
    count = len(calls)
    assert torch.equal(mosaic.read(rows, range(32 - 3, 62))[0], mosaic.read(rows, columns)[0])
    assert len(calls) == count


def test_the_shares_of_a_schedule() -> None:
    variance = Schedule((2.0, 0.5), (900.0,), "epsilon")
    assert variance.share(2.0) ** 2 * (1 + 4) == pytest.approx(1)
    straight = Schedule((3.0, 0.0), (750.0,), "flow")
    assert straight.share(3.0) == 0.25 and straight.time(3.0) == 750
