"""Recipe: the autoencoder, on crops of every training set.

    python -m earthgen.training.autoencoder --data_root DATA --output_dir runs/autoencoder --max_train_steps 6000

Loss: the square root of each image's L1 + amplitude of the local Fourier spectrum, which keeps texture that L1 alone
would blur, + contrast between neighbouring pixels, which is to be the same across the borders of latents as within. A
little Gaussian noise is added to the channels of detail, so that small errors of a denoiser stay small, and to those of
colour, where the smooth image of the noise is what should come out.

With `--init_from` and `--decoder_only` it goes on from trained weights, and caches of latents stay good. With
`--denoiser`, too, it decodes what that network guesses from noise, where contrast is to be as much across the borders
of latents as within: a decoder that knows images' own latents alone shows the cells of those that are made.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from earthgen.data.augment import draw
from earthgen.data.base import Reader, Sample
from earthgen.data.mixture import readers
from earthgen.errors import ArgumentError
from earthgen.models import Conditioning, EarthAutoencoder, EarthUNet
from earthgen.models.autoencoder import RGB, mixed, spread
from earthgen.training.common import Batch, Recipe, Step, add_common_arguments, export, network_of, run

SHARES = {
    "eurosat": 0.3,
    "eurosat_scenes": 0.1,
    "bluemarble": 0.2,
    "ucmerced": 0.2,
    "oscd": 0.08,
    "naip": 0.04,
    "dubai": 0.08,
}
"""How often each set is drawn: aerial detail is the hardest to code, so it has more than its count would give it."""


def to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """uint8 (H, W, 3) images of one size → (batch, 3, H, W) in [-1, 1], channels last."""
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # channels last by construction
    return x.float().div_(127.5).sub_(1)


def to_images(x: Tensor) -> np.ndarray:
    """(batch, 3, H, W) in [-1, 1] → uint8 (batch, H, W, 3)."""
    x = x.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return x.permute(0, 2, 3, 1).cpu().numpy()


def spectrum_loss(x: Tensor, y: Tensor, window: int = 32) -> Tensor:
    """Mean absolute difference of the Fourier amplitudes of (batch, 3, H, W) images, in windows of `window` pixels."""

    def amplitudes(image: Tensor) -> Tensor:
        blocks = image.float().unfold(2, window, window).unfold(3, window, window)
        return torch.fft.rfft2(blocks, norm="ortho").abs()

    return (amplitudes(x) - amplitudes(y)).abs().mean()


def contrast_loss(x: Tensor, y: Tensor, cell: int, least: float = 0.002) -> Tensor:
    """How far contrasts of (batch, 3, H, W) images differ, for each place in a cell's period."""
    return (contrasts(x, cell, least) - contrasts(y, cell, least)).abs().mean()


def evenness_loss(x: Tensor, cell: int, least: float = 0.002) -> Tensor:
    """How far contrasts of all (batch, 3, H, W) images together differ between places in a cell's period.

    Together, for each image's own differ by chance, and by more than what cells add to them.
    """
    found = contrasts(x, cell, least).mean((0, 1))
    return (found - found.mean()).abs().mean()


def pattern_loss(x: Tensor, y: Tensor, cell: int, least: float = 0.002) -> Tensor:
    """How far the brightness of places in a cell's period differs between (batch, 3, H, W) images and what they show.

    Of all images together, each beside its contrast: what no one sees in a lively image is a pattern in a calm one.
    """
    places = (x - y).unflatten(3, (-1, cell)).unflatten(2, (-1, cell)).mean((2, 4))
    contrast = contrasts(y, cell, least).mean((1, 2)).exp().view(-1, 1, 1, 1)
    return ((places - places.mean((2, 3), keepdim=True)) / contrast).mean(0).abs().mean()


def contrasts(x: Tensor, cell: int, least: float) -> Tensor:
    """Logarithms of mean absolute differences of neighbouring pixels, by direction and place in a cell's period.

    (batch, 3, H, W) → (batch, 2, cell). Contrasts below `least`, a quarter of a grey level, count as that.
    """
    lines = x.diff(dim=2).abs().mean((1, 3)), x.diff(dim=3).abs().mean((1, 2))
    found = torch.stack([torch.stack([line[:, i::cell].mean(1) for i in range(cell)], 1) for line in lines], 1)
    return found.clamp(min=least).log()


