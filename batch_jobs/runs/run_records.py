"""Records of runs: one JSON file per call of `tawsiya refresh`, from its start on. They hold no buyer ids.

    refreshes/20261123T171200.123Z.json

A run that is killed leaves the record of a running one. Whoever reads it sees that the lock of running runs is free,
and calls it killed; the next run writes that to the record before it takes the lock.
"""

import datetime as dt
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from batch_jobs.privacy.mentions import Mentions
from batch_jobs.runs.run_log import RUN_ID, STAGE_NAME
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import locked, try_lock, write_json
from feature_repo.common.paths import ShopPaths

RUNNING, DONE, FAILED_STATE, REFUSED_STATE, KILLED = "running", "done", "failed", "refused", "killed"
REFRESH, PRICES_RUN = "refresh", "prices"  # kinds of runs
ERROR, FORCED = "error", "forced_because"  # texts of others, which may quote anything
_RECORDS = "2*.json"  # names begin with the year
_LOCK = "running.lock"


class RunRecord:
    """The record of the run at work.

    Attributes:
        content: What is written: see `started_run`.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        """Writes the first state."""
        self._path, self.content = path, content
        self.save()

    @property
    def id(self) -> str:
        """The id of the run."""
        return str(self.content["id"])

    def save(self) -> None:
        """Writes the present state."""
        write_json(self._path, self.content)

    def add_stage(self, **stage: Any) -> None:
        """Adds a stage, which is at work or was skipped."""
        self.content["stages"].append(stage)
        self.save()

    def update_stage(self, **facts: Any) -> None:
        """Adds facts to the stage at work."""
        self.content["stages"][-1] |= facts


@contextmanager
def started_run(paths: ShopPaths, kind: str, keep: int) -> Iterator[RunRecord]:
    """Records a run: its start, how it ends, and what the block adds; the caller holds the shop's lock.

    Args:
        paths: The shop.
        kind: REFRESH or PRICES_RUN.
        keep: Number of records to keep.
    """
    paths.refreshes.mkdir(parents=True, exist_ok=True)
    _settle(paths)
    start = dt.datetime.now(dt.UTC)
    run_id = f"{start:%Y%m%dT%H%M%S}.{start.microsecond // 1000:03}Z"
    content: dict[str, Any] = {
        "id": run_id, "kind": kind, "state": RUNNING, "started": start.isoformat(timespec="milliseconds"),
        "ended": None, "pid": os.getpid(), "version": version("tawsiya"), "stages": [],
    }  # fmt: skip
    tokens = RUN_ID.set(run_id), STAGE_NAME.set(None)
    with _lock_of_running(paths):
        run = RunRecord(paths.refreshes / f"{run_id}.json", content)
        try:
            yield run
            content["state"] = DONE
        except BaseException as error:
            content |= {"state": _state_of(error), ERROR: str(error) or type(error).__name__}
            for stage in content["stages"]:
                stage["state"] = content["state"] if stage["state"] == RUNNING else stage["state"]
            raise
        finally:
            end = dt.datetime.now(dt.UTC)
            content |= {"ended": end.isoformat(timespec="milliseconds"), "seconds": (end - start).total_seconds()}
            run.save()
            delete_old_records(paths, keep)
            RUN_ID.reset(tokens[0])
            STAGE_NAME.reset(tokens[1])


def _state_of(error: BaseException) -> str:
    if isinstance(error, GateRefusedError):
        return REFUSED_STATE
    # SystemExit is a signal's (see batch_jobs.cli), and KeyboardInterrupt Ctrl-C's.
    return FAILED_STATE if isinstance(error, Exception) else KILLED


@contextmanager
def _lock_of_running(paths: ShopPaths) -> Iterator[None]:
    """Held while a run is at work; the kernel releases it however the process ends."""
    file = os.open(paths.refreshes / _LOCK, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        # No other run has it, since the caller holds the shop's lock; a reader may, for a moment.
        with locked(file):
            yield
    finally:
        os.close(file)


def _settle(paths: ShopPaths) -> None:
    """Writes the state of killed runs to their records; no run is at work."""
    for record in _records(paths):
        if record["state"] == RUNNING:
            write_json(paths.refreshes / f"{record['id']}.json", _as_killed(record))


def _as_killed(record: dict[str, Any]) -> dict[str, Any]:
    stages = [stage | ({"state": KILLED} if stage["state"] == RUNNING else {}) for stage in record["stages"]]
    return record | {"state": KILLED, ERROR: f"process {record['pid']} is gone", "stages": stages}


# ---- reading ---------------------------------------------------------------------------------------------------------


def list_runs(paths: ShopPaths) -> list[dict[str, Any]]:
    """The records of all runs, oldest first, each in its true state."""
    # In this order: a run takes the lock before it writes its record. If the lock is free, the run may have ended since
    # its record was read, which then says so.
    records = list(_records(paths))
    if _is_running(paths):
        return records
    return [_as_killed(record) if record["state"] == RUNNING else record for record in _records(paths)]


def read_run(paths: ShopPaths, run_id: str) -> dict[str, Any]:
    """The record of one run; `last` is the newest one.

    Raises:
        ValueError: There is none; the message names the command that lists them.
    """
    runs = list_runs(paths)
    found = runs[-1:] if run_id == "last" else [run for run in runs if run["id"] == run_id]
    if not found:
        raise ValueError(f"{paths.refreshes} has no run {run_id!r}; `tawsiya runs list` lists them")
    return found[0]


def last_done(paths: ShopPaths, kind: str) -> dict[str, Any] | None:
    """The newest finished run of a kind."""
    return next((run for run in reversed(list_runs(paths)) if (run["kind"], run["state"]) == (kind, DONE)), None)


def _records(paths: ShopPaths) -> Iterator[dict[str, Any]]:
    for path in sorted(paths.refreshes.glob(_RECORDS)):
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # deleted meanwhile, or damaged
            continue
        if record.get("id") == path.stem:
            yield record


def _is_running(paths: ShopPaths) -> bool:
    try:
        file = os.open(paths.refreshes / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(file)
    finally:
        os.close(file)


# ---- deleting --------------------------------------------------------------------------------------------------------


def old_records(paths: ShopPaths, keep: int) -> list[Path]:
    """All but the newest `keep` records and that of the last refresh, which the next one compares with."""
    old = sorted(paths.refreshes.glob(_RECORDS))[:-keep]
    compared = last_done(paths, REFRESH) if old else None
    return [path for path in old if compared is None or path.stem != compared["id"]]


def delete_old_records(paths: ShopPaths, keep: int) -> None:
    """Deletes them."""
    for path in old_records(paths, keep):
        path.unlink(missing_ok=True)


def erase_from_records(paths: ShopPaths, buyer_ids: Collection[str]) -> int:
    """Erases buyers from the texts of errors and of people; returns how many records changed."""
    mentions, changed = Mentions(buyer_ids), 0
    for record in _records(paths):
        texts = {name: mentions.erased(record[name]) for name in (ERROR, FORCED) if record.get(name)}
        if record | texts != record:
            write_json(paths.refreshes / f"{record['id']}.json", record | texts)
            changed += 1
    return changed
