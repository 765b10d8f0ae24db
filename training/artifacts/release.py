"""Releases: everything that the API needs, in one verified folder.

    releases/20261123T171200.123Z-1a2b3c4d/
        model/                    the model artifact
        product_embeddings.npy, product_ids.npy, product_id_to_index.json
        product_index.faiss, index_curve.json
        search_index/             text vectors, their index, and n-grams of the texts
        products.arrow            product columns for answers, memory-mapped
        product_aliases.arrow     ids of merged products, and the ids that replace them
        popularity.npy            product positions, most events in the last days first
        recent_popularity.npy     input of the re-scorer's popularity term (see rescorer.py)
        metrics.json              offline evaluation
        manifest.json             facts about the release, and the sha256 of every file
    releases/current              -> the live release

A release is written under a name that starts with a dot and renamed when it is complete. `current` is replaced by an
atomic rename. So a crash at any time leaves the old or the new release live, never a part of one. The name ends with a
hash of the manifest, which contains the hashes of all files, so a single changed byte is detected.
"""

import datetime as dt
import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.common.arrays import Float32Array, Int32Array
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import sha256, write_json
from training.artifacts.embeddings import ID_TO_INDEX, IDS, VECTORS
from training.artifacts.lineage import RECORD
from training.artifacts.search.index_files import INDEX_CURVE, INDEX_FILE

log = logging.getLogger(__name__)

CURRENT, MANIFEST, METRICS = "current", "manifest.json", "metrics.json"
MODEL_FOLDER, SEARCH_FOLDER = "model", "search_index"
PRODUCTS_ARROW, ALIASES_ARROW = "products.arrow", "product_aliases.arrow"
POPULARITY, RECENT_POPULARITY = "popularity.npy", "recent_popularity.npy"
# Increment it when older releases cannot be served any more, for example after a change of the normaliser.
RELEASE_FORMAT = 6


@dataclass(frozen=True)
class ReleaseParts:
    """What a release is assembled from.

    Attributes:
        model, embeddings, index, search_index: Folders of these artifacts.
        products: Product columns, in the order of the embeddings.
        aliases: Merged products, product_id -> duplicate_of.
        popular: (N,) product positions, most popular first.
        recent_popularity: (2, N) rescorer.recent_popularity of the products, for lists of any and of new products.
        as_of_ms: End of the data in milliseconds since 1970; the re-scorer counts back from it.
    """

    model: Path
    embeddings: Path
    index: Path
    search_index: Path
    products: pa.Table
    aliases: pa.Table
    popular: Int32Array
    recent_popularity: Float32Array
    as_of_ms: int


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_release(releases: Path, parts: ReleaseParts, *, metrics: dict[str, Any], about: dict[str, Any]) -> str:
    """Assembles a release and returns its name. It is not live until promote().

    Args:
        releases: Folder of all releases.
        parts: What goes into the release.
        metrics: Offline evaluation, as `tawsiya evaluate --json` prints it.
        about: Further facts for the manifest (dataset, schema hash, counts).
    """
    releases.mkdir(parents=True, exist_ok=True)
    # Of killed processes. The caller holds the shop's lock, so no other process is writing.
    for left_over in releases.glob(".release-*"):
        shutil.rmtree(left_over)
    folder = releases / f".release-{os.getpid()}"
    folder.mkdir()
    _copy_parts(parts, folder)
    write_json(folder / METRICS, metrics)
    sums = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    created = dt.datetime.now(dt.UTC)
    facts = {"format_version": RELEASE_FORMAT, "created": created.isoformat(), "as_of_ms": parts.as_of_ms}
    manifest = {**facts, **about, "sha256": sums}
    # Names sort by time, so rollback can find the release before a damaged one.
    name = f"{created:%Y%m%dT%H%M%S}.{created.microsecond // 1000:03}Z-{_content_hash(manifest)}"
    manifest["name"] = name
    # After all files, whose hashes it contains.
    write_json(folder / MANIFEST, manifest)
    folder.rename(releases / name)
    return name


