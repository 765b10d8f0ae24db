"""The time split of small shops, shops with gaps, and shops with stray events."""

import datetime as dt

import ibis
import pytest

from batch_jobs.feature_build.split_time import _require_targets, split_time
from feature_repo.settings.data import DataConfig
from feature_repo.time_split import TimeSplit


def split(
    times: list[str], test_days: int = 10, kind: str = "view", first_kind: str | None = None
) -> tuple[TimeSplit, list[str]]:
    """The split of one event at each time; the first one may be of another kind."""
    kinds = [first_kind or kind, *[kind] * len(times)]
    rows = [
        (dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC), kind, "source")
        for time, kind in zip(times, kinds, strict=False)
    ]
    schema = {"event_time": "timestamp('UTC', 6)", "event_type": "string", "origin": "string"}
    con = ibis.duckdb.connect()
    con.raw_sql("SET TimeZone = 'UTC'")
    columns = [dict(zip(schema, row, strict=True)) for row in rows]
    events = con.create_table("events", ibis.memtable(columns, schema=schema), temp=True)
    config = DataConfig(test_days=test_days, target_events=frozenset({"view"}))
    found, warnings = split_time(events, config)
    _require_targets(events, found, config)
    return found, warnings


def dates(split: TimeSplit) -> list[str]:
    return [str(moment.date()) for moment in split]


DAILY = [f"2025-03-{day:02} 10:00" for day in range(1, 32)]


def test_the_usual_split() -> None:
    found, warnings = split(DAILY)
    assert dates(found) == ["2025-03-11", "2025-03-21", "2025-03-31"]
    assert warnings == []


def test_a_stray_late_event_does_not_end_the_data() -> None:
    found, warnings = split([*DAILY, "2025-11-20 08:00"])
    assert dates(found) == ["2025-03-11", "2025-03-21", "2025-03-31"]
    assert warnings == [
        "1 event of 2025-11-20 to 2025-11-20 long after the one before, of 2025-03-31: the data end there, and later "
        "events count in histories alone; exclude them, or load the events in between"
    ]


def test_one_event_of_twenty_is_still_a_stray() -> None:
    found, _ = split([*DAILY[::2], *DAILY[:3], "2025-11-20 08:00"])
    assert dates(found)[-1] == "2025-03-31"


def test_strays_after_strays() -> None:
    found, warnings = split([*DAILY, *DAILY, "2025-11-20 08:00", "2026-05-01 08:00"])
    assert dates(found)[-1] == "2025-03-31"
    assert warnings[0].startswith("2 events of 2025-11-20 to 2026-05-01 ")


def test_a_shop_that_opens_again_keeps_its_new_events_and_validates_before_the_gap() -> None:
    again = [f"2025-06-{day:02} 10:00" for day in range(1, 8)]
    found, warnings = split([*DAILY, *again])
    assert dates(found) == ["2025-03-22", "2025-05-28", "2025-06-07"]
    assert warnings == []


def test_a_gap_shorter_than_the_validation_days_changes_nothing() -> None:
    found, _ = split(["2025-03-01", "2025-03-12", "2025-03-31"])
    assert dates(found) == ["2025-03-11", "2025-03-21", "2025-03-31"]


def test_an_event_at_the_start_of_the_validation_days_lies_within_them() -> None:
    times = [*["2025-02-01"] * 20, "2025-03-11 00:00", "2025-03-31"]
    found, warnings = split(times)
    assert (dates(found), warnings) == (["2025-03-11", "2025-03-21", "2025-03-31"], [])
    with pytest.raises(ValueError, match=r"nothing to train on: .* 0 lie before .* 1 within them and 1 in"):
        split(times[-3:], first_kind="purchase")


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([], "there are no events"),
        (
            DAILY[:5],
            r"last 10 days \(2025-03-01 to 2025-03-05\), so none is left to train on; lower data.test_days to 3",
        ),
        (["2025-03-21 00:00", "2025-03-31"], "so none is left to train on; lower data.test_days to 9 or less"),
        (["2025-03-01 10:00"] * 3, "so none is left to train on; load older events"),
        (
            ["2025-03-01 10:00", "2025-03-01 10:00", "2025-03-31"],
            "nothing to validate with: the events run from 2025-03-01 to 2025-03-31; of those of data.target_events, 2 "
            r"lie before the validation days \(from 2025-03-01\), 0 within them and 1 in the test days \(from ",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_said_with_the_dates(times: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        split(times)


def test_other_events_are_no_targets() -> None:
    with pytest.raises(ValueError, match=r"nothing to train on: .* 0 lie before"):
        split(DAILY, kind="purchase")
