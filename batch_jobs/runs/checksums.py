"""SHA-256 sums of files, each computed once for as long as the file stays as it is."""

import json
import time
from collections.abc import Iterable
from pathlib import Path

from feature_repo.common.files import file_stamp, sha256, write_json

MISSING = "missing"
# A file that is written again so soon may keep its stamp, where the file system counts time in seconds.
SETTLED_S = 2.0


class Checksums:
    """The sums of files by path, with the stamps of the files that they are of; kept in a file between runs."""

    def __init__(self, kept_in: Path, root: Path) -> None:
        """Reads what is kept; a damaged file counts as none.

        Args:
            kept_in: The file that keeps the sums.
            root: Files in this folder are named by their path in it, and others by their absolute path.
        """
        self._kept_in, self._root = kept_in, root
        try:
            self._known: dict[str, list[object]] = json.loads(kept_in.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}

    def of(self, paths: Iterable[Path]) -> dict[str, str]:
        """The sum of each file by its name; MISSING for one that does not exist."""
        return {self.name(path): self.sum(path) for path in paths}

    def of_names(self, names: Iterable[str]) -> dict[str, str]:
        """The same for names that `of` gave."""
        return {name: self.sum(self._root / name) for name in names}

    def sum(self, path: Path) -> str:
        """The sum of a file; MISSING if it does not exist."""
        stamp = list(file_stamp(path))
        if not stamp or not path.is_file():
            return MISSING
        known_stamp, known_sum = self._known.get(self.name(path), ([], ""))
        if known_stamp == stamp:
            return str(known_sum)
        content = sha256(path)
        if time.time() - stamp[-1] / 1e9 > SETTLED_S:
            self._known[self.name(path)] = [stamp, content]
        return content

    def name(self, path: Path) -> str:
        """How records name a file."""
        path = path.absolute()
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else str(path)

    def save(self) -> None:
        """Keeps the sums of the files that still exist."""
        known = {name: entry for name, entry in self._known.items() if (self._root / name).is_file()}
        write_json(self._kept_in, known)
