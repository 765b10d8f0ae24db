"""Format versions of stored files: which this program reads, and what to do about the others."""

from pathlib import Path
from typing import NoReturn


def require_format(found: object, current: int, path: Path | str, *, remake: str) -> None:
    """Checks the format version that a file names.

    Args:
        found: What the file has where its version should be; None if it has nothing there.
        current: The version that this program reads.
        path: The file or its address, for the message.
        remake: The command that makes the file again.

    Raises:
        ValueError: It is another version or none; the message names the file, the version and what to do.
    """
    # Not isinstance: true is an int in Python, and true == 1.
    if type(found) is not int:
        what = "has no format version" if found is None else f"has {found!r} as its format version, not a whole number"
        raise ValueError(f"{path} is damaged: it {what}; run `{remake}`")
    if found != current:
        _refuse(found, current, path, remake)


def _refuse(found: int, current: int, path: Path | str, remake: str) -> NoReturn:
    remedy = f"run `{remake}`"
    if found > current:
        remedy = f"it was written by a newer Tawsiya: install that one, or {remedy}"
    raise ValueError(f"{path} has format version {found}, this program reads {current}; {remedy}")
