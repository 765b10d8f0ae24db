"""One spelling for text that means the same: what search, and the search for duplicates, compare.

Shops and buyers write one product in many ways: with and without hamza or vowel signs, in Arabic or Latin digits,
"١٢٨جيجا" or "128 GB". Each rule below undoes one kind of difference and can be left out; docs/adr/0006 has what each is
worth, and why the text encoder reads queries in one spelling but products as they are written.

Releases hold n-grams of what comes out here: when any text comes out differently, raise RELEASE_FORMAT of
training.artifacts.release, which is the version of both.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Collection
from enum import StrEnum


class Rule(StrEnum):
    """A kind of difference between spellings, in the order in which they are undone."""

    HTML = "html"  # what a web page left behind: tags, &amp;
    COMPATIBILITY = "compatibility"  # presentation forms, full width, ligatures: Unicode NFKC
    MARKS = "marks"  # vowel signs, hamza above and below, accents, tatweel, what is invisible
    LETTERS = "letters"  # alef maksura and ya, ta marbuta and ha, Persian kaf and ya, hamza alone
    DIGITS = "digits"  # Arabic-Indic and Persian digits and decimal signs
    ZEROS = "zeros"  # zeros that say nothing: 5.0
    CASE = "case"
    REPEATED = "repeated"  # three and more of a letter: "جديييد"
    BOUNDARIES = "boundaries"  # between letters and digits: "30قرص"
    PUNCTUATION = "punctuation"  # all but the point in a number, per cent and plus
    UNITS = "units"  # spellings of a unit of measurement: "مجم", "MG"


RULES = tuple(Rule)

_TAG = re.compile(r"</?(?!x*[sml]>)[a-z][^<>]{0,200}>", re.IGNORECASE)  # but not the size in "Shirt <XL>"
_INVISIBLE = "\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_ARABIC_SIGNS = "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed"
_MARKS = re.compile(f"[\u0300-\u036f{_ARABIC_SIGNS}{_INVISIBLE}]")
_LETTERS = str.maketrans({"ى": "ي", "ی": "ي", "ة": "ه", "ک": "ك", "ٱ": "ا", "ء": ""})
_DECIMAL_SIGNS = str.maketrans({"٫": ".", "٬": ""})
_ZEROS_BEHIND = re.compile(r"(?<![\d.])(\d+)\.(\d*?)0+(?![\d.])")
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_BOUNDARY = re.compile(r"(?<=\d)(?=[^\W\d_])|(?<=[^\W\d_])(?=\d)")
_NO_DECIMAL_POINT = re.compile(r"(?<!\d)\.|\.(?!\d)")
_PUNCTUATION = re.compile(r"[^\w.%+]|_")

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


def normalise(text: str, rules: Collection[Rule] = RULES) -> str:
    """The text in one spelling, its words apart by one space each.

    Normalising twice changes nothing more, and a text of nothing but what the rules remove stays as it is.

    Args:
        text: Any text.
        rules: Those to follow, in whatever order.
    """
    before, after = None, text
    while after != before:  # one rule's outcome can be another's case: &amp;lt;
        before, after = after, _once(after, rules)
    return after or " ".join(text.split()) or text[:1]


def _once(text: str, rules: Collection[Rule]) -> str:
    for rule, undo in _UNDO.items():
        if rule in rules:
            text = undo(text)
    return " ".join(text.split())


def _html(text: str) -> str:
    return _TAG.sub(" ", html.unescape(text)) if "&" in text or "<" in text else text


def _compatibility(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _marks(text: str) -> str:
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", text)))


def _letters(text: str) -> str:
    return text.translate(_LETTERS)


def _digits(text: str) -> str:
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(one)) if one.isdecimal() else one for one in text)
    return text.translate(_DECIMAL_SIGNS)


def _zeros(text: str) -> str:
    return _ZEROS_BEHIND.sub(_without_zeros, text)


def _without_zeros(number: re.Match[str]) -> str:
    whole, fraction = number.groups()
    return f"{whole}.{fraction}" if fraction else whole


def _case(text: str) -> str:
    return text.casefold()


def _repeated(text: str) -> str:
    return _REPEATED.sub(r"\1", text)


def _boundaries(text: str) -> str:
    return _BOUNDARY.sub(" ", text)


def _punctuation(text: str) -> str:
    return _PUNCTUATION.sub(" ", _NO_DECIMAL_POINT.sub(" ", text))


def _units(text: str) -> str:
    return " ".join(_UNIT_OF.get(word, word) for word in text.split())


_UNDO: dict[Rule, Callable[[str], str]] = {
    Rule.HTML: _html,
    Rule.COMPATIBILITY: _compatibility,
    Rule.MARKS: _marks,
    Rule.LETTERS: _letters,
    Rule.DIGITS: _digits,
    Rule.ZEROS: _zeros,
    Rule.CASE: _case,
    Rule.REPEATED: _repeated,
    Rule.BOUNDARIES: _boundaries,
    Rule.PUNCTUATION: _punctuation,
    Rule.UNITS: _units,
}
