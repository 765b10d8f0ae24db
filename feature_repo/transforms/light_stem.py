"""Light stemming: one form for a word with and without article, "and", and the endings of regular plurals.

Buyers ask for الساعات, ساعات or ساعة, and for watches or watch. A light stemmer takes prefixes and endings off and
knows no roots or patterns. The Arabic part has the prefixes of light10 (Larkey, Ballesteros and Connell 2007) and four
of its endings, and leaves three letters, because product names are short. The English part is the s-stemmer (Harman
1991), with the endings -xes, -ches, -shes and -sses, and with -ie as -y (cookie, cookies).

Only search uses stems (training.artifacts.queries.vocabulary); duplicates and the text encoder see whole words.
"""

import re

# The sound plurals, and ta marbuta, which normalisation writes as ha. The others of light10 (ها, ان, يه, ي) join more
# names than words.
_ENDINGS = ("ات", "ون", "ين", "ه")
_FEWEST_LETTERS = 3  # of an Arabic stem
_AND = re.compile(rf"^و+(?=.{{{_FEWEST_LETTERS}}})")
_ARTICLE = re.compile(rf"^(?:[بكف]?ال|لل)(?=.{{{_FEWEST_LETTERS}}})")
_ENGLISH = re.compile("[a-z]{4,}")
_SHORTEST_IN_IE = 5  # not tie and pie
_NO_PLURAL = ("ss", "us", "is")  # glass, virus, tennis
_PLURAL_IN_ES = ("xes", "ches", "shes", "sses")


def light_stem(word: str) -> str:
    """The light stem of a normalised word; words with digits or signs do not change."""
    if word.isascii():
        return _english_stem(word) if _ENGLISH.fullmatch(word) else word
    return _arabic_stem(word) if word.isalpha() else word


def without_prefixes(word: str) -> str:
    """A normalised Arabic word without "and" and article; other words do not change."""
    return _ARTICLE.sub("", _AND.sub("", word))


def _arabic_stem(word: str) -> str:
    word = without_prefixes(word)
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _FEWEST_LETTERS:
            return word.removesuffix(ending)
    return word


def _english_stem(word: str) -> str:
    if word.endswith(_PLURAL_IN_ES):
        return word[:-2]
    if word.endswith("s") and not word.endswith(_NO_PLURAL):
        word = word[:-1]
    return f"{word[:-2]}y" if len(word) >= _SHORTEST_IN_IE and word.endswith("ie") else word
