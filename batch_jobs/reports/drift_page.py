"""The report on drift: the distributions of the present data beside those of the last good run before them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from batch_jobs.console.wording import counted
from batch_jobs.reports.page import NO_VALUE, NoRecordsError, Page, Records, ReportKind, ReportTable, moment
from batch_jobs.reports.plots import Bars, Chart, bar_chart
from expectations.checks import DRIFT_VIEW
from expectations.gate import STATISTICS
from expectations.records import CANONICAL, record_path
from expectations.statistics import good_runs
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import shop_paths

SHOWN_SHARES = 15  # of a distribution
_COUNTS = {
    "events_read": "events read", "events_kept": "events kept", "products_read": "products read",
    "products_kept": "products kept", "buyers": "buyers", "visible_products": "visible products",
    "available_products": "available products", "priced_products": "products with a price",
}  # fmt: skip


def read_drift_records(config: Config) -> Records:
    """The statistics of the present data and of the run that the gate compared them with, and what it found."""
    paths = shop_paths(config)
    record = read_json(record_path(paths, CANONICAL), "tawsiya validate")
    if not record.get(STATISTICS):
        raise NoRecordsError(
            f"{record_path(paths, CANONICAL)} is of an older version, without statistics; run `tawsiya validate`"
        )
    since = record["compared_with"]
    reference = next((run.statistics for run in good_runs(paths) if run.validated_at == since), None)
    return {
        "validated_at": record["validated_at"],
        "now": record[STATISTICS],
        "since": since,
        "before": None if reference is None else json.loads(json.dumps(asdict(reference))),
        "findings": [finding for finding in record["findings"] if finding["table"] == DRIFT_VIEW],
    }


def drift_page(records: Records) -> Page:
    """The page."""
    now, before, findings = records["now"], records["before"], records["findings"]
    failed = [finding for finding in findings if not finding["success"]]
    figure = (
        f"{counted(len(failed), 'check')} of {len(findings)} found drift" if findings else "nothing to compare with"
    )
    if findings and not failed:
        figure = f"no drift in {counted(len(findings), 'check')}"
    return Page(
        subject="the data that were validated last",
        time=records["validated_at"],
        figure=figure,
        wrong=bool(failed),
        content={
            "since": moment(records["since"]) if records["since"] else None,
            "findings": _findings(findings),
            "counts": _counts(now, before),
            "newest_event": [_newest_event(statistics) for statistics in (before, now)],
            "charts": [chart for chart in _charts(now, before) if chart],
        },
    )


DRIFT_REPORT = ReportKind(
    "drift", "Drift", "How the present data differ from the last good run before them.", read_drift_records, drift_page
)


def _newest_event(statistics: Mapping[str, Any] | None) -> str:
    newest = statistics and statistics["newest_event"]
    return moment(newest) if newest else "none"


def _findings(findings: list[dict[str, Any]]) -> ReportTable:
    def result(finding: Mapping[str, Any]) -> str:
        if finding["success"]:
            return "steady"
        return "refused" if finding["blocking"] else "warning"

    rows = [
        [finding["name"], result(finding), "" if finding["success"] else finding["observed"],
         "" if finding["success"] else finding.get("remedy", "")]
        for finding in findings
    ]  # fmt: skip
    return ReportTable("Checks of drift", ("Check", "Result", "What changed", "What to do"), rows, texts=True)


def _counts(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> ReportTable:
    rows = []
    for key, name in _COUNTS.items():
        old = None if before is None else before[key]
        change = f"{now[key] / old - 1:+.1%}" if old else NO_VALUE
        rows.append([name, NO_VALUE if old is None else f"{old:,}", f"{now[key]:,}", change])
    return ReportTable("Counts", ("Count", "Reference", "Now", "Change"), rows)


def _charts(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Chart | None]:
    return [
        _shares_chart("Event types", "share of events", now["event_mix"], before and before["event_mix"]),
        _shares_chart("Categories", "share of products with one", _shares(now), before and _shares(before)),
        _shares_chart("Missing values", "share of rows", now["null_rates"], before and before["null_rates"]),
        _shares_chart(
            "Unreadable values", "share of products", now["unreadable_shares"], before and before["unreadable_shares"]
        ),
    ]


def _shares(statistics: Mapping[str, Any]) -> dict[str, float]:
    """The share of each category among the products that have one."""
    categories = statistics["categories"]
    return {name: count / sum(categories.values()) for name, count in categories.items()}


def _shares_chart(
    title: str, x_label: str, now: Mapping[str, float], before: Mapping[str, float] | None
) -> Chart | None:
    """The largest shares in percent, the reference above the present one; None where all are 0."""
    most = {name: max(now.get(name, 0), (before or {}).get(name, 0)) for name in {**now, **(before or {})}}
    shown = [name for name in sorted(most, key=lambda name: -most[name]) if most[name] > 0][:SHOWN_SHARES]
    if not shown:
        return None
    if len(shown) == SHOWN_SHARES:
        title = f"{title}, the largest {SHOWN_SHARES}"
    return bar_chart(
        title,
        shown,
        [
            Bars([100 * shares.get(name, 0) for name in shown], place, [f"{shares.get(name, 0):.1%}" for name in shown])
            for place, shares in ((1, before), (0, now))
            if shares is not None
        ],
        x_label=f"{x_label}, %",
    )
