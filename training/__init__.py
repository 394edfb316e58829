"""Training recipes. Each is a module with `main(argv)`: `earthgen train NAME …` or `accelerate launch -m earthgen.training.NAME …`."""

RECIPES = {
    "latents": "encode a data set once, so that the denoiser trains on cached latents",
    "autoencoder": "train the autoencoder on images",
    "denoiser": "train the denoiser on cached latents and their conditions",
}
