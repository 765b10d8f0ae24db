"""Search for products by a text query: by meaning and by spelling, combined in one score.

What a query matches, and the score, are in training/artifacts/queries/query_matches.py.

Legend: N products, T dimensions of a text vector.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.transforms.consonants import consonants
from feature_repo.transforms.normalise import normalise
from training.artifacts.embeddings import save_blocks
from training.artifacts.queries.query_matches import QueryMatches
from training.artifacts.queries.vocabulary import Vocabulary
from training.artifacts.search.filtered_search import IndexedVectors
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_recall import buyer_like_queries, choose_value
from training.artifacts.search.milvus_collection import Engine
from training.artifacts.search.ngram_index import NgramIndex, SpellingScores
from training.artifacts.search.vector_index import IndexType, build_index, load_index

TEXT_VECTORS = "text_vectors.npy"
# The recall that the parameter of an approximate index is chosen by. What it misses, spelling may find.
MIN_RECALL = 0.99
PRODUCTS_OF_THE_MEAN = 4096  # a sample of the catalogue


class QuerySynonyms(NamedTuple):
    """What the shop's synonyms say about one query.

    Attributes:
        queries: What the query finds, too.
        known_stems: Light stems of words that need no correction.
    """

    queries: Sequence[str] = ()
    known_stems: Collection[str] = ()


NO_SYNONYMS = QuerySynonyms()


class ComparedText(NamedTuple):
    """A query or a synonym of it, and how alike P products are spelled.

    Attributes:
        text: As it was typed, or as the synonym has it.
        spelled: The form in which it is compared: normalised, each word in the form that most products have.
        consonants: Its consonants, in Latin letters.
        scores: Letters and consonants, (P,) each.
        known_words: Which words of `spelled` a product has.
    """

    text: str
    spelled: str
    consonants: str
    scores: SpellingScores
    known_words: Sequence[str]


class SearchIndex:
    """Text vectors and n-grams of all products; read-only and safe to use from several threads."""

    def __init__(self, text_vectors: IndexedVectors, ngrams: NgramIndex, vocabulary: Vocabulary | None = None) -> None:
        """Combines indexes of the same products; raises ValueError if their numbers of products differ."""
        if len(text_vectors) != len(ngrams):
            raise ValueError(
                f"the search index has text vectors of {len(text_vectors)} products and n-grams of {len(ngrams)}; "
                "run `tawsiya index`"
            )
        self._text_vectors, self._ngrams, self._vocabulary = text_vectors, ngrams, vocabulary
        step = max(1, len(text_vectors) // PRODUCTS_OF_THE_MEAN)
        self._mean_T: Float32Array = text_vectors[np.arange(0, len(text_vectors), step)].mean(axis=0)

    @classmethod
    def load(cls, folder: Path) -> "SearchIndex":
        """Memory-maps the files of build_search_index."""
        vectors_NT = np.load(folder / TEXT_VECTORS, mmap_mode="r", allow_pickle=False)
        text_vectors = IndexedVectors(vectors_NT, load_index(folder, vectors_NT))
        vocabulary = Vocabulary.load(folder)
        # Older releases have none, and n-grams of the words as they are written.
        spell = normalise if vocabulary is None else vocabulary.spell
        return cls(text_vectors, NgramIndex.load(folder, len(text_vectors), spell), vocabulary)

    def match(
        self, query: str, query_vector_T: Float32Array | None, synonyms: QuerySynonyms = NO_SYNONYMS
    ) -> QueryMatches:
        """Compares a query with all products.

        Args:
            query: The query as it was typed.
            query_vector_T: Its text vector; None searches by spelling alone.
            synonyms: What the shop wants found for it, too.
        """
        return QueryMatches(
            self._text_vectors,
            [self._ngrams.scores(one) for one in (query, *synonyms.queries)],
            query_vector_T,
            mean_cosine=0.0 if query_vector_T is None else float(query_vector_T @ self._mean_T),
            has_known_word=any(map(self._knows, [query, *synonyms.queries])),
            corrected=self._corrected(query, synonyms),
        )

    def explain(self, query: str, synonyms: QuerySynonyms, positions: Int64Array) -> list[ComparedText]:
        """How a query, and then each of its synonyms, compare with P products in spelling."""
        return [self._compared(text, positions) for text in (query, *synonyms.queries)]

    def _compared(self, text: str, positions: Int64Array) -> ComparedText:
        letters_N, consonants_N = self._ngrams.scores(text)
        spelled = normalise(text) if self._vocabulary is None else self._vocabulary.spell(text)
        known = [word for word in spelled.split() if self._knows(word)]
        return ComparedText(
            text, spelled, consonants(spelled), SpellingScores(letters_N[positions], consonants_N[positions]), known
        )

    def _knows(self, query: str) -> bool:
        return self._vocabulary is not None and self._vocabulary.knows_any(query)

    def _corrected(self, query: str, synonyms: QuerySynonyms) -> tuple[str, QueryMatches] | None:
        corrected = None if self._vocabulary is None else self._vocabulary.correct(query, synonyms.known_stems)
        if corrected is None:
            return None
        # By spelling alone: encoding another text would take as long as the search itself.
        scores = self._ngrams.scores(corrected)
        return corrected, QueryMatches(self._text_vectors, [scores], None, has_known_word=self._knows(corrected))


def build_search_index(
    folder: Path,
    texts: list[str],
    vectors_NT: Float32Array,
    index_type: IndexType,
    engine: Engine | None = None,
    *,
    show_progress: bool = False,
) -> None:
    """Writes the search index of N products, from their texts and unit text vectors, (N, T); see build_index."""
    save_text_vectors(folder, vectors_NT.shape, [vectors_NT])
    index_text_vectors(folder, index_type, engine)
    index_spelling(folder, texts, show_progress=show_progress)


def index_spelling(folder: Path, texts: list[str], *, show_progress: bool = False) -> None:
    """Writes the vocabulary and the n-grams of the texts of N products."""
    vocabulary = Vocabulary.build(texts)
    NgramIndex.build(texts, vocabulary.spell, show_progress=show_progress).save(folder)
    vocabulary.save(folder)


def save_text_vectors(folder: Path, shape: tuple[int, ...], blocks: Iterable[Float32Array]) -> None:
    """Writes the unit text vectors of a search index; `shape` is (N, T), and each block has rows of it, in order."""
    save_blocks(folder / TEXT_VECTORS, shape, "<f4", blocks)


def index_text_vectors(folder: Path, index_type: IndexType, engine: Engine | None = None) -> None:
    """Indexes the vectors of save_text_vectors, memory-mapped."""
    vectors_NT = np.load(folder / TEXT_VECTORS, mmap_mode="r", allow_pickle=False)
    index = build_index(vectors_NT, index_type, engine)
    if isinstance(index, FlatIndex):
        index.save(folder)
    else:
        queries_QT = buyer_like_queries(vectors_NT)
        choose_value(index, vectors_NT, queries_QT, MIN_RECALL, "weighted means of five text vectors").save(folder)
