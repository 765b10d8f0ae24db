"""Search by spelling: tf-idf over character n-grams of the texts, of letters and of consonants.

A query and a product text are compared twice: by 4-grams of their characters (as `spell` writes them) and by 3-grams of
their consonants, in which Arabic and Latin spellings of a name agree. Each comparison is a cosine; the score is their
sum. The n-grams are hashed, so the index needs no vocabulary; it holds one posting list per hash. Other n-gram lengths
find less or cost more (docs/adr/0006).

Legend: N products, M texts, F hashed n-grams of both kinds.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

from feature_repo.common.arrays import Float32Array
from feature_repo.console.progress import progress_bar
from feature_repo.transforms.consonants import consonants
from feature_repo.transforms.normalise import normalise

Spell: TypeAlias = Callable[[str], str]
LETTERS, CONSONANTS = 4, 3  # n-gram lengths
FEATURES = 2**18  # hashes of each kind of n-gram; more of them do not improve the search
_CHUNK = 4096  # texts between two steps of the progress bar

# Files of the index: the arrays of a CSR matrix (F, N), and the idf of each hash.
_OFFSETS, _PRODUCTS, _WEIGHTS, _IDF = (f"lexical_{name}.npy" for name in ("offsets", "products", "weights", "idf"))


def _hashing(n: int) -> HashingVectorizer:
    return HashingVectorizer(
        # Alternating signs would let colliding hashes cancel out, and tf-idf needs positive counts. `normalise` has
        # lowered case already, and _weights scales each half to unit length.
        analyzer="char",
        ngram_range=(n, n),
        n_features=FEATURES,
        norm=None,
        alternate_sign=False,
        lowercase=False,
    )


_hashed_letters, _hashed_consonants = _hashing(LETTERS), _hashing(CONSONANTS)


class SpellingScores(NamedTuple):
    """How similar a query and each product are spelled, (N,) each, from 0 to 1.

    Attributes:
        letters_N: Cosine of the letters.
        consonants_N: Cosine of the consonants.
    """

    letters_N: Float32Array
    consonants_N: Float32Array

    def total(self) -> Float32Array:
        """The spelling scores, (N,), from 0 to 2."""
        return self.letters_N + self.consonants_N

    def alikeness(self) -> Float32Array:
        """Whether they are spelled alike, (N,), from 0 to 1: by letters and consonants, or by nearly all consonants.

        Random letters share consonants with many products, but hardly ever letters and consonants with one product. A
        name in the other script shares no letters and nearly all consonants: .6 of them count as .13, .9 as .66.
        """
        squares_N = np.square(self.consonants_N)  # twice, because NumPy takes ten times as long for a fourth power
        alikeness_N: Float32Array = np.maximum(np.sqrt(self.letters_N * self.consonants_N), np.square(squares_N))
        return alikeness_N


class NgramIndex:
    """Posting lists of n-grams; read-only and safe to use from several threads."""

    def __init__(self, postings_FN: sparse.csr_array, idf_F: Float32Array, spell: Spell) -> None:
        """Wraps the tf-idf weights of products by n-gram, (F, N), and the idf of each n-gram, (F,)."""
        self._postings_FN, self._idf_F, self._spell = postings_FN, idf_F, spell

    @classmethod
    def build(cls, texts: Sequence[str], spell: Spell = normalise, *, show_progress: bool = False) -> "NgramIndex":
        """Indexes the texts of N products, in the order of the products.

        Args:
            texts: As they are written.
            spell: Gives texts and queries the form in which they are compared.
            show_progress: Whether to show a progress bar.
        """
        spelled = (spell(text) for text in texts)
        counts_NF = sparse.vstack(list(_chunks(spelled, len(texts), show_progress)), format="csr", dtype=np.float32)
        idf_F = _idf(counts_NF)
        # By n-gram and not by product: a query then reads only the posting lists of its own n-grams.
        return cls(sparse.csr_array(_weights(counts_NF, idf_F).T), idf_F, spell)

    def save(self, folder: Path) -> None:
        """Writes the index to four .npy files."""
        folder.mkdir(parents=True, exist_ok=True)
        postings = self._postings_FN
        arrays = {
            _OFFSETS: postings.indptr,
            _PRODUCTS: postings.indices,
            _WEIGHTS: postings.data,
            _IDF: self._idf_F,
        }
        for name, array in arrays.items():
            np.save(folder / name, array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, n_products: int, spell: Spell = normalise) -> "NgramIndex":
        """Memory-maps the posting lists, so that several processes share them; `spell` is that of build."""
        offsets, products, weights = (
            np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
            for name in (_OFFSETS, _PRODUCTS, _WEIGHTS)
        )
        shape = (len(offsets) - 1, n_products)
        idf_F = np.load(folder / _IDF, allow_pickle=False)
        return cls(sparse.csr_array((weights, products, offsets), shape=shape, copy=False), idf_F, spell)

    def __len__(self) -> int:
        """The number of products, N."""
        return int(self._postings_FN.shape[1])

    def scores(self, query: str) -> SpellingScores:
        """How similar a query and each product are spelled."""
        query_1F = _weights(_counts([self._spell(query)]), self._idf_F)
        # The letters as one row and the consonants as another; their columns are in this order.
        n_letters = int((query_1F.indices < FEATURES).sum())
        # Of the type of the others: SciPy would convert the posting lists to a wider one, for each query.
        rows = np.array([0, n_letters, len(query_1F.data)], dtype=self._postings_FN.indptr.dtype)
        query_2F = sparse.csr_array((query_1F.data, query_1F.indices, rows), shape=(2, query_1F.shape[1]))
        letters_N, consonants_N = (query_2F @ self._postings_FN).toarray()
        return SpellingScores(letters_N, consonants_N)


def _chunks(texts: Iterator[str], n_texts: int, show_progress: bool) -> Iterator[sparse.csr_array]:
    with progress_bar(total=n_texts, title="Indexing words", unit="text", shown=show_progress) as bar:
        while chunk := list(islice(texts, _CHUNK)):
            yield _counts(chunk)
            bar.update(len(chunk))


def _counts(texts: Sequence[str]) -> sparse.csr_array:
    """Counts of n-grams by spelled text, (M, F): the columns of letters, then those of consonants."""
    # N-grams include the spaces around words. The first and the last word of a text need them too.
    halves = [
        _hashed_letters.transform([f" {text} " for text in texts]),
        _hashed_consonants.transform([f" {consonants(text)} " for text in texts]),
    ]
    return sparse.csr_array(sparse.hstack(halves, format="csr", dtype=np.float32))


def _idf(counts_NF: sparse.csr_array) -> Float32Array:
    """Smoothed inverse document frequencies, (F,)."""
    n_products = counts_NF.shape[0]
    document_frequency_F = np.bincount(counts_NF.indices, minlength=counts_NF.shape[1])
    # The formula of scikit-learn's TfidfTransformer with smooth_idf, which tests compare with.
    idf_F: Float32Array = (np.log((1 + n_products) / (1 + document_frequency_F)) + 1).astype(np.float32)
    return idf_F


def _weights(counts_MF: sparse.csr_array, idf_F: Float32Array) -> sparse.csr_array:
    """Counts times idf, with the letters and the consonants of each text scaled to unit length separately.

    Two TfidfTransformers of scikit-learn compute the same up to rounding, but their validation takes 3.6 ms per query
    instead of 0.1 ms.
    """
    weights = counts_MF.data * idf_F[counts_MF.indices]
    rows = np.repeat(np.arange(counts_MF.shape[0]), np.diff(counts_MF.indptr))
    halves = 2 * rows + (counts_MF.indices >= FEATURES)  # a number for each text and kind of n-gram
    lengths = np.sqrt(np.bincount(halves, weights**2, minlength=2 * counts_MF.shape[0])).astype(np.float32)
    weights /= lengths[halves]
    return sparse.csr_array((weights, counts_MF.indices, counts_MF.indptr), shape=counts_MF.shape)
