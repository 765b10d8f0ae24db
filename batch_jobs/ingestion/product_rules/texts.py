"""Titles and descriptions, in several languages where the shop has them; categories."""

import json
import re
from collections.abc import Iterable, Mapping

import pandas as pd

from batch_jobs.ingestion.column_names import COLUMN_ALIASES, heading_key
from batch_jobs.ingestion.product_rules.findings import Findings
from batch_jobs.ingestion.source_mapping import TableMapping
from feature_repo import columns as c
from feature_repo.transforms.markup import plain_text
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


def add_texts(frame: pd.DataFrame, findings: Findings) -> None:
    """Replaces the raw texts of each product by title, description, titles and text, without HTML.

    The title is that of the column `title`; where this is empty, that in the language that most products have, else
    any other; so is the description. The text is that of the column `text`, else all titles and descriptions.

    Args:
        frame: The products, with the texts of title, description, text, and of fields such as title_ar.
        findings: Gets `missing_title` and `shortened_text`.
    """
    by_language = [name for name in frame if is_language_field(name)]
    titles, descriptions = (
        [name for name in by_language if name.startswith(field)] for field in (c.TITLE, c.DESCRIPTION)
    )
    shortened = pd.Series(None, index=frame.index, dtype=object)
    for column in (c.TITLE, *titles, c.DESCRIPTION, *descriptions, c.TEXT):
        is_title = column in (c.TITLE, *titles)
        longest = LONGEST_TITLE if is_title else LONGEST_DESCRIPTION
        plain = frame[column].map(_title_text if is_title else _plain_text, na_action="ignore").astype(object)
        too_long = plain.map(len, na_action="ignore").gt(longest)
        shortened = shortened.where(shortened.notna(), plain.where(too_long))
        frame[column] = plain.where(~too_long, plain.str.slice(0, longest)) if too_long.any() else plain
    findings.count(SHORTENED_TEXT, shortened)
    if findings.counts[SHORTENED_TEXT]:
        findings.warn_of_example(
            SHORTENED_TEXT, f"a text is cut: {LONGEST_TITLE:,} characters of a title are kept, {LONGEST_DESCRIPTION:,} of others"
        )
    frame[c.TITLES] = _titles_by_language(frame, titles)
    all_titles = _texts_of_rows(frame, c.TITLE, titles)
    all_descriptions = _texts_of_rows(frame, c.DESCRIPTION, descriptions)
    frame[c.TEXT] = [
        own if isinstance(own, str) else multilingual_text(*texts)
        for own, *texts in zip(frame[c.TEXT], all_titles, all_descriptions, strict=True)
    ]
    frame[c.TITLE] = [next(iter(texts), "") for texts in all_titles]
    frame[c.DESCRIPTION] = [next(iter(texts), "") for texts in all_descriptions]
    frame.drop(columns=[*titles, *descriptions], inplace=True)
    findings.count(MISSING_TITLE, frame[c.PRODUCT_ID].where(frame[c.TITLE] == ""))


def _plain_text(text: str) -> str | None:
    return plain_text(text).strip() or None


def _title_text(text: str) -> str | None:
    plain = _plain_text(text)
    # A title is one line; where there was no HTML, it stays as it is.
    return " ".join(plain.split("\n")) if plain and plain != text.strip() else plain


def _titles_by_language(frame: pd.DataFrame, fields: list[str]) -> list[str | None]:
    tags = [field.removeprefix(f"{c.TITLE}_") for field in fields]
    rows = zip(*(frame[field] for field in fields), strict=True) if fields else ((),) * len(frame)
    titles = ({tag: text for tag, text in zip(tags, row, strict=True) if isinstance(text, str)} for row in rows)
    return [json.dumps(by_tag, ensure_ascii=False, sort_keys=True) if by_tag else None for by_tag in titles]


def _texts_of_rows(frame: pd.DataFrame, field: str, language_fields: list[str]) -> list[list[str]]:
    """The texts of each product, the main one first."""
    by_frequency = sorted(language_fields, key=lambda name: (-int(frame[name].notna().sum()), name))
    columns = (frame[name] for name in (field, *by_frequency))
    return [[text for text in row if isinstance(text, str)] for row in zip(*columns, strict=True)]


# ---- categories ------------------------------------------------------------------------------------------------------


def category_name(text: str) -> str | None:
    """The category by which products are grouped: of paths such as "Home > Lamps, Sale" the deepest level of the first.

    A text without levels stays as it is, commas included.
    """
    first, *deeper = _LEVEL.split(plain_text(text).strip())
    if not deeper:
        return first or None
    # A comma in the first level belongs to the name: "Food, Beverages & Tobacco > Coffee". Later, it begins the next path.
    for position, level in enumerate(deeper):
        name, comma, _ = level.partition(", ")
        if comma or position == len(deeper) - 1:
            return name.strip() or (deeper[position - 1] if position else first)
    raise AssertionError("the last level always returns")
