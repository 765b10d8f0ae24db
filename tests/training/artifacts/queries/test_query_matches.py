"""What a query matches: forms of a query that mean the same, queries that are like nothing, synonyms, corrections."""

import unicodedata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.random_release import unit_vectors
from training.artifacts.queries.query_matches import QueryMatches
from training.artifacts.search.text_search import QuerySynonyms, SearchIndex, build_search_index

TEXTS = [
    "ساعة يد رجالية جلد",
    "ساعات حائط خشبية",
    "ساعة ذكية رياضية",
    "شاي أخضر بالنعناع",
    "شاي أحمر فاخر",
    "قهوة عربية بالهيل",
    "فستان سهرة طويل",
    "فساتين أطفال قطن",
    "Leather watch for men",
    "Smart watches with GPS",
    "Wall clock wood",
    "Chocolate cookie jar",
    "Oat cookies 200g",
    "Battery charger",
    "AA batteries pack",
    "آلة حاسبة علمية",
    "دليل المهندس",
    "سماعات رأس لاسلكية",
]
DIM = 16


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    folder = tmp_path_factory.mktemp("search")
    build_search_index(folder, TEXTS, unit_vectors(len(TEXTS), DIM), "flat")
    return SearchIndex.load(folder)


def top(index: SearchIndex, query: str) -> list[str]:
    matches = index.match(query, None)
    assert not matches.is_empty, query
    return [TEXTS[place] for place in matches.top(3).positions]


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("ساعة", ["الساعة", "وساعة", "والساعة", "ساعات", "الساعات", "ســـاعة", "سَاعَة", "ساعه", "بالساعة", "للساعات"]),
        ("شاي اخضر", ["شاي أخضر", "شاى اخضر", "الشاي الأخضر", "والشاي الاخضر", "شَاي أَخْضَر", "شـاي اخضـر"]),
        ("قهوة عربية", ["قهوه عربيه", "القهوة العربية", "قَهْوَةٌ عَرَبِيَّة"]),
        ("اله حاسبه", ["آلة حاسبة", "ألة حاسبة", "إلة حاسبة", "الآلة الحاسبة"]),
        ("المهندس", ["مهندسين", "المهندسون", "والمهندسين", "مهندس"]),
        ("سماعات لاسلكية", ["سماعة لاسلكية", "السماعات اللاسلكية", "وسماعات لاسلكية"]),
        ("watch", ["watches", "WATCH", "wa\u0301tch"]),
        ("cookies", ["cookie", "Cookies!"]),
        ("battery", ["batteries"]),
    ],
)
def test_forms_of_a_query_find_the_same(index: SearchIndex, query: str, same: list[str]) -> None:
    for form in [query, *same]:
        assert top(index, form) == top(index, query), form
        for normal_form in ("NFC", "NFD", "NFKC", "NFKD"):
            assert top(index, unicodedata.normalize(normal_form, form)) == top(index, query)


def test_a_form_that_the_catalogue_has_is_found(index: SearchIndex) -> None:
    assert set(top(index, "الساعات")[:3]) == set(TEXTS[:3])
    assert set(top(index, "cookies")[:2]) == {"Chocolate cookie jar", "Oat cookies 200g"}


# ---- like nothing ----------------------------------------------------------------------------------------------------

NONSENSE = ["xyzzy", "asdfgh", "!!!", "؟؟", "qwrtp zxcvb", "ضصثقفغ", "ظظظ ذذذ", "🙂", "9999999"]


@pytest.mark.parametrize("query", NONSENSE)
def test_nonsense_is_like_nothing(index: SearchIndex, query: str) -> None:
    matches = index.match(query, None)
    assert matches.is_empty
    assert not matches.matching.any()
    assert matches.did_you_mean() is None


