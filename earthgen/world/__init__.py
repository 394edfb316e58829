"""The world: one unbounded image of the Earth, any window of which can be asked for in any order."""
