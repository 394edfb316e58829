"""Recipe: the denoiser, on cached latents, with every condition and every subset of them.

    python -m earthgen.training.denoiser --latents latents --autoencoder runs/autoencoder/autoencoder \\
        --output_dir runs/mini --preset mini --max_train_steps 100000

Flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023): x = (1 - σ) latent + σ noise, and the network
learns noise - latent, with σ logistic-normal (Esser et al. 2024). Each condition is dropped on its own, so that any
subset can be given and each can be guided.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from earthgen.conditions import CONDITION_NAMES, Conditions
from earthgen.errors import DataError
from earthgen.layout import LAYOUT_CHANNELS
from earthgen.models import PRESETS, Conditioning, EarthAutoencoder, EarthUNet
from earthgen.models.inputs import date_features, unit_vectors
from earthgen.output.sheet import contact_sheet
from earthgen.text import TEXT_DIM, load_text_encoder
from earthgen.training.common import Batch, Loss, Recipe, Step, add_common_arguments, export, network_of, run

DROP = {
    "text": 0.1, "gsd": 0.1, "position": 0.3, "date": 0.2, "cloud": 0.15,
    "boxes": 0.3, "mask": 0.3, "known": 0.85,
}  # fmt: skip
"""How often each condition is withheld though it is there. Every image has known pixels and a coarser image to give."""
DROP_COARSE = {64: 0.7, 128: 0.6, 256: 0.5}
"""How often the coarser image is withheld, by bucket."""
DROP_ALL = 0.1
"""How often all are withheld together, which guidance needs to be learned well."""

SHARES: dict[int, tuple[float, dict[str, float]]] = {
    64: (0.6, {
        "eurosat": 0.38, "ucmerced": 0.24, "bluemarble": 0.12, "eurosat_scenes": 0.12, "oscd": 0.05,
        "naip": 0.01, "dubai": 0.08,
    }),
    128: (0.28, {
        "eurosat_scenes": 0.24, "ucmerced": 0.28, "bluemarble": 0.16, "oscd": 0.1, "naip": 0.02, "dubai": 0.2,
    }),
    256: (0.12, {
        "eurosat_scenes": 0.18, "ucmerced": 0.33, "bluemarble": 0.16, "oscd": 0.11, "naip": 0.02, "dubai": 0.2,
    }),
}  # fmt: skip
"""For each bucket: its share of the steps, and the share of each set in it."""
OWN_SHARE = 0.3
"""Of a set that is not among these."""
LINES = re.compile(r"\b(river|stream|waterway|highway|motorway|freeway|main road)\b")
"""In captions, of what is known by a line. Their shape is learned last: after 1.8 million images two in three of
EuroSAT's rivers and roads could be told, and nearly all of the other classes."""
LINES_SEEN = 3
"""How many times as often as the other images of their set they are seen."""


class Bucket:
    """One bucket of the latent cache, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "index.json").is_file():
            raise DataError(f"{folder} is no bucket of a latent cache: run `earthgen train latents` first")
        index = json.loads((folder / "index.json").read_text())
        self.size: int = index["size"]

        def array(name: str) -> NDArray[np.generic]:
            return np.load(folder / f"{name}.npy", mmap_mode="r")

        self.z, self.coarse, self.tokens, self.layouts = (array(n) for n in ("z", "coarse", "tokens", "layouts"))
        self.meta, self.text_of, self.layout_of = (np.asarray(array(n)) for n in ("meta", "text_of", "layout_of"))
        self.labelled, self.lengths = np.asarray(array("labelled")), np.asarray(array("lengths"))
        sources = np.array(index["sources"])
        lines = np.array([LINES.search(text) is not None for text in index["texts"]])[self.text_of]
        self.rows = {str(name): _rows(sources == name, lines) for name in np.unique(sources)}


def _rows(of_set: NDArray[np.bool_], lines: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Numbers of a set's records, each as often as it is seen beside the others."""
    return np.flatnonzero(of_set).repeat(np.where(lines[of_set], LINES_SEEN, 1))


