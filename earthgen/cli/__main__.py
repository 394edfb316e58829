"""`python -m earthgen.cli`."""

from earthgen.cli.main import main

if __name__ == "__main__":
    main()
