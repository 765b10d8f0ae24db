"""Restore: makes a shop from a backup. Everything is unpacked and verified before anything is replaced."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batch_jobs.upkeep.backup import CONFIG_FILE, KEYS_FILE, MANIFEST_FILE, ONLINE_FILE, RESTORED, SHOP_FOLDER
from batch_jobs.upkeep.online_copy import read_online_copy
from batch_jobs.upkeep.unpack import unpack_backup
from feature_repo.access.api_keys import api_keys_path
from feature_repo.common.config import Config
from feature_repo.common.files import sha256, try_lock
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import feature_store
from training.artifacts.release import check, current_release

# Of the embedded server's folder: who waits to use it has these files open.
SERVER_STATE = ("start.lock", "users.lock", "server.json")


def restore(config: Config, backup: Path, *, force: bool = False) -> dict[str, Any]:
    """Makes the shop of `config` from a backup; the caller holds the shop's lock.

    Args:
        config: The configuration; the name of its source must be that of the backup.
        backup: The file.
        force: Replace what the shop has.

    Returns:
        {"shop": folder, "created": of the backup, "files", "online_rows", "release", "config": file with the settings
        of the backup, "warnings"}

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, no backup or one of another shop, the shop has data and is not to be replaced, or
            its list of forgotten buyers would be lost.
        RuntimeError: The API or another command uses the shop.
        StoreUnavailableError: The online store cannot be reached; the files are restored: `tawsiya materialize --full`.
    """
    paths = shop_paths(config)
    present = _content(paths)
    if present and not force:
        raise ValueError(f"{paths.root} is not empty; --force replaces everything in it")
    staging = paths.root.parent / f".restore-{paths.root.name}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700, parents=True)
    try:
        with _unused(paths):
            manifest = unpack_backup(backup, staging, paths.root.name)
            warnings = _keep_forgotten(paths, staging)
            _replace(paths, staging)
        warnings += _restore_keys(config, staging / KEYS_FILE)
        online_rows = _restore_online(config, staging / ONLINE_FILE)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {
        "shop": str(paths.root),
        "created": manifest["created"],
        "files": len(manifest["sha256"]),
        "online_rows": online_rows,
        "release": check(paths.releases, None) if current_release(paths.releases) else None,
        "config": str(paths.root / RESTORED / CONFIG_FILE),
        "warnings": warnings,
    }


def _content(paths: ShopPaths) -> list[Path]:
    """What lies in the shop's folder besides the lock, which this command holds."""
    return [path for path in paths.root.iterdir() if path != paths.lock]


@contextmanager
def _unused(paths: ShopPaths) -> Iterator[None]:
    """Keeps others from using the embedded server, and so the shop: they wait until the block ends."""
    users = paths.redis / "users.lock"  # see feature_repo/online/embedded_redis.py
    if not users.is_file():
        yield
        return
    with users.open("ab") as file:
        if not try_lock(file.fileno()):
            raise RuntimeError(f"the API or another command uses {paths.root}; stop it first")
        yield


# ---- forgotten buyers ------------------------------------------------------------------------------------------------


def _keep_forgotten(paths: ShopPaths, staging: Path) -> list[str]:
    """Adds the shop's own list of forgotten buyers to that of the backup; returns warnings.

    Raises:
        ValueError: The backup's list has another key, so that the two cannot be one; or one of them is damaged.
    """
    if ForgottenBuyers(paths.forgotten).is_empty():
        return []
    restored = staging / SHOP_FOLDER / paths.forgotten.name
    present = json.loads(paths.forgotten.read_text(encoding="utf-8"))
    before = {"key": present["key"], "buyers": []}
    if not ForgottenBuyers(restored).is_empty():
        before = json.loads(restored.read_text(encoding="utf-8"))
    if before["key"] != present["key"]:
        raise ValueError(
            f"the backup has another list of forgotten buyers, and those of {paths.forgotten} would come back; nothing "
            "was replaced. If you know their ids: move that file away, restore, and run `tawsiya forget` for them"
        )
    shutil.copy2(paths.forgotten, restored)  # with its mode
    every = sorted({*present["buyers"], *before["buyers"]})
    restored.write_text(json.dumps({"key": present["key"], "buyers": every}, indent=2) + "\n", encoding="utf-8")
    since = set(present["buyers"]).difference(before["buyers"])
    if not since:
        return []
    who = "1 buyer who was" if len(since) == 1 else f"{len(since):,} buyers who were"
    return [f"the backup has {who} forgotten since: run `tawsiya forget` for them again"]


# ---- replace ---------------------------------------------------------------------------------------------------------


def _replace(paths: ShopPaths, staging: Path) -> None:
    """Replaces the content of the shop's folder."""
    forgotten = staging / SHOP_FOLDER / paths.forgotten.name
    if forgotten.is_file():
        # First and at once: a killed restore must not lose the list.
        forgotten.replace(paths.forgotten)
    redis = [path for path in paths.redis.glob("*") if path.name not in SERVER_STATE]
    for path in (*redis, *_content(paths)):
        if path in (paths.forgotten, paths.redis):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    record = paths.root / RESTORED
    record.mkdir(mode=0o700)
    for name in (MANIFEST_FILE, CONFIG_FILE):
        (staging / name).rename(record / name)
    # Releases last: nothing is served from a shop that was restored half-way.
    parts = sorted((staging / SHOP_FOLDER).iterdir(), key=lambda part: part.name == paths.releases.name)
    for part in parts:
        part.rename(paths.root / part.name)


def _restore_keys(config: Config, restored: Path) -> list[str]:
    """Adds the API keys if the data_dir has none: its other shops use them too. Returns warnings."""
    keys = api_keys_path(config)
    if not restored.is_file():
        return []
    if not keys.exists():
        shutil.copy2(restored, keys)
        return []
    same = sha256(keys) == sha256(restored)
    return [] if same else [f"{keys} stays as it is; the backup has other API keys"]


def _restore_online(config: Config, copy: Path) -> int:
    if not copy.is_file():
        return 0
    with feature_store(config) as store:
        return read_online_copy(store.online.redis, store.shop, copy)