def _copy_parts(parts: ReleaseParts, folder: Path) -> None:
    # An interrupted training may have left an unfinished checkpoint in the model folder; its name starts with a dot.
    shutil.copytree(parts.model, folder / MODEL_FOLDER, ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(parts.search_index, folder / SEARCH_FOLDER, ignore=shutil.ignore_patterns(RECORD))
    for name in (VECTORS, IDS, ID_TO_INDEX):
        shutil.copy2(parts.embeddings / name, folder / name)
    for name in (INDEX_FILE, INDEX_CURVE):
        shutil.copy2(parts.index / name, folder / name)
    _write_arrow(folder / PRODUCTS_ARROW, parts.products)
    _write_arrow(folder / ALIASES_ARROW, parts.aliases)
    np.save(folder / POPULARITY, parts.popular, allow_pickle=False)
    np.save(folder / RECENT_POPULARITY, parts.recent_popularity, allow_pickle=False)


# ---- reading and verifying -------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a release; raises ValueError if the folder is no valid release."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a release: it has no {MANIFEST}")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # invalid JSON or UTF-8
        raise ValueError(f"{path} is damaged: {error}") from None
    if manifest.get("format_version") != RELEASE_FORMAT:
        raise ValueError(
            f"{path} has format version {manifest.get('format_version')}, this program reads {RELEASE_FORMAT}"
        )
    name = folder.resolve().name  # `folder` may be the link to the live release
    if manifest.get("name") != name or not name.endswith(f"-{_content_hash(manifest)}"):
        raise ValueError(f"{path} is damaged: it does not match the release's name")
    return manifest


def verify_release(folder: Path) -> dict[str, Any]:
    """Verifies every file against the manifest, and returns the manifest.

    Raises:
        ValueError: A file is missing, damaged or not in the manifest; the message names it.
    """
    manifest = read_manifest(folder)
    sums: dict[str, str] = manifest["sha256"]
    # Unknown files are refused too: whatever is loaded from the folder must be in the manifest.
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    if missing := sorted(sums.keys() - present):
        raise ValueError(f"release {folder.name} lacks {', '.join(missing)}")
    if unknown := sorted(present - sums.keys()):
        raise ValueError(f"release {folder.name} holds files that its manifest does not know: {', '.join(unknown)}")
    for name, expected in sums.items():
        if sha256(folder / name) != expected:
            raise ValueError(f"release {folder.name} is damaged: {name} does not match its sha256 sum")
    return manifest


def list_releases(releases: Path) -> list[dict[str, Any]]:
    """The manifests (without file hashes) of all releases, oldest first, each with `live`.

    A release that is damaged or has another format version is skipped with a warning.
    """
    live = current_release(releases)
    rows = []
    for folder in sorted(releases.iterdir()) if releases.is_dir() else ():
        if folder.name == CURRENT or folder.name.startswith("."):
            continue
        try:
            manifest = read_manifest(folder)
        except ValueError as error:
            log.warning("release skipped: %s", error)
            continue
        del manifest["sha256"]
        rows.append(manifest | {"live": folder == live})
    return rows


def current_release(releases: Path) -> Path | None:
    """The folder of the live release, or None."""
    link = releases / CURRENT
    return releases / link.readlink() if link.is_symlink() else None


def check(releases: Path, name: str | None) -> str:
    """Verifies the release `name`, or the live one; returns its name.

    Raises:
        GateRefusedError: The release does not exist or is damaged.
    """
    if name is None:
        live = current_release(releases)
        if live is None:
            raise GateRefusedError(f"no release is live in {releases}; run `tawsiya refresh` first")
        name = live.name
    # The name comes from the command line and must not lead out of the folder.
    if Path(name).name != name or name.startswith(".") or name == CURRENT:
        raise GateRefusedError(f"{name!r} is not the name of a release")
    try:
        verify_release(releases / name)
    except ValueError as error:
        raise GateRefusedError(str(error)) from None
    return name


# ---- going live, back and away ---------------------------------------------------------------------------------------


def promote(releases: Path, name: str) -> None:
    """Makes a release live after verifying it; if that fails (see check), the live release stays live."""
    check(releases, name)
    link = releases / f".{CURRENT}-{os.getpid()}"
    link.unlink(missing_ok=True)
    # Relative, so that the folder of releases can be moved or mounted elsewhere. A link cannot be changed in place; a
    # new one replaces it by an atomic rename.
    link.symlink_to(name)
    link.replace(releases / CURRENT)


def rollback(releases: Path) -> str:
    """Makes the release before the live one live again; returns its name.

    Raises:
        GateRefusedError: There is no earlier release.
    """
    live = current_release(releases)
    earlier = [row["name"] for row in list_releases(releases) if live and row["name"] < live.name]
    if not earlier:
        raise GateRefusedError("there is no earlier release to roll back to; see `tawsiya release list`")
    promote(releases, earlier[-1])
    return str(earlier[-1])


def delete_old(releases: Path, keep: int) -> list[str]:
    """Deletes all but the newest `keep` releases, but never the live one; returns the deleted names."""
    old = [row["name"] for row in list_releases(releases)[:-keep] if not row["live"]]
    for name in old:
        shutil.rmtree(releases / name)
    return old


def _content_hash(manifest: dict[str, Any]) -> str:
    """The hash of a manifest, with which the release's name ends."""
    # Without the name, which contains this hash. Sorted keys make the text the same after a reload.
    content = {key: value for key, value in manifest.items() if key != "name"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _write_arrow(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
