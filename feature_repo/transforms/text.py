"""Product text: what the text encoder reads, which products are duplicates, and which language a text is in."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

from feature_repo.transforms.normalise import NORMALISATION_STEPS, NormalisationStep, normalise

EMPTY_TEXT = " "  # text encoders need at least one character

# These steps would merge different products: XXXL and XL, C# and C, version 3.10 and 3.1. A wrong merge removes a
# product from the shop, which is worse than a duplicate that stays.
_UNSAFE_FOR_MERGING = (NormalisationStep.REPEATED, NormalisationStep.PUNCTUATION, NormalisationStep.ZEROS)
DEDUPLICATION_STEPS = tuple(step for step in NORMALISATION_STEPS if step not in _UNSAFE_FOR_MERGING)

OTHER_LANGUAGE = "other"
_LANGUAGE_OF_SCRIPT = {"ARABIC": "ar", "LATIN": "latin"}


def product_text(title: str, description: str) -> str:
    """The text that the text encoder reads for a product: title and description, or EMPTY_TEXT if both are empty."""
    return f"{title.strip()} {description.strip()}".strip() or EMPTY_TEXT


def multilingual_text(titles: Iterable[str], descriptions: Iterable[str]) -> str:
    """The product text of a product with texts in several languages: all titles, then all descriptions, each once.

    Of one title and one description it is product_text.
    """
    return product_text(*(" ".join(dict.fromkeys(map(str.strip, texts))) for texts in (titles, descriptions)))


def deduplication_key(title: str, description: str, brand: str | None) -> tuple[str, str, str] | None:
    """A key that duplicates share: normalised title, description and brand.

    None if title and description are empty; such a product is never merged.
    """
    key = (comparable_text(title), comparable_text(description), comparable_text(brand or ""))
    return key if key[0] or key[1] else None


def comparable_text(text: str) -> str:
    """A text as duplicates are compared by it: normalised but for what may tell products apart; empty if blank."""
    return normalise(text, DEDUPLICATION_STEPS) if text.strip() else ""


def language_of(text: str) -> str:
    """The language of a text, judged by the script of most of its letters: "ar", "latin" or "other".

    "ar" stands for the Arabic script, which Persian and Urdu use too; it wins a tie. A text without letters is "other".
    """
    letters = Counter(map(_language_of_letter, filter(str.isalpha, text)))
    return max(letters, key=lambda language: (letters[language], language == "ar"), default=OTHER_LANGUAGE)


# Called for every letter of the catalogue, which has few distinct ones.
@cache
def _language_of_letter(letter: str) -> str:
    return _LANGUAGE_OF_SCRIPT.get(unicodedata.name(letter, "").partition(" ")[0], OTHER_LANGUAGE)
