"""Flags and availability in words of several languages."""

import pytest

from feature_repo.transforms.values.flags import read_availability, read_flag

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        *((text, True) for text in ("true", "TRUE", "t", "Yes", "y", "1", " 1.0 ", "١", "on", "نعم", "WAHR", "oui")),
        *((text, False) for text in ("false", "F", "no", "N", "0", "0.0", "۰", "off", "لا", "falsch", "NON", "hayır")),
        *((text, None) for text in ("", "-1", "2", "10", "maybe", "in stock", "1,0")),
    ],
)
def test_flags_are_read_in_words_and_numbers(text: str, flag: bool | None) -> None:
    assert read_flag(text) is flag


AVAILABLE = "in_stock|In Stock|instock|InStock|https://schema.org/InStock|متوفر|متوفّر|متاح|غير محدود|1|yes|نعم"
UNAVAILABLE = (
    "out_of_stock|Out of Stock|outofstock|http://schema.org/OutOfStock|SoldOut|onbackorder|backorder|preorder|PreOrder|"
    "غير متوفر|نفد|نفدت الكمية|نفذت الكميه|Ausverkauft|tükendi|épuisé|0|no"
)


def test_availability_is_read_in_words() -> None:
    assert {text for text in AVAILABLE.split("|") if read_availability(text) is not True} == set()
    assert {text for text in UNAVAILABLE.split("|") if read_availability(text) is not False} == set()
    assert [read_availability(text) for text in ("", "parent", "3", "-1", "soon maybe")] == [None] * 5
