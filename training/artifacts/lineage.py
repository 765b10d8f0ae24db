"""Records what an artifact was made from, so that artifacts of different runs are never mixed."""

from pathlib import Path

from feature_repo.common.files import read_json, sha256, write_json

RECORD = "made_from.json"


def record_source(folder: Path, *sources: Path) -> None:
    """Records in `folder` the hashes of the files that it was made from."""
    # Contents and not times: a copied or restored folder keeps its record, and a repeated run with the same result too.
    write_json(folder / RECORD, {source.name: sha256(source) for source in sources})


def require_source(folder: Path, source: Path, command: str) -> None:
    """Checks that `folder` was made from `source` as it is now.

    Raises:
        FileNotFoundError: The artifact or the source is missing.
        ValueError: It was made from another version of `source`; the message names `command`, which makes it again.
    """
    record = folder / RECORD
    if not record.is_file() or not source.is_file():
        raise FileNotFoundError(f"{folder} or {source} is missing; run `{command}` first")
    if read_json(record, command).get(source.name) != sha256(source):
        raise ValueError(
            f"{folder} was made from another {source.name} than the one in {source.parent}; run `{command}`"
        )
