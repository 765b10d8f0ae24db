"""The files of one table: a file, the parts in a folder, or those that match a pattern."""

import re
from collections.abc import Sequence
from pathlib import Path

PATTERN_CHARS = "*?["
# Marks that Spark, Hadoop and others leave beside the parts: _SUCCESS, _delta_log, .part-00000.csv.crc.
MARK_PREFIXES = ("_", ".")
# The number of a part: part-00003, data_part3, or a number with leading zeros such as BigQuery's 000000000003.
PART_NUMBER = re.compile(r"part[-_. ]?(\d+)|(?<!\d)(0\d{2,})(?!\d)", re.IGNORECASE)
NUMBER_OF_PARTS = re.compile(r"(\d+)-of-(\d+)")


def table_parts(path: Path) -> list[Path]:
    """The files that `path` names, sorted by name; a path that exists is never taken for a pattern.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A part is missing.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [file for file in path.iterdir() if file.is_file()]
    else:
        files = [file for file in _matches(path) if file.is_file()]
    parts = sorted(file for file in files if not file.name.startswith(MARK_PREFIXES))
    if not parts:
        raise FileNotFoundError(f"source folder {path} is empty" if path.is_dir() else not_found(path))
    _check_numbers(parts)
    return parts


def not_found(path: Path) -> str:
    """The message for a path that names no file."""
    if any(char in str(path) for char in PATTERN_CHARS):
        return f"source file {path} does not exist, and no file matches it as a pattern"
    return f"source file {path} does not exist"


def _matches(path: Path) -> list[Path]:
    # The folders that exist are no pattern, whatever characters their names have.
    folder = next(parent for parent in path.parents if parent.is_dir())
    pattern = path.relative_to(folder)
    return list(folder.glob(str(pattern))) if any(char in str(pattern) for char in PATTERN_CHARS) else []


def _check_numbers(parts: Sequence[Path]) -> None:
    """Raises a ValueError that names the first missing part of numbered parts."""
    totals = {match[2] for part in parts if (match := NUMBER_OF_PARTS.search(part.name))}
    found = [match for part in parts if (match := PART_NUMBER.search(part.name) or NUMBER_OF_PARTS.search(part.name))]
    texts = [match[1] or match[2] for match in found]
    if len(texts) < len(parts):
        return  # files of other names among them: the names are no numbering
    numbers = {int(text) for text in texts}
    first = 0 if 0 in numbers else 1
    last = max([*numbers, *(int(total) - 1 + first for total in totals)])
    missing = next((number for number in range(first, last + 1) if number not in numbers), None)
    if missing is not None:
        name = parts[0].name
        start, end = found[0].span(1 if found[0][1] else 2)
        absent = name[:start] + str(missing).zfill(len(texts[0])) + name[end:]
        raise ValueError(
            f"part {absent} is missing in {parts[0].parent} (it has {len(parts)} parts, up to {parts[-1].name}); "
            "export all parts again"
        )
