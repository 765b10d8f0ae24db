"""DuckDB counts the faulty rows of a suite and finds the first ones.

Great Expectations' own expectations on rows need every row in pandas, which took 2.1 GB for 10 million events.
"""

from collections.abc import Sequence
from typing import Any

import duckdb

from expectations.checks import FILE, ROW, Check, Fault, Rows, Suite
from feature_repo.common.sql import first_row

EXAMPLES = 3  # faulty values quoted per finding
# Keys of the counts of a check: all rows, those without the value, the faulty ones, values of the first of these; or
# why they could not be counted.
ALL_ROWS, MISSING_ROWS, FAULTY_ROWS, FIRST_VALUES, FAILURE = "all", "missing", "faulty", "first_values", "failure"
# Of a column of another type, or of one that is missing.
UNLIKE_TYPES = (duckdb.DataError, duckdb.BinderException)


def count_rows(db: duckdb.DuckDBPyConnection, suite: Suite) -> dict[str, Any]:
    """The counts of each check of rows, and the number of all rows for each other check, by the checks' names.

    Raises:
        duckdb.Error: The rows cannot be read.
    """
    assert suite.rows is not None
    try:
        return _counts(db, suite.rows, suite.checks)
    except UNLIKE_TYPES:
        # A column that one check cannot compare must not hide the results of the others.
        return {check.name: _counts_or_failure(db, suite.rows, check) for check in suite.checks}


def failing_rows(rows: Rows, fault: Fault) -> str:
    """The query of the faulty rows in the order of the file: value, example, id, file and row (from 1)."""
    return (
        f"SELECT ({fault.value})::VARCHAR AS value, ({fault.example or fault.value})::VARCHAR AS example, "
        f"{rows.identifier} AS id, {FILE} AS file, {ROW} + 1 AS row "
        f"FROM {rows.source} WHERE {fault.condition} ORDER BY {FILE}, {ROW}"
    )


def _counts_or_failure(db: duckdb.DuckDBPyConnection, rows: Rows, check: Check) -> Any:
    try:
        return _counts(db, rows, (check,))[check.name]
    except UNLIKE_TYPES as error:
        return {FAILURE: str(error).partition("\n")[0]}


def _counts(db: duckdb.DuckDBPyConnection, rows: Rows, checks: Sequence[Check]) -> dict[str, Any]:
    faults = [check.fault for check in checks if check.fault]
    # In a query of their own: an aggregate's FILTER takes no subquery.
    judged = [
        f"({condition}) AS {kind}_{number}"
        for number, fault in enumerate(faults)
        for kind, condition in (("counted", fault.counted), ("faulty", fault.condition))
    ]
    totals = [f"count(*) FILTER ({kind}_{number})" for number in range(len(faults)) for kind in ("counted", "faulty")]
    query = f"SELECT {', '.join(['count(*)', *totals])} FROM (SELECT {', '.join(judged) or '1'} FROM {rows.source})"
    total, *counted = first_row(db.execute(query))
    pairs = iter(zip(counted[::2], counted[1::2], strict=True))
    return {
        check.name: _result(db, rows, check.fault, total, *next(pairs)) if check.fault else total for check in checks
    }


def _result(
    db: duckdb.DuckDBPyConnection, rows: Rows, fault: Fault, total: int, counted: int, faulty: int
) -> dict[str, Any]:
    examples = f"SELECT example FROM ({failing_rows(rows, fault)}) WHERE example IS NOT NULL LIMIT {EXAMPLES}"
    values = [value for (value,) in db.execute(examples).fetchall()] if faulty else []
    return {ALL_ROWS: total, MISSING_ROWS: total - counted, FAULTY_ROWS: faulty, FIRST_VALUES: values}
