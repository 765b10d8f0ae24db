"""Titles and descriptions, in several languages where the shop has them; categories."""

import json
import re
from collections.abc import Iterable

import pandas as pd

from batch_jobs.ingestion.column_names import COLUMN_ALIASES, heading_key
from batch_jobs.ingestion.product_rules.findings import Findings
from batch_jobs.ingestion.product_rules.markup import plain_text
from batch_jobs.ingestion.source_mapping import TableMapping
from feature_repo import columns as c
from feature_repo.transforms.text import multilingual_text

# Text encoders read far less, and online stores and pages must not carry a book per product.
LONGEST_TITLE, LONGEST_DESCRIPTION = 1_000, 20_000
SHORTENED_TEXT, MISSING_TITLE = "shortened_text", "missing_title"

# How headings name a language besides its tag.
_LANGUAGE_NAMES = {
    "ar": "arabic, عربي, العربية, بالعربية, بالعربي",
    "en": "english, eng, انجليزي, الإنجليزية, بالإنجليزية, بالانجليزي",
    "fr": "french, français, فرنسي, الفرنسية, بالفرنسية",
    "de": "german, deutsch",
    "es": "spanish, español",
    "tr": "turkish, türkçe",
    "fa": "persian, farsi",
    "ur": "urdu",
    "ku": "kurdish",
    "hi": "hindi",
}
_LEVEL = re.compile(r"\s*[>›»]\s*")


# ---- columns of languages --------------------------------------------------------------------------------------------


def language_columns(table: TableMapping, file_columns: Iterable[str]) -> dict[str, str]:
    """The columns of titles and descriptions by language, such as title_ar, "Name (English)", "Arabic name".

    Returns:
        Field, such as title_en -> column of the file, but for fields that the mapping declares.
    """
    fields = {
        heading_key(heading): f"{field}_{tag}"
        for field in (c.TITLE, c.DESCRIPTION)
        for tag, names in _LANGUAGE_NAMES.items()
        for name in (tag, *names.split(", "))
        for base in (field, *COLUMN_ALIASES[field])
        for heading in (f"{base} {name}", f"{name} {base}")
    }
    found: dict[str, str] = {}
    for column in file_columns:
        field = fields.get(heading_key(column))
        if field and field not in table.sql:
            found.setdefault(field, column)
    return found


def is_language_field(field: str) -> bool:
    """Whether a field is a title or description in a language: title_ar."""
    return re.fullmatch(rf"({c.TITLE}|{c.DESCRIPTION})_[a-z]{{2,3}}", field) is not None


# ---- texts -----------------------------------------------------------------------------------------------------------


def read_texts(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """Title, description, titles (JSON by language, null without any) and text of each product, without HTML.

    The title is that of the field `title`; where this is empty, that in the language that most products have, else any
    other; so is the description. The text is that of the field `text`, else all titles and descriptions.

    Args:
        frame: The products, with the texts of title, description, text, and of fields of languages such as title_ar.
        findings: Gets `missing_title` and `shortened_text`.
    """
    plain = _plain_texts(frame, findings)
    tags = _tags_by_frequency(plain)
    titles, descriptions = (_texts_of_rows(plain, field, tags) for field in (c.TITLE, c.DESCRIPTION))
    texts = [
        own if isinstance(own, str) else multilingual_text(*of_languages)
        for own, *of_languages in zip(plain[c.TEXT], titles, descriptions, strict=True)
    ]
    result = pd.DataFrame(
        {
            c.TITLE: [next(iter(texts_of_row), "") for texts_of_row in titles],
            c.DESCRIPTION: [next(iter(texts_of_row), "") for texts_of_row in descriptions],
            c.TITLES: _titles_by_language(plain, tags),
            c.TEXT: texts,
        },
        index=frame.index,
        dtype=object,
    )
    findings.count(MISSING_TITLE, frame[c.PRODUCT_ID].where(result[c.TITLE] == ""))
    return result


def _plain_texts(frame: pd.DataFrame, findings: Findings) -> pd.DataFrame:
    """The texts without HTML, null if nothing is left, and none longer than an encoder or a page can use."""
    plain, shortened = {}, pd.Series(None, index=frame.index, dtype=object)
    for name in frame.columns.astype(str):
        if not (is_language_field(name) or name in (c.TITLE, c.DESCRIPTION, c.TEXT)):
            continue
        is_title = name.startswith(c.TITLE)
        longest = LONGEST_TITLE if is_title else LONGEST_DESCRIPTION
        texts = frame[name].map(_title_text if is_title else _plain_text, na_action="ignore").astype(object)
        too_long = texts.map(len, na_action="ignore").gt(longest)
        shortened = shortened.where(shortened.notna(), texts.where(too_long))
        plain[name] = texts.where(~too_long, texts.map(lambda text, end=longest: text[:end], na_action="ignore"))
    findings.count(SHORTENED_TEXT, shortened)
    findings.warn_of(
        SHORTENED_TEXT, f"{LONGEST_TITLE:,} characters of a title are kept, {LONGEST_DESCRIPTION:,} of other texts"
    )
    return pd.DataFrame(plain)


def _plain_text(text: str) -> str | None:
    return plain_text(text).strip() or None


def _title_text(text: str) -> str | None:
    plain = _plain_text(text)
    # A title is one line; where there was no HTML, it stays as it is.
    return " ".join(plain.split("\n")) if plain and plain != text.strip() else plain


def _tags_by_frequency(plain: pd.DataFrame) -> list[str]:
    """The languages of the columns, that of most titles first; title and description thus are of one language."""
    languages = [name for name in plain.columns.astype(str) if is_language_field(name)]
    tags = sorted({name.rpartition("_")[2] for name in languages})

    def frequency(tag: str) -> list[int]:
        names = (f"{field}_{tag}" for field in (c.TITLE, c.DESCRIPTION))
        return [int(plain[name].count()) if name in plain else 0 for name in names]

    return sorted(tags, key=frequency, reverse=True)


def _texts_of_rows(plain: pd.DataFrame, field: str, tags: list[str]) -> list[list[str]]:
    """The texts of each product, the main one first, then those in the languages `tags`."""
    columns = [plain[name] for name in (field, *(f"{field}_{tag}" for tag in tags)) if name in plain]
    return [[text for text in row if isinstance(text, str)] for row in zip(*columns, strict=True)]


def _titles_by_language(plain: pd.DataFrame, tags: list[str]) -> list[str | None]:
    columns = {tag: plain[f"{c.TITLE}_{tag}"] for tag in sorted(tags) if f"{c.TITLE}_{tag}" in plain}
    if not columns:
        return [None] * len(plain)
    rows = (zip(columns, row, strict=True) for row in zip(*columns.values(), strict=True))
    titles = ({tag: text for tag, text in row if isinstance(text, str)} for row in rows)
    return [json.dumps(by_tag, ensure_ascii=False) if by_tag else None for by_tag in titles]


# ---- categories ------------------------------------------------------------------------------------------------------


def category_name(text: str) -> str | None:
    """The category by which products are grouped: of paths such as "Home > Lamps, Sale" the deepest level of the first.

    A text without levels stays as it is, commas included.
    """
    first, *deeper = _LEVEL.split(plain_text(text).strip())
    path = [first]
    for level in deeper:
        # In the first level, a comma belongs to the name ("Food, Beverages & Tobacco"); later, it ends the path.
        name, comma, _ = level.partition(", ")
        path.append(name.strip())
        if comma:
            break
    return next(filter(None, reversed(path)), None)
