"""The report on data quality: every check with its result, and the rows that ingest left out, by reason."""

from collections.abc import Mapping, Sequence
from typing import Any

from batch_jobs.console.wording import counted
from batch_jobs.reports.page import Page, Records, ReportKind, ReportTable
from batch_jobs.reports.plots import Bars, Chart, bar_chart
from expectations.records import CANONICAL, FEATURE_STAGE, record_path
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths, shop_paths

DATA_DOCS = "../validation/data_docs/index.html"  # from the folder of the reports
_COUNTS = ("read", "kept", "excluded", "duplicates", "bad")


def read_quality_records(config: Config) -> Records:
    """The records of the data gate and the ingest report."""
    paths = shop_paths(config)
    canonical = read_json(record_path(paths, CANONICAL), "tawsiya validate")
    built = record_path(paths, FEATURE_STAGE).is_file()
    stages = [canonical, *([read_json(record_path(paths, FEATURE_STAGE), "tawsiya validate")] if built else [])]
    kept = ("stage", "passed", "validated_at", "findings")
    return {
        "stages": [{name: stage[name] for name in kept} for stage in stages],
        "ingested": read_json(paths.ingest_report, "tawsiya ingest"),
        "docs": _has_docs(paths),
    }


def _has_docs(paths: ShopPaths) -> bool:
    return (paths.reports / DATA_DOCS).resolve().is_file()


def quality_page(records: Records) -> Page:
    """The page."""
    stages, tables = records["stages"], _ingested_tables(records["ingested"])
    findings = [finding for stage in stages for finding in stage["findings"]]
    results = [_result(finding) for finding in findings]
    refused, warned = results.count("refused"), results.count("warning")
    figure = f"{results.count('passed')} of {counted(len(results), 'check')} passed"
    figure += f", {counted(warned, 'warning')}" if warned else ""
    newest = max(stage["validated_at"] for stage in stages)
    return Page(
        subject="the data that were validated last",
        time=newest,
        figure=f"refused by {counted(refused, 'check')}" if refused else figure,
        wrong=bool(refused),
        content={
            "passed": not refused,
            "failed": _failed(findings),
            "suites": _suites(findings),
            "counts": _counts(tables),
            "reasons": _reasons(tables),
            "chart": _reasons_chart(tables),
            "warnings": records["ingested"]["warnings"],
            "docs": DATA_DOCS if records["docs"] else None,
        },
    )


DATA_REPORT = ReportKind(
    "data", "Data quality", "Every check of the data gate, and the rows that ingest left out.",
    read_quality_records, quality_page,
)  # fmt: skip


# ---- checks ----------------------------------------------------------------------------------------------------------


def _result(finding: Mapping[str, Any]) -> str:
    if finding["success"]:
        return "passed"
    return "refused" if finding["blocking"] else "warning"


def _failed(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What failed, refusals first."""
    failed = [finding for finding in findings if not finding["success"]]
    return [
        {name: finding.get(name, "") for name in ("table", "name", "observed", "remedy")} | {"result": _result(finding)}
        for finding in sorted(failed, key=lambda finding: not finding["blocking"])
    ]


def _suites(findings: Sequence[Mapping[str, Any]]) -> list[ReportTable]:
    tables = dict.fromkeys(finding["table"] for finding in findings)
    return [
        ReportTable(
            f"Checks of {table.replace('_', ' ')}",
            ("Check", "Result", "If it fails", "Observed"),
            [
                [finding["name"], _result(finding), "refuses" if finding["blocking"] else "warns", finding["observed"]]
                for finding in findings
                if finding["table"] == table
            ],
            texts=True,
        )
        for table in tables
    ]


# ---- rows left out ---------------------------------------------------------------------------------------------------


def _ingested_tables(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The counts of each table that ingest read."""
    tables = {
        "events": report["events"], "event log": report["events"].get(c.Origin.EVENT_LOG),
        "products": report["products"], "photos": report.get("photos"),
    }  # fmt: skip
    return {name: counts for name, counts in tables.items() if counts}


def _counts(tables: Mapping[str, Mapping[str, Any]]) -> ReportTable:
    rows = [[name, *(f"{counts.get(key, 0):,}" for key in _COUNTS)] for name, counts in tables.items()]
    return ReportTable("Rows by table", ("Table", "Read", "Kept", "Excluded", "Duplicates", "Bad"), rows)


def _reasons(tables: Mapping[str, Mapping[str, Any]]) -> ReportTable:
    heads = ("Reason", "Table", "Rows", "First one", "What to do")
    return ReportTable("Rows left out, by reason", heads, [_reason(*row) for row in _by_reason(tables)], texts=True)


def _by_reason(tables: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, int, Mapping[str, Any]]]:
    """(reason, table, rows, counts of the table), the most rows first."""
    rows = [
        (reason, name, count, counts)
        for name, counts in tables.items()
        for reason, count in counts.get("reasons", {}).items()
    ]
    return sorted(rows, key=lambda row: -row[2])


def _reason(reason: str, table: str, count: int, counts: Mapping[str, Any]) -> list[str]:
    example = counts.get("examples", {}).get(reason)
    first = f"{example['file'].rpartition('/')[2]}, line {example['line']}: {example['value']}" if example else ""
    return [reason, table, f"{count:,}", first, counts.get("remedies", {}).get(reason, "")]


def _reasons_chart(tables: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    rows = _by_reason(tables)[:15]
    if not rows:
        return None
    counts = [count for _, _, count, _ in rows]
    labels = [f"{reason}, {table}" for reason, table, *_ in rows]
    return bar_chart("Rows left out", labels, [Bars(counts, 1, [f"{count:,}" for count in counts])], x_label="rows")
