"""The interactive web canvas. Nothing is here yet."""
