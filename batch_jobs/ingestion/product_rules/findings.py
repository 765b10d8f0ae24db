"""What ingest has to say about the values of one table: counts, an example of each, and warnings."""

from functools import cached_property
from typing import Any

import duckdb
import pandas as pd

from batch_jobs.ingestion.files.tables import OpenedTable
from batch_jobs.ingestion.quarantine import finding_line, places
from feature_repo.ingest_report import EXAMPLE_LENGTH


class Findings:
    """Collects counts, each with the first row found, and warnings.

    Attributes:
        table: Name of the table.
        counts: Number of rows by name of the finding.
    """

    def __init__(
        self, db: duckdb.DuckDBPyConnection, table: str, opened: OpenedTable, source_lines: "pd.Series[int]"
    ) -> None:
        """`source_lines` has the source lines of the table's rows, by the index of the values to come."""
        self.table = table
        self.counts: dict[str, int] = {}
        self._first: dict[str, tuple[int, str]] = {}  # source line and value
        self._warnings: list[tuple[str, str]] = []  # name of a finding, or "", and message
        self._db, self._opened, self._lines = db, opened, source_lines

    def count(self, name: str, values: "pd.Series[Any]") -> None:
        """Counts the rows that have a value which is not null; the value is what `name` finds fault with."""
        found = values.dropna()
        self.counts[name] = self.counts.get(name, 0) + len(found)
        if not found.empty:
            first = int(self._lines.loc[found.index[0]]), str(found.iloc[0])[:EXAMPLE_LENGTH]
            self._first[name] = min(first, self._first.get(name, first))

    def warn(self, message: str) -> None:
        """Warns of the whole table."""
        self._warnings.append(("", message))

    def warn_of(self, name: str, message: str) -> None:
        """Warns of a finding, if there is any: its count and first row, then the message, which says what follows."""
        if self.counts.get(name):
            self._warnings.append((name, message))

    @cached_property
    def examples(self) -> dict[str, dict[str, Any]]:
        """The first row of each finding: {"file", "line", "value"}. Complete once all values are counted."""
        found = places(self._db, self.table, self._opened, {line for line, _ in self._first.values()})
        return {name: {**found[line], "value": value} for name, (line, value) in self._first.items()}

    @property
    def warnings(self) -> list[str]:
        """One line each. Complete once all values are counted."""
        return [self._sentence(name, message) for name, message in self._warnings]

    def _sentence(self, name: str, message: str) -> str:
        if not name:
            return message
        return finding_line(self.table, self.counts[name], f"with {name}", self.examples[name], message)
