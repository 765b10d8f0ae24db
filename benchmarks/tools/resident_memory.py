"""Resident memory of a server and its workers, and the part of it that is mapped from shared files."""

from collections.abc import Sequence
from pathlib import Path

import psutil

MIB = 2**20


def resident_memory(processes: Sequence[psutil.Process], folder: Path) -> dict[str, float]:
    """Memory in MiB over all processes, from the kernel's smaps.

    Returns:
        processes: Number of processes.
        rss_mib: Resident set size, summed; a page that several processes share counts several times.
        pss_mib: Proportional set size, summed; each shared page counts once.
        files_rss_mib, files_pss_mib: The part of both that is mapped from files below `folder`.
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
