"""Releases: everything that the API needs, in one verified folder.

    releases/20261123T171200.123Z-1a2b3c4d/
        model/                    the model artifact
        product_embeddings.npy, product_ids.npy, product_id_to_index.json
        product_index.faiss, index_curve.json
        search_index/             text vectors, their index, n-grams, vocabulary, suggestions (the last two: since 0.2)
        products.arrow            product columns for answers, memory-mapped
        product_aliases.arrow     ids of merged products, and the ids that replace them
        popularity.npy            product positions, most events in the last days first
        shop_lists/               what the lists of a shop's pages are made from; missing before 0.2
        recent_popularity.npy     input of the re-scorer's popularity term (see scoring/rescorer.py)
        co_occurrence_positions.npy, co_occurrence_similarities.npy     input of its co-occurrence term; missing where
                                  no list has that term
        product_map.arrow         a sample of the products in two dimensions; missing before 0.2
        metrics.json              offline evaluation
        config.json               the configuration that it was made with, without secrets; missing before 0.2
        manifest.json             facts about the release, and the sha256 of every file
    releases/current              -> the live release

A release is written under a name that starts with a dot and renamed when it is complete. `current` is replaced by an
atomic rename. So a crash at any time leaves the old or the new release live, never a part of one. The name ends with a
hash of the manifest (release_manifest.py), which contains the hashes of all files, so a single changed byte is
detected. Not part of that hash is the verdict of the gate (gate_verdict.py), which is known only after the release is
written.
"""

import datetime as dt
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.common.arrays import Float32Array, Int32Array
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import sha256, write_json
from training.artifacts.embeddings import ID_TO_INDEX, IDS, VECTORS
from training.artifacts.gate_verdict import GATE, NOT_JUDGED, forced, refusal, sealed
from training.artifacts.inspection.product_map import PRODUCT_MAP, ProductMap
from training.artifacts.lineage import RECORD
from training.artifacts.product_table import with_group_codes, write_arrow
from training.artifacts.release_manifest import (
    MANIFEST,
    RELEASE_FORMAT,
    is_release_name,
    parse_manifest,
    release_name,
    require_files,
    verify_files,
)
from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.artifacts.search.index_files import INDEX_CURVE, INDEX_FILE
from training.artifacts.verified_files import note_verified, unchanged_since_verified

log = logging.getLogger(__name__)

CURRENT, METRICS, RELEASE_SETTINGS = "current", "metrics.json", "config.json"
MODEL_FOLDER, SEARCH_FOLDER, LISTS_FOLDER = "model", "search_index", "shop_lists"
PRODUCTS_ARROW, ALIASES_ARROW = "products.arrow", "product_aliases.arrow"
POPULARITY, RECENT_POPULARITY = "popularity.npy", "recent_popularity.npy"


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
        settings: The configuration that it was made with (public_settings).
        shop_lists: Folder of the ListTables; None makes a release as those before 0.2, whose lists fall back.
        co_occurrence: What the same buyers chose; None if no list has that term.
        product_map: The map of its products; None makes a release as those before 0.2, which have none.
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
    settings: Mapping[str, Any] = field(default_factory=dict)
    shop_lists: Path | None = None
    co_occurrence: CoOccurrence | None = None
    product_map: ProductMap | None = None


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_release(releases: Path, parts: ReleaseParts, *, metrics: dict[str, Any], about: dict[str, Any]) -> str:
    """Assembles a release and returns its name. It is not live until promote().

    Args:
        releases: Folder of all releases.
        parts: What goes into the release.
        metrics: Offline evaluation, as `tawsiya evaluate --json` prints it.
        about: Further facts for the manifest (dataset, schema hash, counts, verdict of the gate).
    """
    releases.mkdir(parents=True, exist_ok=True)
    # Of killed processes. The caller holds the shop's lock, so no other process is writing.
    for left_over in releases.glob(".release-*"):
        shutil.rmtree(left_over)
    folder = releases / f".release-{os.getpid()}"
    folder.mkdir()
    _copy_parts(parts, folder)
    write_json(folder / METRICS, metrics)
    write_json(folder / RELEASE_SETTINGS, dict(parts.settings))
    sums = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    created = dt.datetime.now(dt.UTC)
    facts = {"format_version": RELEASE_FORMAT, "created": created.isoformat(), "as_of_ms": parts.as_of_ms}
    manifest = {**facts, **about, "sha256": sums}
    name = release_name(created, manifest)
    manifest["name"] = name
    # After all files, whose hashes it contains.
    write_json(folder / MANIFEST, manifest)
    folder.rename(releases / name)
    return name


