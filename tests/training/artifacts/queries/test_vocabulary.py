"""The words of a catalogue: what is known, in which form it is compared, and what a mistyped word is corrected to."""

from pathlib import Path

import pytest

from training.artifacts.queries.vocabulary import Vocabulary

TEXTS = [
    "Chocolate milk 1L",
    "Chocolate biscuits, family pack",
    "Watches for men",
    "Watch strap",
    "Watch battery",
    "ساعة يد رجالية",
    "ساعة حائط",
    "بانادول اكسترا ٢٤ قرص",
    "قهوة عربية",
    "Vitamin C 1000mg",
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.build(TEXTS)


@pytest.mark.parametrize("word", ["watch", "watches", "ساعه", "ساعات", "الساعات", "vitamins", "قهوه"])
def test_forms_of_a_known_word_are_known(vocabulary: Vocabulary, word: str) -> None:
    assert vocabulary.knows(word)


@pytest.mark.parametrize("word", ["lamp", "عطر", "watc", "chocolat"])
def test_other_words_are_not(vocabulary: Vocabulary, word: str) -> None:
    assert not vocabulary.knows(word)


def test_a_query_is_known_by_one_word_that_says_something(vocabulary: Vocabulary) -> None:
    assert vocabulary.knows_any("a purple watch")
    assert not vocabulary.knows_any("C 1000")
    assert not vocabulary.knows_any("xyzzy")
    assert not vocabulary.knows_any("!!!")


def test_words_are_compared_in_the_form_that_most_products_have(vocabulary: Vocabulary) -> None:
    assert vocabulary.spell("Men WATCHES") == "men watch"
    assert vocabulary.spell("الساعات والساعة") == "ساعه ساعه"
    assert vocabulary.spell("lamps 1000MG") == "lamps 1000 mg"
    assert vocabulary.spell("biscuit") == "biscuit"  # the catalogue has only "biscuits": it gets no ending


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("choclate milk", "Chocolate milk"),
        ("chocloate", "Chocolate"),  # two letters swapped
        ("choclat bisquits", "Chocolate biscuits"),  # two edits in a long word
        ("بنادول", "بانادول"),
        ("القهوا العربية", None),  # of two letters more, قهوة is not near enough
        ("قهوا", "قهوة"),
        ("chocolates", None),  # known, in another form
        ("vitamn d3", "Vitamin d3"),
        ("wtch", "Watch"),
        ("wch", None),  # too short to tell
        ("lamp", None),
        ("zzzz", None),
        ("!!!", None),
        ("", None),
    ],
)
def test_mistyped_words_are_corrected(vocabulary: Vocabulary, query: str, corrected: str | None) -> None:
    assert vocabulary.correct(query) == corrected


def test_many_unknown_words_are_no_typing_error(vocabulary: Vocabulary) -> None:
    assert vocabulary.correct("choclate mlik wacth") == "Chocolate milk Watch"
    assert vocabulary.correct("choclate mlik wacth vitamn") is None


def test_words_that_the_shop_explains_are_not_corrected(vocabulary: Vocabulary) -> None:
    assert vocabulary.correct("wath") == "Watch"
    assert vocabulary.correct("wath", known={"wath"}) is None


def test_of_equally_near_words_the_more_frequent_one_counts() -> None:
    assert Vocabulary.build(["card", "care", "care"]).correct("carx") == "care"


def test_a_correction_is_written_as_the_shop_does_but_for_titles_in_capitals() -> None:
    vocabulary = Vocabulary.build(["CHOCOLATE MILK", "iPhone case"])
    assert vocabulary.correct("choclate milk") == "chocolate milk"
    assert vocabulary.correct("Choclate MILK") == "CHOCOLATE MILK"
    assert vocabulary.correct("iphnoe case") == "iPhone case"


def test_reads_back(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert loaded is not None
    assert len(loaded) == len(vocabulary)
    assert loaded.correct("choclate bisquits") == "Chocolate biscuits"
    assert loaded.spell("watches") == "watch"


def test_older_releases_have_none(tmp_path: Path) -> None:
    assert Vocabulary.load(tmp_path) is None


def test_a_catalogue_without_words_corrects_nothing(tmp_path: Path) -> None:
    empty = Vocabulary.build(["", "128", "!!!"])
    empty.save(tmp_path)
    loaded = Vocabulary.load(tmp_path)
    assert loaded is not None
    assert (len(loaded), loaded.correct("milk"), loaded.spell("milk")) == (0, None, "milk")
