"""Training data: readers that all give the same `Sample`, and what is done to samples on their way to a model."""

from earthgen.data.base import Facts, Reader, Sample, Split, cell_of, data_root, split_of

__all__ = ["Facts", "Reader", "Sample", "Split", "cell_of", "data_root", "split_of"]