@pytest.mark.parametrize("query", [*TEXTS, "سماعه بلوتوث", "leather", "chocolat", "gps"])
def test_true_queries_are_like_something(index: SearchIndex, query: str) -> None:
    matches = index.match(query, None)
    assert not matches.is_empty
    assert matches.matching[matches.top(1).positions].all()


def test_a_meaning_far_above_the_mean_is_like_something_without_any_letter_in_common(index: SearchIndex) -> None:
    vectors_NT = unit_vectors(len(TEXTS), DIM)
    near = index.match("xyzzy", vectors_NT[4])
    assert not near.is_empty
    assert near.matching.nonzero()[0].tolist() == [4]
    mean_T = vectors_NT.mean(axis=0)
    against_T = -mean_T / np.linalg.norm(mean_T)  # nothing but noise is above the mean
    assert index.match("xyzzy", 0.01 * against_T.astype(np.float32)).is_empty


def matching(matches: QueryMatches) -> set[str]:
    return {TEXTS[place] for place in matches.matching.nonzero()[0]}


def test_products_half_as_alike_as_the_best_match(index: SearchIndex) -> None:
    assert matching(index.match("شاي", None)) == {"شاي أخضر بالنعناع", "شاي أحمر فاخر"}
    assert matching(index.match("Smart watches with GPS", None)) == {"Smart watches with GPS"}
    assert matching(index.match("ساعة", None)) == set(TEXTS[:3])


# ---- synonyms --------------------------------------------------------------------------------------------------------


def test_a_synonym_finds_more_and_lowers_nothing(index: SearchIndex) -> None:
    plain, more = index.match("clock", None), index.match("clock", None, QuerySynonyms(("watch", "ساعة")))
    positions = np.arange(len(TEXTS))
    assert (more.score_terms(positions)[1] >= plain.score_terms(positions)[1]).all()
    assert TEXTS[more.top(1).positions[0]] == "Wall clock wood"
    assert matching(more) >= {*TEXTS[:3], "Leather watch for men", "Smart watches with GPS", "Wall clock wood"}
    assert matching(plain) == {"Wall clock wood"}


@pytest.mark.parametrize("text", TEXTS)
def test_a_title_stays_first_whatever_the_synonyms(index: SearchIndex, text: str) -> None:
    others = tuple(other for other in TEXTS if other != text)[:5]
    assert TEXTS[index.match(text, None, QuerySynonyms(others)).top(1).positions[0]] == text


def test_a_query_of_which_only_the_synonym_is_known_is_like_something(index: SearchIndex) -> None:
    assert index.match("xyzzy", None).is_empty
    assert not index.match("xyzzy", None, QuerySynonyms(("watch",), {"xyzzy"})).is_empty


# ---- corrections -----------------------------------------------------------------------------------------------------


def test_a_mistyped_query_is_corrected_if_that_gives_results(index: SearchIndex) -> None:
    matches = index.match("leahter wtach", None)
    assert matches.did_you_mean() == "Leather watch"
    allowed_N: npt.NDArray[np.bool_] = np.zeros(len(TEXTS), dtype=np.bool_)
    assert matches.did_you_mean(allowed_N) is None
    allowed_N[8] = True
    assert matches.did_you_mean(allowed_N) == "Leather watch"
    assert index.match("leather watches", None).did_you_mean() is None
    assert index.match("wtach", None, QuerySynonyms((), {"wtach"})).did_you_mean() is None


# ---- older releases --------------------------------------------------------------------------------------------------


def test_a_search_index_without_vocabulary_still_searches(index: SearchIndex, tmp_path: Path) -> None:
    build_search_index(tmp_path, TEXTS, unit_vectors(len(TEXTS), DIM), "flat")
    (tmp_path / "vocabulary.arrow").unlink()
    older = SearchIndex.load(tmp_path)
    assert TEXTS[older.match("leather watch", None).top(1).positions[0]] == "Leather watch for men"
    assert older.match("leahter", None).did_you_mean() is None
    assert older.match("xyzzy", None).is_empty
