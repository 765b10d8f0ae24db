"""The two files of an index: what FAISS reads, and the curve that its parameter was chosen from."""

from pathlib import Path
from typing import Any

import faiss

from feature_repo.common.files import read_json, replacing, write_json

INDEX_FILE, INDEX_CURVE = "product_index.faiss", "index_curve.json"


def write_index(folder: Path, index: faiss.Index, settings: dict[str, Any]) -> None:
    """Writes an index with its type and the value of its parameter."""
    with replacing(folder / INDEX_FILE) as temporary:
        faiss.write_index(index, str(temporary))
    write_json(folder / INDEX_CURVE, settings)


def read_index(folder: Path) -> tuple[faiss.Index, dict[str, Any]]:
    """Reads the index that was saved in `folder`, and its settings: {"type", "value", ...}.

    Raises:
        FileNotFoundError: The folder has no index; the message names the command that builds it.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise FileNotFoundError(f"there is no index in {folder}; run `tawsiya index` first")
    settings = folder / INDEX_CURVE
    # Releases of older versions have no settings.
    return faiss.read_index(str(path)), read_json(settings, "tawsiya index") if settings.is_file() else {}
