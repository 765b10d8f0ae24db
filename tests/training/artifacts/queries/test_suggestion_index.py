"""Suggestions: which texts a catalogue suggests, and which of them complete what was typed, against brute force."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import columns as c
from feature_repo.transforms.light_stem import without_prefixes
from training.artifacts.queries.catalogue_suggestions import catalogue_suggestions
from training.artifacts.queries.suggestion_index import Suggestion, SuggestionIndex, typed_words

TITLES = [
    "Green tea 100g",
    "Green tea with mint",
    "Black tea, green tin",
    "Green tea pot",
    "الشاي الأخضر",
    "Chocolate milk",
    "CHOCOLATE MILK",
]
CATEGORIES = ["Tea", "Tea", "Tea", "Pots", "Tea", "Dairy", None]
BRANDS = ["Lipton", "Lipton", "Ahmad", None, "نور", "Dallah", "Dallah"]
LANGUAGES = [None, '{"en": "Green tea with mint", "ar": "شاي بالنعناع"}', None, None, None, None, None]


def products() -> pa.Table:
    return pa.table({c.TITLE: TITLES, c.CATEGORY: CATEGORIES, c.BRAND: BRANDS, c.TITLES: LANGUAGES})


@pytest.fixture(scope="module")
def index() -> SuggestionIndex:
    return SuggestionIndex.build(catalogue_suggestions(products()))


def completed(index: SuggestionIndex, typed: str, k: int = 10, scores: list[float] | None = None) -> list[str]:
    values_N = np.array(scores or [1] * len(TITLES), dtype=np.float32)
    return [index[place].text for place in index.complete(typed, k, index.of_products(values_N))]


def test_a_catalogue_suggests_each_text_once() -> None:
    suggested = [(one.kind, one.text, one.positions.tolist()) for one in catalogue_suggestions(products())]
    assert suggested == [
        ("category", "Tea", [0, 1, 2, 4]),
        ("category", "Pots", [3]),
        ("category", "Dairy", [5]),
        ("brand", "Lipton", [0, 1]),
        ("brand", "Ahmad", [2]),
        ("brand", "نور", [4]),
        ("brand", "Dallah", [5, 6]),
        ("phrase", "Green", [0, 1, 2, 3]),
        ("phrase", "Green tea", [0, 1, 3]),
        ("product", "Green tea 100g", [0]),
        ("product", "Green tea with mint", [1]),
        ("product", "شاي بالنعناع", [1]),
        ("product", "Black tea, green tin", [2]),
        ("product", "Green tea pot", [3]),
        ("product", "الشاي الأخضر", [4]),
        ("product", "Chocolate milk", [5, 6]),
    ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dal", ["Dallah"]),
        ("pot", ["Pots", "Green tea pot"]),
        ("mi choc", ["Chocolate milk"]),  # words in any order
        ("شا", ["شاي بالنعناع", "الشاي الأخضر"]),  # without the article
        ("الشاي اخ", ["الشاي الأخضر"]),
        ("شَاى", ["شاي بالنعناع", "الشاي الأخضر"]),  # normalised as search normalises
        ("choco milk!", ["Chocolate milk"]),
        ("chocp", ["Chocolate milk"]),  # one letter mistyped
        ("hcoc", []),  # but not the first one
        ("tea coffee", []),
        ("!!!", []),
        ("", []),
    ],
)
def test_completes_what_was_typed(index: SuggestionIndex, typed: str, expected: list[str]) -> None:
    assert sorted(completed(index, typed)) == sorted(expected)


def test_the_most_popular_come_first_and_no_kind_takes_more_than_half(index: SuggestionIndex) -> None:
    scores = [1.0, 1, 1, 9, 1, 1, 1]
    assert completed(index, "te", 4, scores) == ["Green tea", "Green tea pot", "Tea", "Green tea 100g"]
    assert completed(index, "te", 2, scores) == ["Green tea", "Green tea pot"]


def test_what_only_products_without_a_score_have_is_not_suggested(index: SuggestionIndex) -> None:
    assert "Pots" not in completed(index, "p", 10, [1, 1, 1, 0, 1, 1, 1])
    assert completed(index, "choc", 10, [1, 1, 1, 1, 1, 0, 1]) == ["Chocolate milk"]
    assert completed(index, "choc", 10, [1, 1, 1, 1, 1, 0, 0]) == []


def test_reads_back_mapped(index: SuggestionIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    loaded = SuggestionIndex.load(tmp_path)
    assert loaded is not None
    assert len(loaded) == len(index)
    assert completed(loaded, "gre te") == completed(index, "gre te")
    assert SuggestionIndex.load(tmp_path / "older") is None


def test_an_empty_catalogue_suggests_nothing(tmp_path: Path) -> None:
    SuggestionIndex.build([]).save(tmp_path)
    loaded = SuggestionIndex.load(tmp_path)
    assert loaded is not None
    assert loaded.complete("tea", 5, loaded.of_products(np.zeros(0, dtype=np.float32))) == []


TEXTS = st.lists(st.sampled_from(["tea", "teapot", "milk", "شاي", "الشاي", "وسادة", "128GB"]), min_size=1, max_size=4)


@given(st.lists(TEXTS, min_size=1, max_size=8), st.data())
def test_finds_all_that_have_each_word_as_a_beginning(texts: list[list[str]], data: st.DataObject) -> None:
    suggestions = [Suggestion(" ".join(words), "product", np.array([0], np.int32)) for words in texts]
    typed_word = data.draw(st.sampled_from(texts[0]))
    typed = typed_word[: data.draw(st.integers(1, len(typed_word)))]
    found = SuggestionIndex.build(suggestions).complete(typed, 100, np.ones(len(texts), np.float32))
    beginnings = [{word, without_prefixes(word)} for word in typed_words(typed)]

    def completes(text: str) -> bool:
        words = [form for word in typed_words(text) for form in (word, without_prefixes(word))]
        return all(any(word.startswith(tuple(forms)) for word in words) for forms in beginnings)

    assert sorted(found) == [place for place, words in enumerate(texts) if completes(" ".join(words))]
