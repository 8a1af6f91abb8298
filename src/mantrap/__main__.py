"""``python -m mantrap`` is the command line."""

import sys

from mantrap.cli import main

if __name__ == "__main__":
    sys.exit(main())
