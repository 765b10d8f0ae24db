"""The time split of a feature build: training days, then validation days, then test days."""

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


def read_time_split(feature_report: Path) -> TimeSplit:
    """Reads the time split of the last feature build.

    Raises:
        FileNotFoundError: There is no build yet; the message names the command that makes one.
    """
    report = read_json(feature_report, "tawsiya build-features")
    return TimeSplit(*(dt.datetime.fromisoformat(report[field]) for field in TimeSplit._fields))
