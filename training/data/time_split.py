"""The global time split: training days, then validation days, then test days."""

import datetime as dt
from pathlib import Path
from typing import Any, NamedTuple

from feature_repo.common.files import read_json


class TimeSplit(NamedTuple):
    """Start of the validation days, start of the test days, end of the test days; all earlier days are for training."""

    validation_from: dt.datetime
    test_from: dt.datetime
    data_end: dt.datetime

    def as_json(self) -> dict[str, Any]:
        """The three moments in ISO 8601, by field name."""
        return {field: moment.isoformat() for field, moment in self._asdict().items()}


def read_time_split(feature_report: Path) -> TimeSplit:
    """Reads the time split of the last feature build; FileNotFoundError names the command that makes it."""
    report = read_json(feature_report, "tawsiya build-features")
    return TimeSplit(*(dt.datetime.fromisoformat(report[field]) for field in TimeSplit._fields))
