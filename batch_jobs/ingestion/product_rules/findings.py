"""What ingest has to say about the values of one table: counts, an example of each, and warnings."""

from typing import Any

import duckdb
import pandas as pd

from batch_jobs.ingestion.quarantine import SHOWN_VALUE_LENGTH, located_rows


class Findings:
    """Collects counts, each with the first row found, and warnings.

    Attributes:
        table: Name of the table.
        counts: Number of rows by name of the finding.
        examples: The first row of each finding: {"file", "line", "value"}.
        warnings: One line each.
    """

    def __init__(self, db: duckdb.DuckDBPyConnection, table: str, source_lines: "pd.Series[int]") -> None:
        """`source_lines` has the source lines of the table's rows, by the index of the values to come."""
        self.table = table
        self.counts: dict[str, int] = {}
        self.examples: dict[str, dict[str, Any]] = {}
        self.warnings: list[str] = []
        self._db, self._lines = db, source_lines

    def count(self, name: str, values: "pd.Series[Any]") -> None:
        """Counts the rows that have a value which is not null; the value is what `name` finds fault with."""
        found = values.dropna()
        self.counts[name] = self.counts.get(name, 0) + len(found)
        if not found.empty and name not in self.examples:
            place = self._place(int(self._lines.loc[found.index[0]]))
            self.examples[name] = {**place, "value": str(found.iloc[0])[:SHOWN_VALUE_LENGTH]}

    def warn_of(self, name: str, message: str) -> None:
        """Warns of a finding, if there is any: its count and first row, then the message, which says what follows."""
        if not (rows := self.counts.get(name)):
            return
        example = self.examples[name]
        first = f"{example['file']}, line {example['line']}: {example['value']!r}"
        self.warnings.append(f"{self.table}: {rows:,} x {name}, the first in {first}; {message}")

    def _place(self, source_line: int) -> dict[str, Any]:
        row = '(SELECT ? AS "table", ? AS source_line, NULL AS reason, NULL AS value, NULL AS raw)'
        query = f"SELECT file, source_line FROM ({located_rows(row)})"
        place = self._db.execute(query, [self.table, source_line]).fetchone()
        assert place is not None
        return dict(zip(("file", "line"), place, strict=True))
