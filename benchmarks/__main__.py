"""`python -m benchmarks`; see benchmarks.tools.runner."""

import sys

from benchmarks.tools.runner import main

if __name__ == "__main__":
    sys.exit(main())
