"""The command line.

Every command has the options --config, --set and --json. Exit codes: 0 done, 1 failed, 2 bad usage or configuration,
3 refused by a gate, 130 interrupted. Commands import their libraries when they run, so that `tawsiya --help` is fast.
"""

import os
import signal
import sys

import typer

from batch_jobs.commands import data, model, pipeline, privacy, searches, serving, upkeep
from batch_jobs.commands.index import index_app
from batch_jobs.commands.init import init
from batch_jobs.commands.keys import keys_app
from batch_jobs.commands.release import release_app
from batch_jobs.commands.report import report_app
from batch_jobs.commands.runs import runs_app
from batch_jobs.commands.show_config import config_app

# OpenMP reads this when torch is first imported. By default its threads spin while they wait, which makes text encoding
# 3 to 5 times slower on a machine with other load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(name="tawsiya", help="Two-tower recommender on a feature store.", no_args_is_help=True)
app.command()(init)
app.command()(data.ingest)
app.command()(data.validate)
app.command("build-features")(data.build_features)
app.command()(data.materialize)
app.command()(model.train)
app.command()(model.embed)
app.add_typer(index_app, name="index")
app.command("build-lists")(model.build_lists)
app.command()(model.evaluate)
app.command()(pipeline.refresh)
app.command()(pipeline.demo)
app.command()(serving.recommend)
app.command("list")(serving.list_products)
app.command()(serving.search)
app.command("search-report")(searches.search_report)
app.command()(serving.serve)
app.command()(privacy.forget)
app.command()(privacy.export)
app.command()(upkeep.backup)
app.command()(upkeep.restore)
app.command()(upkeep.doctor)
app.add_typer(release_app, name="release")
app.add_typer(runs_app, name="runs")
app.add_typer(report_app, name="report")
app.add_typer(config_app, name="config")
app.add_typer(keys_app, name="keys")


def _exit_on_signal(signal_number: int, _frame: object) -> None:
    """Makes SIGTERM raise SystemExit, so that locks are released and the embedded server stops."""
    # The exit code that a shell gives to a process that a signal ended.
    sys.exit(128 + signal_number)


def main() -> None:
    """Entry point of the `tawsiya` command."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    app()


if __name__ == "__main__":
    main()
