"""Which languages a caller wants: literal headers of browsers and programs, and any text at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_api.lists.languages import wanted_languages


@pytest.mark.parametrize(
    ("header", "languages"),
    [
        (None, ()),
        ("", ()),
        ("ar", ("ar",)),
        ("ar-EG", ("ar-eg", "ar")),
        ("AR", ("ar",)),
        ("ar-EG,ar;q=0.9,en-US;q=0.8,en;q=0.7", ("ar-eg", "ar", "en-us", "en")),
        ("en;q=0.5, ar", ("ar", "en")),  # by weight, not by place
        ("en, ar", ("en", "ar")),  # equal weights keep their order
        ("en;q=0.8,ar;q=0.8", ("en", "ar")),
        ("zh-Hant-TW", ("zh-hant-tw", "zh-hant", "zh")),
        ("*", ()),
        ("ar, *;q=0.1", ("ar",)),
        ("*, ar;q=0.5", ()),  # any language is as good as another, and better than Arabic
        ("*;q=0, ar", ("ar",)),
        ("en;q=0, ar", ("ar",)),
        ("ar ; q=0.3 , en ; q = 1.000", ("en", "ar")),
        # Malformed parts are ignored, the others count.
        ("ar;q=2, en", ("en",)),
        ("ar;q=abc, en", ("en",)),
        ("ar;level=1, en;;, fr", ("fr",)),
        ("a_b, ar--EG, -ar, en", ("en",)),
        (",,ar,,", ("ar",)),
        ("عربي, en", ("en",)),
    ],
)
def test_a_header_names_languages_in_order(header: str | None, languages: tuple[str, ...]) -> None:
    assert wanted_languages(None, header) == languages


@pytest.mark.parametrize("header", [None, "en", "*", "nonsense;;"])
def test_the_parameter_counts_instead_of_the_header(header: str | None) -> None:
    assert wanted_languages("ar-EG", header) == ("ar-eg", "ar")


def test_a_long_header_is_read_in_part() -> None:
    header = ",".join(f"a{letter}" for letter in "abcdefghijklmnopqrstuvwxyz" * 1000)
    assert len(wanted_languages(None, header)) == 26
    assert wanted_languages(None, "x" * 300 + ",ar") == ()


@given(st.text(alphabet=st.sampled_from("arEN-*;q=01.5, ;")) | st.text())
def test_any_header_is_read(header: str) -> None:
    languages = wanted_languages(None, header)
    assert len(set(languages)) == len(languages)
    assert all(language == language.lower() and language not in ("", "*") for language in languages)
