"""docs/values.md: its tables say what the rules do."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.transforms.events import read_event_type
from feature_repo.transforms.values.amounts import read_amount, read_stock
from feature_repo.transforms.values.flags import read_flag
from feature_repo.transforms.values.ids import clean_buyer_id, clean_id
from feature_repo.transforms.values.times import TimeReader

pytestmark = pytest.mark.fast

PAGE = Path(__file__).parents[4] / "docs" / "values.md"


def section(title: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """The cells of a section's table, without the heading."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table in the section {title!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def test_times() -> None:
    reader, rows = TimeReader(), table("Times")
    for texts, expected, *_ in rows:
        moment = datetime.fromisoformat(quoted(expected)[0]).replace(tzinfo=UTC)
        assert [reader.milliseconds(text) for text in quoted(texts)] == [moment.timestamp() * 1000]
    assert len(rows) == 14


def test_ids() -> None:
    nothing, nobody = (quoted(row[0]) for row in table("Ids"))
    assert {clean_id(text) for text in nothing} == {clean_buyer_id(text) for text in nothing + nobody} == {None}
    assert [clean_id(text) for text in nobody] == nobody


def test_amounts() -> None:
    for texts, value, currency in table("Amounts"):
        expected = None if value == "refused" else (float(value), currency or None)
        assert [read_amount(text) for text in quoted(texts)] == [expected]


def test_stock() -> None:
    for texts, stock in table("Stock and availability"):
        number = re.match(r"-?\d+", stock)
        assert {read_stock(text) for text in quoted(texts)} == {int(number.group()) if number else None}


def test_flags() -> None:
    yes, _, no = section("Flags").partition("are yes;")
    assert {read_flag(text) for text in quoted(yes)} == {True}
    assert {read_flag(text) for text in quoted(no)} == {False}


def test_event_types() -> None:
    for meaning, names in table("Event types"):
        assert {read_event_type(name) for name in quoted(names)} <= {meaning}
