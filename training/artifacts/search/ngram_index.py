"""Which product texts a query is spelled like: tf-idf over character n-grams, of letters and of consonants.

Two texts are compared twice: by 4-grams of their characters (after `normalise`), and by 3-grams of their consonants, in
which Arabic and Latin spellings of a name meet. Each comparison is a cosine; their sum is the score. N-grams are
hashed, so no vocabulary has to be kept, and the index holds one posting list for each hash. Other lengths find less or
cost more (docs/adr/0006).

Legend: N products, M texts, F hashed n-grams of both kinds.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from tqdm import tqdm

from feature_repo.transforms.consonants import consonants
from feature_repo.transforms.normalise import normalise
from training.artifacts.search.filtered_search import Floats

LETTERS, CONSONANTS = 4, 3  # n
FEATURES = 2**18  # of each kind: more tell no more apart
_CHUNK = 4096  # texts between two steps of the progress bar

OFFSETS, PRODUCTS, WEIGHTS, IDF = (f"lexical_{name}.npy" for name in ("offsets", "products", "weights", "idf"))


def _hashing(n: int) -> HashingVectorizer:
    return HashingVectorizer(
        analyzer="char", ngram_range=(n, n), n_features=FEATURES, norm=None, alternate_sign=False, lowercase=False
    )


_hashed_letters, _hashed_consonants = _hashing(LETTERS), _hashing(CONSONANTS)


class LexicalIndex:
    """Posting lists of n-grams; read-only and safe to use from several threads."""

    def __init__(self, postings_FN: sparse.csr_array, idf_F: Floats) -> None:
        """Takes the weights of products by n-gram, and how rare each n-gram is."""
        self._postings_FN, self._idf_F = postings_FN, idf_F

    @classmethod
    def build(cls, texts: Sequence[str], *, show_progress: bool = False) -> "LexicalIndex":
        """An index of N product texts, as they are written and in their order."""
        counts_NF = sparse.vstack(list(_chunks(texts, show_progress)), format="csr", dtype=np.float32)
        idf_F = _idf(counts_NF)
        return cls(sparse.csr_array(_weights(counts_NF, idf_F).T), idf_F)

    def save(self, folder: Path) -> None:
        """Writes four arrays."""
        folder.mkdir(parents=True, exist_ok=True)
        postings = self._postings_FN
        arrays = {OFFSETS: postings.indptr, PRODUCTS: postings.indices, WEIGHTS: postings.data, IDF: self._idf_F}
        for name, array in arrays.items():
            np.save(folder / name, array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, n_products: int) -> "LexicalIndex":
        """Maps the arrays, which several processes then share."""
        offsets, products, weights = (
            np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
            for name in (OFFSETS, PRODUCTS, WEIGHTS)
        )
        shape = (len(offsets) - 1, n_products)
        idf_F = np.load(folder / IDF, allow_pickle=False)
        return cls(sparse.csr_array((weights, products, offsets), shape=shape, copy=False), idf_F)

    def __len__(self) -> int:
        """The number of products, N."""
        return int(self._postings_FN.shape[1])

    def scores(self, query: str) -> Floats:
        """How alike the query and each product are spelled, (N,), from 0 to 2."""
        asked_1F = _weights(_counts([query]), self._idf_F)
        scores_N: Floats = (asked_1F @ self._postings_FN).toarray()[0]
        return scores_N


def _chunks(texts: Sequence[str], show_progress: bool) -> Iterator[sparse.csr_array]:
    with tqdm(total=len(texts), desc="Indexing words", unit="text", disable=not show_progress) as bar:
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            yield _counts(chunk)
            bar.update(len(chunk))


def _counts(texts: Sequence[str]) -> sparse.csr_array:
    """How often each text has each n-gram, (M, F): those of letters, then those of consonants."""
    spelled = [normalise(text) for text in texts]
    # Where a word begins and ends is part of how it is spelled, at both ends of a text too.
    halves = [
        _hashed_letters.transform([f" {text} " for text in spelled]),
        _hashed_consonants.transform([f" {consonants(text)} " for text in spelled]),
    ]
    return sparse.csr_array(sparse.hstack(halves, format="csr", dtype=np.float32))


def _idf(counts_NF: sparse.csr_array) -> Floats:
    """Smoothed inverse document frequencies, (F,)."""
    n_products = counts_NF.shape[0]
    with_F = np.bincount(counts_NF.indices, minlength=counts_NF.shape[1])
    idf_F: Floats = (np.log((1 + n_products) / (1 + with_F)) + 1).astype(np.float32)
    return idf_F


def _weights(counts_MF: sparse.csr_array, idf_F: Floats) -> sparse.csr_array:
    """Counts times idf, each kind's part of a row at unit length."""
    weights = counts_MF.data * idf_F[counts_MF.indices]
    rows = np.repeat(np.arange(counts_MF.shape[0]), np.diff(counts_MF.indptr))
    parts = 2 * rows + (counts_MF.indices >= FEATURES)
    lengths = np.sqrt(np.bincount(parts, weights**2, minlength=2 * counts_MF.shape[0])).astype(np.float32)
    weights /= lengths[parts]
    return sparse.csr_array((weights, counts_MF.indices, counts_MF.indptr), shape=counts_MF.shape)
