"""Measures of images and of generators: reconstruction, spectrum, class, distance, resolution."""
