"""Edit distances between one word and many, computed for all of them at once.

The distance counts letters that are added, left out, replaced, or swapped with their neighbour: optimal string
alignment, the restricted form of Damerau (1964), by the recurrence of Wagner and Fischer (1974).

Legend: W words, L letters of the longest of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Int32Array


class EditDistances(NamedTuple):
    """Distances of a word from W others, (W,) each.

    Attributes:
        whole_W: From each word.
        prefix_W: From the beginning of each word that is nearest.
    """

    whole_W: Int32Array
    prefix_W: Int32Array


def edit_distances(word: str, words: Sequence[str], *, longest: int) -> EditDistances:
    """The distances of `word` from `words`, of which the first `longest` letters count."""
    lengths_W = np.array([min(len(other), longest) for other in words], dtype=np.int32)
    letters_LW = _letters([other[:longest] for other in words], longest)
    n_words = len(words)
    # Row i has the distances of the first i letters of `word` from the first 0 to L letters of the others, (L+1, W).
    two_before = before = np.repeat(np.arange(longest + 1, dtype=np.int32)[:, None], n_words, axis=1)
    previous_letter = -1
    for i, letter in enumerate(map(ord, word), 1):
        row = np.empty_like(before)
        row[0] = i
        for j in range(1, longest + 1):
            replaced = before[j - 1] + (letters_LW[j - 1] != letter)
            row[j] = np.minimum(np.minimum(before[j], row[j - 1]) + 1, replaced)
            if i > 1 and j > 1:
                swapped = (letters_LW[j - 2] == letter) & (letters_LW[j - 1] == previous_letter)
                row[j] = np.where(swapped, np.minimum(row[j], two_before[j - 2] + 1), row[j])
        two_before, before, previous_letter = before, row, letter
    # Beyond the end of a word, the columns compare with nothing.
    beyond_LW = np.arange(longest + 1)[:, None] > lengths_W
    prefix_W = np.where(beyond_LW, len(word) + longest, before).min(axis=0).astype(np.int32)
    return EditDistances(before[lengths_W, np.arange(n_words)], prefix_W)


def _letters(words: Sequence[str], longest: int) -> Int32Array:
    """(L, W) code points, 0 after the end of a word."""
    padded = "".join(word.ljust(longest, "\0") for word in words).encode("utf-32-le")
    letters_LW: Int32Array = np.frombuffer(padded, dtype="<i4").reshape(len(words), longest).T
    return letters_LW
