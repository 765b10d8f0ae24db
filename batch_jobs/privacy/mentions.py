"""Finds the ids of buyers in texts of any kind: rows of exports, JSON, HTML."""

import html
import json
import re
import unicodedata
from collections.abc import Collection

from feature_repo.common.word_index import WordIndex

ERASED = "[erased]"
_WORD = re.compile(r"\w+")


class Mentions:
    """Finds texts that mention one of some buyers; the time per text does not grow with their number."""

    def __init__(self, buyer_ids: Collection[str]) -> None:
        """Takes cleaned ids."""
        forms = {form for buyer_id in buyer_ids for form in _written_forms(buyer_id)}
        self._forms = WordIndex(forms, _WORD, _ignoring_case)

    def in_text(self, text: str | None) -> bool:
        """Whether a text mentions one of the buyers, as a word of its own."""
        if text is None:
            return False
        forms = self._forms.candidates(text)
        return bool(forms) and _pattern(forms).search(text) is not None

    def erased(self, text: str) -> str:
        """The text with ERASED in place of each id."""
        forms = self._forms.candidates(text)
        return _pattern(forms).sub(ERASED, text) if forms else text


def _pattern(forms: Collection[str]) -> re.Pattern[str]:
    # An id within a longer word, number or date is another one: 12 is not in 123, 12.5 and 2024-03-12. Exports of
    # numbers may write it as 12.0.
    words = "|".join(map(re.escape, sorted(forms, key=lambda form: (-len(form), form))))
    return re.compile(rf"(?<![\w-])(?<!\d\.)(?:{words})(?:\.0+)?(?![\w-])(?!\.\d)", re.IGNORECASE)


def _ignoring_case(word: str) -> str:
    """Equal for words that re.IGNORECASE takes for equal: it takes the Turkish i with and without a dot for i."""
    return word.replace("İ", "i").replace("ı", "i").casefold()


def _written_forms(buyer_id: str) -> set[str]:
    """How CSV, JSON and HTML write an id."""
    forms = {buyer_id, unicodedata.normalize("NFD", buyer_id)}
    forms |= {form.replace('"', '""') for form in forms}
    # Data Docs escape once more what is escaped already, and hold JSON within HTML.
    for _ in range(2):
        forms |= {html.escape(form, quote=quote) for form in forms for quote in (False, True)}
        forms |= {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return forms
