"""Ids that other programs changed: 12345.0 for 12345 (pandas), 1.23457E+12 for 1234567890123 (Excel)."""

from collections.abc import Iterable

import duckdb

from feature_repo.common.sql import quoted_identifier

MANGLED_ID = "mangled_id"  # a reason of quarantine
EXACT_INTEGERS = 2**53  # a float has all digits of smaller integers
NUMBER_TYPES = ("FLOAT", "DOUBLE", "DECIMAL")
# A text without a digit, such as nan, is no id.
WHOLE_NUMBER = "regexp_full_match(trim({column}), '-?[0-9]+(\\.0+)?')"
EXCELS_NUMBER = "regexp_full_match(trim({column}), '-?[0-9]([.,][0-9]+)?[eE]\\+[0-9]+')"


def mend_ids(db: duckdb.DuckDBPyConnection, view: str, columns: Iterable[str]) -> None:
    """Reads the ids 12345.0 of `{view}_rows` as 12345: in number columns, and in text if all are whole numbers."""
    types = {name: kind for name, kind, *_ in db.execute(f"DESCRIBE {view}_rows").fetchall()}
    replaced = []
    for name in columns:
        column = quoted_identifier(name)
        if types[name].startswith(NUMBER_TYPES):
            whole = f"{column} = trunc({column}) AND abs({column}) < {EXACT_INTEGERS}"
            replaced.append(f"CASE WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END AS {column}")
        elif types[name] == "VARCHAR" and _whole_numbers_as_floats(db, view, column):
            replaced.append(f"regexp_replace({column}, '\\.0+\\s*$', '') AS {column}")
    if replaced:
        db.execute(
            f"CREATE OR REPLACE TEMP TABLE {view}_rows AS SELECT * REPLACE ({', '.join(replaced)}) FROM {view}_rows"
        )


def move_mangled_ids(db: duckdb.DuckDBPyConnection, view: str, columns: Iterable[str]) -> str | None:
    """Moves the rows of `{view}_rows` whose ids lost their digits to `{view}_unreadable`; returns one such id."""
    texts = [f"{quoted_identifier(name)}::VARCHAR" for name in columns]
    mangled = " OR ".join(f"coalesce({EXCELS_NUMBER.format(column=text)}, false)" for text in texts)
    if not mangled:
        return None
    values = ", ".join(f"CASE WHEN {EXCELS_NUMBER.format(column=text)} THEN {text} END" for text in texts)
    first = db.execute(
        f"SELECT coalesce({values}) FROM {view}_rows WHERE {mangled} ORDER BY source_line LIMIT 1"
    ).fetchone()
    if first is None:
        return None
    db.execute(f"""
        INSERT INTO {view}_unreadable
        SELECT source_line, '{MANGLED_ID}', to_json(r)::VARCHAR FROM {view}_rows r WHERE {mangled}
    """)
    db.execute(f"DELETE FROM {view}_rows WHERE {mangled}")
    return str(first[0])


def _whole_numbers_as_floats(db: duckdb.DuckDBPyConnection, view: str, column: str) -> bool:
    """Whether all ids are whole numbers, and some have ".0": those of one part of the table, or of all."""
    if not db.execute(f"SELECT 1 FROM {view}_rows WHERE contains({column}, '.0') LIMIT 1").fetchone():
        return False
    ids = f"SELECT {column} FROM {view}_rows WHERE regexp_matches({column}, '[0-9]')"
    return not db.execute(f"SELECT 1 FROM ({ids}) WHERE NOT {WHOLE_NUMBER.format(column=column)} LIMIT 1").fetchone()
