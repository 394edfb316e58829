"""A window of the canvas is a pure function of its place, and the exact rule gives what no tiles at all would give."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from earthgen.errors import ArgumentError
from earthgen.models import Conditioning, EarthUNet
from earthgen.world.cache import TileCache
from earthgen.world.canvas import Canvas, LatentStore, Velocity
from earthgen.world.noise import noise_field
from earthgen.world.rules import EDGE_WEIGHT, Exact, InfiniteDiffusion, Layer, MetaEarth, MultiDiffusion, Rule, rule_for

SIGMAS = (1.0, 0.7, 0.4, 0.15, 0.0)
STEPS = len(SIGMAS) - 1
RADIUS = 3
FAR = 2**38
ROWS, COLUMNS = range(-13, 22), range(5, 43)
"""Not on any grid."""
PURE: list[Rule] = [
    Exact(8, 3 + 1, grid=2),
    Exact(8, 4, grid=2, shift=False),
    Exact(12, 4, grid=2, steps_at_once=3),
    Exact(8, 2, grid=2),
    Exact(8, 1, grid=2, steps_at_once=4),
    Exact(8, 4, grid=2, rim=3),
    Exact(8, 0, grid=2, steps_at_once=4, rim=5),
    InfiniteDiffusion(16, 8, 2),
    InfiniteDiffusion(12, 6, 3),
    MetaEarth(16),
]


def noise(rows: range, columns: range) -> Tensor:
    """Scrambled whole numbers brought to -2 … 2: cheaper than Gaussians, and exact."""
    i, j = torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop)
    n = torch.arange(2)[:, None, None] * 83_492_791 ^ i[:, None] * 73_856_093 ^ j * 19_349_663
    n = (n ^ n >> 13) * 1_274_126_177
    return ((n ^ n >> 16) % 2**16) / 2**14 - 2


class Local:
    """Three convolutions that see `RADIUS` latents far, smooth in σ, with a condition that is a field of period 64."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(0)
        self.weights = [torch.randn(o, i, 3, 3, generator=g) / (9 * i) ** 0.5 for o, i in ((6, 3), (6, 6), (2, 6))]
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        self.shapes.add(tuple(x.shape))
        fields = []
        for r, c in zip(rows, columns, strict=True):
            assert (len(r), len(c)) == x.shape[-2:]
            i, j = torch.arange(r.start, r.stop), torch.arange(c.start, c.stop)
            fields.append((i % 64 * 0.1).sin()[None, :, None] + (j % 64 * 0.1).cos()[None, None, :])
        h = torch.cat([x, torch.stack(fields)], 1)
        for n, weight in enumerate(self.weights):
            h = F.conv2d(h, weight, padding=1)
            h = torch.tanh(h + sigma) if n < 2 else h
        return 2 * h


def canvas(rule: Rule, velocity: Local | None = None, limit: int = 2**24, **options: object) -> Canvas:
    options = {"store": LatentStore(limit)} | options
    return Canvas(velocity or Local(), noise, SIGMAS, rule, **options)  # type: ignore[arg-type]


def untiled(rows: range, columns: range, margin: int = STEPS * RADIUS) -> Tensor:
    """The whole window at once, with a rim that the border of what is computed cannot cross."""
    rows = range(rows.start - margin, rows.stop + margin)
    columns = range(columns.start - margin, columns.stop + margin)
    x, velocity = noise(rows, columns)[None], Local()
    for a, b in pairwise(SIGMAS):
        x = x + (b - a) * velocity(x, a, [rows], [columns])
    return x[0, :, margin:-margin, margin:-margin]


# The exact rule


@pytest.mark.parametrize("rule", PURE[:3], ids=str)
def test_tiles_with_a_whole_halo_equal_no_tiles_at_all(rule: Rule) -> None:
    assert torch.allclose(canvas(rule).sample(ROWS, COLUMNS), untiled(ROWS, COLUMNS), atol=1e-5)


