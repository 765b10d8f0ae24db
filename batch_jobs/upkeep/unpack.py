"""Unpacks a backup and verifies it: what it holds is what its manifest says, no more and no less."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batch_jobs.upkeep.backup import BACKUP_FORMAT, MANIFEST_FILE
from feature_repo.common.files import sha256
from feature_repo.console.progress import progress_bar

# Python 3.11.2, which Debian 12 has, knows no filters; _require_inside refuses what matters there, too.
_FILTER: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def unpack_backup(backup: Path, folder: Path, shop: str) -> dict[str, Any]:
    """Unpacks a backup of `shop` to an empty folder, verifies every file, and returns the manifest.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, no backup or one of another shop.
    """
    try:
        with (
            tarfile.open(backup) as tar,
            progress_bar(total=backup.stat().st_size, title="Unpacking", unit="B", leave=False) as bar,
        ):

            def checked() -> Iterator[tarfile.TarInfo]:
                for member in tar:
                    bar.update(member.size)
                    _require_inside(member, folder)
                    yield member

            tar.extractall(folder, checked(), **_FILTER)
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not backup.is_file():
            raise FileNotFoundError(f"{backup} does not exist") from None
        raise ValueError(f"{backup} is incomplete: it has no {Path(error.filename).name}") from None
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ValueError(f"{backup} is damaged or no backup: {error}") from None
    _verify_manifest(backup, manifest, shop)
    _verify_files(backup, manifest, folder)
    return dict(manifest)


def _require_inside(member: tarfile.TarInfo, folder: Path) -> None:
    """Refuses what would be written, or lead, out of the folder; links before it count as they were unpacked."""
    if not (member.isreg() or member.isdir() or member.issym()):
        raise ValueError(f"{member.name!r} is neither a file nor a folder nor a symbolic link")
    root = folder.resolve()
    path = root / member.name
    places = [path.resolve(), *([(path.parent / member.linkname).resolve()] if member.issym() else [])]
    if not all(place.is_relative_to(root) for place in places):
        raise ValueError(f"{member.name!r} leads out of the backup's folder")


def _verify_manifest(backup: Path, manifest: Any, shop: str) -> None:
    if isinstance(manifest, dict) and manifest.get("format", BACKUP_FORMAT) != BACKUP_FORMAT:
        raise ValueError(
            f"{backup} has format {manifest['format']!r}, this program reads {BACKUP_FORMAT}; restore it with the "
            "version of Tawsiya that wrote it"
        )
    types = {"format": int, "shop": str, "created": str, "sha256": dict, "links": dict}
    wrong = [name for name, kind in types.items() if not isinstance(manifest, dict) or not _is(manifest, name, kind)]
    if wrong:
        raise ValueError(f"{backup} is damaged or no backup: its {MANIFEST_FILE} lacks {', '.join(wrong)}")
    if manifest["shop"] != shop:
        raise ValueError(f"{backup} is of the shop {manifest['shop']!r}, not {shop!r}; set data.source to it")


def _is(manifest: dict[str, Any], name: str, kind: type) -> bool:
    return isinstance(manifest.get(name), kind)


def _verify_files(backup: Path, manifest: dict[str, Any], folder: Path) -> None:
    sums = manifest["sha256"]
    for name, expected in progress_bar(sums.items(), total=len(sums), title="Verifying", unit="file", leave=False):
        path = folder / name
        if path.is_symlink() or not path.is_file() or sha256(path) != expected:
            raise ValueError(f"{backup} is damaged: {name} does not match its SHA-256 sum; nothing was replaced")
    for name, target in manifest["links"].items():
        path = folder / name
        if not path.is_symlink() or str(path.readlink()) != target:
            raise ValueError(f"{backup} is damaged: the link {name} is not as it was; nothing was replaced")
    named = {MANIFEST_FILE, *manifest["sha256"], *manifest["links"]}
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    unknown = sorted({path.relative_to(folder).as_posix() for path in found} - named)
    if unknown:
        raise ValueError(
            f"{backup} was changed: its {MANIFEST_FILE} does not name {unknown[0]!r} "
            f"({len(unknown)} such files); nothing was replaced"
        )