def random_region(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Which latents are known, (side, side): a hole, a strip along one edge, or scattered rectangles."""
    known = np.zeros((side, side), np.float32)
    kind = rng.random()
    if kind < 0.4:
        known[:] = 1
        h, w = rng.integers(1, side + 1, 2)
        top, left = rng.integers(0, side - h + 1), rng.integers(0, side - w + 1)
        known[top : top + h, left : left + w] = 0
    elif kind < 0.8:
        known[: int(rng.integers(1, side))] = 1
    else:
        for _ in range(int(rng.integers(1, 5))):
            h, w = rng.integers(1, side // 2 + 1, 2)
            top, left = rng.integers(0, side - h + 1), rng.integers(0, side - w + 1)
            known[top : top + h, left : left + w] = 1
    return np.ascontiguousarray(np.rot90(known, int(rng.integers(4))))


class LatentBatches:
    """Batches of the cache. All records of a batch are of one bucket; larger images make smaller batches."""

    def __init__(self, root: Path, batch_latents: int) -> None:
        found = [Bucket(f) for f in sorted(root.glob("[0-9]*")) if f.is_dir()]
        if not found:
            raise DataError(f"{root} holds no latent cache: run `earthgen train latents` first")
        self.buckets = {b.size: b for b in found}
        self.root, self.batch_latents = root, batch_latents

    @property
    def latent_channels(self) -> int:
        return int(next(iter(self.buckets.values())).z.shape[1])

    def check(self, autoencoder: EarthAutoencoder, folder: Path) -> None:
        """Raise `DataError` unless the autoencoder in `folder` can be the one that made the cache."""
        if autoencoder.config.latent_channels != self.latent_channels:
            raise DataError(f"{self.root} was made with another autoencoder than {folder}: run latents again")

    def text_statistics(self, captions: int = 4096) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each feature over the words of random captions."""
        rng = np.random.default_rng(0)
        words = []
        for bucket in self.buckets.values():
            for row in np.sort(rng.choice(len(bucket.lengths), min(captions, len(bucket.lengths)), replace=False)):
                words.append(torch.from_numpy(np.array(bucket.tokens[row, : bucket.lengths[row]], np.float32)))
        std, mean = torch.std_mean(torch.cat(words), 0, correction=0)
        return mean, std.clamp(min=1e-3)

    def __call__(self, step: Step) -> Batch:
        rng = step.numpy()
        sizes = list(self.buckets)
        shares = np.array([SHARES[s][0] for s in sizes])
        bucket = self.buckets[sizes[int(rng.choice(len(sizes), p=shares / shares.sum()))]]
        count = max(self.batch_latents // bucket.z[0, 0].size, 1)
        known = SHARES[bucket.size][1]
        names = [*(n for n in known if n in bucket.rows), *(n for n in bucket.rows if n not in known)]
        weights = np.array([known.get(n, OWN_SHARE) for n in names])
        picks = rng.choice(len(names), count, p=weights / weights.sum())
        rows = np.array([rng.choice(bucket.rows[names[i]]) for i in picks])
        return self.batch(bucket, rows, rng)

    def batch(self, bucket: Bucket, rows: NDArray[np.integer], rng: np.random.Generator) -> Batch:
        z, coarse = (torch.from_numpy(np.array(a[rows], np.float32)) for a in (bucket.z, bucket.coarse))
        return {"z": z, "size": bucket.size, "conditioning": self.conditioning(bucket, rows, z, coarse, rng)}

    def conditioning(
        self, bucket: Bucket, rows: NDArray[np.integer], z: Tensor, coarse: Tensor, rng: np.random.Generator
    ) -> Conditioning:
        """The conditions of some records, each withheld at random."""
        meta, layout_of, labelled = bucket.meta[rows], bucket.layout_of[rows], bucket.labelled[rows]
        count, side = len(rows), z.shape[-1]
        known_here = {n: np.ones(count, bool) for n in CONDITION_NAMES}
        known_here["gsd"] = np.isfinite(meta["gsd"])
        known_here["position"] = np.isfinite(meta["lat"])
        known_here["date"] = np.isfinite(meta["day"])
        known_here["cloud"] = np.isfinite(meta["cloud"])
        known_here["boxes"], known_here["mask"] = labelled[:, 0], labelled[:, 1]
        none_at_all = rng.random(count) < DROP_ALL
        drop = DROP | {"coarse": DROP_COARSE[bucket.size]}
        present = np.stack([known_here[n] & (rng.random(count) >= drop[n]) & ~none_at_all for n in CONDITION_NAMES], 1)

        text_rows = bucket.text_of[rows]
        lengths = bucket.lengths[text_rows]
        text = np.array(bucket.tokens[text_rows, : lengths.max()], np.float32)
        layout = np.zeros((count, LAYOUT_CHANNELS, 1, 1), np.float32)
        if (layout_of >= 0).any():
            layout = np.zeros((count, *bucket.layouts.shape[1:]), np.float32)
            for i in np.flatnonzero(layout_of >= 0):
                layout[i] = bucket.layouts[layout_of[i]]
        known_mask = torch.from_numpy(np.stack([random_region(rng, side) for _ in range(count)]))[:, None]

        def numbers(values: NDArray[np.floating]) -> Tensor:
            return torch.from_numpy(np.nan_to_num(values).astype(np.float32)).view(count, 1, 1)

        def vectors(values: NDArray[np.floating]) -> Tensor:
            return torch.from_numpy(np.nan_to_num(values).T.astype(np.float32).copy()).view(count, 3, 1, 1)

        return Conditioning(
            present=torch.from_numpy(present),
            text=torch.from_numpy(text).view(count, -1, TEXT_DIM),
            text_mask=torch.from_numpy(np.arange(text.shape[1]) < lengths[:, None]),
            gsd=numbers(np.log2(meta["gsd"])),
            position=vectors(unit_vectors(meta["lat"], meta["lon"])),
            date=vectors(date_features(meta["day"], meta["year"])),
            cloud=numbers(meta["cloud"]),
            layout=torch.from_numpy(layout),
            known=z * known_mask,
            known_mask=known_mask,
            coarse=coarse,
            degradation=numbers(meta["degradation"]),
        )


DETAIL_WEIGHT = 0.4
"""Of the channels of detail in the loss: little of them can be foretold, and what cannot is noise in the gradient."""


def flow_matching_loss(model: nn.Module, batch: Batch, step: Step) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the velocity at random noise levels."""
    z: Tensor = batch["z"]
    generator = step.torch()
    # Lines such as rivers and roads are decided at levels from 0.35 to 0.85, calm landscapes and texture below: a real
    # image of a road taken back to 0.52, 0.67 or 0.85 and denoised is one again in 85, 68 and 33 % (at step 12,000).
    sigma = torch.sigmoid(1.2 * torch.randn(len(z), generator=generator)).to(z.device)
    # The same noise hides less of a larger image, whose latents tell more of one another.
    shift = (z.shape[-1] / 16) ** 0.5
    sigma = shift * sigma / (1 + (shift - 1) * sigma)
    noise = torch.randn(z.shape, generator=generator).to(z.device)
    s = sigma.view(-1, 1, 1, 1)
    x = ((1 - s) * z + s * noise).contiguous(memory_format=torch.channels_last)
    conditioning = batch["conditioning"].to(z.device, z.dtype)
    v = model(x, sigma * 1000, conditioning, return_dict=False)[0].float()
    colour, detail = (v - (noise - z)).square().mean((0, 2, 3)).tensor_split([3])
    loss = (colour.sum() + DETAIL_WEIGHT * detail.sum()) / len(v[0])
    value = float(loss.detach())
    parts = {"colour": float(colour.detach().mean()), "detail": float(detail.detach().mean())}
    return loss, {"loss": value, f"loss_{batch['size']}px": value} | parts


HIDDEN = ("down", "shrink", "middle", "attention", "grow", "join", "up")
"""Modules of the denoiser between its first layers and its last."""


def hidden_weights(unet: EarthUNet) -> list[nn.Parameter]:
    """The maps from features to features, which Muon is for."""
    return [p for name, p in unet.named_parameters() if p.ndim > 1 and name.split(".")[0] in HIDDEN]


PREVIEW: list[tuple[str, int, dict[str, float]]] = [
    ("residential area with houses and streets", 64, {"gsd": 10, "lat": 48.2, "lon": 2.3}),
    ("highway", 64, {"gsd": 10, "lat": 50.2, "lon": 8.3}),
    ("river", 64, {"gsd": 10, "lat": 45.2, "lon": 9.3}),
    ("annual crop fields", 64, {"gsd": 10, "lat": 47.5, "lon": 19.5}),
    ("industrial area", 64, {"gsd": 10, "lat": 51.5, "lon": 4.3}),
    ("forest", 64, {"gsd": 10, "lat": 60.2, "lon": 22.3}),
    ("farmland with a village", 256, {"gsd": 10, "lat": 48.2, "lon": 2.3}),
    ("coast and mountains", 256, {"gsd": 1500, "lat": 44.0, "lon": 9.0}),
    ("a harbor with many boats", 256, {"gsd": 0.3}),
    ("dense residential area", 256, {"gsd": 0.3}),
    ("freeway with cars", 256, {"gsd": 0.3}),
    ("parking lot full of cars", 256, {"gsd": 0.3}),
]  # fmt: skip
"""What the sample sheets of a run show: prompt, pixels a side, metadata."""


def previewer(  # type: ignore[no-untyped-def]
    autoencoder: EarthAutoencoder, batch: Callable[[Step], Batch], loss: Loss, batches: int = 4
):
    """A validator: a sheet of the averaged model's images for fixed prompts, and its loss on fixed batches."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    text_encoder, tokenizer = load_text_encoder()

    def validate(model: nn.Module, step: int, output_dir: Path) -> dict[str, float]:
        from earthgen.pipelines.earth import EarthPipeline

        assert isinstance(model, EarthUNet)
        pipe = EarthPipeline(
            model, autoencoder.to(model.device), text_encoder, tokenizer, FlowMatchEulerDiscreteScheduler()
        )
        pipe.set_progress_bar_config(disable=True)
        images, titles = [], []
        for i, (prompt, size, place) in enumerate(PREVIEW):
            generator = torch.Generator().manual_seed(i)
            result = pipe(
                conditions=Conditions(text=prompt, **place),  # type: ignore[arg-type]
                height=size,
                width=size,
                generator=generator,
            )
            images.append(np.asarray(result.images[0]))
            titles.append(f"{prompt}, {place['gsd']:g} m")
        contact_sheet(images, titles, columns=4).save(output_dir / f"sample-{step}.png")
        autoencoder.cpu()
        losses = []
        for i in range(batches):
            place_ = Step(12345, i)
            here = {k: v.to(pipe.device) if isinstance(v, Tensor) else v for k, v in batch(place_).items()}
            losses.append(loss(model, here, place_)[1]["loss"])
        return {"fixed_batches_loss": float(np.mean(losses))}

    return validate


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="earthgen train denoiser", description=__doc__.split("\n\n")[0])
    p.add_argument("--latents", type=Path, required=True, help="folder of a latent cache")
    p.add_argument("--autoencoder", type=Path, required=True, help="the autoencoder the cache was made with")
    p.add_argument("--preset", choices=list(PRESETS), default=None, help="default: mini, or that of --init_from")
    p.add_argument("--init_from", type=Path, default=None, help="start from this one; a deeper --preset adds blocks")
    p.add_argument(
        "--train_batch_latents", type=int, default=64 * 256, help="latents a batch: 64 images of 64 px, 4 of 256"
    )
    add_common_arguments(p)
    p.set_defaults(optimizer="muon")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    latents = LatentBatches(args.latents, args.train_batch_latents)
    autoencoder = network_of(EarthAutoencoder, "autoencoder", args.autoencoder)
    latents.check(autoencoder, args.autoencoder)
    torch.manual_seed(args.seed)
    if args.init_from:
        unet = network_of(EarthUNet, "init_from", args.init_from)
        if args.preset:
            unet = unet.grown(args.preset)
    else:
        unet = EarthUNet.preset(args.preset or "mini", latents.latent_channels)
        unet.set_text_statistics(*latents.text_statistics())
    recipe = Recipe(
        name="denoiser",
        model=unet,
        batch=latents,
        loss=flow_matching_loss,
        hidden=hidden_weights(unet),
        validate=previewer(autoencoder, latents, flow_matching_loss) if args.validation_steps else None,
    )
    export(run(args, recipe), args.output_dir / "unet")


if __name__ == "__main__":
    main()
