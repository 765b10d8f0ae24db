"""The report of a feature build: which files hold the served features, and when each build added to them.

A folder of feature files holds parts, each named after the build that wrote it. A part counts once the report lists it.
"""

import datetime as dt
from pathlib import Path
from typing import Any

from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths

LAYOUT = 4  # version of the files and the report of a feature build; version 0.1.0 had one file per table
BUILD_COMMAND = "tawsiya build-features"
PARTS = "2*.parquet"  # the names of parts begin with the year; contexts.parquet beside them is no part
_STAMP = "%Y%m%dT%H%M%S%f"


def read_feature_report(paths: ShopPaths) -> dict[str, Any]:
    """The report of the last feature build.

    Raises:
        FileNotFoundError: There is none, or it is of another version of Tawsiya; the message names the command.
        ValueError: It is damaged; the message names the command, too.
    """
    report = read_json(paths.feature_report, BUILD_COMMAND)
    if report.get("layout") != LAYOUT:
        raise FileNotFoundError(
            f"the features in {paths.feature_report.parent} are of another version of Tawsiya; run `{BUILD_COMMAND}`"
        )
    return report


def live_parts(folder: Path, report: dict[str, Any]) -> list[Path]:
    """The parts in a folder of feature files that count, oldest first."""
    return [folder / name for name in sorted(report["parts"][folder.name])]


def part_name(built_at: dt.datetime, number: int) -> str:
    """The file name of a part; all its rows are stamped with `built_at` or earlier."""
    return f"{built_at:{_STAMP}}-{number:03}.parquet"


def part_time(path: Path) -> dt.datetime:
    """When the build began that wrote the part."""
    return dt.datetime.strptime(path.name.partition("-")[0], _STAMP).replace(tzinfo=dt.UTC)
