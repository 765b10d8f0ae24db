"""Tawsiya on Dagster: the release as an asset, refreshed every night.

    pip install dagster            # beside Tawsiya, or in an environment of its own
    dagster dev -f dagster_schedule.py

TAWSIYA_FOLDER is the folder of the project, whose .venv has the command `tawsiya`.
"""

import json
import os
import subprocess
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    Definitions,
    Failure,
    MaterializeResult,
    RetryPolicy,
    ScheduleDefinition,
    asset,
    define_asset_job,
)

FOLDER = Path(os.environ.get("TAWSIYA_FOLDER", "/srv/tawsiya"))
FAILED = 1  # may be repeated; wrong settings (2) and refused data (3) need a person


@asset(group_name="tawsiya", retry_policy=RetryPolicy(max_retries=2, delay=600))
def live_release(context: AssetExecutionContext) -> MaterializeResult:
    """The release that the API serves, with its counts and metrics."""
    command = [FOLDER / ".venv/bin/tawsiya", "refresh", "--json", "--log-format", "json"]
    done = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failure(
            f"tawsiya refresh ended with exit code {done.returncode}; `tawsiya runs show last` has the error",
            allow_retries=done.returncode == FAILED,
        )
    result = json.loads(done.stdout)
    context.log.info("run %s made or kept release %s", result["run"], result["release"])
    shown = ("release", "counts", "metrics", "changes", "stages", "warnings")
    return MaterializeResult(metadata={name: result[name] for name in shown})


nightly = ScheduleDefinition(
    name="nightly_refresh",
    job=define_asset_job("refresh", selection=[live_release]),
    cron_schedule="0 3 * * *",
)

definitions = Definitions(assets=[live_release], schedules=[nightly])
