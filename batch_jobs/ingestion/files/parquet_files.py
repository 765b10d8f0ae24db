"""Parquet files as tables of readable text."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.common.files import glob_literal
from feature_repo.common.sql import quoted_identifier, sql_string


def parquet_rows(db: duckdb.DuckDBPyConnection, parts: Sequence[Path]) -> str:
    """The DuckDB query of the rows of Parquet files; text without the mark of text is read as UTF-8.

    Raises:
        ValueError: A file is cut short or damaged, or its columns are not those of the first one.
    """
    names = parquet_columns(parts[0])
    for part in parts[1:]:
        check_columns(part, parquet_columns(part), parts[0], names)
    _refuse_mixed_times(parts)
    files = ", ".join(sql_string(glob_literal(part)) for part in parts)
    # By name, and with the type that holds the values of all parts.
    reader = f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
    binary = [name for name, kind, *_ in db.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall() if kind == "BLOB"]
    texts = [column for column in map(quoted_identifier, binary) if _is_text(db, reader, column)]
    replaced = ", ".join(f"decode({column}) AS {column}" for column in texts)
    return f"SELECT *{f' REPLACE ({replaced})' if replaced else ''} FROM {reader}"


def parquet_columns(path: Path) -> list[str]:
    """The names of a Parquet file's columns.

    Raises:
        ValueError: The file is cut short or damaged.
    """
    try:
        return list(pq.read_schema(path).names)
    except pa.ArrowInvalid as error:
        if "magic bytes not found in footer" in str(error) or "smaller than" in str(error):
            raise ValueError(f"{path} is cut short: the end of the Parquet file is missing; export it again") from None
        raise ValueError(f"{path} cannot be read: {error}; export it again") from None


def parquet_row_count(path: Path) -> int:
    """The number of a Parquet file's rows."""
    return int(pq.read_metadata(path).num_rows)


def check_columns(part: Path, names: Sequence[str], first: Path, expected: Sequence[str]) -> None:
    """Raises a ValueError if a part does not have the columns of the first one, in whatever order and case."""
    own, others = {name.casefold() for name in names}, {name.casefold() for name in expected}
    if own == others:
        return
    missing = ", ".join(name for name in expected if name.casefold() not in own) or "none"
    surplus = ", ".join(name for name in names if name.casefold() not in others) or "none"
    raise ValueError(f"{part} has other columns than {first} (missing: {missing}; surplus: {surplus})")


def _refuse_mixed_times(parts: Sequence[Path]) -> None:
    """Raises a ValueError if a column has times with a zone in one part and without in another.

    DuckDB would read the latter as UTC, whatever data.timezone says.
    """
    first: dict[str, tuple[bool, Path]] = {}
    for part in parts:
        for column in pq.read_schema(part):
            if not (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
                continue
            has_zone = getattr(column.type, "tz", None) is not None
            known, earlier = first.setdefault(column.name.casefold(), (has_zone, part))
            if known != has_zone:
                with_zone, without = (earlier, part) if known else (part, earlier)
                raise ValueError(
                    f"column {column.name!r} has a time zone in {with_zone} and none in {without}; export both alike"
                )


def _is_text(db: duckdb.DuckDBPyConnection, reader: str, column: str) -> bool:
    query = f"SELECT count(*) FROM {reader} WHERE {column} IS NOT NULL AND TRY(decode({column})) IS NULL"
    row = db.execute(query).fetchone()
    return row is not None and int(row[0]) == 0
