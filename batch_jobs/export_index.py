"""Exports the product vectors and their index as files that other programs read, without Tawsiya."""

import shutil
from pathlib import Path
from typing import Any

import faiss

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from training.artifacts.embeddings import ID_TO_INDEX, IDS, VECTORS, load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.search.index_files import INDEX_FILE
from training.artifacts.search.vector_index import load_index


def export_index(config: Config, folder: Path) -> dict[str, Any]:
    """Writes the shop's index to a new folder, which appears when it is complete.

    It holds `product_index.faiss`, which `faiss.read_index` reads: an IndexFlatIP, or for an approximate index an
    IndexRefineFlat, whose scores are exact inner products, too. Positions are rows of `product_ids.npy`;
    `product_id_to_index.json` is the reverse. The vectors are in the file, and in memory meanwhile.

    Raises:
        FileNotFoundError: There is no index, or no folder to put the new one in.
        ValueError: The folder exists and is not empty, or the index is not of the current vectors.
    """
    paths = shop_paths(config)
    require_source(paths.index, paths.embeddings / VECTORS, "tawsiya index")
    folder = folder.absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"--to {folder}: already exists and is no empty folder; name a new one")
    index = load_index(paths.index, load_embeddings(paths.embeddings).vectors_ND)
    # Beside it, because a rename is atomic only within one file system.
    unfinished = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        faiss.write_index(index.exported(), str(unfinished / INDEX_FILE))
        for name in (IDS, ID_TO_INDEX):
            shutil.copyfile(paths.embeddings / name, unfinished / name)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {"folder": str(folder), "type": index.kind, "n_products": len(index), "dim": index.dim}