def _copy_parts(parts: ReleaseParts, folder: Path) -> None:
    # An interrupted training may have left an unfinished checkpoint in the model folder; its name starts with a dot.
    shutil.copytree(parts.model, folder / MODEL_FOLDER, ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(parts.search_index, folder / SEARCH_FOLDER, ignore=shutil.ignore_patterns(RECORD))
    if parts.shop_lists is not None:
        shutil.copytree(parts.shop_lists, folder / LISTS_FOLDER, ignore=shutil.ignore_patterns(RECORD))
    for name in (VECTORS, IDS, ID_TO_INDEX):
        shutil.copy2(parts.embeddings / name, folder / name)
    shutil.copy2(parts.index / INDEX_FILE, folder / INDEX_FILE)
    if (parts.index / INDEX_CURVE).is_file():  # indexes of 0.1.0 have none
        shutil.copy2(parts.index / INDEX_CURVE, folder / INDEX_CURVE)
    write_arrow(folder / PRODUCTS_ARROW, with_group_codes(parts.products))
    write_arrow(folder / ALIASES_ARROW, parts.aliases)
    np.save(folder / POPULARITY, parts.popular, allow_pickle=False)
    np.save(folder / RECENT_POPULARITY, parts.recent_popularity, allow_pickle=False)
    if parts.co_occurrence is not None:
        parts.co_occurrence.save(folder)
    if parts.product_map is not None:
        parts.product_map.save(folder / PRODUCT_MAP)


# ---- reading and verifying -------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a release; raises ValueError if the folder is no valid release."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is not a release: it has no {MANIFEST}")
    return parse_manifest(path.read_bytes(), path, folder.resolve().name)  # `folder` may be the link to the live one


def verify_release(folder: Path) -> dict[str, Any]:
    """Verifies every file against the manifest, and returns the manifest.

    Raises:
        ValueError: A file is missing, damaged or not in the manifest; the message names it.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
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
    _require_name(name)
    try:
        verify_release(releases / name)
    except ValueError as error:
        raise GateRefusedError(str(error)) from None
    return name


def _require_name(name: str) -> None:
    # The name comes from the command line and must not lead out of the folder.
    if not is_release_name(name):
        raise GateRefusedError(f"{name!r} is not the name of a release")


def _check_unless_unchanged(releases: Path, name: str) -> None:
    """check, without the hashes of files that have not changed since they were verified (see verified_files)."""
    _require_name(name)
    try:
        manifest = read_manifest(releases / name)
        require_files(releases / name, manifest)
    except ValueError as error:
        raise GateRefusedError(str(error)) from None
    files = manifest["sha256"]
    if not unchanged_since_verified(releases, name, files):
        started_ns = time.time_ns()
        check(releases, name)
        note_verified(releases, name, files, started_ns)


def record_gate(releases: Path, name: str, gate: Mapping[str, Any]) -> None:
    """Writes the verdict of the gate (see gate_verdict) into the manifest of a release."""
    folder = releases / name
    write_json(folder / MANIFEST, read_manifest(folder) | {GATE: sealed(gate)})


# ---- going live, back and away ---------------------------------------------------------------------------------------


def promote(releases: Path, name: str, *, forced_because: str | None = None) -> None:
    """Makes a release live after verifying it; if that fails (see check), the live release stays live.

    Args:
        releases: Folder of all releases.
        name: Name of the release.
        forced_because: Why it goes live whatever the gate said; recorded in its manifest.

    Raises:
        GateRefusedError: The gate has refused the release, or it is damaged or missing.
    """
    _check_unless_unchanged(releases, name)
    manifest = read_manifest(releases / name)
    if forced_because is not None:
        # Before it goes live: a crash in between leaves a record too many, never one too few.
        record_gate(releases, name, manifest.get(GATE, dict(NOT_JUDGED)) | {"forced": forced(forced_because)})
    elif reason := refusal(manifest):
        raise GateRefusedError(
            f"release {name} {reason}; to promote it all the same, "
            f"`tawsiya release promote {name} --force --reason TEXT`"
        )
    link = releases / f".{CURRENT}-{os.getpid()}"
    link.unlink(missing_ok=True)
    # Relative, so that the folder of releases can be moved or mounted elsewhere. A link cannot be changed in place; a
    # new one replaces it by an atomic rename.
    link.symlink_to(name)
    link.replace(releases / CURRENT)


def rollback(releases: Path) -> str:
    """Makes the release before the live one live again, refused ones left out; returns its name.

    Raises:
        GateRefusedError: There is no earlier release.
    """
    earlier = _before_live(releases, list_releases(releases))
    if earlier is None:
        raise GateRefusedError("there is no earlier release to roll back to; see `tawsiya release list`")
    promote(releases, earlier)
    return earlier


def _before_live(releases: Path, rows: list[dict[str, Any]]) -> str | None:
    """The name of the release that rollback makes live, among the rows of list_releases."""
    # By name and not by row: the live release may be damaged, and then it has no row.
    live = current_release(releases)
    earlier = [row["name"] for row in rows if live and row["name"] < live.name and not refusal(row)]
    return earlier[-1] if earlier else None


def delete_old(releases: Path, keep: int) -> list[str]:
    """Deletes all but the newest `keep` releases, but never the live one nor the one before it; returns their names.

    Of the refused ones, which are no releases to roll back to, only the newest stays, until a later release is live.
    """
    rows = list_releases(releases)
    refused = [row for row in rows if refusal(row)]
    live = current_release(releases)
    live_name = live.name if live else ""
    kept = {row["name"] for row in refused[-1:] if row["name"] > live_name}
    kept |= {row["name"] for row in [row for row in rows if row not in refused][-keep:]}
    kept |= {live_name, _before_live(releases, rows)}
    old = [row["name"] for row in rows if row["name"] not in kept]
    for name in old:
        shutil.rmtree(releases / name)
    return old
