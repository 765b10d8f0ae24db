"""Resident memory of a server and its workers, and how much of it is files that they share."""

from collections.abc import Sequence
from pathlib import Path

import psutil

MIB = 2**20


def memory(processes: Sequence[psutil.Process], folder: Path) -> dict[str, float]:
    """MiB over all processes, from the kernel's smaps.

    Returns:
        processes: How many.
        rss_mib: The sum of what each holds; a page that several share counts several times.
        pss_mib: The same with each shared page counted once: what the server costs.
        files_rss_mib, files_pss_mib: The part that is mapped from files below `folder`.
    """
    full = [process.memory_full_info() for process in processes]
    maps = [part for process in processes for part in process.memory_maps() if Path(part.path).is_relative_to(folder)]
    return {
        "processes": len(processes),
        "rss_mib": sum(info.rss for info in full) / MIB,
        "pss_mib": sum(info.pss for info in full) / MIB,
        "files_rss_mib": sum(part.rss for part in maps) / MIB,
        "files_pss_mib": sum(part.pss for part in maps) / MIB,
    }
