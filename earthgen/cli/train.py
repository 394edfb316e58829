"""`earthgen train`: hand over to a training recipe."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from earthgen.errors import ArgumentError, EarthgenError

RECIPES = {
    "latents": "encode a data set once, so that the denoiser trains on cached latents",
    "autoencoder": "train the autoencoder on images",
    "denoiser": "train the denoiser on cached latents and their conditions",
    "adapt": "teach a model on labelled images of your own",
    "distillation": "teach a denoiser to do with few steps",
    "bundle": "put a trained denoiser and its autoencoder together into a model folder",
}

# Everything after the recipe's name is the recipe's, --help included.
CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def train(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE [ARGS]...", help="One of the recipes above.")],
) -> None:
    """Train on your own images, or make the bundled model again.

    Training needs more than the base install has: pip install "earthgen\\[train]"

    \b
    RECIPE is one of
      latents       encode a data set once, so that the denoiser trains on cached latents
      autoencoder   train the autoencoder on images
      denoiser      train the denoiser on cached latents and their conditions
      adapt         teach a model on labelled images of your own
      distillation  teach a denoiser to do with few steps
      bundle        put a trained denoiser and its autoencoder together into a model folder

    \b
    All that follows goes to the recipe, whose flags are named as in diffusers' examples:
      earthgen train denoiser --help
      earthgen train adapt --real my/coco --gsd 0.5 --output_dir runs/mine
      earthgen train autoencoder --output_dir runs/ae --max_train_steps 1000
      earthgen train latents --autoencoder runs/ae/autoencoder --output_dir latents
      earthgen train denoiser --latents latents --autoencoder runs/ae/autoencoder ...

    \b
    On several processes, launch the module itself:
      accelerate launch -m earthgen.training.denoiser --latents latents ...

    A run that was stopped goes on with --resume_from_checkpoint latest.
    """
    if recipe not in RECIPES:
        raise ArgumentError("RECIPE", f"must be one of {', '.join(RECIPES)}", recipe)
    try:
        module = importlib.import_module(f"earthgen.training.{recipe}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("earthgen"):
            raise
        raise EarthgenError(f'training needs the module {error.name!r}: pip install "earthgen[train]"') from error
    sys.argv = [f"earthgen train {recipe}", *context.args]  # the name argparse shows in usage and errors
    module.main(context.args)
