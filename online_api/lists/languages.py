"""The languages in which a caller wants titles: the parameter `lang`, or the header Accept-Language (RFC 9110)."""

import re
from functools import lru_cache

# Tags of languages in lower case, the wanted one first.
Languages = tuple[str, ...]

MAIN_TITLE: Languages = ()
LONGEST_HEADER = 300  # characters that are read; browsers send fewer than 100
# A language range, or * for any language, with its weight.
_RANGE = re.compile(r"\s*([a-z]{1,8}(?:-[a-z0-9]{1,8})*|\*)\s*(?:;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?")


def wanted_languages(lang: str | None, accept_language: str | None) -> Languages:
    """The languages of a request; empty for the main title.

    Args:
        lang: The parameter of the request, a language tag; the header does not count beside it.
        accept_language: The header. Its malformed parts are ignored, because browsers write it and not the caller.
    """
    if lang is not None:
        return _with_shorter_forms([lang.lower()])
    return MAIN_TITLE if accept_language is None else _of_header(accept_language[:LONGEST_HEADER])


@lru_cache(1024)  # browsers send few different headers
def _of_header(header: str) -> Languages:
    return _with_shorter_forms(_ranges(header.lower()))


def _ranges(header: str) -> list[str]:
    """The ranges of a header in lower case, those of the highest weight first."""
    parts = [matched for part in header.split(",") if (matched := _RANGE.fullmatch(part))]
    weighted = [(float(matched[2] or 1), matched[1]) for matched in parts]
    by_weight = sorted(weighted, key=lambda one: -one[0])  # stable: equal weights keep their order
    ranges = [name for weight, name in by_weight if weight > 0]  # 0 refuses a language
    # Any language will do, and every product has a main title. What stands behind the * is wanted less.
    return ranges[: ranges.index("*")] if "*" in ranges else ranges


def _with_shorter_forms(tags: list[str]) -> Languages:
    """Each tag and its shorter forms (RFC 4647, lookup): who wants ar-eg takes ar."""
    forms = []
    for tag in tags:
        parts = tag.split("-")
        forms += ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return tuple(dict.fromkeys(forms))
