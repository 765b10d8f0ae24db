"""The report of searches without results, and its command."""

import datetime as dt
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_jobs.cli import app
from batch_jobs.upkeep.search_report import search_report
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.common.search_log import append_searches


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = Config.model_validate({"data_dir": tmp_path / "var", "data": {"source": "csv"}})
    log = shop_paths(config).search_log
    append_searches(log, {(None, "searched"): 8, ("lamp", "no_match"): 2, ("rug", "filtered"): 1}, dt.date(2026, 3, 1))
    append_searches(log, {(None, "searched"): 2, ("lamp", "no_match"): 1, ("عطر", "no_match"): 4}, dt.date(2026, 3, 3))
    append_searches(log, {("lamp", "weak"): 5}, dt.date(2026, 3, 3))
    return config


def test_the_most_frequent_queries_by_outcome(config: Config) -> None:
    assert search_report(config, 1) == {
        "days": 2,
        "from": "2026-03-01",
        "to": "2026-03-03",
        "searches": 10,
        "no_match": {"searches": 7, "queries": [{"query": "عطر", "count": 4, "last": "2026-03-03"}]},
        "filtered": {"searches": 1, "queries": [{"query": "rug", "count": 1, "last": "2026-03-01"}]},
        "weak": {"searches": 5, "queries": [{"query": "lamp", "count": 5, "last": "2026-03-03"}]},
    }


def run(config: Config, *options: str) -> str:
    settings = ["--set", f"data_dir={config.data_dir}", "--set", "data.source=csv"]
    result = CliRunner().invoke(app, ["search-report", *settings, *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command(config: Config) -> None:
    text = run(config)
    assert "10 searches from 2026-03-01 to 2026-03-03" in text
    assert "like no product of the shop: 7 searches, 70.0%\nsearches  query  last" in text
    assert re.search(r"^ +4  عطر +2026-03-03$", text, re.MULTILINE)
    assert re.search(r"^ +3  lamp ", text, re.MULTILINE)
    assert json.loads(run(config, "--json", "-n", "5")) == search_report(config, 5)


def test_no_log_is_no_error(tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": tmp_path / "none", "data": {"source": "csv"}})
    assert search_report(config, 5)["days"] == 0
    assert "no searches are recorded" in run(config)
