"""What ingest has to say about the values of one table: counts, an example of each, and warnings."""

import logging
from typing import Any

import pandas as pd

log = logging.getLogger(__name__)

LONGEST_EXAMPLE = 200  # characters of a value in the report


class Findings:
    """Collects counts, each with the first row found, and warnings.

    Attributes:
        counts: Number of rows by name of the finding.
        examples: The first row of each finding: {"file", "line", "value"}.
        warnings: One line each.
    """

    def __init__(self, file: str, source_lines: "pd.Series[int]") -> None:
        """`file` is the file of the table; `source_lines` has the lines of its rows, by the index of the values."""
        self.file = file
        self._lines = source_lines
        self.counts: dict[str, int] = {}
        self.examples: dict[str, dict[str, Any]] = {}
        self.warnings: list[str] = []

    def count(self, name: str, values: "pd.Series[Any]") -> None:
        """Counts the rows that have a value which is not null; the value is what `name` finds fault with."""
        found = values.dropna()
        self.counts[name] = self.counts.get(name, 0) + len(found)
        if not found.empty and name not in self.examples:
            line, value = int(self._lines.loc[found.index[0]]), str(found.iloc[0])[:LONGEST_EXAMPLE]
            self.examples[name] = {"file": self.file, "line": line, "value": value}

    def warn_of_example(self, name: str, message: str) -> None:
        """Warns with the file and line of the example of `name` in front; the message may hold {value!r}."""
        example = self.examples[name]
        self.warn(f"{example['file']} line {example['line']}: {message.format(value=example['value'])}")

    def warn(self, message: str) -> None:
        """Adds a warning, which the log gets at once."""
        log.warning("%s", message)
        self.warnings.append(message)
