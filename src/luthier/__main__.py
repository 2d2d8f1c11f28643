"""`python -m luthier`, the same as `luthier`."""

from luthier.cli import main

if __name__ == "__main__":
    main()
