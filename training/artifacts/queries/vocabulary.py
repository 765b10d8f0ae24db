"""The words of a catalogue: in which form search compares them, which it knows, and what a mistyped one stands for.

Words that the light stemmer joins are compared in the form that most products have: `watch` and `watches` alike, and a
stranger such as `الساعات` as `ساعة`. A word whose stem no other word of the catalogue has stays as it is, because the
"ending" of most names is none (docs/adr/0020). Taking word forms together only where a collection has them is due to Xu
and Croft (1998).

Legend: W words.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.common.arrays import Int32Array
from feature_repo.transforms.light_stem import light_stem, without_prefixes
from feature_repo.transforms.normalise import normalise
from training.artifacts.product_table import map_arrow, write_arrow
from training.artifacts.queries.edit_distance import edit_distances

VOCABULARY_FILE = "vocabulary.arrow"
# Shorter words have too many neighbours, and longer "words" are serial numbers.
SHORTEST_CORRECTED, LONGEST_WORD = 4, 32
# Words of so many letters may differ in two, as "choclat" from "chocolate".
SHORTEST_WITH_TWO_EDITS = 7
MOST_UNKNOWN = 3  # words of a query that are corrected


class Vocabulary:
    """The normalised words of all product texts; read-only and safe to use from several threads."""

    def __init__(self, words: list[str], written: list[str], counts_W: Int32Array) -> None:
        """Takes words in order, each as shops write it most often, and the number of products that have it, (W,)."""
        self._words, self._written, self._counts_W = words, written, counts_W
        most_frequent = np.argsort(-counts_W, kind="stable")
        self._form_of: dict[str, str] = {}  # by stem
        for place in most_frequent.tolist():
            self._form_of.setdefault(light_stem(words[place]), words[place])

    @classmethod
    def build(cls, texts: Iterable[str]) -> "Vocabulary":
        """The words of product texts."""
        counts: Counter[str] = Counter()
        written: dict[str, str] = {}
        normalised: dict[str, list[str]] = {}  # the words of a token; a catalogue repeats its tokens
        for text in texts:
            found: dict[str, str] = {}
            for token in text.split():
                if token not in normalised:
                    normalised[token] = [word for word in normalise(token).split() if _is_word(word)]
                words = normalised[token]
                # A token of several words, such as 128GB, is how none of them is written.
                found |= {word: token if len(words) == 1 else word for word in words}
            counts.update(found.keys())
            for word, token in found.items():
                written.setdefault(word, token)
        words = sorted(counts)
        counts_W = np.array([counts[word] for word in words], dtype=np.int32)
        return cls(words, [_without_signs(written[word]) for word in words], counts_W)

    def save(self, folder: Path) -> None:
        """Writes one file."""
        columns = {"word": self._words, "written": self._written, "count": self._counts_W}
        write_arrow(folder / VOCABULARY_FILE, pa.table(columns))

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary | None":
        """The vocabulary of a search index; None if it is of an older release, which has none."""
        if not (folder / VOCABULARY_FILE).is_file():
            return None
        table = map_arrow(folder / VOCABULARY_FILE)
        return cls(table["word"].to_pylist(), table["written"].to_pylist(), table["count"].to_numpy())

    def __len__(self) -> int:
        """W."""
        return len(self._words)

    def knows(self, word: str) -> bool:
        """Whether a product has a normalised word, in any of the forms that light stemming joins."""
        return light_stem(word) in self._form_of

    def spell(self, text: str) -> str:
        """A text as search compares it: normalised, each word in the form that most products have."""
        return " ".join(map(self._form, normalise(text).split()))

    def _form(self, word: str) -> str:
        stem = light_stem(word)
        form = self._form_of.get(stem, word)
        # A strange word may lose an ending, but it gets none: "digest" is not "digestin".
        gets_an_ending = stem == word and without_prefixes(form) != word
        return word if gets_an_ending and not self._has(word) else form

    def _has(self, word: str) -> bool:
        place = bisect_left(self._words, word)
        return place < len(self._words) and self._words[place] == word

    def knows_any(self, query: str) -> bool:
        """Whether a product has a word of a query that says something: one of three letters or more."""
        return any(len(word) > 2 and _is_word(word) and self.knows(word) for word in normalise(query).split())

    def correct(self, query: str, known: Collection[str] = ()) -> str | None:
        """The query with each unknown word replaced by the known one that is nearest; None if nothing is replaced.

        A query of more than MOST_UNKNOWN unknown words is left as it is.

        Args:
            query: The query as it was typed.
            known: Light stems of further words to leave as they are.
        """
        words = [word for word in normalise(query).split() if _is_correctable(word)]
        n_unknown = sum(not self._is_known(word, known) for word in words)
        # None: most queries; what follows normalises each token. Many: no typing error, and milliseconds for each.
        if not 0 < n_unknown <= MOST_UNKNOWN:
            return None
        tokens = query.split()
        corrected = [self._corrected(token, known) for token in tokens]
        return None if corrected == tokens else " ".join(corrected)

    def _corrected(self, token: str, known: Collection[str]) -> str:
        word = normalise(token)
        if not _is_correctable(word) or self._is_known(word, known):
            return token
        place = self._nearest(word)
        if place is None:
            return token
        written = self._written[place]
        # As the shop writes it, but for a shop whose titles are all capitals.
        return written.lower() if written.isupper() and token.islower() else written

    def _is_known(self, word: str, known: Collection[str]) -> bool:
        stem = light_stem(word)
        return stem in self._form_of or stem in known

    def _nearest(self, word: str) -> int | None:
        """The place of the known word with the fewest edits, of these the most frequent one."""
        most_edits = 2 if len(word) >= SHORTEST_WITH_TWO_EDITS else 1
        # Few people mistype the first letter, and the others are too many to compare with.
        start, end = bisect_left(self._words, word[0]), bisect_left(self._words, chr(ord(word[0]) + 1))
        lengths = range(len(word) - most_edits, len(word) + most_edits + 1)
        places = [place for place in range(start, end) if len(self._words[place]) in lengths]
        if not places:
            return None
        distances_W, _ = edit_distances(word, [self._words[place] for place in places], longest=lengths[-1])
        order = np.lexsort((-self._counts_W[places], distances_W))
        best = int(order[0])
        return places[best] if distances_W[best] <= most_edits else None


def _is_correctable(word: str) -> bool:
    return SHORTEST_CORRECTED <= len(word) <= LONGEST_WORD and word.isalpha()


def _is_word(word: str) -> bool:
    return len(word) <= LONGEST_WORD and any(map(str.isalpha, word))


def _without_signs(token: str) -> str:
    """A word as it is written in a text, without the punctuation around it."""
    start, end = 0, len(token)
    while start < end and not token[start].isalnum():
        start += 1
    while end > start and not (token[end - 1].isalnum() or token[end - 1] in "+%"):
        end -= 1
    return token[start:end] or token
