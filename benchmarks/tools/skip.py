"""How a benchmark says that it cannot run here."""

from importlib.util import find_spec
from pathlib import Path


class SkippedError(SystemExit):
    """Data or a package is missing; the message is one line that says what to do.

    A SystemExit, so that a benchmark that is run by itself prints the line and exits with code 1.
    """


def require_package(name: str, extra: str) -> None:
    """Refuses to run without an optional package.

    Args:
        name: The package's import name.
        extra: The extra of pyproject.toml that installs it.

    Raises:
        SkippedError: The package is not installed.
    """
    if find_spec(name) is None:
        raise SkippedError(f"the package {name} is not installed; run pip install 'tawsiya[{extra}]'")


def require_file(path: Path, remedy: str) -> None:
    """Refuses to run without a file; `remedy` says how to name another one (SkippedError)."""
    if not path.is_file():
        raise SkippedError(f"{path} does not exist; {remedy}")
