"""Finds the ids of buyers in texts of any kind: rows of exports, JSON, HTML."""

import html
import json
import re
import unicodedata
from collections.abc import Collection

ERASED = "[erased]"


class Mentions:
    """Finds texts that mention one of some buyers."""

    def __init__(self, buyer_ids: Collection[str]) -> None:
        """Takes cleaned ids."""
        forms = {form for buyer_id in buyer_ids for form in _written_forms(buyer_id)}
        # An id within a longer word, number or date is another one: 12 is not in 123, 12.5 and 2024-03-12. Exports of
        # numbers may write it as 12.0.
        words = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
        words = words or r"(?!)"  # of nobody: matches nothing
        self._pattern = re.compile(rf"(?<![\w-])(?<!\d\.)(?:{words})(?:\.0+)?(?![\w-])(?!\.\d)", re.IGNORECASE)

    def in_text(self, text: str | None) -> bool:
        """Whether a text mentions one of the buyers, as a word of its own."""
        return text is not None and self._pattern.search(text) is not None

    def erased(self, text: str) -> str:
        """The text with ERASED in place of each id."""
        return self._pattern.sub(ERASED, text)


def _written_forms(buyer_id: str) -> set[str]:
    """How CSV, JSON and HTML write an id."""
    forms = {buyer_id, unicodedata.normalize("NFD", buyer_id)}
    forms |= {form.replace('"', '""') for form in forms}
    # Data Docs escape once more what is escaped already, and hold JSON within HTML.
    for _ in range(2):
        forms |= {html.escape(form, quote=quote) for form in forms for quote in (False, True)}
        forms |= {json.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return forms
