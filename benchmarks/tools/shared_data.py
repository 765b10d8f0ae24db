"""Where data sets lie that come with neither the repository nor a package."""

import os
from pathlib import Path

SHARED_DATA = "TAWSIYA_SHARED_DATA"
DEFAULT = Path(__file__).parents[2] / "../shared/data"


def shared_data() -> Path:
    """The folder in TAWSIYA_SHARED_DATA, by default ../shared/data from the repository; it may not exist."""
    return Path(os.environ.get(SHARED_DATA, DEFAULT)).resolve()