def test_a_narrow_halo_is_near_and_no_halo_is_not() -> None:
    whole = untiled(ROWS, COLUMNS)
    errors = [(canvas(Exact(8, halo)).sample(ROWS, COLUMNS) - whole).abs().max().item() for halo in (0, 1, 2, 3)]
    assert errors[0] > errors[1] > errors[2] > 1e-3, "the halo must matter, or these tests see nothing"
    assert errors[3] < 1e-5


@settings(max_examples=20, deadline=None)
@given(
    st.integers(2, 9), st.integers(1, 4), st.booleans(), st.integers(-60, 60), st.integers(-60, 60),
    st.integers(1, 30), st.integers(1, 30),
)  # fmt: skip
@example(2, 4, True, -1, 0, 1, 1)
def test_any_window_with_any_tile(half: int, at_once: int, shift: bool, top: int, left: int, h: int, w: int) -> None:
    rows, columns = range(top, top + h), range(left, left + w)
    rule = Exact(2 * half, RADIUS, shift=shift, steps_at_once=at_once)
    assert torch.allclose(canvas(rule).sample(rows, columns), untiled(rows, columns), atol=1e-5)


def earth_velocity(unet: EarthUNet, given: Conditioning) -> Velocity:
    def velocity(x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
        return unet(x, 1000 * sigma, given).sample

    return velocity


def test_the_denoiser_itself() -> None:
    torch.manual_seed(0)
    unet = EarthUNet.preset("tiny", latent_channels=4).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for p in unet.parameters():  # layers that start at zero see nothing
        if p.abs().max() == 0:
            p.copy_(torch.randn(p.shape, generator=generator) * 0.05)
    velocity = earth_velocity(unet, Conditioning.none(1, 4))
    sigmas = (1.0, 0.4, 0.0)

    def field(rows: range, columns: range) -> Tensor:
        return noise_field(0, 1, rows, columns, 4)

    rule = rule_for(unet, tile=64)
    assert isinstance(rule, Exact) and rule.halo >= unet.receptive_radius
    rows, columns = range(20, 44), range(-10, 14)  # over the corner of four tiles of one step, two of the other
    tiled = Canvas(velocity, field, sigmas, rule).sample(rows, columns)
    rim, grid = 2 * rule.halo, unet.grid
    rim_rows, rim_columns = (
        range((r.start - rim) // grid * grid, -(-(r.stop + rim) // grid) * grid) for r in (rows, columns)
    )
    x = field(rim_rows, rim_columns)[None]
    for a, b in pairwise(sigmas):
        x = x + (b - a) * velocity(x, a, [], [])
    top, left = rows.start - rim_rows.start, columns.start - rim_columns.start
    assert torch.allclose(tiled, x[0, :, top : top + 24, left : left + 24], atol=1e-5)


@pytest.mark.parametrize("rule", [Exact(8, 4, grid=2, rim=3), Exact(8, 3, steps_at_once=4, rim=4)], ids=str)
def test_a_tile_with_its_rim_is_the_plane_there(rule: Exact) -> None:
    tiled = canvas(rule)
    for i, j in ((0, 0), (-2, 3)):
        rows, columns = (range(8 * n - rule.rim, 8 * n + 8 + rule.rim) for n in (i, j))
        assert torch.allclose(tiled.tile(i, j), untiled(rows, columns), atol=1e-5)
        inner = (slice(None), slice(rule.rim, -rule.rim), slice(rule.rim, -rule.rim))
        assert torch.equal(tiled.tile(i, j)[inner], tiled.sample(range(8 * i, 8 * i + 8), range(8 * j, 8 * j + 8)))


def test_a_rim_alone_does_for_a_halo() -> None:
    """A latent deep inside its window does not see the window's border."""
    whole = untiled(range(8), range(8))
    errors = [
        (canvas(Exact(8, 0, steps_at_once=4, rim=rim)).sample(range(8), range(8)) - whole).abs().max().item()
        for rim in (0, 2, 4, STEPS * RADIUS)
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-5


# Latents that are known


def known(rows: range, columns: range) -> tuple[Tensor, Tensor]:
    """Some latents by their place, and which."""
    i, j = torch.arange(rows.start, rows.stop)[:, None], torch.arange(columns.start, columns.stop)
    return torch.stack([(i * 0.3).sin() + j * 0.01, (i - j) * 0.02]), ((i + 2) % 17 < 5) & ((j - 9) % 20 < 7)


def put_back(x: Tensor, sigma: float, rows: Sequence[range], columns: Sequence[range]) -> Tensor:
    result = []
    for one, r, c in zip(x, rows, columns, strict=True):
        value, mask = known(r, c)
        result.append(torch.where(mask, (1 - sigma) * value + sigma * noise(r, c), one))
    return torch.stack(result)


@pytest.mark.parametrize("rule", [PURE[0], PURE[2], PURE[8], PURE[5]], ids=str)
def test_known_latents_are_there_and_the_rest_sees_them(rule: Rule) -> None:
    filled = canvas(rule, settled=put_back)
    found = filled.sample(ROWS, COLUMNS)
    value, mask = known(ROWS, COLUMNS)
    assert torch.allclose(found[:, mask], value[:, mask], atol=1e-6)
    free = canvas(rule).sample(ROWS, COLUMNS)
    assert ((found - free).abs()[:, ~mask] > 1e-3).any()
    again = canvas(rule, settled=put_back)
    assert torch.equal(again.sample(ROWS[9:20], COLUMNS[11:30]), found[:, 9:20, 11:30])


def test_known_latents_on_a_plane_without_tiles() -> None:
    margin = STEPS * RADIUS
    rows, columns = (range(r.start - margin, r.stop + margin) for r in (ROWS, COLUMNS))
    x, velocity = noise(rows, columns)[None], Local()
    for a, b in pairwise(SIGMAS):
        x = put_back(x + (b - a) * velocity(x, a, [rows], [columns]), b, [rows], [columns])
    found = canvas(PURE[0], settled=put_back).sample(ROWS, COLUMNS)
    assert torch.allclose(found, x[0, :, margin:-margin, margin:-margin], atol=1e-5)
    with pytest.raises(ArgumentError, match="`settled` must be left out"):
        canvas(MultiDiffusion(16), settled=put_back)


# Order 2


@pytest.mark.parametrize("order", [1, 2])
def test_the_error_falls_with_the_order(order: int) -> None:
    """Of dx/dσ = 3 x, on steps that are not alike."""

    def error(steps: int) -> float:
        sigmas = [(1 - n / steps) ** 1.3 for n in range(steps + 1)]
        rule = Exact(4, 1, steps_at_once=steps)
        found = Canvas(lambda x, *_: 3 * x, noise, sigmas, rule, order=order).sample(range(4), range(4))
        return float((found - noise(range(4), range(4)) * np.exp(-3)).abs().max())

    assert error(32) / error(64) == pytest.approx(2**order, rel=0.15)


def test_order_2_sees_the_same_plane_in_any_tile() -> None:
    one, other = (canvas(Exact(tile, RADIUS, steps_at_once=STEPS), order=2) for tile in (8, 14))
    assert torch.allclose(one.sample(ROWS, COLUMNS), other.sample(ROWS, COLUMNS), atol=1e-5)
    assert not torch.allclose(one.sample(ROWS, COLUMNS), canvas(one.rule).sample(ROWS, COLUMNS), atol=1e-2)
    with pytest.raises(ArgumentError, match="`order`"):
        canvas(MultiDiffusion(16), order=2)
    with pytest.raises(ArgumentError, match="`order`"):
        canvas(PURE[0], order=3)


# Pure functions of the place


@pytest.mark.parametrize("rule", PURE, ids=str)
def test_the_same_bytes_in_one_piece_in_parts_in_another_order_and_with_nothing_kept(rule: Rule) -> None:
    whole = canvas(rule).sample(ROWS, COLUMNS)
    parts = torch.full_like(whole, torch.nan)
    small = canvas(rule, limit=_least(rule))
    windows = list(product(range(0, len(ROWS), 10), range(0, len(COLUMNS), 13)))
    for n in np.random.default_rng(0).permutation(len(windows)):
        i, j = windows[n]
        if n % 3 == 0:
            small.store.clear()
        rows, columns = ROWS[i : i + 10], COLUMNS[j : j + 13]
        parts[:, i : i + 10, j : j + 13] = small.sample(rows, columns)
    assert torch.equal(parts, whole)
    streamed = torch.full_like(whole, torch.nan)
    for rows, columns, part in small.parts(ROWS, COLUMNS):
        into = streamed[:, rows.start + 13 : rows.stop + 13, columns.start - 5 : columns.stop - 5]
        assert into.isnan().all(), "no latent comes twice"
        into.copy_(part)
    assert torch.equal(streamed, whole)


@pytest.mark.parametrize("rule", PURE, ids=str)
def test_far_from_the_origin_is_as_near_it(rule: Rule) -> None:
    far = 3 * FAR  # a multiple of 12 too

    def shifted(rows: range, columns: range) -> Tensor:
        if isinstance(rule, MetaEarth):  # whose windows all read the noise of one place
            return noise(rows, columns)
        return noise(range(rows.start - far, rows.stop - far), range(columns.start + far, columns.stop + far))

    there = Canvas(Local(), shifted, SIGMAS, rule)
    rows, columns = range(ROWS.start + far, ROWS.stop + far), range(COLUMNS.start - far, COLUMNS.stop - far)
    here = canvas(rule)
    assert torch.equal(there.sample(rows, columns), here.sample(ROWS, COLUMNS))
    assert there.stats == here.stats


def digest() -> str:
    return hashlib.sha256(canvas(PURE[0]).sample(ROWS, COLUMNS).numpy().tobytes()).hexdigest()


def test_the_same_bytes_from_another_process() -> None:
    # How sums are split between threads decides about their last bit.
    threads = f"import torch; torch.set_num_threads({torch.get_num_threads()})"
    code = f"{threads}; import runpy; print(runpy.run_path({str(Path(__file__))!r})['digest']())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == digest()


def test_the_same_bytes_from_several_threads_at_once() -> None:
    whole = canvas(PURE[0]).sample(ROWS, COLUMNS)
    shared = canvas(PURE[0], limit=_least(PURE[0]))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: shared.sample(ROWS[i : i + 9], COLUMNS), [0, 4, 8, 12, 16, 20, 24, 26]))
    for part, i in zip(parts, [0, 4, 8, 12, 16, 20, 24, 26], strict=True):
        assert torch.equal(part, whole[:, i : i + 9])
    assert shared.store.peak <= shared.store.limit


@pytest.mark.parametrize("rule", [PURE[0], PURE[2], PURE[5]], ids=str)
def test_batches_are_always_full_and_pure_too(rule: Rule) -> None:
    velocity = Local()

    def batched(x: Tensor, *where: object) -> Tensor:
        # Real networks round differently at each place in a batch; this one, so that no machine hides it, by far more.
        return velocity(x, *where) + torch.arange(len(x)).view(-1, 1, 1, 1) / 100  # type: ignore[arg-type]

    once = Canvas(batched, noise, SIGMAS, rule, batch=3)
    whole = once.sample(ROWS, COLUMNS)
    assert {shape[0] for shape in velocity.shapes} == {3}
    assert {shape[-1] for shape in velocity.shapes} == {side for layer in once.layers for side in layer.sides}
    for columns in (range(7, 9), range(16, 33), range(40, 43)):
        again = Canvas(batched, noise, SIGMAS, rule, batch=3).sample(range(1, 2), columns)
        assert torch.equal(again, whole[:, 14:15, columns.start - 5 : columns.stop - 5])
    assert torch.allclose(canvas(rule, batch=3).sample(ROWS, COLUMNS), canvas(rule).sample(ROWS, COLUMNS), atol=1e-5)


def test_columns_that_go_around() -> None:
    def around(rows: range, columns: range) -> Tensor:
        return noise_field(3, 0, rows, columns, 2, wrap=64)

    wrapped = Canvas(Local(), around, SIGMAS, PURE[0], wrap=64)
    west = wrapped.sample(range(16), range(-8, 8))
    computed = wrapped.stats.computed
    assert torch.equal(wrapped.sample(range(16), range(56, 72)), west)
    assert torch.equal(wrapped.sample(range(16), range(-72, -56)), west)
    assert wrapped.stats.computed == computed
    assert torch.equal(Canvas(Local(), around, SIGMAS, PURE[0]).sample(range(16), range(56, 72)), west)


# Memory and evaluations


def _least(rule: Rule) -> int:
    """The smallest store this rule takes."""
    with pytest.raises(ArgumentError, match="must hold at least") as caught:
        canvas(rule, limit=0)
    return int(caught.value.rule.split()[4])


@pytest.mark.parametrize("rule", PURE, ids=str)
def test_a_long_strip_in_the_smallest_store(rule: Rule) -> None:
    long = canvas(rule, limit=_least(rule))
    rows, columns = range(-3, 120), range(long.stride)
    ideal = len(long._plan(len(long.layers), long._cells(len(long.layers), rows, columns)))
    total = sum(part.shape[1] for _, _, part in long.parts(rows, columns))
    assert total == 123
    assert long.stats.computed == ideal, "nothing is computed twice"
    assert 0 < long.store.peak <= long.store.limit
    with pytest.raises(ArgumentError, match="store"):
        canvas(rule, limit=_least(rule) - 1)


def test_a_wide_window_is_cut_into_strips_that_the_store_can_hold() -> None:
    rule = PURE[0]
    narrow, wide = canvas(rule, limit=_least(rule) * 3), canvas(rule)
    strips = {(columns.start, columns.stop) for _, columns, _ in narrow.parts(range(20), range(-3, 150))}
    assert len(strips) > 2
    assert torch.equal(narrow.sample(range(20), range(-3, 150)), wide.sample(range(20), range(-3, 150)))
    assert narrow.store.peak <= narrow.store.limit


def test_evaluations_are_counted_and_few() -> None:
    tile, halo, tiles = 32, 2, 16
    velocity = Local()
    large = canvas(Exact(tile, halo), velocity, limit=2**26)
    large.sample(range(tile * tiles), range(tile * tiles))
    # The grid of each step further down is one tile wider.
    pieces = sum((tiles + k) ** 2 for k in range(STEPS))
    assert large.stats.computed == large.stats.calls == pieces
    assert large.stats.latents == pieces * (tile + 2 * halo) ** 2
    assert velocity.shapes == {(1, 2, tile + 2 * halo, tile + 2 * halo)}
    assert large.stats.latents / (STEPS * (tile * tiles) ** 2) <= 1.6
    before = large.stats.computed
    large.sample(range(tile * tiles), range(tile * tiles, tile * tiles + tile))
    assert large.stats.computed - before == sum(tiles + k for k in range(STEPS)), "neighbours are reused"


def test_more_steps_at_once_make_a_lone_tile_cheaper_and_a_plane_dearer() -> None:
    lone: list[float] = []
    plane: list[float] = []
    for at_once in (1, 2, 4):
        for size, costs in ((16, lone), (160, plane)):
            c = canvas(Exact(16, 4, steps_at_once=at_once))
            c.sample(range(size), range(size))
            costs.append(c.stats.latents / size**2 / STEPS)
    assert lone[0] > lone[1] > lone[2]
    assert plane[0] < plane[1] < plane[2]


# Stores


class Shelf(dict):  # type: ignore[type-arg]
    """What a cache on disk looks like to the canvas."""

    put = dict.__setitem__


def test_a_store_that_outlives_the_canvas() -> None:
    shelf = Shelf()
    first = canvas(PURE[0], store=LatentStore(2**24, shelf), key="a")
    whole = first.sample(ROWS, COLUMNS)
    again = canvas(PURE[0], store=LatentStore(2**24, shelf), key="a")
    assert torch.equal(again.sample(ROWS, COLUMNS), whole)
    assert again.stats.calls == 0
    for other in (
        canvas(PURE[0], store=LatentStore(2**24, shelf), key="b"),
        canvas(PURE[1], store=LatentStore(2**24, shelf), key="a"),
        canvas(PURE[0], store=LatentStore(2**24, shelf), key="a", batch=2),
        Canvas(Local(), noise, (1.0, 0.5, 0.0), PURE[0], store=LatentStore(2**24, shelf), key="a"),
    ):
        other.sample(range(8), range(8))
        assert other.stats.calls > 0


def test_what_a_store_lost_or_damaged_is_computed_again() -> None:
    shelf = Shelf()
    whole = canvas(PURE[0], store=LatentStore(2**24, shelf), key="a").sample(ROWS, COLUMNS)
    for n, name in enumerate(sorted(shelf)):
        if n % 3 == 0:
            del shelf[name]
        elif n % 3 == 1:
            shelf[name] = [shelf[name][:, :3], shelf[name].astype(np.float64), None][n % 9 // 3]
    hurt = canvas(PURE[0], store=LatentStore(2**24, shelf), key="a")
    assert torch.equal(hurt.sample(ROWS, COLUMNS), whole)
    assert hurt.stats.computed > 0


def test_the_cache_on_disk_is_such_a_store(tmp_path: Path) -> None:
    whole = canvas(PURE[0], store=LatentStore(2**24, TileCache(tmp_path, memory_bytes=0)), key="a").sample(
        ROWS, COLUMNS
    )
    for n, path in enumerate(sorted(tmp_path.rglob("*.tile"))):
        if n % 5 == 0:
            path.write_bytes(path.read_bytes()[:-1])
    again = canvas(PURE[0], store=LatentStore(2**24, TileCache(tmp_path)), key="a")
    assert torch.equal(again.sample(ROWS, COLUMNS), whole)
    assert 0 < again.stats.computed < again.stats.found


def test_a_store_drops_what_was_unused_for_longest() -> None:
    store = LatentStore(3 * 16)
    for name in "abc":
        store.put(name, torch.zeros(4))
    assert store.get("a", (4,)) is not None
    store.put("d", torch.ones(4))
    assert [name in store for name in "abcd"] == [True, False, True, True]
    store.put("d", torch.ones(8))
    assert store.bytes == store.peak == 48
    store.put("e", torch.zeros(13))
    assert "e" not in store, "larger than the store"
    store.clear()
    assert (store.bytes, "d" in store) == (0, False)


# Blended rules, against the plainest way to write them


def denoise(x: Tensor, sigmas: Sequence[float], rows: range, columns: range) -> Tensor:
    velocity = Local()
    for a, b in pairwise(sigmas):
        x = x + (b - a) * velocity(x[None], a, [rows], [columns])[0]
    return x


@pytest.mark.parametrize(
    ("rule", "cuts"),
    [
        (InfiniteDiffusion(16, 8, 2), (0, 2, 4)),
        (InfiniteDiffusion(12, 6, 3), (0, 1, 3, 4)),
        (InfiniteDiffusion(8, 8, 9), (0, 1, 2, 3, 4)),
    ],
    ids=str,
)
def test_infinite_diffusion_on_a_whole_plane(rule: InfiniteDiffusion, cuts: tuple[int, ...]) -> None:
    plane = range(-48, 80)
    x = noise(plane, plane)
    middle = (rule.window - 1) / 2
    line = torch.tensor([1 - (1 - EDGE_WEIGHT) * abs(i - middle) / middle for i in range(rule.window)])
    kernel = torch.outer(line, line)
    for low, high in pairwise(cuts):
        total, weight = torch.zeros_like(x), torch.zeros_like(x)
        for i, j in product(range(0, len(plane) - rule.window + 1, rule.stride), repeat=2):
            rows, columns = plane[i : i + rule.window], plane[j : j + rule.window]
            place = (slice(None), slice(i, i + rule.window), slice(j, j + rule.window))
            total[place] += kernel * denoise(x[place], SIGMAS[low : high + 1], rows, columns)
            weight[place] += kernel
        x = total / weight
    assert torch.allclose(canvas(rule).sample(ROWS, COLUMNS), x[:, 35:70, 53:91], atol=1e-5)


def test_multi_diffusion_on_a_whole_plane() -> None:
    rule = MultiDiffusion(16, 6)
    x = noise(ROWS, COLUMNS)
    for a, b in pairwise(SIGMAS):
        total, count = torch.zeros_like(x), torch.zeros_like(x)
        for i, j in product([0, 6, 12, 18, 19], [0, 6, 12, 18, 22]):
            place = (slice(None), slice(i, i + 16), slice(j, j + 16))
            total[place] += denoise(x[place], (a, b), ROWS[i : i + 16], COLUMNS[j : j + 16])
            count[place] += 1
        x = total / count
    multi = canvas(rule, batch=4)
    assert torch.allclose(multi.sample(ROWS, COLUMNS), x, atol=1e-5)
    assert multi.stats.calls == STEPS * 7, "25 windows in batches of 4"
    assert multi.sample(range(7), range(40)).shape == (2, 7, 40), "smaller than a window"


def test_meta_earth_on_a_whole_plane() -> None:
    expected = torch.zeros(2, len(ROWS) + 16, len(COLUMNS) + 16)
    first = noise(range(16), range(16))
    for i, j in product(range(-16, 24, 8), range(0, 48, 8)):
        window = denoise(first, SIGMAS, range(i - 4, i + 12), range(j - 4, j + 12))
        top, left = i - ROWS.start + 8, j - COLUMNS.start + 8
        expected[:, top : top + 8, left : left + 8] = window[:, 4:12, 4:12]
    found = canvas(MetaEarth(16)).sample(ROWS, COLUMNS)
    assert torch.allclose(found, expected[:, 8:-8, 8:-8], atol=1e-5)


def test_the_rule_follows_from_what_a_model_declares() -> None:
    from diffusers import UNet2DModel

    earth = EarthUNet.preset("tiny")
    halo = -(-earth.receptive_radius // earth.grid) * earth.grid
    assert rule_for(earth) == Exact(8 * halo, halo, earth.grid)
    assert rule_for(earth, halo=16) == Exact(128, 16, earth.grid)
    unet = UNet2DModel(
        sample_size=16, in_channels=2, out_channels=2, layers_per_block=1, block_out_channels=(8, 16),
        norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    rule = rule_for(unet)
    assert rule == InfiniteDiffusion(16, 8, 2, grid=2)
    sampled = Canvas(lambda x, s, rows, columns: unet(x, 1000 * s).sample, noise, (1.0, 0.5, 0.0), rule)
    whole = sampled.sample(range(24), range(24))
    sampled.store.clear()
    assert torch.equal(sampled.sample(range(7, 9), range(16, 24)), whole[:, 7:9, 16:24])
    with pytest.raises(ArgumentError, match="receptive_radius"):
        rule_for(unet, halo=4)


# Layers


@settings(deadline=None)
@given(
    st.integers(1, 9), st.integers(0, 9), st.integers(-9, 9), st.integers(-99, 99), st.integers(1, 30),
)  # fmt: skip
def test_which_pieces_meet_a_window(stride: int, more: int, origin: int, start: int, length: int) -> None:
    layer = Layer((1.0, 0.0), stride, stride + more, (1,), origin)
    window = range(start, start + length)
    assert list(layer.meeting(window)) == [n for n in range(-200, 200) if set(layer.gives(n)) & set(window)]


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 15))
def test_every_step_belongs_to_one_layer(steps: int, count: int) -> None:
    sigmas = tuple(1 - n / steps for n in range(steps + 1))
    for rule in (Exact(8, 2, steps_at_once=count), InfiniteDiffusion(8, 4, count), MetaEarth(8)):
        taken = [pair for layer in rule.layers(sigmas) for pair in pairwise(layer.sigmas)]
        assert all(len(layer.cuts) == len(layer.sigmas) - 1 for layer in rule.layers(sigmas))
        assert taken == list(pairwise(sigmas))


def test_windows_shrink_by_the_halo_to_the_next_multiple_of_the_grid() -> None:
    sigmas = tuple(1 - n / 4 for n in range(5))
    (layer,) = Exact(16, 3, grid=4, steps_at_once=4).layers(sigmas)
    assert layer.sides == (40, 40, 32, 24), "margins of 12, 9, 6 and 3, rounded up"
    assert layer.reads(1) == range(4, 44)
    first, second = Exact(16, 4, grid=4, steps_at_once=3).layers(sigmas)
    assert (first.sides, second.sides) == ((24,), (40, 32, 24))
    (layer,) = Exact(16, 4, grid=4, steps_at_once=99).layers(sigmas)
    assert layer.sides == (48, 40, 32, 24)


# Bad input


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Exact(0, 4), "tile"),
        (lambda: Exact(12, 4, grid=4, shift=True), "tile"),
        (lambda: Exact(16, 3, grid=2), "halo"),
        (lambda: Exact(16, 1, grid=4, steps_at_once=3), "halo"),
        (lambda: Exact(16, -4), "halo"),
        (lambda: Exact(16, 4, grid=0), "grid"),
        (lambda: Exact(16, 4, grid=4, rim=3), "rim"),
        (lambda: Exact(16, 4, steps_at_once=0), "steps_at_once"),
        (lambda: Exact(16.5, 4), "tile"),  # type: ignore[arg-type]
        (lambda: InfiniteDiffusion(16, 32), "stride"),
        (lambda: InfiniteDiffusion(16, 6, grid=4), "stride"),
        (lambda: InfiniteDiffusion(16, 8, 0), "phases"),
        (lambda: MetaEarth(10), "window"),
        (lambda: MultiDiffusion(64, 0), "stride"),
    ],
)
def test_rules_that_cannot_be(make, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=f"`{name}` must be"):
        make()


