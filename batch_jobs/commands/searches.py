"""`tawsiya search-report`: what buyers searched for and did not find."""

from typing import Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job
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
    if not report["days"]:
        return "no searches are recorded; the API records them while api.search_log_days is above 0"
    lines = [f"{report['searches']} searches from {report['from']} to {report['to']}"]
    for outcome, title in _TITLES.items():
        found = report[outcome]
        share = found["searches"] / max(report["searches"], 1)
        lines.append(f"\n{title}: {found['searches']} searches, {share:.1%}")
        lines += [f"  {row['count']:6}  {row['query']}  (last {row['last']})" for row in found["queries"]]
    return "\n".join(lines)
