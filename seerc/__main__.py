"""`python -m seerc` is the `seerc` executable."""

from __future__ import annotations

import sys

from seerc.cli import main

if __name__ == "__main__":
    sys.exit(main())
