"""Errors of the operating system, as people read them: what failed where, and what to do next."""

import errno
import getpass
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def error_text(error: Exception) -> str:
    """The message of an error; one of the operating system gets its file first and loses its number."""
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def hint(error: Exception) -> str | None:
    """What to do about an error whose message cannot say it, because the operating system wrote it."""
    if isinstance(error, PermissionError) and error.filename:
        folder = Path(error.filename).parent
        return f"run it as the owner of {folder} (`ls -ld {folder}` names it), or make {_user()} the owner"
    if isinstance(error, OSError) and error.errno in _FULL:
        return "`tawsiya doctor` shows what takes the space; `tawsiya doctor --clean` deletes what no one needs"
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return "the file system is read-only; set data_dir to a folder on another one: --set data_dir=FOLDER"
    return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "this user"
