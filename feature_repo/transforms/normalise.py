"""Text normalisation: one spelling for texts that mean the same. Search and deduplication compare normalised texts.

Shops and buyers write one product in many ways: with or without hamza and vowel signs, in Arabic or Latin digits,
"١٢٨جيجا" or "128 GB". Each step below removes one kind of difference and can be left out. docs/adr/0006 reports what
each step is worth, and why the text encoder reads normalised queries but unchanged product texts.

Releases store n-grams of normalised text. Whoever changes the result for any text must raise RELEASE_FORMAT of
training.artifacts.release_manifest.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Collection
from enum import StrEnum


class NormalisationStep(StrEnum):
    """The steps, each named after the difference that it removes, in the order in which they run."""

    HTML = "html"  # tags and character references, such as &amp;
    COMPATIBILITY = "compatibility"  # presentation forms, full width, ligatures: Unicode NFKC
    MARKS = "marks"  # vowel signs, hamza above and below, accents, tatweel, invisible characters
    LETTERS = "letters"  # alef maksura and ya, ta marbuta and ha, Persian kaf and ya, stand-alone hamza
    DIGITS = "digits"  # Arabic-Indic and Persian digits and decimal signs
    ZEROS = "zeros"  # trailing zeros after a decimal point: 5.0
    CASE = "case"
    REPEATED = "repeated"  # a letter three or more times in a row: "جديييد"
    BOUNDARIES = "boundaries"  # a missing space between letters and digits: "30قرص"
    PUNCTUATION = "punctuation"  # all but the decimal point, the percent sign and the plus sign
    UNITS = "units"  # spellings of a unit of measurement: "مجم", "MG"


NORMALISATION_STEPS = tuple(NormalisationStep)

# ---- tables ----------------------------------------------------------------------------------------------------------


_TAG = re.compile(r"</?(?!x*[sml]>)[a-z][^<>]{0,200}>", re.IGNORECASE)  # not the size in "Shirt <XL>"
_INVISIBLE = "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_ARABIC_SIGNS = "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
# U+0300 to U+036F are combining accents. NFD separates all of these signs from their letters first.
_MARKS = re.compile(f"[\u0300-\u036f{_ARABIC_SIGNS}{_INVISIBLE}]")
_LETTERS = str.maketrans({"ى": "ي", "ی": "ي", "ة": "ه", "ک": "ك", "ٱ": "ا", "ء": ""})
# The Arabic decimal separator and thousands separator.
_DECIMAL_SIGNS = str.maketrans({"٫": ".", "٬": ""})
# Not in versions such as 1.10.0: no further digit or point may stand beside the number.
_TRAILING_ZEROS = re.compile(r"(?<![\d.])(\d+)\.(\d*?)0+(?![\d.])")
# Letters only: 1000 stays. Two in a row may be correct (cool), three are emphasis.
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_BOUNDARY = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
_NO_DECIMAL_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_PUNCTUATION = re.compile(r"[^\w.%+]|_")

# Spellings as written and as the earlier steps leave them, because steps can be left out. Words for packs (tab, قرص)
# gained nothing here (ADR 0006).
_UNITS = {
    "mcg": "mcg ug µg مكجم مكغ ميكروجرام ميكروغرام",
    "mg": "mg مجم ملجم مج ملغ ملغم ملجرام مليجرام ملليجرام ميليغرام",
    "g": "g gm gr gms gram grams جم غ غم جرام غرام جرامات",
    "kg": "kg kgs kilo كجم كغ كغم كيلو كيلوجرام كيلوغرام",
    "ml": "ml مل مللي ملي ملل ملليلتر مليلتر",
    "l": "l lt ltr liter litre liters litres لتر ليتر لترات",
    "oz": "oz ounce ounces اونصه أونصة",
    "lb": "lb lbs pound pounds رطل",
    "mm": "mm مم ملم مليمتر",
    "cm": "cm سم سنتيمتر سنتي",
    "inch": "inch inches بوصه بوصة انش إنش",
    "w": "w watt watts وات واط",
    "mah": "mah أمبير امبير",
    "mb": "mb ميجا ميجابايت ميغا ميغابايت",
    "gb": "gb جيجا جيجابايت غيغا غيغابايت",
    "tb": "tb تيرا تيرابايت",
}
_UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings.split()}


# ---- normalisation ---------------------------------------------------------------------------------------------------


def normalise(text: str, steps: Collection[NormalisationStep] = NORMALISATION_STEPS) -> str:
    """Normalises a text; single spaces separate the words of the result.

    Normalising the result again does not change it. The result is empty only for an empty text: a text from which the
    steps would remove everything stays unchanged but for its spaces.

    Args:
        text: Any text.
        steps: The steps to run. Their order does not matter; NormalisationStep fixes it.
    """
    before, after = None, text
    while after != before:  # one step can produce what an earlier one removes: &amp;lt;
        before, after = after, _run_once(after, steps)
    # A text that the steps would empty ("!!!") keeps its words, and a text of spaces its first one.
    return after or " ".join(text.split()) or text[:1]


def _run_once(text: str, steps: Collection[NormalisationStep]) -> str:
    for step, function in _FUNCTIONS.items():
        if step in steps:
            text = function(text)
    return " ".join(text.split())


# ---- the steps -------------------------------------------------------------------------------------------------------


def _html(text: str) -> str:
    # The test spares most texts two passes.
    return _TAG.sub(" ", html.unescape(text)) if "&" in text or "<" in text else text


def _compatibility(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _marks(text: str) -> str:
    # NFD writes أ as ا and a hamza, which is then removed like a vowel sign; NFC joins what is left.
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", text)))


def _letters(text: str) -> str:
    return text.translate(_LETTERS)


def _digits(text: str) -> str:
    # The loop over characters is slow, and most texts in Latin letters have nothing to convert.
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
    return text.translate(_DECIMAL_SIGNS)


def _zeros(text: str) -> str:
    return _TRAILING_ZEROS.sub(_strip_zeros, text)


def _strip_zeros(number: re.Match[str]) -> str:
    whole, fraction = number.groups()
    return f"{whole}.{fraction}" if fraction else whole


def _case(text: str) -> str:
    # Not lower(): casefold also makes ß and ss equal.
    return text.casefold()


def _repeated(text: str) -> str:
    return _REPEATED.sub(r"\1", text)


def _boundaries(text: str) -> str:
    return _BOUNDARY.sub(" ", text)


def _punctuation(text: str) -> str:
    return _PUNCTUATION.sub(" ", _NO_DECIMAL_POINT.sub(" ", text))


def _units(text: str) -> str:
    return " ".join(_UNIT_OF.get(word, word) for word in text.split())


_FUNCTIONS: dict[NormalisationStep, Callable[[str], str]] = {
    NormalisationStep.HTML: _html,
    NormalisationStep.COMPATIBILITY: _compatibility,
    NormalisationStep.MARKS: _marks,
    NormalisationStep.LETTERS: _letters,
    NormalisationStep.DIGITS: _digits,
    NormalisationStep.ZEROS: _zeros,
    NormalisationStep.CASE: _case,
    NormalisationStep.REPEATED: _repeated,
    NormalisationStep.BOUNDARIES: _boundaries,
    NormalisationStep.PUNCTUATION: _punctuation,
    NormalisationStep.UNITS: _units,
}
