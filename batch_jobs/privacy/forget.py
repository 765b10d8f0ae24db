"""Forget: erases buyers from everything that Tawsiya stores of a shop, and keeps them out from then on.

The steps can be repeated: a run that was killed is finished by the same command. The list of forgotten buyers comes
first, so that no event of theirs arrives behind the erasure. The shop's own files are not touched.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from batch_jobs.privacy.event_lines import no_replay, remove_events
from batch_jobs.privacy.parquet_rows import remove_rows
from batch_jobs.privacy.quotes import delete_quoting_results, erase_examples
from batch_jobs.upkeep.leftovers import remove_leftovers
from expectations.gate import require_passed, validate_canonical, validate_features
from expectations.records import CANONICAL, GATE_STAGES, record_path
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.online.shop_keys import delete_buyers, rewrite_files, shop_of
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
        {"buyers": their number, "removed": {place: rows, events or files}, "gate": {stage: state}, "remains",
        "warnings"}

    Raises:
        StoreUnavailableError: The online store cannot be reached: all but it is erased; repeat the command.
    """
    paths = shop_paths(config)
    ForgottenBuyers(paths.forgotten).add(buyer_ids)
    listed_at = time.monotonic()
    remove_leftovers(paths)
    stages, passed = _stages_to_renew(paths), _has_passed(paths)
    removed: Counter[str] = Counter()
    removed["canonical/report.json"] = erase_examples(paths, buyer_ids)
    for path in sorted(paths.root.rglob("*.parquet")):
        removed[_name(paths, path)] += remove_rows(path, buyer_ids)
    removed["training_set"] = _delete_training_set(paths)
    renewed = {record_path(paths, stage) for stage in stages}
    removed["validation"] = delete_quoting_results(paths.validation, buyer_ids, kept=renewed)
    gate = _renew(config, paths, stages, accept_drift=passed)
    time.sleep(max(0.0, REQUEST_SECONDS - (time.monotonic() - listed_at)))
    removed.update(_remove_logged(paths, buyer_ids))
    warnings = _erase_online(config, paths, buyer_ids, removed)
    return {
        "buyers": len(buyer_ids),
        "removed": {place: count for place, count in removed.items() if count},
        "gate": gate,
        "remains": REMAINS,
        "warnings": warnings,
    }


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


def _delete_training_set(paths: ShopPaths) -> int:
    """Deletes the cache of contexts, and the checkpoints of unfinished trainings; the next training starts anew."""
    checkpoints = [path for folder in (paths.model, paths.tuning) for path in folder.rglob("*_checkpoint*")]
    found = [path for path in (paths.training_set, *checkpoints) if path.is_dir()]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def _remove_logged(paths: ShopPaths, buyer_ids: Collection[str]) -> Counter[str]:
    """Removes events that the API has logged, and those that it has not yet stored online."""
    removed: Counter[str] = Counter()
    pending = paths.event_log / "pending"
    if pending.is_dir():
        with no_replay(pending):
            for path in pending.rglob("*.jsonl"):
                removed["event_log/pending"] += remove_events(path, buyer_ids)
    for path in sorted(paths.event_log.rglob("*.jsonl")):
        if pending not in path.parents:
            removed["event_log"] += remove_events(path, buyer_ids)
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


def _has_passed(paths: ShopPaths) -> bool:
    """Whether the canonical data passed as they are, so that all that will have changed is known."""
    try:
        require_passed(paths, CANONICAL)
    except GateRefusedError:
        return False
    return True


def _renew(config: Config, paths: ShopPaths, stages: Collection[str], *, accept_drift: bool) -> dict[str, str]:
    """Validates these stages again."""
    states = {}
    for stage in stages:
        if stage == CANONICAL:
            result = validate_canonical(paths, config, accept_drift=accept_drift)
        else:
            result = validate_features(paths, config)
        states[stage] = "passed" if result.passed else "refused; `tawsiya validate --explain` says why"
    return states or {CANONICAL: "has not passed, as before; run `tawsiya validate`"}


# ---- online store ----------------------------------------------------------------------------------------------------


def _erase_online(config: Config, paths: ShopPaths, buyer_ids: Collection[str], removed: Counter[str]) -> list[str]:
    """Deletes the buyers' keys and has the store rewrite its files; returns warnings."""
    if config.feature_store.online == "embedded" and not paths.redis.is_dir():
        return []
    with feature_store(config) as store:
        removed[ONLINE_STORE] = delete_buyers(store.online.redis, shop_of(store.project), buyer_ids)
        return rewrite_files(store.online.redis)
