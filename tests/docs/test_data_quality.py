"""docs/data-quality.md names every expectation, and says what it does."""

import re
from pathlib import Path
from typing import Any

from batch_jobs.ingestion.event_fields import AMBIGUOUS_DATE, QUANTITY_ZERO
from batch_jobs.ingestion.events import DUPLICATE_EVENT, EXCLUDED_REASONS
from batch_jobs.ingestion.files.ids import MANGLED_ID
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.product_rules.duplicates import DUPLICATE_CONTENT
from batch_jobs.ingestion.product_rules.photos import DUPLICATE_PHOTO, MISSING_PHOTO, UNREADABLE_PHOTO
from batch_jobs.ingestion.quarantine import REMEDIES
from expectations.checks import TOLERATED_ROWS
from expectations.runner import MAX_DOCS_RUNS
from expectations.suites import all_suites
from feature_repo.common.config import Config, known_keys
from feature_repo.common.paths import shop_paths
from feature_repo.settings.data import ExpectationsConfig
from tests.batch_jobs.csv_shop import HEADER, rows, shop

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


def _first_cells(section: str) -> set[str]:
    """The names in the first column of a section's tables."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall("`([^`]+)`", cell)}


def test_every_reason_is_described() -> None:
    others = {AMBIGUOUS_DATE, QUANTITY_ZERO, DUPLICATE_EVENT, MANGLED_ID, DUPLICATE_CONTENT, DUPLICATE_PHOTO}
    reasons = {*REMEDIES, *EXCLUDED_REASONS, *others, MISSING_PHOTO, UNREADABLE_PHOTO}
    assert reasons - _first_cells("The quarantine") == set()


def test_every_key_of_the_report_and_every_column_of_the_quarantine_is_described(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=HEADER + "u1,p1,view,2024-03-01\n,p1,view,2024-03-01\n",
        products="id,title\np1,شاي\n",
        photos="id,photo\np1,https://x.example/a.jpg\n",
    )
    report: dict[str, Any] = ingest(config)
    tables = [report[name] for name in ("events", "products", "photos")]
    keys = set(report).union(*tables, *(file for table in tables for file in table["files"]))
    named = set(re.findall(r"`(\w+)`", PAGE.partition("## The ingest report\n")[2].partition("\n## ")[0]))
    assert keys - named == set()
    columns = set(rows(shop_paths(config).quarantine)[0])
    assert columns - _first_cells("The quarantine") == set()
