"""Restore: makes a shop from a backup. Everything is unpacked and verified before anything is replaced."""

import fcntl
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from batch_jobs.upkeep.backup import (
    BACKUP_FORMAT,
    CONFIG_FILE,
    KEYS_FILE,
    MANIFEST_FILE,
    ONLINE_FILE,
    RESTORED,
    SHOP_FOLDER,
)
from batch_jobs.upkeep.online_copy import read_online_copy
from feature_repo.common.api_keys import api_keys_path
from feature_repo.common.config import Config
from feature_repo.common.files import sha256
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import feature_store
from training.artifacts.release import check, current_release


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
        ValueError: It is damaged, no backup or one of another shop, or the shop has data and is not to be replaced.
        RuntimeError: The API or another command uses the shop.
        StoreUnavailableError: The online store cannot be reached; the files are restored: `tawsiya materialize --full`.
    """
    paths = shop_paths(config)
    present = _content(paths)
    if present and not force:
        raise ValueError(f"{paths.root} is not empty; --force replaces everything in it")
    _require_unused(paths)
    staging = paths.root.parent / f".restore-{paths.root.name}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700, parents=True)
    try:
        manifest = _unpacked(backup, staging, paths.root.name)
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


def _require_unused(paths: ShopPaths) -> None:
    users = paths.redis / "users.lock"  # see feature_repo/online/embedded_redis.py
    if not users.is_file():
        return
    with users.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"the API or another command uses {paths.root}; stop it first") from None


# ---- unpack and verify -----------------------------------------------------------------------------------------------


def _unpacked(backup: Path, staging: Path, shop: str) -> dict[str, Any]:
    """Unpacks the backup, checks it, and returns its manifest."""
    try:
        with tarfile.open(backup) as tar:
            tar.extractall(staging, filter="data")  # refuses names and links that lead out of the folder
        manifest: dict[str, Any] = json.loads((staging / MANIFEST_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not backup.is_file():
            raise FileNotFoundError(f"{backup} does not exist") from None
        raise ValueError(f"{backup} is incomplete: it has no {Path(error.filename).name}") from None
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ValueError(f"{backup} is damaged or no backup: {error}") from None
    if manifest.get("format") != BACKUP_FORMAT:
        raise ValueError(f"{backup} has format {manifest.get('format')}, this program reads {BACKUP_FORMAT}")
    if manifest["shop"] != shop:
        raise ValueError(f"{backup} is of the shop {manifest['shop']!r}, not {shop!r}; set data.source to it")
    for name, expected in manifest["sha256"].items():
        path = staging / name
        if not path.is_file() or sha256(path) != expected:
            raise ValueError(f"{backup} is damaged: {name} does not match its SHA-256 sum; nothing was replaced")
    return manifest


def _keep_forgotten(paths: ShopPaths, staging: Path) -> list[str]:
    """Keeps the shop's own list of forgotten buyers if it continues that of the backup; returns warnings."""
    restored = staging / SHOP_FOLDER / paths.forgotten.name
    if not paths.forgotten.is_file():
        return []
    present = json.loads(paths.forgotten.read_text(encoding="utf-8"))
    before = json.loads(restored.read_text(encoding="utf-8")) if restored.is_file() else {"buyers": []}
    if before.get("key", present["key"]) != present["key"]:
        return ["the backup has another list of forgotten buyers; the present one was replaced by it"]
    shutil.copy2(paths.forgotten, restored)
    since = len(set(present["buyers"]) - set(before["buyers"]))
    if not since:
        return []
    who = "1 buyer who was" if since == 1 else f"{since:,} buyers who were"
    return [f"the backup has {who} forgotten since: run `tawsiya forget` for them again"]


# ---- replace ---------------------------------------------------------------------------------------------------------


def _replace(paths: ShopPaths, staging: Path) -> None:
    """Replaces the content of the shop's folder."""
    for path in _content(paths):
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
