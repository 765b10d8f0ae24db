"""Narrows many terms down to the few that a text may contain, without a look at each term."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection


class WordIndex:
    """Terms by one of their words.

    A term counts as contained only where its words are whole words of the text. So the text has each word of the term,
    and it is enough to look one of them up.
    """

    def __init__(self, terms: Collection[str], word: re.Pattern[str], key: Callable[[str], str] = str) -> None:
        """Takes the pattern of a word, which matches all of it, and what is equal for equal words."""
        self._word, self._key = word, key
        words = {term: self._words(term) for term in terms}
        counts = Counter(word for found in words.values() for word in found)
        self._terms: defaultdict[str, list[str]] = defaultdict(list)
        self._wordless = [term for term, found in words.items() if not found]
        for term, found in words.items():
            if found:
                # The word that the fewest terms share: `user` of user-1 and user-2 would tell nothing.
                self._terms[min(sorted(found), key=lambda word: counts[word])].append(term)

    def candidates(self, text: str) -> list[str]:
        """The terms that the text may contain: those whose word it has, and those without words."""
        found = self._words(text) & self._terms.keys()
        return [*self._wordless, *(term for word in found for term in self._terms[word])]

    def _words(self, text: str) -> set[str]:
        return set(map(self._key, self._word.findall(text)))
