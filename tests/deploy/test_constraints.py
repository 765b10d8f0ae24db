"""The exact versions that `make` installs."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]


def test_every_version_runs_on_the_oldest_python_of_the_readme() -> None:
    """A patch release older than the developer's, too: Debian 12 has Python 3.11.2, and some versions want 3.11.5."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = f"{project['requires-python'].removeprefix('>=')}.0"
    refused, n_read = {}, 0
    for name, version in re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE):
        try:
            package = metadata(name)
        except PackageNotFoundError:
            continue  # Spark's, which have an environment of their own
        n_read += 1
        if package["Version"] == version and oldest not in SpecifierSet(package["Requires-Python"] or ""):
            refused[name] = package["Requires-Python"]
    assert n_read > 100
    assert refused == {}
