"""How the files of releases looked when they were last verified, so that a rollback need not hash them again.

    verified_releases.json, beside the folder of releases:
        {"<release>": {"noted_at_ns", "stamps": {"<file>": [inode, size, change time]}}}

Whoever writes to a file, replaces it or restores it from a backup changes its stamp (feature_repo.common.files), and
the release is hashed again. What a stamp cannot show is a disk that returns other bytes than were written: `tawsiya
release verify` and the API, which hashes a release before it serves it, find that.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from feature_repo.common.files import file_stamp, write_json

VERIFIED_RELEASES = "verified_releases.json"
# A file that changes again within the clock tick of its change time keeps its stamp. Ticks are 10 ms at most.
TICK_NS = 100_000_000


def note_verified(releases: Path, name: str, files: Iterable[str], started_ns: int) -> None:
    """Notes that these files of a release were verified, from `started_ns` (Unix time in nanoseconds) on.

    Only one process may call this at a time; the shop's lock sees to it.
    """
    noted = {other: entry for other, entry in _read(releases).items() if (releases / other).is_dir()}
    noted[name] = {"noted_at_ns": started_ns, "stamps": _stamps(releases / name, files)}
    write_json(_path(releases), noted)


def unchanged_since_verified(releases: Path, name: str, files: Iterable[str]) -> bool:
    """Whether these files of a release are as they were when they were verified."""
    entry = _read(releases).get(name)
    if entry is None:
        return False
    stamps = _stamps(releases / name, files)
    settled = all(stamp and stamp[-1] < entry["noted_at_ns"] - TICK_NS for stamp in stamps.values())
    return settled and stamps == entry["stamps"]


def _stamps(folder: Path, files: Iterable[str]) -> dict[str, list[int]]:
    return {name: list(file_stamp(folder / name)) for name in files}


def _path(releases: Path) -> Path:
    return releases.with_name(VERIFIED_RELEASES)


def _read(releases: Path) -> Mapping[str, Any]:
    try:
        noted = json.loads(_path(releases).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # missing or damaged: then releases are hashed, as without it
    return noted if isinstance(noted, dict) else {}
