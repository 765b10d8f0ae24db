"""Light stems: what they join, and what they keep apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.transforms.light_stem import light_stem, without_prefixes
from feature_repo.transforms.normalise import normalise


def stem(word: str) -> str:
    return light_stem(normalise(word))


@pytest.mark.parametrize(
    "forms",
    [
        ["ساعة", "ساعات", "الساعة", "الساعات", "والساعات", "وساعة", "بالساعة"],
        ["مهندس", "مهندسون", "مهندسين", "المهندسين", "ومهندس"],
        ["سيارة", "سيارات", "للسيارات", "كالسيارة", "فالسيارة"],
        ["شاي", "الشاي", "والشاي", "وشاي"],
        ["قهوة", "قهوه", "القهوة"],
        ["phone", "phones"],
        ["box", "boxes"],
        ["watch", "watches"],
        ["brush", "brushes"],
        ["glass", "glasses"],
        ["battery", "batteries"],
        ["cookie", "cookies"],
        ["size", "sizes"],
        ["cap", "caps"],
    ],
)
def test_forms_of_a_word_have_one_stem(forms: list[str]) -> None:
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ولد", "لد"),
        ("الم", "م"),
        ("كره", "كر"),
        ("glass", "glas"),
        ("virus", "viru"),
        ("tennis", "tenni"),
        ("gas", "ga"),
    ],
)
def test_short_words_and_false_plurals_stay(one: str, other: str) -> None:
    assert stem(one) == normalise(one) != other


@pytest.mark.parametrize("word", ["128", "b12", "5.0", "c++", "100%", "b12s"])
def test_what_is_no_word_stays(word: str) -> None:
    assert light_stem(word) == word


@given(st.text())
def test_a_stem_is_a_part_of_its_word_but_for_ie(text: str) -> None:
    for word in normalise(text).split():
        found = light_stem(word)
        assert found
        assert found in word or found.removesuffix("y") in word
        assert without_prefixes(word)
        assert word.endswith(without_prefixes(word))
