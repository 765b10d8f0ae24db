"""Product text: pure functions shared by every job that reads or compares it."""

import unicodedata
from collections import Counter
from functools import cache

from feature_repo.transforms.normalise import RULES, Rule, normalise

EMPTY_TEXT = " "  # sentence encoders need at least one character

# Of what tells spellings apart, these may tell products apart: XXXL is not XL, nor is C# C, nor version 3.10 3.1. A
# product that is merged by mistake is gone from the shop, and one that is listed twice is a blemish.
_MAY_TELL_APART = (Rule.REPEATED, Rule.PUNCTUATION, Rule.ZEROS)
DEDUPLICATION_RULES = tuple(rule for rule in RULES if rule not in _MAY_TELL_APART)

OTHER_LANGUAGE = "other"
_LANGUAGE_OF_SCRIPT = {"ARABIC": "ar", "LATIN": "latin"}


def product_text(title: str, description: str) -> str:
    """What the encoder reads for a product: title and description, one space where both are empty."""
    return f"{title.strip()} {description.strip()}".strip() or EMPTY_TEXT


def deduplication_key(title: str, description: str, brand: str | None) -> tuple[str, str, str] | None:
    """Products of one key are the same product; None (never merged) where title and description are empty."""
    key = (_spelled(title), _spelled(description), _spelled(brand or ""))
    return key if key[0] or key[1] else None


def _spelled(text: str) -> str:
    return normalise(text, DEDUPLICATION_RULES) if text.strip() else ""


def language_of(text: str) -> str:
    """The language of a text as far as its script says: "ar", "latin" or "other", that of most letters.

    "ar" is the Arabic script, which Persian or Urdu text is in as well; it wins where it is even with another. Text
    without letters is "other".
    """
    letters = Counter(map(_language_of_letter, filter(str.isalpha, text)))
    return max(letters, key=lambda language: (letters[language], language == "ar"), default=OTHER_LANGUAGE)


@cache
def _language_of_letter(letter: str) -> str:
    return _LANGUAGE_OF_SCRIPT.get(unicodedata.name(letter, "").partition(" ")[0], OTHER_LANGUAGE)
