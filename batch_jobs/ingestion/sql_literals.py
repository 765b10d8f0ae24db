"""Literals and names in SQL."""


def sql_string(text: str) -> str:
    """`text` as a SQL literal."""
    # Literals instead of parameters, which DuckDB does not take in CREATE VIEW.
    return "'" + text.replace("'", "''") + "'"


def quoted_identifier(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
