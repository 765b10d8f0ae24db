"""The lexical index: against scikit-learn's plain tf-idf, and what it finds in spite of how it is written."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.feature_extraction.text import TfidfVectorizer

from feature_repo.transforms.consonants import consonants
from feature_repo.transforms.normalise import normalise
from training.artifacts.search.ngram_index import NgramIndex

TEXTS = [
    "بانادول اكسترا 24 قرص",
    "Panadol Cold & Flu 24 tab",
    "فولتارين جل ٥٠ جم",
    "NESCAFÉ Gold 100g",
    "قهوة عربية بالهيل",
    "حليب كامل الدسم 1 لتر",
    "ذاكرة 128 جيجا",
    " ",
]


@pytest.fixture(scope="module")
def index() -> NgramIndex:
    return NgramIndex.build(TEXTS)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("بندول اكستره", 0),  # a vowel left out, another ending
        ("PANADOL extra", 0),  # the other script
        ("كولد & فلو", 1),
        ("voltaren gel 50", 2),
        ("نسكافيه جولد", 3),
        ("قَهْوَةٌ عَرَبِيَّة", 4),
        ("حليييب كاامل", 5),
        ("١٢٨GB", 6),
    ],
)
def test_finds_what_is_written_otherwise(index: NgramIndex, query: str, place: int) -> None:
    assert int(np.argmax(index.scores(query).total())) == place


def plain_cosines(texts: list[str], query: str, n: int) -> npt.NDArray[np.float64]:
    """With a vocabulary instead of hashes."""
    padded = [f" {text} " for text in texts]
    if not any(len(text) >= n for text in padded):
        return np.zeros(len(texts))
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(n, n), lowercase=False)
    texts_NV, query_1V = vectorizer.fit_transform(padded), vectorizer.transform([f" {query} "])
    cosines: npt.NDArray[np.float64] = (texts_NV @ query_1V.T).toarray()
    return cosines[:, 0]


WORDS = st.text(st.sampled_from("abcdeکقهوةن 12"), min_size=1, max_size=12)


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=8), st.data())
def test_is_the_sum_of_two_cosines(texts: list[str], data: st.DataObject) -> None:
    # Of the query's n-grams only those count that a text has, as far as a vocabulary knows: so ask with one of these.
    query = data.draw(st.sampled_from(texts))
    spelled = [normalise(text) for text in texts]
    sounds = [consonants(text) for text in spelled]
    spelled_query = normalise(query)
    expected = plain_cosines(spelled, spelled_query, 4) + plain_cosines(sounds, consonants(spelled_query), 3)
    assert_allclose(NgramIndex.build(texts).scores(query).total(), expected, atol=1e-5)


def test_its_own_text_scores_two_and_a_stranger_none(index: NgramIndex) -> None:
    for place, text in enumerate(TEXTS[:-1]):
        assert index.scores(text).total()[place] == pytest.approx(2, abs=1e-5)
    assert not index.scores("щ").total().any()
    assert not index.scores("").total().any()
    assert len(index) == index.scores("x").total().shape[0] == len(TEXTS)


def test_reads_back_mapped(index: NgramIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    loaded = NgramIndex.load(tmp_path, len(TEXTS))
    for text in TEXTS:
        assert_array_equal(loaded.scores(text).total(), index.scores(text).total())
