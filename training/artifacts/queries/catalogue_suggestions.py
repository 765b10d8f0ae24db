"""The suggestions of a catalogue: its categories, brands and titles, and the phrases that many titles share."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo import columns as c
from training.artifacts.product_table import read_product_columns
from training.artifacts.queries.suggestion_index import Suggestion, SuggestionIndex, typed_words

PRODUCTS_OF_A_PHRASE = 3  # at least
WORDS_OF_A_PHRASE = 3  # at most
MOST_PHRASES = 50_000
# Phrases are counted in one pass. When so many different ones are in memory, those seen once are dropped: a lossy count
# (Manku and Motwani 2002), which errs on rare phrases only.
COUNTED_PHRASES = 2_000_000
# No phrase begins or ends with one of these, as typed_words leaves them.
_STOP_WORDS = frozenset(("a", "an", "and", "for", "from", "in", "of", "on", "or", "the", "to", "with", "x"))
_STOP_WORDS |= {"في", "من", "مع", "علي", "و", "او", "ال"}

_SIGNS = " .,;:!?()[]{}-–/|،؛؟\"'"


def write_suggestions(folder: Path, product_features: Path) -> int:
    """Writes the suggestions of the product features to the folder of a search index; returns their number."""
    index = SuggestionIndex.build(catalogue_suggestions(read_product_columns(product_features)))
    index.save(folder)
    return len(index)


def catalogue_suggestions(products: pa.Table) -> Iterator[Suggestion]:
    """The suggestions of the product columns, each text once."""
    titles = list(_titles(products))
    suggested: set[str] = set()
    for kind, groups in (
        ("category", _by_name(products[c.CATEGORY].to_pylist())),
        ("brand", _by_name(products[c.BRAND].to_pylist())),
        ("phrase", _phrases(titles)),
        ("product", _by_title(titles)),
    ):
        for key, (text, positions) in groups.items():
            if key and key not in suggested:
                suggested.add(key)
                yield Suggestion(text, kind, np.array(positions, dtype=np.int32))


Groups = dict[str, tuple[str, list[int]]]  # by normalised text: text and positions


def _titles(products: pa.Table) -> Iterator[list[str]]:
    """The titles of each product, in all languages."""
    in_languages = products[c.TITLES].to_pylist() if c.TITLES in products.column_names else [None] * len(products)
    for title, titles in zip(products[c.TITLE].to_pylist(), in_languages, strict=True):
        yield list(dict.fromkeys(filter(None, [title, *json.loads(titles or "{}").values()])))


def _by_name(names: Sequence[str | None]) -> Groups:
    groups: Groups = {}
    for position, name in enumerate(names):
        if name:
            groups.setdefault(" ".join(typed_words(name)), (name, []))[1].append(position)
    return groups


def _by_title(titles: Sequence[list[str]]) -> Groups:
    groups: Groups = {}
    for position, of_product in enumerate(titles):
        for title in of_product:
            groups.setdefault(" ".join(typed_words(title)), (title, []))[1].append(position)
    return groups


def _phrases(titles: Sequence[list[str]]) -> Groups:
    """One to three words in a row that several products have in a title, the most frequent ones first."""
    words_of = _cached_words()
    counts: Counter[str] = Counter()
    for of_product in titles:
        # Each once, in order, so that the same catalogue makes the same file.
        counts.update(
            dict.fromkeys(phrase for title in of_product for phrase, _ in _phrases_of(title, words_of)).keys()
        )
        if len(counts) > COUNTED_PHRASES:
            counts = Counter({phrase: count for phrase, count in counts.items() if count > 1})
    most_common = counts.most_common(MOST_PHRASES)
    positions: dict[str, list[int]] = {phrase: [] for phrase, count in most_common if count >= PRODUCTS_OF_A_PHRASE}
    written: dict[str, str] = {}
    for position, of_product in enumerate(titles):
        for title in of_product:
            for phrase, text in _phrases_of(title, words_of):
                if phrase in positions and positions[phrase][-1:] != [position]:
                    positions[phrase].append(position)
                    written.setdefault(phrase, text)
    return {phrase: (written[phrase], of_phrase) for phrase, of_phrase in positions.items()}


def _phrases_of(title: str, words_of: Callable[[str], list[str]]) -> Iterator[tuple[str, str]]:
    """The phrases of a title, normalised and as they are written there."""
    tokens = title.split()
    words = [words_of(token) for token in tokens]
    for start in range(len(tokens)):
        for end in range(start + 1, min(start + WORDS_OF_A_PHRASE, len(tokens)) + 1):
            phrase = [word for of_token in words[start:end] for word in of_token]
            if all(words[start:end]) and _is_telling(phrase[0]) and _is_telling(phrase[-1]):
                yield " ".join(phrase), " ".join(tokens[start:end]).strip(_SIGNS)
            if tokens[end - 1][-1] in _SIGNS:  # "tea, green" is no phrase
                break


def _is_telling(word: str) -> bool:
    return len(word) > 1 and word.isalpha() and word not in _STOP_WORDS


def _cached_words() -> Callable[[str], list[str]]:
    """typed_words of tokens, which catalogues repeat."""
    known: dict[str, list[str]] = {}

    def words_of(token: str) -> list[str]:
        if token not in known:
            known[token] = typed_words(token)
        return known[token]

    return words_of
