"""What a person needs to mend data that failed: the faulty values, how many, where they came from, what to do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from expectations.checks import UNREADABLE_SHARE, VALUES_READABLE, Check, Rows
from expectations.gate import GateResult
from expectations.records import file_name, stage_files
from expectations.row_counts import failing_rows
from expectations.statistics import open_view, unreadable_counts
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session, out_of_resources
from feature_repo.common.paths import ShopPaths
from feature_repo.common.sql import first_row
from feature_repo.ingest_report import EXAMPLE_LENGTH

VALUES_PER_CHECK = 10
REASONS_SHOWN = 3

Explanation = dict[str, Any]


def explain_failures(result: GateResult, config: Config) -> list[Explanation]:
    """Explains each failed expectation of a stage.

    Returns:
        Per expectation {"table", "name", "blocks", "observed", "rows", "values", "reasons", "remedy"}: `rows` is the
        number of faulty rows of the file; `values` are the first of them, each {"value", "id", "file", "row"};
        `reasons` are the most frequent reasons of the quarantine, each {"reason", "rows", "examples", "remedy"}, where
        an example is {"file", "line", "value"} and the remedy of a reason without one is "".
    """
    from expectations.suites import all_suites

    checks = {check.name: (suite.rows, check) for suite in all_suites(config) for check in suite.checks}
    report = _report(result.paths)
    explanations = []
    with duckdb_session(config, "validate") as db:
        for name, files in stage_files(result.paths, result.stage).items():
            open_view(db, name, files, "the command that writes it")
        for finding in (finding for finding in result.findings if not finding.success):
            rows, check = checks[finding.name]
            count, values = _failing_values(db, rows, check, result.paths)
            explanations.append(
                {
                    "table": finding.table,
                    "name": finding.name,
                    "blocks": finding.blocking,
                    "observed": finding.observed,
                    "rows": count,
                    "values": values,
                    "reasons": _reasons(db, check, result.paths, report),
                    "remedy": check.remedy,
                }
            )
    return explanations


def explanation_text(explanations: list[Explanation]) -> str:
    """Explanations for people."""
    lines = []
    for item in explanations:
        effect = "blocks" if item["blocks"] else "warns"
        lines += ["", f"{item['table']}: {item['name']} ({effect}): {item['observed']}"]
        lines += [
            f"  {value['value']}: {value['id']}, row {value['row']} of {value['file']}" for value in item["values"]
        ]
        if item["rows"] > len(item["values"]):
            lines.append(f"  and {item['rows'] - len(item['values']):,} more rows")
        for reason in item["reasons"]:
            lines.append(f"  {reason['reason']}: {reason['rows']:,} {'row' if reason['rows'] == 1 else 'rows'}")
            lines += [f"    {_place(example)}: {example['value']}" for example in reason["examples"]]
            lines += [f"    what to do: {reason['remedy']}"] if reason["remedy"] else []
        lines.append(f"  what to do: {item['remedy']}")
    return "\n".join(lines).lstrip("\n") or "nothing to explain: no expectation failed"


def _place(example: Mapping[str, Any]) -> str:
    return f"{example['file']}, line {example['line']}"


# ---- values and reasons ----------------------------------------------------------------------------------------------


def _failing_values(
    db: duckdb.DuckDBPyConnection, rows: Rows | None, check: Check, paths: ShopPaths
) -> tuple[int, list[dict[str, Any]]]:
    """The number of faulty rows, and the first ones."""
    if rows is None or check.fault is None:
        return 0, []
    failing = failing_rows(rows, check.fault)
    try:
        (total,) = first_row(db.execute(f"SELECT count(*) FROM ({failing})"))
        found = db.execute(f"SELECT value, id, file, row FROM ({failing}) LIMIT {VALUES_PER_CHECK}").fetchall()
    except duckdb.Error as error:
        if out_of_resources(error):
            raise
        # Such as a column of another type: the finding itself says so.
        return 0, []
    return int(total), [
        {"value": value, "id": id_, "file": file and file_name(paths, Path(file)), "row": row}
        for value, id_, file, row in found
    ]


def _reasons(
    db: duckdb.DuckDBPyConnection, check: Check, paths: ShopPaths, report: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The most frequent reasons of the check's table, with rows of the quarantine."""
    if check.name in (VALUES_READABLE, UNREADABLE_SHARE):
        return _unreadable_values(report)
    if not check.left_out or not paths.quarantine.is_file():
        return []
    open_view(db, "quarantine", [paths.quarantine], "`tawsiya ingest`")
    if "kind" not in {name for name, *_ in db.execute("DESCRIBE quarantine").fetchall()}:
        return []  # an older version wrote it
    counted = db.execute(f"""
        SELECT "{c.TABLE}", {c.REASON}, count(*) FROM quarantine WHERE {check.left_out}
        GROUP BY ALL ORDER BY count(*) DESC, {c.REASON} LIMIT {REASONS_SHOWN}
    """).fetchall()
    return [
        {
            "reason": reason,
            "rows": rows,
            "examples": _examples(db, table, reason),
            "remedy": _counts_of(report, table).get("remedies", {}).get(reason, ""),
        }
        for table, reason, rows in counted
    ]


def _counts_of(report: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    """The counts of a table of the quarantine in the ingest report."""
    counts: Mapping[str, Any] = (report["events"] if table == c.Origin.EVENT_LOG else report).get(table, {})
    return counts


def _examples(db: duckdb.DuckDBPyConnection, table: str, reason: str) -> list[dict[str, Any]]:
    """The first rows of a reason: those whose line ingest has recorded."""
    rows = db.execute(
        f"SELECT file, line, left(coalesce(value, raw), {EXAMPLE_LENGTH}) FROM quarantine "
        f'WHERE "{c.TABLE}" = ? AND {c.REASON} = ? AND line IS NOT NULL ORDER BY file, {c.SOURCE_LINE}',
        [table, reason],
    ).fetchall()
    return [{"file": file, "line": line, "value": value} for file, line, value in rows]


def _unreadable_values(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The kinds of values that cannot be read, with the report's examples."""
    products = report.get("products", {})
    examples = products.get("examples", {})
    counts = {name: count for name, count in unreadable_counts(products).items() if count}
    return [
        {"reason": name, "rows": count, "examples": [examples[name]] if name in examples else [], "remedy": ""}
        for name, count in sorted(counts.items(), key=lambda item: -item[1])
    ]


def _report(paths: ShopPaths) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(paths.ingest_report.read_text(encoding="utf-8"))
    return content