class Crops:
    """Random crops of random sets at random resolutions. A batch is of one size: 64 or 128 px."""

    def __init__(self, sources: dict[str, Reader], batch_pixels: int) -> None:
        # A few large images are kept in memory: reading a whole one for each small crop of it takes longer than a step.
        self.sources: dict[str, Sequence[Sample]] = {
            name: list(reader) if len(reader) < 100 else reader for name, reader in sources.items() if len(reader)
        }
        self.batch_pixels = batch_pixels

    def draw(self, name: str, rng: np.random.Generator, size: int) -> Sample:
        reader = self.sources[name]
        sample = reader[int(rng.integers(len(reader)))]
        room = min(sample.image.shape[:2]) / size
        scale = float(rng.uniform(1, min(room, 4))) if room > 1 and rng.random() < 0.3 else 1.0
        return draw(sample, rng, size, gsd_scale=scale)

    def __call__(self, step: Step) -> Batch:
        rng = step.numpy()
        large = [n for n in self.sources if n != "eurosat"]  # whose images have room for 128 px
        size = 64 if not large or rng.random() < 0.35 else 128
        names = list(self.sources) if size == 64 else large
        shares = np.array([SHARES[n] for n in names])
        count = max(self.batch_pixels // size**2, 1)
        picks = rng.choice(len(names), count, p=shares / shares.sum())
        return {"x": to_tensor([self.draw(names[i], rng, size).image for i in picks])}


class Guesses:
    """Batches of crops, with latents as a denoiser guesses those of half of them from noise, at any level of it."""

    def __init__(self, crops: Crops, autoencoder: EarthAutoencoder, denoiser: EarthUNet) -> None:
        self.crops, self.autoencoder = crops, autoencoder.eval()
        self.denoiser = denoiser.eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, step: Step) -> Batch:
        batch = self.crops(step)
        z = self.autoencoder.encode(batch["x"][: (len(batch["x"]) + 1) // 2]).latent
        generator = step.torch(2)
        noise, level = torch.randn(z.shape, generator=generator), 0.1 + 0.85 * torch.rand(len(z), generator=generator)
        sigma = level.view(-1, 1, 1, 1)
        noisy = torch.lerp(z, noise, sigma).contiguous(memory_format=torch.channels_last)
        given = Conditioning.none(len(z), z.shape[1])
        return batch | {"guess": noisy - sigma * self.denoiser(noisy, 1000 * level, given).sample.float()}


def make_loss(args: argparse.Namespace, cell: int):  # type: ignore[no-untyped-def]
    """The loss of the recipe, closed over its weights; a latent is `cell` pixels wide."""

    def loss(model: nn.Module, batch: Batch, step: Step) -> tuple[Tensor, dict[str, float]]:
        y, x, detail, guessed = model(batch["x"], step, batch.get("guess"))
        each = (y.float() - x).abs().mean((1, 2, 3))
        # Square roots of each image's error: what is easy to code (a calm, dark scene) is to be coded well, too.
        spectrum = spectrum_loss(y, x)
        magnitude = detail.float().square().mean()
        contrast = contrast_loss(y.float(), x, cell)
        total = each.sqrt().mean() + args.spectrum_weight * spectrum + args.contrast_weight * contrast
        total = total + args.magnitude_weight * magnitude
        evenness = evenness_loss(y.float(), cell) + pattern_loss(y.float(), x, cell)
        if guessed is not None:
            evenness = evenness + evenness_loss(guessed, cell) + pattern_loss(guessed, batch["x"][: len(guessed)], cell)
        total = total + args.evenness_weight * evenness
        psnr = -10 * torch.log10((y.float() - x).square().mean((1, 2, 3)) / 4).mean()
        figures = {
            "l1": each.detach().mean(),
            "psnr": psnr,
            "contrast": contrast.detach(),
            "evenness": evenness.detach(),
            "detail2": magnitude.detach(),
        }
        return total, {k: float(v.detach()) for k, v in figures.items()}

    return loss


class TrainableAutoencoder(nn.Module):
    """The autoencoder with noise on its latents, so that one forward pass is all a trainer sees.

    `latent_noise` is relative to the deviation of the detail; the noise on colours deviates by up to `colour_noise`.
    """

    def __init__(self, autoencoder: EarthAutoencoder, latent_noise: float, colour_noise: float) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.latent_noise = latent_noise
        self.colour_noise = colour_noise

    def forward(self, x: Tensor, step: Step, guess: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What comes back, what should, the channels of detail, and images of a guess of latents."""
        colour, detail = self.autoencoder.to_latent(x).tensor_split([3], 1)
        generator = step.torch()
        noise = torch.randn(detail.shape, generator=generator).to(detail)
        noisy = detail + self.latent_noise * detail.detach().std((0, 2, 3), keepdim=True) * noise
        # Most images get little of it, some much: a calm sea shows what a city hides.
        amount = self.colour_noise * torch.rand(len(x), 1, 1, 1, generator=generator).pow(3)
        error = (amount * torch.randn(colour.shape, generator=generator)).to(colour)
        wanted = x + spread(mixed(error, RGB), self.autoencoder.spatial_factor)
        y = self.autoencoder.from_latent(torch.cat([colour + error, noisy], 1))
        return y, wanted, detail, None if guess is None else self.autoencoder.decode(guess).sample


@torch.inference_mode()
def measure_latents(
    autoencoder: EarthAutoencoder, crops: Crops, seed: int, batches: int = 40
) -> tuple[list[float], list[float]]:
    """Mean of each latent channel over random training crops, and its mean deviation within a crop.

    Within, for images differ in colour from one another far more than in themselves: scaled by the deviation over all
    of them, what a calm landscape is made of would drown in the least noise.
    """
    autoencoder.register_to_config(latents_mean=None, latents_std=None)
    means, deviations = [], []
    for i in range(batches):
        z = autoencoder.encode(crops(Step(seed, 1_000_000 + i))["x"]).latent
        means.append(z.mean((0, 2, 3)))
        deviations.append(z.std((2, 3)).mean(0))
    return torch.stack(means).mean(0).tolist(), torch.stack(deviations).mean(0).tolist()


@torch.inference_mode()
def measure_halo(
    autoencoder: EarthAutoencoder, crops: Callable[[Step], Batch], seed: int, batches: int = 8
) -> tuple[int, int]:
    """How many latents around a tile it takes to code and to decode it as in the whole: see `EarthAutoencoder.halo`."""
    autoencoder.register_to_config(halo=None)
    factor, bounds = autoencoder.spatial_factor, autoencoder.receptive_field
    needed = [0, 0]
    for i in range(batches):
        x = crops(Step(seed, 2_000_000 + i))["x"]
        z = autoencoder.encode(x).latent
        y = autoencoder.decode(z).sample
        middle = z.shape[-1] // 2
        for kind, (bound, tolerance) in enumerate(zip(bounds, (1e-3, 0.01 / 127.5), strict=True)):
            for halo in range(min(bound, middle - 1), needed[kind] - 1, -1):
                part = slice(middle - 1 - halo, middle + 1 + halo)
                wide = slice(part.start * factor, part.stop * factor)
                if kind == 0:
                    error = autoencoder.encode(x[..., wide, wide]).latent[..., halo : halo + 2, halo : halo + 2]
                    error = error - z[..., middle - 1 : middle + 1, middle - 1 : middle + 1]
                else:
                    inner, whole = (slice(factor * a, factor * (a + 2)) for a in (halo, middle - 1))
                    error = autoencoder.decode(z[..., part, part]).sample[..., inner, inner] - y[..., whole, whole]
                if float(error.abs().max()) > tolerance:
                    needed[kind] = halo + 1
                    break
    return min(needed[0], bounds[0]), min(needed[1], bounds[1])


def validator(tests: dict[str, Reader], count: int = 24):  # type: ignore[no-untyped-def]
    """Reconstruct the same held-out crops each time: a sheet of originals above reconstructions, PSNR a set."""

    def validate(model: nn.Module, step: int, output_dir: Path) -> dict[str, float]:
        autoencoder: EarthAutoencoder = model.autoencoder  # type: ignore[assignment]
        figures, rows = {}, []
        for name, reader in tests.items():
            rng = np.random.default_rng(7)
            picks = rng.choice(len(reader), min(count, len(reader)), replace=False)
            size = 64 if name == "eurosat" else 128
            x = to_tensor([draw(reader[int(i)], rng, size).image for i in picks])
            y = autoencoder(x.to(next(autoencoder.parameters()).device)).sample.cpu().float().clamp(-1, 1)
            mse = (x - y).square().mean((1, 2, 3)) / 4
            figures[f"psnr_{name}"] = float((-10 * torch.log10(mse)).mean())
            rows += [np.hstack(list(to_images(v[:6]))) for v in (x, y)]
        width = max(r.shape[1] for r in rows)
        sheet = np.vstack([np.pad(r, ((0, 4), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows])
        Image.fromarray(sheet).save(output_dir / f"sample-{step}.png")
        return figures

    return validate


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="earthgen train autoencoder", description=__doc__.split("\n\n")[0])
    p.add_argument("--data_root", type=Path, default=None, help="folder of the data sets; default: $EARTHGEN_DATA")
    p.add_argument("--sets", nargs="+", default=list(SHARES), choices=list(SHARES), help="the data sets to train on")
    p.add_argument("--latent_channels", type=int, default=8, help="3 of colour, the others of detail")
    p.add_argument("--block_channels", type=int, nargs="+", default=[48, 128], help="width at 1/2, 1/4, ... size")
    p.add_argument("--encoder_blocks", type=int, nargs="+", default=[1, 2], help="residual blocks at each of them")
    p.add_argument("--decoder_blocks", type=int, nargs="+", default=[1, 3])
    p.add_argument(
        "--train_batch_pixels", type=int, default=16 * 64 * 64, help="pixels a batch, whatever its crop size"
    )
    p.add_argument("--latent_noise", type=float, default=0.01, help="relative to the detail's deviation")
    p.add_argument("--colour_noise", type=float, default=0.04, help="most of it, where pixels are from -1 to 1")
    p.add_argument("--magnitude_weight", type=float, default=1e-4)
    p.add_argument("--spectrum_weight", type=float, default=1.0)
    p.add_argument("--contrast_weight", type=float, default=0.1)
    p.add_argument("--evenness_weight", type=float, default=1.0, help="of cells that show")
    p.add_argument("--init_from", type=Path, default=None, help="start from the weights of this autoencoder's folder")
    p.add_argument("--decoder_only", action="store_true", help="leave the encoder, and so all latents, as they are")
    p.add_argument(
        "--denoiser", type=Path, default=None, help="with --decoder_only: decode what this network makes, too"
    )
    add_common_arguments(p)
    return p


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    crops = Crops(readers(args.data_root, "train", args.sets), args.train_batch_pixels)
    torch.manual_seed(args.seed)
    if args.init_from:
        autoencoder = network_of(EarthAutoencoder, "init_from", args.init_from)
    else:
        if args.decoder_only:
            raise ArgumentError("decoder_only", "needs --init_from: an untrained encoder tells nothing", True)
        autoencoder = EarthAutoencoder(
            args.latent_channels, tuple(args.block_channels), tuple(args.encoder_blocks), tuple(args.decoder_blocks)
        )
    autoencoder.encoder.requires_grad_(not args.decoder_only)
    batches: Crops | Guesses = crops
    if args.denoiser:
        if not args.decoder_only:
            raise ArgumentError("denoiser", "needs --decoder_only: it knows latents as they are", str(args.denoiser))
        kept = network_of(EarthAutoencoder, "init_from", args.init_from)
        batches = Guesses(crops, kept, network_of(EarthUNet, "denoiser", args.denoiser))
    tests = {n: r for n, r in readers(args.data_root, "test", args.sets).items() if len(r)}
    recipe = Recipe(
        name="autoencoder",
        model=TrainableAutoencoder(autoencoder, args.latent_noise, args.colour_noise),
        batch=batches,
        loss=make_loss(args, autoencoder.spatial_factor),
        validate=validator(tests),
    )
    run(args, recipe)
    if not args.decoder_only:
        mean, std = measure_latents(autoencoder, crops, args.seed)
        autoencoder.register_to_config(latents_mean=mean, latents_std=std)
    autoencoder.register_to_config(halo=measure_halo(autoencoder, crops, args.seed))
    export(autoencoder, args.output_dir / "autoencoder")


if __name__ == "__main__":
    main()
