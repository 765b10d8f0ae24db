"""What a suite is made of: checks, and what they are of.

Great Expectations reads one row per suite, with a column per check, which has the check's name. A check of rows has the
counts that DuckDB took (expectations.row_counts), so memory does not grow with the files; the others have a number or a
text. DuckDB reads the files through the views named here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feature_repo import columns as c
from feature_repo.settings.data import ExpectationsConfig

PRODUCTS_VIEW, EVENTS_VIEW, INGEST_VIEW, DRIFT_VIEW = "products", "events", "ingest", "drift"
PRODUCT_FEATURES_VIEW, SEQUENCES_VIEW, PURCHASE_FEATURES_VIEW = "product_features", "sequences", "purchases"
# Checks of the ingest report that the report's own examples explain.
VALUES_READABLE, UNREADABLE_SHARE = "values_readable", "unreadable_share"
# DuckDB's columns for a row's Parquet file and its number in it, from 0.
FILE, ROW = "filename", "file_row_number"

# So many bad rows of a table never refuse a run: in a shop of ten products, one bad row is a share of 10%.
TOLERATED_ROWS = 5


@dataclass(frozen=True)
class Fault:
    """What makes a row faulty, as DuckDB expressions on the rows of a suite.

    Attributes:
        condition: Holds for faulty rows.
        value: The faulty value, for `--explain`.
        example: The value that a finding quotes; empty quotes `value`, and NULL nothing.
        counted: Holds for the rows that the share of faulty rows is of.
    """

    condition: str
    value: str
    example: str = ""
    counted: str = "true"


@dataclass(frozen=True)
class Check:
    """One expectation.

    Attributes:
        name: Stable name, for reports, messages, `expectations.warn_only` and `expectations.also_block`.
        wording: The text after the number in a finding: the fault ("3 of 10 rows lack a title"), or the counted thing
            ("10 products").
        remedy: What to do when it fails.
        expectation: The Great Expectations expectation.
        fault: What makes a row faulty; None for a check of a number or a text.
        left_out: A DuckDB condition on the quarantine: the rows that explain a failure; empty if none do.
        warns: Whether a failure only warns, unless `expectations.also_block` names the check.
    """

    name: str
    wording: str
    remedy: str
    expectation: Any
    fault: Fault | None = None
    left_out: str = ""
    warns: bool = False

    def blocks(self, limits: ExpectationsConfig) -> bool:
        """Whether a failure refuses the data."""
        if self.name in limits.warn_only:
            return False
        return not self.warns or self.name in limits.also_block


@dataclass(frozen=True)
class Rows:
    """The rows that a suite's checks count.

    Attributes:
        source: What DuckDB selects from: a view, or a query in brackets that has the columns FILE and ROW.
        identifier: The column that names a row.
    """

    source: str
    identifier: str


@dataclass(frozen=True)
class Suite:
    """The checks of one table.

    Attributes:
        table: Its name.
        checks: The checks.
        observed: The numbers and texts that the checks judge, by the checks' columns.
        rows: The rows that the checks count, instead of `observed`.
    """

    table: str
    checks: tuple[Check, ...]
    observed: Mapping[str, float | str | None] = field(default_factory=dict)
    rows: Rows | None = None


def repeated(view: str, columns: str) -> str:
    """The condition of the rows of `view` whose values in `columns` another row has too."""
    return f"({columns}) IN (SELECT ({columns}) FROM {view} GROUP BY ALL HAVING count(*) > 1)"


def of_table(table: str, *, reason: str = "", kind: str = "") -> str:
    """The condition of the rows of a table in the quarantine, for `Check.left_out`; of one reason or kind, if given."""
    conditions = {c.TABLE: table, c.REASON: reason, "kind": kind}
    return " AND ".join(f"\"{name}\" = '{value}'" for name, value in conditions.items() if value)
