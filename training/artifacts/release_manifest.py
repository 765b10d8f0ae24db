"""The manifest of a release: its format, its name, and what it says about the files beside it."""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from feature_repo.common.files import sha256
from feature_repo.common.formats import require_format
from training.artifacts.gate_verdict import GATE, is_sealed

MANIFEST = "manifest.json"
# Increment it when older releases cannot be served any more, for example after a change of the normaliser.
RELEASE_FORMAT = 6
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_release_name(name: str) -> bool:
    """Whether a text has the form of a release's name; one that has it leads out of no folder."""
    return _NAME.fullmatch(name) is not None


def release_name(created: dt.datetime, manifest: Mapping[str, Any]) -> str:
    """The name of a release with this manifest. Names sort by time; their end is a hash of the content."""
    return f"{created:%Y%m%dT%H%M%S}.{created.microsecond // 1000:03}Z-{_content_hash(manifest)}"


def parse_manifest(content: bytes, path: Path | str, name: str) -> dict[str, Any]:
    """The manifest of the release `name`, checked in whatever way it can be without the other files.

    Args:
        content: The file's content, which may come from another machine.
        path: The file or its address, for messages.
        name: The name that the release must have.

    Raises:
        ValueError: It is damaged, of another format, or of another release.
    """
    try:
        manifest = json.loads(content)
    except ValueError as error:  # invalid JSON or UTF-8
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(manifest, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    # First: manifests of other versions may differ in all the rest.
    require_format(manifest.get("format_version"), RELEASE_FORMAT, path, remake="tawsiya refresh")
    if manifest.get("name") != name or not name.endswith(f"-{_content_hash(manifest)}"):
        raise ValueError(f"{path} is damaged: it does not match the release's name")
    if wrong := [field for field, is_good in _FIELDS.items() if not is_good(manifest.get(field))]:
        raise ValueError(f"{path} is damaged: wrong or missing {', '.join(wrong)}")
    if GATE in manifest and not is_sealed(manifest[GATE]):
        raise ValueError(f"{path} is damaged: the verdict of the gate is not as it was written")
    return manifest


def verify_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Verifies every file of a release against its manifest.

    Raises:
        ValueError: A file is missing, damaged or not in the manifest; the message names it.
    """
    require_files(folder, manifest)
    for name, expected in manifest["sha256"].items():
        if sha256(folder / name) != expected:
            raise ValueError(f"release {manifest['name']} is damaged: {name} does not match its sha256 sum")


def require_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Checks that a release has all files of its manifest and no others; raises ValueError as verify_files."""
    sums, release = manifest["sha256"], manifest["name"]
    # Unknown files are refused too: whatever is loaded from the folder must be in the manifest.
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    if missing := sorted(sums.keys() - present):
        raise ValueError(f"release {release} lacks {', '.join(missing)}")
    if unknown := sorted(present - sums.keys()):
        raise ValueError(f"release {release} holds files that its manifest does not know: {', '.join(unknown)}")


def _are_sums(sums: Any) -> bool:
    return isinstance(sums, dict) and all(
        _is_inside(name) and isinstance(value, str) and _SHA256.fullmatch(value) for name, value in sums.items()
    )


def _is_inside(name: str) -> bool:
    """Whether a path from a manifest names a file in the release's folder, and not the manifest itself."""
    path = PurePosixPath(name)
    plain = not path.is_absolute() and path.as_posix() == name and ".." not in path.parts
    return plain and name not in (".", MANIFEST) and "\\" not in name and "\0" not in name


def _is_time(text: Any) -> bool:
    try:
        return dt.datetime.fromisoformat(text).tzinfo is not None
    except (TypeError, ValueError):
        return False


# What whoever reads a manifest relies on.
_FIELDS = {"created": _is_time, "as_of_ms": lambda value: type(value) is int, "sha256": _are_sums}


def _content_hash(manifest: Mapping[str, Any]) -> str:
    """The hash of a manifest, with which the release's name ends."""
    # Without the name, which contains this hash, and the verdict, which comes later. Sorted keys make the text the same
    # after a reload.
    content = {key: value for key, value in manifest.items() if key not in ("name", GATE)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
