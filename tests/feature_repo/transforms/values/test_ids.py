"""Ids: what stands around them, what names nobody, what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.transforms.values.ids import clean_buyer_id, clean_id, id_problem

pytestmark = pytest.mark.fast

AROUND = " \t\r\n\u00a0\u200b\u200f\u202b\ufeff"


@pytest.mark.parametrize("text", ["p1", " p1 ", "p1\t", "p1\r\n", "\ufeffp1", "\u200fp1\u200f", "\u00a0p1\u200b\n"])
def test_what_stands_around_an_id_is_no_part_of_it(text: str) -> None:
    assert clean_id(text) == clean_buyer_id(text) == "p1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "NULL",
        "null",
        "(null)",
        "nan",
        "NaN",
        "\\N",
        "undefined",
        "(not set)",
        "(none)",
        "N/A",
        "#N/A",
        "<NA>",
    ],
)
def test_what_databases_write_for_nothing_is_no_id(text: str) -> None:
    assert clean_id(text) is clean_buyer_id(text) is None
    assert clean_id(f"\t{text.lower()} ") is None


@pytest.mark.parametrize("text", ["0", "0.0", "-1", "None", "NA", "nil", "00000000-0000-0000-0000-000000000000"])
def test_what_may_be_a_product_is_still_nobody(text: str) -> None:
    assert clean_id(text) == text
    assert clean_buyer_id(text) is None


@pytest.mark.parametrize("text", ["00", "10", "nullable", "Nancy", "عميل", "a b", "(not set) 2"])
def test_other_ids_stay_as_they_are(text: str) -> None:
    assert clean_id(text) == clean_buyer_id(text) == text


def test_no_text_is_no_id() -> None:
    assert clean_id(None) is clean_buyer_id(None) is None


@pytest.mark.parametrize(
    ("identifier", "problem"),
    [
        ("p1", None),
        ("a b/c", None),
        ("a" * 256, None),
        ("a" * 257, "must have at most 256 characters"),
        ("a\nb", "must not hold control characters"),
        ("a\x00b", "must not hold control characters"),
        ("a\x85b", "must not hold control characters"),
        ("a\ud800b", "must not hold half of a surrogate pair"),
    ],
)
def test_some_ids_are_refused(identifier: str, problem: str | None) -> None:
    assert id_problem(identifier) == problem


@given(text=st.text(), before=st.text(AROUND), after=st.text(AROUND))
def test_cleaning_is_done_once_and_ignores_the_surroundings(text: str, before: str, after: str) -> None:
    cleaned = clean_id(text)
    assert clean_id(cleaned) == cleaned
    assert clean_id(before + text + after) == cleaned
