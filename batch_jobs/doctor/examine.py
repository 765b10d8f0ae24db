"""Doctor: whether a shop can serve, what will trouble it, and what it takes on the disk."""

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any

from batch_jobs.console.tables import coloured, table_lines
from batch_jobs.console.wording import counted
from batch_jobs.doctor.configuration import configuration_checks, existing
from batch_jobs.doctor.data import data_checks
from batch_jobs.doctor.diagnosis import GOOD, PROBLEM, WARNING
from batch_jobs.doctor.disk import disk_checks
from batch_jobs.doctor.environment import environment_checks
from batch_jobs.doctor.online_store import online_store_checks
from batch_jobs.doctor.releases import release_checks
from batch_jobs.upkeep.retention import GB, disk_use
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths

COLOURS = {GOOD: "green", WARNING: "yellow", PROBLEM: "red"}


def doctor(config: Config) -> dict[str, Any]:
    """Examines the shop; changes nothing.

    Returns:
        {"healthy": no check found a problem, "checks": [Diagnosis], "disk": [DiskUse], "bytes": of the shop's folder,
        "free_bytes": on its disk}
    """
    paths, now = shop_paths(config), dt.datetime.now(dt.UTC)
    uses = disk_use(config)
    free = shutil.disk_usage(existing(paths.root)).free
    found = [
        *environment_checks(),
        *configuration_checks(config),
        *online_store_checks(config, paths),
        *release_checks(config, paths, now),
        *data_checks(config, paths, now),
        *disk_checks(config, paths, uses, free),
    ]
    # Stable: within a group, as the checks come.
    groups = list(dict.fromkeys(item.group for item in found))
    checks = sorted(found, key=lambda item: groups.index(item.group))
    return {
        "healthy": all(item.state != PROBLEM for item in checks),
        "checks": [asdict(item) for item in checks],
        "disk": [asdict(use) for use in uses],
        "bytes": sum(use.bytes for use in uses if "/" not in use.place),
        "free_bytes": free,
    }


def doctor_text(result: dict[str, Any]) -> str:
    """The result for people: findings by group, each with its remedy, then the disk, then how many there are."""
    rows = [
        [use["place"], f"{use['bytes'] / 1e6:,.1f}", _limit(use)]
        for use in result["disk"]
    ]  # fmt: skip
    shop = ["shop", f"{result['bytes'] / 1e6:,.1f}", f"{result['free_bytes'] / GB:,.1f} GB are free"]
    return "\n".join(
        [
            *_finding_lines(result["checks"]),
            *table_lines([["folder", "MB", "limit"], *rows, shop], right=[1], cut=[2]),
            "",
            _summary(result["checks"]),
        ]
    )


def _finding_lines(checks: list[dict[str, Any]]) -> Iterator[str]:
    for group, found in groupby(checks, key=lambda item: str(item["group"])):
        yield group
        for item in found:
            state = coloured(f"{item['state']:<8}", COLOURS[item["state"]])
            yield f"  {state} {item['name']}: {item['text']}"
            if item["remedy"]:
                yield f"           -> {item['remedy']}"
        yield ""


def _limit(use: dict[str, Any]) -> str:
    more = f"; --clean deletes {use['deletable'] / 1e6:,.1f} MB" if use["deletable"] else ""
    return f"{use['limit']}{more}"


def _summary(checks: list[dict[str, Any]]) -> str:
    counts = {state: sum(item["state"] == state for item in checks) for state in (PROBLEM, WARNING)}
    if not any(counts.values()):
        return f"all {len(checks)} checks passed"
    return f"{counted(counts[PROBLEM], 'problem')} and {counted(counts[WARNING], 'warning')} in {len(checks)} checks"