@pytest.mark.parametrize(
    "sigmas",
    [(), (1.0,), (0.0, 1.0), (1.0, 1.0, 0.0), (1.0, float("nan"), 0.0), (float("inf"), 0.0), (1.0, -0.1), "ab"],
)
def test_noise_levels_that_do_not_fall(sigmas: Sequence[float]) -> None:
    with pytest.raises(ArgumentError, match="`sigmas` must be"):
        Canvas(Local(), noise, sigmas, PURE[0])


@pytest.mark.parametrize(
    "positions", [range(0), range(5, 5), range(5, 3), range(0, 8, 2), range(8, 0, -1), slice(8), 8]
)
def test_windows_that_are_none(positions: object) -> None:
    c = canvas(PURE[0])
    with pytest.raises(ArgumentError, match="`rows` must be a range"):
        c.sample(positions, range(8))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="`columns` must be a range"):
        c.sample(range(8), positions)  # type: ignore[arg-type]
    assert c.stats.calls == 0


def test_other_bad_input() -> None:
    with pytest.raises(ArgumentError, match="`wrap` must be a multiple of 8"):
        canvas(PURE[0], wrap=60)
    with pytest.raises(ArgumentError, match="`batch`"):
        canvas(PURE[0], batch=0)
    with pytest.raises(ArgumentError, match="`key`"):
        canvas(PURE[0], key=7)
    with pytest.raises(ArgumentError, match="`velocity` must give what it gets"):
        Canvas(lambda x, s, r, c: x[..., 1:], noise, SIGMAS, PURE[0]).sample(range(8), range(8))
    with pytest.raises(ArgumentError, match="`columns` must start and end on multiples of 4"):
        canvas(MultiDiffusion(16, 8, grid=4)).sample(range(16), range(2, 18))
