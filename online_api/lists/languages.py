"""The languages in which a caller wants titles: the parameter `lang`, or the header Accept-Language (RFC 9110)."""

import re

# Tags of languages in lower case, the wanted one first.
Languages = tuple[str, ...]

MAIN_TITLE: Languages = ()
MAX_RANGES = 20  # of a header; browsers send fewer
# A language range, or * for any language, with its weight.
_RANGE = re.compile(r"\s*([a-z]{1,8}(?:-[a-z0-9]{1,8})*|\*)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def wanted_languages(lang: str | None, accept_language: str | None) -> Languages:
    """The languages of a request; empty for the main title.

    Args:
        lang: The parameter of the request, a language tag; the header does not count beside it.
        accept_language: The header. Its malformed parts are ignored, because browsers write it and not the caller.
    """
    if lang is not None:
        return _with_shorter_forms([lang.lower()])
    return MAIN_TITLE if accept_language is None else _with_shorter_forms(_ranges(accept_language.lower()))


def _ranges(header: str) -> list[str]:
    """The ranges of a header in lower case, those of the highest weight first."""
    weighted = []
    for part in header.split(",", MAX_RANGES)[:MAX_RANGES]:
        matched = _RANGE.fullmatch(part)
        weight = 0.0 if matched is None else float(matched[2] or 1)
        if matched is not None and weight > 0:  # 0 refuses a language
            weighted.append((weight, matched[1]))
    ranges = [name for _, name in sorted(weighted, key=lambda one: -one[0])]  # stable: equal weights keep their order
    # Any language will do, and every product has a main title. What stands behind the * is wanted less.
    return ranges[: ranges.index("*")] if "*" in ranges else ranges


def _with_shorter_forms(tags: list[str]) -> Languages:
    """Each tag and its shorter forms (RFC 4647, lookup): who wants ar-eg takes ar."""
    forms = []
    for tag in tags:
        parts = tag.split("-")
        forms += ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return tuple(dict.fromkeys(forms))
