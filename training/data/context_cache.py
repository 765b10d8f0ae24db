"""Training contexts on disk: joined once through Feast for each build of the features, then memory-mapped.

Every later run of training, each trial of a search and each process that prepares batches read the same pages; the
timelines are never copied into a process.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from training.data.contexts import Contexts
from training.data.histories import Histories

Arrays = dict[str, npt.NDArray[Any]]


def cached_contexts(folder: Path, version: str, make: Callable[[], Contexts]) -> Contexts:
    """The contexts that `make` makes, from disk where they were made before of the same version.

    Args:
        folder: Holds one set at a time; that of another version is deleted.
        version: Names all that the contexts depend on.
        make: Reads them through Feast.
    """
    key = hashlib.sha256(version.encode()).hexdigest()[:16]
    kept = folder / key
    if not kept.is_dir():
        contexts = make()
        shutil.rmtree(folder, ignore_errors=True)
        _save(folder, key, contexts)
    return _load(kept)


def _save(folder: Path, key: str, contexts: Contexts) -> None:
    """A folder takes its name when it is complete: a killed writer leaves none of that name."""
    unfinished = folder / f".{key}.tmp"
    unfinished.mkdir(parents=True)
    for name, array in _arrays(contexts).items():
        np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
    unfinished.rename(folder / key)


def _arrays(contexts: Contexts) -> Arrays:
    """Buyer ids as codes, since an array of objects cannot be mapped."""
    codes, ids = pd.factorize(contexts.buyer_ids)
    arrays: Arrays = {"buyers": ids.astype(str), "buyer_codes": codes.astype(np.int32), "times_us": contexts.times_us}
    arrays |= {"starts": contexts.starts, "ends": contexts.ends}
    for part in ("timelines", "targets"):
        arrays |= {f"{part}_{name}": array for name, array in vars(getattr(contexts, part)).items()}
    return arrays


def _load(folder: Path) -> Contexts:
    def mapped(name: str) -> npt.NDArray[Any]:
        # A plain view: indexing it is faster than indexing the memmap object it views.
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    timelines, targets = (
        Histories(*(mapped(f"{part}_{name}") for name in Histories.__dataclass_fields__))
        for part in ("timelines", "targets")
    )
    return Contexts(
        buyer_ids=mapped("buyers").astype(object)[mapped("buyer_codes")],
        times_us=mapped("times_us"),
        timelines=timelines,
        starts=mapped("starts"),
        ends=mapped("ends"),
        targets=targets,
    )
