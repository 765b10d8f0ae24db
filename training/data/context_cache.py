"""A cache of training contexts: read through Feast once per feature build, then memory-mapped from disk.

Every later training run, tuning trial and batch-preparing process shares the same pages of memory, so the timelines are
never copied into a process.
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
# Increment it when the arrays are written otherwise: the cache of another format counts as none.
CACHE_FORMAT = 1


def cached_contexts(folder: Path, version: str, make: Callable[[], Contexts]) -> Contexts:
    """Returns the cached contexts of this version; otherwise calls `make` and caches its result.

    Args:
        folder: The cache. It holds one version; another one is deleted.
        version: Identifies everything that the contexts depend on.
        make: Reads the contexts through Feast.
    """
    # A hash, because a version may have any length and any characters.
    key = hashlib.sha256(f"{CACHE_FORMAT} {version}".encode()).hexdigest()[:16]
    cached = folder / key
    if not cached.is_dir():
        contexts = make()
        # After `make`, which may fail or be killed. This also removes the unfinished folder of a killed process.
        shutil.rmtree(folder, ignore_errors=True)
        _save(folder, key, contexts)
    return _load(cached)


def _save(folder: Path, key: str, contexts: Contexts) -> None:
    """Renames the folder once it is complete, so that an interrupted write is never read."""
    unfinished = folder / f".{key}.tmp"
    unfinished.mkdir(parents=True)
    for name, array in _arrays(contexts).items():
        np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
    unfinished.rename(folder / key)


def _arrays(contexts: Contexts) -> Arrays:
    """The arrays by file name; buyer ids become codes, because an object array cannot be memory-mapped."""
    codes, ids = pd.factorize(contexts.buyer_ids)
    arrays: Arrays = {"buyers": ids.astype(str), "buyer_codes": codes.astype(np.int32), "times_us": contexts.times_us}
    arrays |= {"starts": contexts.starts, "ends": contexts.ends}
    for part in ("timelines", "targets"):
        arrays |= {f"{part}_{name}": array for name, array in vars(getattr(contexts, part)).items()}
    return arrays


def _load(folder: Path) -> Contexts:
    def mapped(name: str) -> npt.NDArray[Any]:
        # Indexing a plain array view is faster than indexing the memmap object.
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    timelines, targets = (
        Histories(*(mapped(f"{part}_{name}") for name in Histories.__dataclass_fields__))
        for part in ("timelines", "targets")
    )
    return Contexts(
        # Objects, one string per buyer. A unicode array would store every id at the width of the longest, once per
        # context.
        buyer_ids=mapped("buyers").astype(object)[mapped("buyer_codes")],
        times_us=mapped("times_us"),
        timelines=timelines,
        starts=mapped("starts"),
        ends=mapped("ends"),
        targets=targets,
    )
