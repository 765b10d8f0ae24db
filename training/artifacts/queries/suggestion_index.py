"""Suggestions while a buyer types: categories, brands, frequent phrases and titles that have the words typed so far.

Each word that is typed may be the beginning of any word of a suggestion. All words of all suggestions are sorted, so
the words with one beginning, and with them the suggestions that have such a word, are one slice.

Legend: S suggestions, N products, P products of suggestions.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from feature_repo.transforms.light_stem import without_prefixes
from feature_repo.transforms.normalise import NORMALISATION_STEPS, NormalisationStep, normalise
from training.artifacts.product_table import map_arrow, write_arrow
from training.artifacts.queries.edit_distance import edit_distances

SUGGESTIONS_FILE, SUGGESTION_WORDS_FILE = "suggestions.arrow", "suggestion_words.arrow"
# Shorter beginnings have too many neighbours.
SHORTEST_MISTYPED = 4
MOST_WORDS = 8  # of what was typed, the last ones: each mistyped one takes a millisecond or more
# Not the units: "gram" would be "g", which no longer begins with "gr".
_STEPS = tuple(step for step in NORMALISATION_STEPS if step is not NormalisationStep.UNITS)


class Suggestion(NamedTuple):
    """A text that completes what was typed.

    Attributes:
        text: As the shop writes it.
        kind: category, brand, phrase or product.
        positions: The products that it stands for; of a title, most often one.
    """

    text: str
    kind: str
    positions: Int32Array


class SuggestionIndex:
    """The suggestions of a catalogue by the beginnings of their words; read-only, and safe to use from threads."""

    def __init__(self, suggestions: pa.Table, words: pa.Table) -> None:
        """Wraps the tables of the files: text, kind, products; word, suggestions."""
        self._texts = suggestions["text"].combine_chunks()
        kinds = suggestions["kind"].combine_chunks().dictionary_encode()
        self._kind_names: list[str] = kinds.dictionary.to_pylist()
        self._kinds_S: Int32Array = kinds.indices.to_numpy()
        self._product_offsets, self._products_P = _lists(suggestions["products"])
        self._words: list[str] = words["word"].to_pylist()
        self._word_offsets, self._suggestions = _lists(words["suggestions"])

    @classmethod
    def build(cls, suggestions: Iterable[Suggestion]) -> "SuggestionIndex":
        """Indexes suggestions; of equal relevance, an earlier one comes first."""
        kept = list(suggestions)
        by_word: defaultdict[str, list[int]] = defaultdict(list)
        for place, suggestion in enumerate(kept):
            words = typed_words(suggestion.text)
            # Who looks for شاي wants الشاي too.
            for word in dict.fromkeys([*words, *map(without_prefixes, words)]):
                by_word[word].append(place)
        words = sorted(by_word)
        texts, kinds = [one.text for one in kept], [one.kind for one in kept]
        products = [one.positions for one in kept]
        int_lists = pa.list_(pa.int32())
        return cls(
            pa.table({**_texts(text=texts, kind=kinds), "products": pa.array(products, int_lists)}),
            pa.table({**_texts(word=words), "suggestions": pa.array([by_word[word] for word in words], int_lists)}),
        )

    def save(self, folder: Path) -> None:
        """Writes two files."""
        kinds = [self._kind_names[code] for code in self._kinds_S]
        products = pa.ListArray.from_arrays(self._product_offsets, self._products_P)
        suggestions = pa.ListArray.from_arrays(self._word_offsets, self._suggestions)
        texts = pa.table({"text": self._texts, **_texts(kind=kinds), "products": products})
        write_arrow(folder / SUGGESTIONS_FILE, texts)
        words = pa.table({**_texts(word=self._words), "suggestions": suggestions})
        write_arrow(folder / SUGGESTION_WORDS_FILE, words)

    @classmethod
    def load(cls, folder: Path) -> "SuggestionIndex | None":
        """Memory-maps the suggestions of a search index; None if it is of an older release, which has none."""
        if not (folder / SUGGESTIONS_FILE).is_file():
            return None
        return cls(map_arrow(folder / SUGGESTIONS_FILE), map_arrow(folder / SUGGESTION_WORDS_FILE))

    def __len__(self) -> int:
        """S."""
        return len(self._texts)

    def __getitem__(self, place: int) -> Suggestion:
        """One suggestion."""
        products = self._products_P[self._product_offsets[place] : self._product_offsets[place + 1]]
        return Suggestion(self._texts[place].as_py(), self._kind_names[self._kinds_S[place]], products)

    def of_products(self, values_N: Float32Array) -> Float32Array:
        """The sum of a value over the products of each suggestion, (S,)."""
        if not len(self):
            return np.zeros(0, dtype=np.float32)
        sums_S: Float32Array = np.add.reduceat(values_N[self._products_P], self._product_offsets[:-1])
        return sums_S

    def complete(self, typed: str, k: int, scores_S: Float32Array) -> list[int]:
        """The K best suggestions that have all words of a text as beginnings of words, best first.

        No kind takes more than half of the places while there are others.

        Args:
            typed: What was typed so far.
            k: K.
            scores_S: (S,) the more, the better; 0 keeps a suggestion out.
        """
        words = typed_words(typed)[-MOST_WORDS:]
        if not words or not len(self):
            return []
        found_S = scores_S > 0
        for places in (self._with_word(word) for word in words):
            has_word_S = np.zeros(len(self), dtype=np.bool_)
            has_word_S[places] = True
            found_S &= has_word_S
        return self._mixed(np.flatnonzero(found_S), k, scores_S)

    def _mixed(self, places: Int64Array, k: int, scores_S: Float32Array) -> list[int]:
        kinds = [places[self._kinds_S[places] == kind] for kind in range(len(self._kind_names))]
        ranked = [_best(of_kind, k, scores_S) for of_kind in kinds]
        most = (k + 1) // 2
        first, rest = (np.concatenate([one[part] for one in ranked]) for part in (slice(most), slice(most, None)))
        chosen = [*_best(first, k, scores_S), *_best(rest, k, scores_S)][:k]
        return [int(place) for place in _best(np.array(chosen, dtype=np.int64), k, scores_S)]

    def _with_word(self, word: str) -> Int32Array:
        """The suggestions with a word that begins like this; if there is none, with one letter mistyped."""
        exact = [self._slice(start) for start in dict.fromkeys((word, without_prefixes(word)))]
        found = np.concatenate(exact)
        return found if len(found) or len(word) < SHORTEST_MISTYPED else self._with_similar_word(word)

    def _with_similar_word(self, word: str) -> Int32Array:
        start, end = bisect_left(self._words, word[0]), bisect_left(self._words, chr(ord(word[0]) + 1))
        _, prefix_W = edit_distances(word, self._words[start:end], longest=len(word) + 1)
        near = [self._of_word(start + int(place)) for place in np.flatnonzero(prefix_W == 1)]
        return np.concatenate(near) if near else np.empty(0, dtype=np.int32)

    def _slice(self, beginning: str) -> Int32Array:
        start, end = bisect_left(self._words, beginning), bisect_left(self._words, f"{beginning}\U0010ffff")
        return self._suggestions[self._word_offsets[start] : self._word_offsets[end]]

    def _of_word(self, place: int) -> Int32Array:
        return self._suggestions[self._word_offsets[place] : self._word_offsets[place + 1]]


def typed_words(text: str) -> list[str]:
    """The words of a text as suggestions compare them: normalised, but units as they are written."""
    return [word for word in normalise(text, _STEPS).split() if any(map(str.isalnum, word))]


def _best(places: Int64Array, k: int, scores_S: Float32Array) -> Int64Array:
    scores = scores_S[places]
    if k < len(places):
        kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        places, scores = places[kept], scores[kept]
    best: Int64Array = places[np.argsort(-scores, kind="stable")[:k]]
    return best


def _texts(**columns: Sequence[str]) -> dict[str, pa.Array]:
    # With their type, which Arrow cannot see in an empty list.
    return {name: pa.array(texts, pa.string()) for name, texts in columns.items()}


def _lists(column: pa.ChunkedArray) -> tuple[Int32Array, Int32Array]:
    lists = column.combine_chunks()
    if not len(lists):
        return np.zeros(1, dtype=np.int32), np.empty(0, dtype=np.int32)
    return lists.offsets.to_numpy(), lists.values.to_numpy()
