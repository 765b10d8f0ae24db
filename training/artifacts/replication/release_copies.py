"""Copies releases between the folder of a shop and a store elsewhere, for services on several machines.

A copy is made in a folder whose name begins with `.pull-`. Files that a release here has already, by their SHA-256 sum,
are linked and not read again; whatever a killed copy has read stays and counts. The folder gets the name of a release
once every file is verified, so a half copy is never one.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feature_repo.common.files import replacing, sha256, sync_folder
from feature_repo.console.progress import progress_bar
from training.artifacts.gate_verdict import GATE
from training.artifacts.release import check, current_release, read_manifest, verify_release
from training.artifacts.release_manifest import MANIFEST, is_release_name, parse_manifest, verify_files
from training.artifacts.replication.release_store import LIVE_MANIFEST, ReleaseStore

PARTIAL = ".pull-"  # begins the name of a copy in the making
_UNFINISHED = ".part"  # ends the name of a file in the making


def pull(releases: Path, store: ReleaseStore, name: str | None = None) -> dict[str, Any]:
    """Copies a release from a store; the caller holds the shop's lock. It is not live until promote().

    Args:
        releases: Folder of all releases here.
        store: Where it comes from.
        name: Its name; None takes the live one of the store.

    Returns:
        {"release": name, "files": how many it has, "linked": how many of them were here, "bytes": how many were read}

    Raises:
        ValueError: There is no such release, or what the store has is damaged, of another format or no release.
        FileNotFoundError: A file is missing in the store, where the release may have been deleted meanwhile.
        ReleaseStoreError: The store cannot be read.
        OSError: The disk here is full.
    """
    name = store.live_name() if name is None else name
    if not is_release_name(name):
        raise ValueError(f"{name!r} is not the name of a release")
    content = _read_manifest(store, name)
    # Its names of files lead out of no folder: parse_manifest has checked them.
    manifest = parse_manifest(content, f"{store.address}/{name}/{MANIFEST}", name)
    folder, partial = releases / name, releases / f"{PARTIAL}{name}"
    _delete_other_copies(releases, partial)
    if _is_whole(releases, name):
        if "forced" not in read_manifest(folder).get(GATE, {}):  # the record of who forced it here stays
            # Everything else is the same, because the name has its hash; the verdict of the gate may be a later one.
            with _on_this_disk(releases), replacing(folder / MANIFEST) as temporary:
                temporary.write_bytes(content)
        return {"release": name, "files": len(manifest["sha256"]), "linked": len(manifest["sha256"]), "bytes": 0}
    if folder.is_dir():
        folder.rename(partial)  # damaged: what is good in it need not be read again
    with _on_this_disk(releases):
        copied = _copy(store, manifest, releases, partial)
        (partial / MANIFEST).write_bytes(content)
        verify_files(partial, manifest)
        _sync(partial)
        partial.rename(folder)
        sync_folder(releases)
    return {"release": name, "files": len(manifest["sha256"]), **copied}


def push(releases: Path, store: ReleaseStore, name: str | None = None) -> dict[str, Any]:
    """Copies a release to a store; the live one becomes the live one there.

    Args:
        releases: Folder of all releases here.
        store: Where it goes.
        name: Its name; None takes the live one.

    Returns:
        {"release": name, "files": how many it has, "bytes": how many were written, "live": whether it is live there}

    Raises:
        GateRefusedError: There is no such release, or it is damaged.
        ReleaseStoreError: The store cannot be written to.
    """
    name = check(releases, name)
    folder, written = releases / name, 0
    sums: dict[str, str] = read_manifest(folder)["sha256"]
    sizes = {file: (folder / file).stat().st_size for file in sums}
    with progress_bar(total=sum(sizes.values()), title="Writing the copy", unit="B", leave=False) as bar:
        for file, size in sizes.items():
            # Of an earlier push: a file that was cut short has another size. Whoever pulls verifies the content.
            if store.size(f"{name}/{file}") != size:
                store.upload(f"{name}/{file}", folder / file)
                written += size
            bar.update(size)
    content = (folder / MANIFEST).read_bytes()
    # After its files, so that no one finds a release there that is not whole; and live last of all.
    store.write(f"{name}/{MANIFEST}", content)
    live = current_release(releases) == folder
    if live:
        store.write(LIVE_MANIFEST, content)
    return {"release": name, "files": len(sums), "bytes": written, "live": live}


def _read_manifest(store: ReleaseStore, name: str) -> bytes:
    try:
        return store.read(f"{name}/{MANIFEST}")
    except FileNotFoundError:
        raise ValueError(f"there is no release {name} in {store.address}") from None


def _is_whole(releases: Path, name: str) -> bool:
    """Whether the release is here and good. The live one is not hashed again at each call: its service did it."""
    folder = releases / name
    try:
        if current_release(releases) == folder:
            read_manifest(folder)
        else:
            verify_release(folder)
    except ValueError:
        return False
    return True


def _copy(store: ReleaseStore, manifest: Mapping[str, Any], releases: Path, partial: Path) -> dict[str, int]:
    """Brings every file of the manifest into `partial`; returns how many were linked and the bytes read."""
    sums: dict[str, str] = manifest["sha256"]
    here = _files_by_sum(releases)
    _delete_unknown(partial, sums)
    linked = n_bytes = 0
    for file, expected in progress_bar(sums.items(), total=len(sums), title="Copying", unit="file", leave=False):
        target = partial / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file():
            if sha256(target) == expected:  # a killed copy has read it
                continue
            target.unlink()  # not overwritten: it may be a link to a file of another release
        if _link(here.get(expected), target, expected):
            linked += 1
        else:
            n_bytes += _download(store, f"{manifest['name']}/{file}", target, expected)
    return {"linked": linked, "bytes": n_bytes}


def _files_by_sum(releases: Path) -> dict[str, Path]:
    """A file of the releases here for each SHA-256 sum."""
    found: dict[str, Path] = {}
    for folder in releases.iterdir():
        if is_release_name(folder.name):
            try:
                found |= {value: folder / file for file, value in read_manifest(folder)["sha256"].items()}
            except ValueError:  # damaged, or of another format
                continue
    return found


def _link(source: Path | None, target: Path, expected: str) -> bool:
    """Makes `target` a link to a file with this sum, or a copy of it; returns False if there is none."""
    if source is None or not source.is_file() or sha256(source) != expected:
        return False
    try:
        target.hardlink_to(source)  # releases are never written to, and deleting one leaves the other's file
    except OSError:  # the file system has no links
        shutil.copyfile(source, target)
    return True


def _download(store: ReleaseStore, path: str, target: Path, expected: str) -> int:
    """Reads a file, from where a killed copy ended; returns how many bytes were read."""
    unfinished, n_bytes = target.with_name(target.name + _UNFINISHED), 0
    # What the killed one left may not be what it read, after a power cut; then everything is read once more.
    for start in (unfinished.stat().st_size, 0) if unfinished.is_file() else (0,):
        with unfinished.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in store.chunks(path, start):
                file.write(chunk)
                n_bytes += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        if sha256(unfinished) == expected:
            unfinished.rename(target)
            return n_bytes
    unfinished.unlink()
    raise ValueError(f"{store.address}/{path} does not match its sum in {MANIFEST}; the release there is damaged")


def _delete_unknown(partial: Path, sums: Mapping[str, str]) -> None:
    """Deletes what a copy that was begun otherwise has left, such as a damaged release of this name."""
    known = {partial / name for name in sums} | {partial / f"{name}{_UNFINISHED}" for name in sums}
    for path in partial.rglob("*") if partial.is_dir() else ():
        if path.is_symlink() or (path.is_file() and path not in known):
            path.unlink()


def _delete_other_copies(releases: Path, partial: Path) -> None:
    releases.mkdir(parents=True, exist_ok=True)
    for other in releases.glob(f"{PARTIAL}*"):
        if other != partial:
            shutil.rmtree(other)


def _sync(folder: Path) -> None:
    """Writes all folders to the disk, so that the files have their names after a power cut, too."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)


@contextmanager
def _on_this_disk(releases: Path) -> Iterator[None]:
    """One clear line if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"cannot write to {releases}: the disk is full; free space there and run the command again, it goes on "
            "from there"
        ) from None
