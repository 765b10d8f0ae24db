"""The time split of a shop's events: training days, then validation days, then test days."""

import datetime as dt
from pathlib import Path
from typing import Any, NamedTuple

from feature_repo.common.files import read_json


class TimeSplit(NamedTuple):
    """Where the parts of the time split begin and end, in UTC.

    Attributes:
        validation_from: Start of the validation days. Everything before is for training.
        test_from: Start of the test days, and end of the validation days.
        data_end: Time of the source's last event, and end of the test days.
    """

    validation_from: dt.datetime
    test_from: dt.datetime
    data_end: dt.datetime

    def as_json(self) -> dict[str, Any]:
        """The times as ISO 8601 strings, by field."""
        return {field: moment.isoformat() for field, moment in self._asdict().items()}


def read_time_split(report_path: Path, made_by: str = "tawsiya build-features") -> TimeSplit:
    """Reads the time split from the report of the features or of the contexts.

    Raises:
        FileNotFoundError: There is no report yet; the message names the command `made_by` that makes one.
        ValueError: It is damaged or of another version of Tawsiya; the message names the command, too.
    """
    report = read_json(report_path, made_by)
    try:
        return TimeSplit(*(dt.datetime.fromisoformat(report[field]) for field in TimeSplit._fields))
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{report_path} has no time split that this version of Tawsiya reads; delete it, and run `{made_by}`"
        ) from None
