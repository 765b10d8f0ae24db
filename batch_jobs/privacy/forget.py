"""Forget: erases buyers from everything that Tawsiya stores of a shop, and keeps them out from then on.

The steps can be repeated: a run that was killed is finished by the same command. The list of forgotten buyers comes
first, so that no event of theirs arrives behind the erasure. The shop's own files are not touched.
"""

import datetime as dt
import json
import shutil
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from batch_jobs.ingestion.event_log.archive import archive_event_log
from batch_jobs.ingestion.files.utf8 import scratch_folder
from batch_jobs.privacy.event_lines import blank_events, no_replay, remove_events
from batch_jobs.privacy.feature_parts import remove_from_parts
from batch_jobs.privacy.parquet_rows import remove_rows
from batch_jobs.privacy.quotes import delete_quoting_results, erase_examples
from batch_jobs.runs.run_records import erase_from_records
from batch_jobs.upkeep.leftovers import remove_leftovers
from expectations.gate import require_passed, validate_canonical, validate_features
from expectations.records import CANONICAL, GATE_STAGES, record_path
from feature_repo.common.buyer_merges import accounts_of_guests, guests_of, read_merges
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import locked_beside, write_json
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.online.shop_keys import delete_buyers, rewrite_files
from feature_repo.store import feature_store
from feature_repo.transforms.values.ids import clean_buyer_id, id_problem

# A request that the API checked before it saw the new list has logged its events by then.
REQUEST_SECONDS = 2.0
ONLINE_STORE = "online store"
REMAINS = (
    "models and releases made before were trained with these events, and hold no id; the next `tawsiya refresh` trains "
    "without them, and `release.keep` says when the older releases go"
)


def read_ids(texts: Collection[str]) -> list[str]:
    """Ids as ingest and the API read them.

    Raises:
        ValueError: One of them is no buyer's id.
    """
    ids = []
    for number, text in enumerate(texts, 1):
        buyer_id = clean_buyer_id(text)
        if buyer_id is None or id_problem(buyer_id):
            raise ValueError(f"id {number} is no buyer's id: {id_problem(buyer_id) if buyer_id else 'it is empty'}")
        ids.append(buyer_id)
    if not ids:
        raise ValueError("no buyer is named; use --buyer ID or --file PATH")
    return list(dict.fromkeys(ids))


def forget(config: Config, buyer_ids: Collection[str]) -> dict[str, Any]:
    """Erases buyers, by their cleaned ids; the caller holds the shop's lock.

    Returns:
        {"buyers": their number, with the guests who became these buyers, "removed": {place: rows, events or files},
        "gate": {stage: state}, "remains", "warnings"}

    Raises:
        ValueError: One of them is a guest who has become another buyer.
        StoreUnavailableError: The online store cannot be reached: all but it is erased; repeat the command.
    """
    paths = shop_paths(config)
    buyer_ids = with_guests(paths, buyer_ids)
    ForgottenBuyers(paths.forgotten).add(buyer_ids)
    listed_at = time.monotonic()
    remove_leftovers(paths)
    stages, accept_drift = _stages_to_renew(paths), _had_passed(paths)
    removed: Counter[str] = Counter()
    removed["canonical/report.json"] = erase_examples(paths, buyer_ids)
    removed["refreshes"] = erase_from_records(paths, buyer_ids)
    _archive_finished_days(config, paths)
    for path, rows in remove_from_parts(paths, buyer_ids).items():
        removed[_name(paths, path)] += rows
    removed["training contexts"] = _delete_contexts(paths)
    for path in sorted(paths.root.rglob("*.parquet")):
        removed[_name(paths, path)] += remove_rows(path, buyer_ids)
    renewed = {record_path(paths, stage) for stage in stages}
    removed["validation"] = delete_quoting_results(paths.validation, buyer_ids, kept=renewed)
    gate = _renew(config, paths, stages, accept_drift=accept_drift)
    # Now that no record quotes the buyers, from which anybody may build reports at any time.
    removed["reports"] = _delete_reports(paths)
    time.sleep(max(0.0, REQUEST_SECONDS - (time.monotonic() - listed_at)))
    for host in paths.hosts():
        removed.update(_remove_logged(host, buyer_ids))
    warnings = _erase_online(config, paths, buyer_ids, removed)
    # Last, because it says who was merged into these buyers: a killed run is repeated.
    merges = [host.buyer_merges for host in paths.hosts() if host.buyer_merges.is_file()]
    removed["event_log/merges"] = sum(blank_events(path, buyer_ids) for path in merges)
    paths.unfinished_erasure.unlink(missing_ok=True)
    return {
        "buyers": len(buyer_ids),
        "removed": {place: count for place, count in removed.items() if count},
        "gate": gate,
        "remains": REMAINS,
        "warnings": warnings,
    }


def with_guests(paths: ShopPaths, buyer_ids: Collection[str]) -> list[str]:
    """The buyers and the guests who have become them, whose events are theirs.

    Raises:
        ValueError: One of them is a guest who has become another buyer.
    """
    accounts = accounts_of_guests(read_merges(host.buyer_merges for host in paths.hosts()))
    for buyer_id in buyer_ids:
        account = accounts.get(buyer_id)
        if account is not None and account not in buyer_ids:
            raise ValueError(
                f"buyer {buyer_id!r} has become buyer {account!r}, and their events cannot be told apart any more; "
                f"erase {account!r}, which erases both"
            )
    return list(dict.fromkeys([*buyer_ids, *guests_of(buyer_ids, accounts)]))


