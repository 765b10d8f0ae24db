"""`tawsiya search-report`: what buyers searched for and did not find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job

if TYPE_CHECKING:
    from feature_repo.common.config import Config

_TITLES = {
    "no_match": "like no product of the shop",
    "filtered": "found, but nothing within the filters",
    "weak": "found by a distant resemblance only",
}


def search_report(
    n: Annotated[int, typer.Option("-n", min=1, help="Number of queries of each kind")] = 20,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the most frequent searches without results."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.upkeep.search_report import search_report as report

        return report(settings, n)

    run_job(job, config, overrides, as_json, _text)


def _text(report: JobResult) -> str:
    from batch_jobs.console.tables import table_lines

    if not report["days"]:
        return "no searches are recorded; the API records them while api.search_log_days is above 0"
    lines = [f"{report['searches']} searches from {report['from']} to {report['to']}"]
    for outcome, title in _TITLES.items():
        found = report[outcome]
        share = found["searches"] / max(report["searches"], 1)
        lines.append(f"\n{title}: {found['searches']} searches, {share:.1%}")
        rows = [[f"{row['count']:,}", row["query"], row["last"]] for row in found["queries"]]
        lines += table_lines([["searches", "query", "last"], *rows], right=[0], cut=[1]) if rows else []
    return "\n".join(lines)
