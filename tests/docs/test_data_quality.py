"""docs/data-quality.md names every expectation, and says what it does."""

import re
from pathlib import Path

from expectations.checks import TOLERATED_ROWS
from expectations.runner import MAX_DOCS_RUNS
from expectations.suites import all_suites
from feature_repo.common.config import Config, ExpectationsConfig, known_keys

PAGE = (Path(__file__).parents[2] / "docs" / "data-quality.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| .+ \| (blocks|warns) \| (?:`([\w.]+)` )?\|$", re.MULTILINE)


def test_every_expectation_is_described_with_what_it_does_by_default() -> None:
    checks = [check for suite in all_suites(Config()) for check in suite.checks]
    assert [(name, effect) for name, effect, _ in ROW.findall(PAGE)] == [
        (check.name, "blocks" if check.blocks(Config().expectations) else "warns") for check in checks
    ]


def test_every_threshold_stands_beside_an_expectation() -> None:
    settings = {setting for *_, setting in ROW.findall(PAGE) if setting}
    assert settings <= set(known_keys())
    thresholds = set(ExpectationsConfig.model_fields) - {"warn_only", "also_block"}
    assert {setting.removeprefix("expectations.") for setting in settings} >= thresholds


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"Up to {TOLERATED_ROWS} bad rows" in PAGE
    assert f"the newest {MAX_DOCS_RUNS} runs" in PAGE
