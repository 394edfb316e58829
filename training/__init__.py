"""Training recipes. Each is a module with `main(argv)`.

`earthgen train NAME …` runs one here, `accelerate launch -m earthgen.training.NAME …` on several processes.
"""
