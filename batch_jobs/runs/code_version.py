"""The version of the code of a stage: a hash of the source files that its result depends on, and its libraries."""

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = Path(__file__).parents[2]  # the folder that holds feature_repo, batch_jobs, ...
NOT_INSTALLED = "not installed"


@functools.cache
def code_version(places: Sequence[str]) -> str:
    """A hash of Python files, given by their paths or those of folders beside the package `batch_jobs`.

    A hash and not a number that people raise: a forgotten number would keep a result of the old code without a word.
    An upgrade that touches these files runs the stage once more, which gives the same result if nothing else changed.
    """
    digest = hashlib.sha256()
    for path in sorted(set(_files(places))):
        digest.update(path.relative_to(PACKAGES).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def library_versions(distributions: Sequence[str]) -> dict[str, str]:
    """The installed version of each distribution, by its name; NOT_INSTALLED for one of an extra that is not there."""
    return {name: _installed_version(name) for name in distributions}


def _installed_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return NOT_INSTALLED


def _files(places: Sequence[str]) -> Iterator[Path]:
    for place in places:
        path = PACKAGES / place
        yield from path.rglob("*.py") if path.is_dir() else [path]
