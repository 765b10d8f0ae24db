"""The alert rules, by promtool: each fires when it should and not a step earlier; each has its part of the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from online_api.observability.metrics import Metrics

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "tawsiya-alerts.yml"
CASES = Path(__file__).with_name("alerts_test.yml")
RUNBOOK = ROOT / "docs" / "runbook.md"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool; install Debian's package prometheus"
)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: str, folder: Path) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_configuration_is_valid(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "prometheus.yml"
    configuration = yaml.safe_load(file.read_text(encoding="utf-8"))
    (scrape,) = configuration["scrape_configs"]
    # Debian's promtool is older than this field (2.55); the image of docker-compose.yml is newer.
    assert scrape.pop("http_headers") == {"X-API-Key": {"files": ["/run/secrets/metrics_key"]}}
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    promtool("check", "config", "prometheus.yml", folder=tmp_path)


@needs_promtool
def test_every_alert_fires_when_it_should(tmp_path: Path) -> None:
    for file in (RULES, CASES):  # the cases name the rules by their file name alone
        shutil.copy(file, tmp_path)
    promtool("test", "rules", CASES.name, folder=tmp_path)


def test_every_alert_has_a_case() -> None:
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    fired = {check["alertname"] for case in cases for check in case["alert_rule_test"] if check["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules()}


def test_every_alert_has_its_part_of_the_runbook() -> None:
    headings = re.findall(r"^## (Tawsiya\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in rules())
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_the_rules_use_metrics_that_exist() -> None:
    text = Metrics().render()[0].decode()
    known = set(re.findall(r"# TYPE (\w+)", text))
    used = set(re.findall(r"tawsiya_\w+", " ".join(rule["expr"] for rule in rules())))
    assert {re.sub(r"_(count|sum|bucket)$", "", name) for name in used} <= known
