"""Backup: a shop as one tar file, with a manifest that has the SHA-256 sum of each file.

    config.json       the settings in force
    online.parquet    the shop's rows of the online store
    shop/             data_dir/<source>, without what is made again
    api_keys.json     the API keys of the data_dir
    manifest.json     last, because it has the sums of the others

The API may go on serving. Its events go to the event log before or after they reach the online store, so the log is
copied after the store: an event that the copy of the store lacks comes with the next ingest. What else lies in the
log's folder is copied before the store: waiting events, of which one that is in both changes nothing, and the places of
unfinished requests, from which the API pushes the log again, as after a crash.
"""

import datetime as dt
import fcntl
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from batch_jobs.upkeep.leftovers import leftovers
from batch_jobs.upkeep.online_copy import write_online_copy
from feature_repo.access.api_keys import api_keys_path
from feature_repo.common.config import Config
from feature_repo.common.files import replacing
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.console.progress import progress_bar
from feature_repo.store import feature_store
from training.artifacts.release import current_release

BACKUP_FORMAT = 1
MANIFEST_FILE, CONFIG_FILE, ONLINE_FILE = "manifest.json", "config.json", "online.parquet"
SHOP_FOLDER, KEYS_FILE = "shop", "api_keys.json"
RESTORED = "restored"  # folder of a restored shop with manifest and configuration of its backup


def backup(config: Config, to: Path) -> dict[str, Any]:
    """Writes a backup to a file, or under a new name to a folder; the caller holds the shop's lock.

    Returns:
        {"backup": path, "bytes", "files", "online_rows", "release": the live one}

    Raises:
        FileNotFoundError: The shop has no data.
        ValueError: `to` is neither a file nor a folder.
        StoreUnavailableError: The online store cannot be reached.
    """
    paths = shop_paths(config)
    if not paths.events.is_file():
        raise FileNotFoundError(f"{paths.events} does not exist: there is nothing to back up")
    now = dt.datetime.now(dt.UTC)
    path = to / f"{paths.root.name}-{now:%Y%m%dT%H%M%SZ}.tar" if to.is_dir() else to
    with replacing(path) as temporary:
        temporary.touch(mode=0o600)  # it has buyers' events and the hashes of API keys
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            with progress_bar(total=_total_bytes(paths.root), title="Writing the backup", unit="B", leave=False) as bar:
                archive = _Archive(tar, bar.update)
                online_rows = _add_all(archive, config, paths)
            archive.add_manifest({"format": BACKUP_FORMAT, "shop": paths.root.name, "created": now.isoformat()})
    live = current_release(paths.releases)
    return {
        "backup": str(path),
        "bytes": path.stat().st_size,
        "files": len(archive.sums),
        "online_rows": online_rows,
        "release": live.name if live else None,
    }


def _add_all(archive: "_Archive", config: Config, paths: ShopPaths) -> int:
    """Adds everything but the manifest; returns the number of rows of the online store."""
    archive.add_text(CONFIG_FILE, config.model_dump_json(indent=2))
    hosts = paths.hosts()
    pending, event_logs = {host.pending_events for host in hosts}, {host.event_log for host in hosts}
    before_store = [*(host.in_flight_requests for host in hosts), *sorted(pending)]
    # Events of unknown products before the pending ones, because they become pending.
    for path in (path for folder in before_store for path in sorted(_files(folder), reverse=True)):
        with suppress(FileNotFoundError):  # the API has pushed these events meanwhile
            # A worker holds the lock of its place while it lives, and overwrites the place at once.
            archive.add(f"{SHOP_FOLDER}/{path.relative_to(paths.root)}", path, lock=path.parent in pending)
    online_rows = _add_online(archive, config, paths)
    kept_out = {paths.lock, paths.redis, paths.training_set, paths.root / RESTORED, *before_store, *leftovers(paths)}
    inside = [path for path in _files(paths.root) if kept_out.isdisjoint((path, *path.parents))]
    # The event log last; see above.
    for path in sorted(inside, key=lambda path: (not event_logs.isdisjoint(path.parents), path)):
        archive.add(f"{SHOP_FOLDER}/{path.relative_to(paths.root)}", path)
    keys = api_keys_path(config)
    if keys.is_file():
        archive.add(KEYS_FILE, keys)
    return online_rows


def _add_online(archive: "_Archive", config: Config, paths: ShopPaths) -> int:
    if config.feature_store.online == "embedded" and not paths.redis.is_dir():
        return 0
    with tempfile.TemporaryDirectory(dir=paths.root, prefix=".backup-") as folder, feature_store(config) as store:
        copy = Path(folder) / ONLINE_FILE
        rows = write_online_copy(store.online.redis, store.shop, copy)
        archive.add(ONLINE_FILE, copy)
    return rows


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file())


def _total_bytes(folder: Path) -> int:
    """About what a backup of the folder takes, for its progress."""
    total = 0
    for path in _files(folder):
        with suppress(FileNotFoundError):  # the API or its server has deleted it meanwhile
            total += path.lstat().st_size
    return total


class _Archive:
    """A tar file in the making.

    Attributes:
        sums: SHA-256 sum of each file, by its name in the archive.
        links: Target of each symbolic link.
    """

    def __init__(self, tar: tarfile.TarFile, count_bytes: Callable[[float], object]) -> None:
        self.sums: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self._tar, self._count_bytes = tar, count_bytes

    def add(self, name: str, path: Path, *, lock: bool = True) -> None:
        """Adds a file as it is now; a link as a link. Without `lock` it may be in the middle of an append."""
        if path.is_symlink():
            self.links[name] = str(path.readlink())
            self._tar.add(path, name)
            return
        with path.open("rb") as file:
            # The API appends whole lines under this lock; more may follow while the file is read, up to its old end.
            if lock:
                fcntl.flock(file, fcntl.LOCK_SH)
            info = self._tar.gettarinfo(arcname=name, fileobj=file)
            if lock:
                fcntl.flock(file, fcntl.LOCK_UN)
            self._add(info, file)

    def add_text(self, name: str, text: str) -> None:
        """Adds a file with this text."""
        content = text.encode()
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o600
        self._add(info, io.BytesIO(content))

    def add_manifest(self, facts: dict[str, Any]) -> None:
        """Adds the manifest, which completes the archive."""
        self.add_text(MANIFEST_FILE, json.dumps({**facts, "links": self.links, "sha256": self.sums}, indent=2))

    def _add(self, info: tarfile.TarInfo, file: IO[bytes]) -> None:
        reader = _HashingReader(file)
        self._tar.addfile(info, reader)  # type: ignore[arg-type]  # it only calls read()
        self.sums[info.name] = reader.hash.hexdigest()
        self._count_bytes(info.size)


class _HashingReader:
    """Hashes what is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.hash = hashlib.sha256()
        self._file = file

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.hash.update(content)
        return content
