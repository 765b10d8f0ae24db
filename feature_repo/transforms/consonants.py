"""A phonetic key that a word has in Arabic and in Latin letters alike: its consonants.

A brand is written panadol, بنادول or بانادول; the consonants p-n-d-l are what these share. Arabic spellings add or omit
the long vowels of foreign names. One Arabic letter often stands for two Latin ones (p and b, v and f), or several for
one (s: س, ص and ث). Dropping vowels and merging such letters, as Soundex does for English names, gives one key.
"""

import re

# Letters that stand for one Latin sound share its key. Those of the empty key are dropped.
_ARABIC = {
    "b": "بپ",
    "d": "دض",
    "f": "فڤ",
    "g": "جغچگ",
    "h": "حخ",
    "k": "قك",
    "l": "ل",
    "m": "م",
    "n": "ن",
    "r": "ر",
    "s": "سصث",
    "t": "تط",
    "x": "ش",
    "z": "زذظ",
    "": "اويهع",
}
_FROM_ARABIC = str.maketrans({letter: key for key, letters in _ARABIC.items() for letter in letters})
# `x` stands for the sound sh in a key, so a Latin x becomes what it sounds like.
_LATIN_PAIRS = {"ph": "f", "sh": "x", "ch": "x", "th": "s", "kh": "h", "gh": "g", "ck": "k", "x": "ks"}
_LATIN_PAIR = re.compile("|".join(_LATIN_PAIRS))
# As in cetaphil, which is written سيتافيل.
_SOFT_C = re.compile("c(?=[eiy])")
_FROM_LATIN = str.maketrans({**dict(zip("cqvpj", "kkfbg", strict=True)), **dict.fromkeys("aeiouyhw", "")})
_DOUBLED = re.compile(r"([a-z])\1+")
_LATIN_WORD = re.compile("[a-z]+")


def consonants(text: str) -> str:
    """The consonants of each word, in Latin letters. Numbers and words of other scripts do not change.

    Args:
        text: Text that `normalise` returned.
    """
    # Doubled letters (gillette) are written once in Arabic.
    keys = (_DOUBLED.sub(r"\1", _key(word)) for word in text.split())
    return " ".join(key for key in keys if key)


def _key(word: str) -> str:
    if not _LATIN_WORD.fullmatch(word):
        return word.translate(_FROM_ARABIC)
    # Pairs come before single letters: the h of sh is part of its sound, a single h is dropped.
    sounds = _LATIN_PAIR.sub(lambda pair: _LATIN_PAIRS[pair[0]], _SOFT_C.sub("s", word))
    return sounds.translate(_FROM_LATIN)
