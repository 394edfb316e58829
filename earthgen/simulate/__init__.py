"""Layouts and change events, drawn from a seed: what a generated image is to show."""
