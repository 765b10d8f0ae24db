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
from feature_repo.transforms.text import joined_texts, product_text

# A picture or a whole page in a description must reach neither encoder nor online store. Encoders read far less.
LONGEST_TITLE, LONGEST_DESCRIPTION = 1_000, 20_000
SHORTENED_TEXT, MISSING_TITLE = "shortened_text", "missing_title"

# How headings name a language, besides its tag.
_LANGUAGE_NAMES = {
    "ar": "arabic, عربي, العربية, بالعربية, بالعربي",
    "en": "english, eng, انجليزي, إنجليزي, الإنجليزية, بالإنجليزية, بالانجليزي",
    "fr": "french, français, فرنسي, الفرنسية",
    "de": "german, deutsch",
    "es": "spanish, español",
    "tr": "turkish, türkçe",
    "fa": "persian, farsi",
    "ur": "urdu",
    "ku": "kurdish",
    "hi": "hindi",
}
_LEVEL = re.compile(r"\s*[>›»]\s*")


def language_columns(field: str, table: TableMapping, file_columns: Iterable[str]) -> dict[str, str]:
    """The columns of `title` or `description` by language tag: title_ar, "Name (English)", "Arabic name".

    Fields such as title_ar in `columns` or `sql` of the mapping come first; their value here is the field's name.
    """
    prefix = f"{field}_"
    declared = {
        name.removeprefix(prefix): name
        for name in (*table.sql, *table.columns)
        if re.fullmatch(rf"{prefix}[a-z]{{2,3}}", name)
    }
    headings: dict[str, str] = {}
    for tag, names in _LANGUAGE_NAMES.items():
        for name in (tag, *names.split(", ")):
            for base in (field, *COLUMN_ALIASES[field]):
                headings.setdefault(heading_key(f"{base} {name}"), tag)
                headings.setdefault(heading_key(f"{name} {base}"), tag)
    found: dict[str, str] = {}
    for column in file_columns:
        if tag := headings.get(heading_key(column)):
            found.setdefault(tag, column)
    return found | declared


def add_texts(frame: pd.DataFrame, titles: Mapping[str, str], descriptions: Mapping[str, str], findings: Findings) -> None:
    """Makes title, description, titles and text of each product.

    The title is that of the column `title`, else that in the language that most products have, else any other; so is
    the description. The text is that of the column `text`, else all titles and descriptions, each once.

    Args:
        frame: The products with the raw texts of `title`, `description`, `text` and of the columns of languages.
        titles: The columns of titles by language tag.
        descriptions: The columns of descriptions by language tag.
        findings: Gets `missing_title` and `shortened_text`.
    """
    shortened = pd.Series(None, index=frame.index, dtype=object)
    limits = {c.TITLE: LONGEST_TITLE, c.DESCRIPTION: LONGEST_DESCRIPTION, c.TEXT: LONGEST_DESCRIPTION}
    limits |= dict.fromkeys(titles.values(), LONGEST_TITLE) | dict.fromkeys(descriptions.values(), LONGEST_DESCRIPTION)
    for column, longest in limits.items():
        plain = frame[column].map(_plain_or_none, na_action="ignore")
        if column in (c.TITLE, *titles.values()):
            plain = plain.map(lambda title: " ".join(title.split("\n")), na_action="ignore")
        too_long = plain.str.len().gt(longest) if plain.notna().any() else pd.Series(False, index=frame.index)
        shortened = shortened.where(shortened.notna(), plain.where(too_long))
        frame[column] = plain.str.slice(0, longest) if too_long.any() else plain
    findings.count(SHORTENED_TEXT, shortened)
    if findings.counts[SHORTENED_TEXT]:
        findings.warn_of_example(SHORTENED_TEXT, f"a text is cut after {LONGEST_DESCRIPTION:,} characters")
    title_columns, description_columns = (_main_first(frame, columns) for columns in (titles, descriptions))
    frame[c.TITLES] = _titles_by_language(frame, titles)
    all_titles, all_descriptions = (
        frame[[field, *columns]].apply(lambda row: [text for text in row if isinstance(text, str)], axis=1)
        if columns else frame[field].map(lambda text: [text] if isinstance(text, str) else [])
        for field, columns in ((c.TITLE, title_columns), (c.DESCRIPTION, description_columns))
    )
