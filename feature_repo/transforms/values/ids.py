"""Ids of buyers, products and events as shops write them."""

import re
import unicodedata

from feature_repo.transforms.values.characters import trim

MAX_ID_LENGTH = 256  # characters

# What databases, pandas, R, Excel and analytics tools write where there is no id; compared without case.
_NO_ID = frozenset(
    {"", "null", "(null)", "<null>", "[null]", "\\n", "nan", "-nan", "<na>", "n/a", "undefined", "<nil>", "{}", "[]"}
    | {"(not set)", "(none)", "(not provided)", "(data not available)", "(other)", "(unset)", "[object object]"}
    | {"#n/a", "#null!", "#value!", "#ref!", "#name?", "#div/0!", "#num!"}
)
# Nobody among buyers only: a product may be called "NA" or "0".
_NO_BUYER = _NO_ID | {"0", "0.0", "-1", "-", "--", "none", "na", "nil", "00000000-0000-0000-0000-000000000000"}
_LONGEST_PLACEHOLDER = max(map(len, _NO_BUYER))
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_id(text: str | None) -> str | None:
    r"""The id of a product or event without blanks, line breaks and invisible characters around it.

    None for what databases write where there is no id: an empty text, NULL, nan, \N, undefined, (not set) and the
    like, in any case. "None", "NA" and "0" stay: a product may have such an id. See clean_buyer_id.
    """
    return _cleaned(text, _NO_ID)


def clean_buyer_id(text: str | None) -> str | None:
    """The id of a buyer, like clean_id; also None for None, NA, nil, 0, -1, - and the UUID of zeros."""
    return _cleaned(text, _NO_BUYER)


def plain_id(text: str) -> str:
    """The text without what surrounds an id, in the one form (NFC) of letters that can be written in two."""
    return unicodedata.normalize("NFC", trim(text))


def id_problem(identifier: str) -> str | None:
    """Why a cleaned id is refused ("must not hold control characters", ...), or None if it is not."""
    if len(identifier) > MAX_ID_LENGTH:
        return f"must have at most {MAX_ID_LENGTH} characters"
    if _SURROGATE.search(identifier):  # JSON can write it, UTF-8 cannot
        return "must not hold half of a surrogate pair"
    # No shop's ids contain them, and they break tools downstream (SQL, logs).
    return "must not hold control characters" if _CONTROL_CHARACTER.search(identifier) else None


def _cleaned(text: str | None, placeholders: frozenset[str]) -> str | None:
    identifier = plain_id(text or "")
    if len(identifier) <= _LONGEST_PLACEHOLDER and identifier.casefold() in placeholders:
        return None
    return identifier
