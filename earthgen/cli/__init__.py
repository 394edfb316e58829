"""The command line, `earthgen` or `python -m earthgen.cli`. One module a command; torch is imported inside them."""
