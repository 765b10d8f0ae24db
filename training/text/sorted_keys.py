"""Numbers keys of 16 bytes and looks them up in sorted arrays: 20 bytes per key, where a dictionary takes 140.

Legend: N keys, Q keys that are looked up.
"""

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Int32Array, Int64Array

TEXT_KEY_BYTES = 16
NO_ROW = -1


class SortedKeys:
    """The rows of distinct keys; each is in two halves, because NumPy sorts and searches 64-bit numbers fast."""

    def __init__(self) -> None:
        """No keys."""
        self._first: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._second: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._rows: Int32Array = np.empty(0, np.int32)

    def __len__(self) -> int:
        """The number of keys, N."""
        return len(self._rows)

    def extend(self, keys: bytes) -> None:
        """Gives the next rows to keys, which lie end to end; takes time in proportion to all keys."""
        first, second = _halves(keys)
        first = np.concatenate([self._first, first])
        # Stable: a merge sort, which is fast because most keys are sorted already.
        order = np.argsort(first, kind="stable")
        self._first = first[order]
        self._second = np.concatenate([self._second, second])[order]
        self._rows = np.concatenate([self._rows, np.arange(len(self), len(order), dtype=np.int32)])[order]

    def rows(self, keys: bytes) -> Int64Array:
        """The rows of keys, which lie end to end, (Q,); NO_ROW for unknown ones."""
        first, second = _halves(keys)
        places = np.searchsorted(self._first, first)
        rows = np.full(len(places), NO_ROW, np.int64)
        open_ = np.arange(len(places))
        # Nearly always one step: keys whose first halves are equal lie side by side.
        while len(open_):
            open_ = open_[places[open_] < len(self)]
            open_ = open_[self._first[places[open_]] == first[open_]]
            found = self._second[places[open_]] == second[open_]
            rows[open_[found]] = self._rows[places[open_[found]]]
            open_ = open_[~found]
            places[open_] += 1
        return rows


def first_halves(keys: bytes) -> npt.NDArray[np.uint64]:
    """The first 64 bits of each key, (Q,)."""
    return _halves(keys)[0].copy()  # else the second halves would stay in memory with them


def _halves(keys: bytes) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    halves = np.frombuffer(keys, np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]
