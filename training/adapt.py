"""Recipe: a model taught on labelled images of your own: their look, and how their classes look where they lie.

    python -m earthgen.training.adapt --real my/coco --gsd 0.5 --output_dir runs/mine
    earthgen dataset detection --real my/coco --model runs/mine/model -n 500 -f coco -o synthetic

The images are coded (`latents`), a model's denoiser is trained further on them (`denoiser`, which gets all flags that
are not named here), and put together with what it came with (`bundle`). What is done already is not done again, so a
run that was stopped goes on. What the model knew besides your images fades.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from earthgen import labels, weights
from earthgen.conditions import check_number
from earthgen.data.labelled import LabelledSamples
from earthgen.dataset.real import digest
from earthgen.errors import ArgumentError
from earthgen.output.atomic import check_writable, write_text
from earthgen.steps import FEW, steps_of_folder
from earthgen.training import bundle, denoiser, latents
from earthgen.training.common import newest_checkpoint

SIZES = (64, 128)
"""Buckets: what images are begun at, and what they are refined by, as far as a network sees."""


def parser() -> argparse.ArgumentParser:
    """The flags of this recipe."""
    p = argparse.ArgumentParser(
        prog="earthgen train adapt",
        description=__doc__.split("\n\n")[0] + " All other flags are those of `earthgen train denoiser`.",
    )
    add = p.add_argument
    add("--real", type=Path, required=True, help="your labelled images, in any format of `earthgen dataset --real`")
    add("--gsd", type=float, default=None, help="metres a pixel of images that do not say it themselves")
    add("--model", default=weights.BUNDLED, help="the model to start from: a name or a folder")
    add("--output_dir", type=Path, required=True, help="the model comes to be in `model` below it")
    add("--records", type=float, default=1.0, help="how many times the usual number of views to learn from")
    add("--max_train_steps", type=int, default=300)
    add("--learning_rate", type=float, default=4e-4)
    add("--seed", type=int, default=0)
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Write `model`, and on the way to it `latents` and `denoiser`, below the output folder.

    Raises:
        ArgumentError: The output folder is that of other images or another model; or the model is one of few steps,
            which this way of training would spoil.
    """
    args, others = parser().parse_known_args(argv)
    check_number("records", args.records, "must be above 0", 0, 1e6, low_open=True)
    if args.max_train_steps < 1:
        raise ArgumentError("max_train_steps", "must be at least 1", args.max_train_steps)
    base, out = weights.resolve(args.model), args.output_dir
    weights.check(base)
    if steps_of_folder(base).first == FEW.first:
        raise ArgumentError("model", "must be one of many steps, which one of few can be distilled from", args.model)
    labelled = labels.read(args.real)
    sides = LabelledSamples(labelled, args.gsd).sides
    sizes = [str(size) for size in SIZES if (sides >= size).any()]
    if not sizes:
        raise ArgumentError("real", f"must hold images of at least {SIZES[0]} px a side", int(sides.max()))
    _settle(
        check_writable(out) / "adapt.json",
        {
            "real": digest(labelled),
            "model_sha256": weights.model_sha256(base),
            "gsd": args.gsd,
            "records": args.records,
            "seed": args.seed,
        },
    )

    def run(recipe: object, **flags: object) -> None:
        given = [text for name, value in flags.items() if value is not None for text in (f"--{name}", str(value))]
        recipe.main(given + (others if recipe is denoiser else []))  # type: ignore[attr-defined]

    cache, trained = out / "latents", out / "denoiser"
    for size in sizes:
        run(
            latents, real=args.real, gsd=args.gsd, autoencoder=base / "vae", output_dir=cache, sizes=size,
            scale=args.records, seed=args.seed,
        )  # fmt: skip
    begun = newest_checkpoint(trained)
    if begun is None or int(begun.name.rsplit("-", 1)[1]) < args.max_train_steps or not (trained / "unet").is_dir():
        run(
            denoiser, latents=cache, autoencoder=base / "vae", init_from=base / "unet", output_dir=trained,
            max_train_steps=args.max_train_steps, learning_rate=args.learning_rate, lr_scheduler="linear",
            lr_warmup_steps=min(20, args.max_train_steps), adam_beta2=0.98, ema_decay=0.99, seed=args.seed,
            checkpointing_steps=50, validation_steps=0, resume_from_checkpoint=None if begun is None else "latest",
        )  # fmt: skip
    refiner = base / "refiner"  # made for what is coarser, which it goes by; others know not the new look
    run(
        bundle, unet=trained / "unet", refiner=refiner if refiner.is_dir() else None, autoencoder=base / "vae",
        output_dir=out / "model",
    )  # fmt: skip
    print(f"the model is in {out / 'model'}: give it as --model")


def _settle(path: Path, asked: dict[str, object]) -> None:
    """Keep what a folder's run is about. Raises `ArgumentError` where that is something else already."""
    if path.exists():
        there = json.loads(path.read_text())
        if other := [name for name in asked if there.get(name) != asked[name]]:
            rule = f"must be a new folder, as this one's run has another {' and '.join(other)}"
            raise ArgumentError("output_dir", rule, str(path.parent))
    write_text(path, json.dumps(asked, indent=2) + "\n")


if __name__ == "__main__":
    main()
