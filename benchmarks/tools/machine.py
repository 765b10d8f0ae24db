"""What the figures were measured on."""

import platform
import re
from pathlib import Path
from typing import Any

import psutil


def machine() -> dict[str, Any]:
    """CPU model, number of logical cores, memory in GiB, operating system and Python version."""
    cpu_info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpu_info.read_text()) if cpu_info.is_file() else None
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
