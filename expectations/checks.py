"""What a suite is made of: a query that reduces a file to the narrow table that Great Expectations reads, and checks.

The query selects only the columns that a check needs. Checks that are slow or awkward in pandas (duplicates among
millions of ids, look-ups in another table, arrays) become a column that holds the faulty values and is null in all
other rows. The queries read the files through the views named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feature_repo import columns as c
from feature_repo.common.config import ExpectationsConfig
from feature_repo.common.sql import sql_string

PRODUCTS_VIEW, EVENTS_VIEW, INGEST_VIEW, DRIFT_VIEW = "products", "events", "ingest", "drift"
PRODUCT_FEATURES_VIEW, SEQUENCES_VIEW, PURCHASE_FEATURES_VIEW = "product_features", "sequences", "purchases"
# Checks of the ingest report that the report's own examples explain.
VALUES_READABLE, UNREADABLE_SHARE = "values_readable", "unreadable_share"
ROW = "file_row_number"  # DuckDB's number of a row in its Parquet file, from 0

# So many bad rows of a table never refuse a run: in a shop of ten products, one bad row is a share of 10%.
TOLERATED_ROWS = 5


@dataclass(frozen=True)
class Check:
    """One expectation.

    Attributes:
        name: Stable name, for reports, messages, `expectations.warn_only` and `expectations.also_block`.
        wording: The text after the number in a finding: the fault ("3 of 10 rows lack a title"), or the counted thing
            ("10 products").
        remedy: What to do when it fails.
        expectation: The Great Expectations expectation.
        failing: A DuckDB query of the faulty rows, with the columns value, id and row (from 1); empty for a check of
            counts.
        left_out: A DuckDB condition on the quarantine: the rows that explain a failure; empty if none do.
        warns: Whether a failure only warns, unless `expectations.also_block` names the check.
    """

    name: str
    wording: str
    remedy: str
    expectation: Any
    failing: str = ""
    left_out: str = ""
    warns: bool = False

    def blocks(self, limits: ExpectationsConfig) -> bool:
        """Whether a failure refuses the data."""
        if self.name in limits.warn_only:
            return False
        return not self.warns or self.name in limits.also_block


@dataclass(frozen=True)
class Suite:
    """The checks of one table, and the DuckDB query that produces the table."""

    table: str
    query: str
    checks: tuple[Check, ...]


def failing_rows(view: str, identifier: str, value: str, condition: str) -> str:
    """The query of the rows of `view` for which `condition` holds, for `Check.failing`."""
    return f"SELECT {value} AS value, {identifier} AS id, {ROW} + 1 AS row FROM {view} WHERE {condition} ORDER BY {ROW}"


def repeated(view: str, columns: str) -> str:
    """The condition of the rows of `view` whose values in `columns` another row has too."""
    return f"({columns}) IN (SELECT ({columns}) FROM {view} GROUP BY ALL HAVING count(*) > 1)"


def of_table(table: str, *, reason: str = "", kind: str = "") -> str:
    """The condition of the rows of a table in the quarantine, for `Check.left_out`; of one reason or kind, if given."""
    conditions = {c.TABLE: table, c.REASON: reason, "kind": kind}
    return " AND ".join(f"\"{name}\" = '{value}'" for name, value in conditions.items() if value)


def one_row(values: Mapping[str, float | str | None]) -> str:
    """The query of a table with one row of numbers and texts; None is a missing text."""
    return "SELECT " + ", ".join(f"{_literal(value)} AS {name}" for name, value in values.items())


def _literal(value: float | str | None) -> str:
    if value is None:
        return "NULL::VARCHAR"
    if isinstance(value, str):
        return sql_string(value)
    return f"{value}::BIGINT" if isinstance(value, int) else f"{value!r}::DOUBLE"