def forget_text(result: dict[str, Any]) -> str:
    """What was erased, for people."""
    found = [f"  {place}: {count:,}" for place, count in result["removed"].items()] or ["  nothing was stored"]
    buyers = "1 buyer" if result["buyers"] == 1 else f"{result['buyers']:,} buyers"
    return "\n".join(
        [
            f"{buyers} erased; rows, events and files removed:", *found,
            *(f"gate, {stage}: {state}" for stage, state in result["gate"].items()),
            *(f"warning: {warning}" for warning in result["warnings"]),
            result["remains"],
        ]
    )  # fmt: skip


def _name(paths: ShopPaths, path: Path) -> str:
    """The place of a file in the result: folders of many parts are one place."""
    relative = path.relative_to(paths.root)
    return (relative if len(relative.parts) <= 2 else relative.parent).as_posix()


def _archive_finished_days(config: Config, paths: ShopPaths) -> None:
    """Moves finished days of each host's event log to its archive, as ingest does, so that none is half moved."""
    with scratch_folder(paths.source_copies) as scratch, duckdb_session(config, "forget") as db:
        for host in paths.hosts():
            archive_event_log(db, host.event_log, scratch, keep_days=0, now=dt.datetime.now(dt.UTC))


def _delete_contexts(paths: ShopPaths) -> int:
    """Deletes contexts, their cache, and the checkpoints of unfinished trainings, all of which training makes anew."""
    files = [path for path in (paths.context_report, paths.contexts, paths.context_sequences) if path.is_file()]
    for path in files:
        path.unlink()
    checkpoints = [path for folder in (paths.model, paths.tuning) for path in folder.rglob("*_checkpoint*")]
    folders = [path for path in (paths.training_set, *checkpoints) if path.is_dir()]
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)
    return len(files) + len(folders)


def _delete_reports(paths: ShopPaths) -> int:
    """Deletes the reports, which quote records, and the lists in shadow: lists follow from purchases."""
    earlier = paths.root / "shadow.html"  # of versions before the reports
    found = [
        path
        for path in (paths.shadow_lists, earlier, *paths.reports.glob("*.html"), *paths.reports.glob("*.json"))
        if path.is_file()
    ]
    for path in found:
        path.unlink()
    return len(found)


def _remove_logged(paths: ShopPaths, buyer_ids: Collection[str]) -> Counter[str]:
    """Removes events that the API of a host has logged, and those that it has not yet stored online."""
    removed: Counter[str] = Counter()
    # The log first: the API makes events of the log pending, of a process that died.
    for path in sorted(paths.event_log.glob("*.jsonl")):
        removed["event_log"] += blank_events(path, buyer_ids)
    if paths.pending_events.is_dir():
        # In this order, as the API does. Without a replay, events only move from the first file to the others.
        with no_replay(paths.pending_events):
            waiting = paths.unknown_product_events
            with locked_beside(waiting):
                removed["event_log/pending"] += remove_events(waiting, buyer_ids) if waiting.is_file() else 0
            for path in set(paths.pending_events.glob("*.jsonl")) - {waiting}:
                removed["event_log/pending"] += remove_events(path, buyer_ids)
    return removed


# ---- gate ------------------------------------------------------------------------------------------------------------


def _stages_to_renew(paths: ShopPaths) -> list[str]:
    """The stages whose record says that they passed: it holds checksums of the files as they were."""
    records = {stage: record_path(paths, stage) for stage in GATE_STAGES}
    return [
        stage
        for stage, path in records.items()
        if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["passed"]
    ]


def _had_passed(paths: ShopPaths) -> bool:
    """Whether the canonical data had passed before this erasure, so that all that will have changed is known.

    An earlier run of the erasure that was killed has left a note of it. The note holds until the next validation.
    """
    record, note = record_path(paths, CANONICAL), paths.unfinished_erasure
    validated_at = json.loads(record.read_text(encoding="utf-8"))["validated_at"] if record.is_file() else None
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) == {"passed_at": validated_at}:
        return validated_at is not None
    try:
        require_passed(paths, CANONICAL)
        passed = True
    except GateRefusedError:
        passed = False
    write_json(note, {"passed_at": validated_at if passed else None})
    return passed


def _renew(config: Config, paths: ShopPaths, stages: Collection[str], *, accept_drift: bool) -> dict[str, str]:
    """Validates these stages again; returns the state of each.

    Nothing that goes wrong with it ends the erasure.
    """
    states = {}
    for stage in stages:
        try:
            if stage == CANONICAL:
                result = validate_canonical(paths, config, accept_drift=accept_drift)
            else:
                result = validate_features(paths, config)
        except (OSError, ValueError, RuntimeError) as error:
            record_path(paths, stage).unlink()  # of files that are gone, and it may quote the buyers
            states[stage] = f"not validated again: {error}"
            continue
        states[stage] = "passed" if result.passed else "refused; `tawsiya validate --explain` says why"
    return states or {CANONICAL: "has not passed, as before; run `tawsiya validate`"}


# ---- online store ----------------------------------------------------------------------------------------------------


def _erase_online(config: Config, paths: ShopPaths, buyer_ids: Collection[str], removed: Counter[str]) -> list[str]:
    """Deletes the buyers' keys and has the store rewrite its files; returns warnings."""
    if config.feature_store.online == "embedded" and not paths.redis.is_dir():
        return []
    with feature_store(config) as store:
        removed[ONLINE_STORE] = delete_buyers(store.online.redis, store.shop, buyer_ids)
        return rewrite_files(store.online.redis)
