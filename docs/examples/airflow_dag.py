"""Tawsiya on Airflow: a refresh every night and prices every ten minutes. Put the file into Airflow's `dags` folder.

Airflow has an environment of its own, and the tasks call the command. The project's tests compile this file; it was
loaded in Airflow 3.3.2.
"""

import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

FOLDER = Path(os.environ.get("TAWSIYA_FOLDER", "/srv/tawsiya"))
FAILED = 1  # may be repeated; wrong settings (2) and refused data (3) need a person
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def refresh(*arguments: str) -> dict[str, Any]:
    """Runs `tawsiya refresh`; its result goes to XCom without the evaluation, which is large."""
    command = [FOLDER / ".venv/bin/tawsiya", "refresh", *arguments, "--json", "--log-format", "json"]
    done = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        error = AirflowException if done.returncode == FAILED else AirflowFailException
        raise error(f"exit code {done.returncode}; `tawsiya runs show last` has the error")
    result: dict[str, Any] = json.loads(done.stdout)
    result.pop("evaluation", None)
    return result


@dag(schedule="0 3 * * *", start_date=START, catchup=False, max_active_runs=1, tags=["tawsiya"])
def tawsiya_refresh() -> None:
    """From raw files to a live release."""

    @task(retries=2, retry_delay=dt.timedelta(minutes=10))
    def live_release() -> dict[str, Any]:
        return refresh()

    live_release()


@dag(schedule="*/10 * * * *", start_date=START, catchup=False, max_active_runs=1, tags=["tawsiya"])
def tawsiya_prices() -> None:
    """Prices, stock and visibility to the online store."""

    @task
    def prices() -> dict[str, Any]:
        return refresh("--only", "prices")

    prices()


tawsiya_refresh()
tawsiya_prices()
