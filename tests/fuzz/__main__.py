"""`python tests/fuzz`: makes the directory a package, and runs its command."""

import pathlib
import sys

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).parents[1])
    from fuzz.command import main

    sys.exit(main())
