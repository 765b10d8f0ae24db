"""What a person needs to mend data that failed: the faulty values, how many, where they came from, what to do."""

import json
from collections.abc import Mapping
from typing import Any

import duckdb

from expectations.checks import UNREADABLE_SHARE, VALUES_READABLE, Check
from expectations.gate import GateResult, stage_files
from expectations.statistics import open_database, open_view, unreadable_counts
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths

VALUES_PER_CHECK = 10
REASONS_SHOWN, EXAMPLES_PER_REASON = 3, 3
LONGEST_VALUE = 200  # characters of a row that an example shows

Explanation = dict[str, Any]


def explain_failures(result: GateResult, config: Config) -> list[Explanation]:
    """Explains each failed expectation of a stage.

    Returns:
        Per expectation {"table", "name", "blocks", "observed", "rows", "values", "reasons", "remedy"}: `rows` is the
        number of faulty rows of the file; `values` are the first of them, each {"value", "id", "file", "row"};
        `reasons` are the most frequent reasons of the quarantine, each {"reason", "rows", "examples"}, where an example
        is {"file", "line", "value"} and the file is None if it is not recorded.
    """
    from expectations.suites import all_suites

    checks = {check.name: check for suite in all_suites(config) for check in suite.checks}
    report = _report(result.paths)
    explanations = []
    with open_database(result.paths.validation / "spill") as db:
        for name, path in stage_files(result.paths, result.stage).items():
            open_view(db, name, path, "the command that writes it")
        for finding in (finding for finding in result.findings if not finding.success):
            check = checks[finding.name]
            rows, values = _failing_values(db, check, result, finding.table)
            explanations.append(
                {
                    "table": finding.table,
                    "name": finding.name,
                    "blocks": finding.blocking,
                    "observed": finding.observed,
                    "rows": rows,
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
            lines.append(f"  {reason['reason']}: {reason['rows']:,} rows")
            lines += [f"    {_place(example)}: {example['value']}" for example in reason["examples"]]
        lines.append(f"  what to do: {item['remedy']}")
    return "\n".join(lines).lstrip("\n") or "nothing to explain: no expectation failed"


def _place(example: Mapping[str, Any]) -> str:
    line = f"line {example['line']}" if example["line"] is not None else "some line"
    return f"{example['file']}, {line}" if example["file"] else line


# ---- values and reasons ----------------------------------------------------------------------------------------------


def _failing_values(
    db: duckdb.DuckDBPyConnection, check: Check, result: GateResult, table: str
) -> tuple[int, list[dict[str, Any]]]:
    """The number of faulty rows, and the first ones."""
    if not check.failing:
        return 0, []
    try:
        total = db.execute(f"SELECT count(*) FROM ({check.failing})").fetchone()
        found = db.execute(f"SELECT value::VARCHAR, id, row FROM ({check.failing}) LIMIT {VALUES_PER_CHECK}").fetchall()
    except duckdb.Error:
        # Such as a column of another type: the finding itself says so.
        return 0, []
    assert total is not None
    file = stage_files(result.paths, result.stage)[table].relative_to(result.paths.root).as_posix()
    return int(total[0]), [{"value": value, "id": id_, "file": file, "row": row} for value, id_, row in found]


def _reasons(
    db: duckdb.DuckDBPyConnection, check: Check, paths: ShopPaths, report: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The most frequent reasons of the check's table, with rows of the quarantine."""
    if check.name in (VALUES_READABLE, UNREADABLE_SHARE):
        return _unreadable_values(report)
    if not check.quarantine or not paths.quarantine.is_file():
        return []
    open_view(db, "quarantine", paths.quarantine, "`tawsiya ingest`")
    of_check = f'"{c.TABLE}" = ?' + (f" AND {c.REASON} IN {check.reasons}" if check.reasons else "")
    counted = db.execute(
        f"SELECT {c.REASON}, count(*) FROM quarantine WHERE {of_check} GROUP BY 1 ORDER BY count(*) DESC, 1 "
        f"LIMIT {REASONS_SHOWN}",
        [check.quarantine],
    ).fetchall()
    return [
        {"reason": reason, "rows": rows, "examples": _examples(db, check.quarantine, reason)}
        for reason, rows in counted
    ]


def _examples(db: duckdb.DuckDBPyConnection, table: str, reason: str) -> list[dict[str, Any]]:
    """The first rows of the quarantine with a reason; none of a quarantine that an older version wrote."""
    if "line" not in {name for name, *_ in db.execute("DESCRIBE quarantine").fetchall()}:
        return []
    rows = db.execute(
        f"SELECT file, line, left(coalesce(value, raw), {LONGEST_VALUE}) FROM quarantine "
        f'WHERE "{c.TABLE}" = ? AND {c.REASON} = ? '
        f"ORDER BY file, {c.SOURCE_LINE} LIMIT {EXAMPLES_PER_REASON}",
        [table, reason],
    ).fetchall()
    return [{"file": file, "line": line, "value": value} for file, line, value in rows]


def _unreadable_values(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The kinds of values that cannot be read, with the report's examples."""
    products = report.get("products", {})
    examples = products.get("examples", {})
    counts = {name: count for name, count in unreadable_counts(products).items() if count}
    return [
        {"reason": name, "rows": count, "examples": [examples[name]] if name in examples else []}
        for name, count in sorted(counts.items(), key=lambda item: -item[1])
    ]


def _report(paths: ShopPaths) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(paths.ingest_report.read_text(encoding="utf-8"))
    return content
