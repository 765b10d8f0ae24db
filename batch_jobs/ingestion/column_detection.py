"""Tells from headings and values which column of an unknown file holds which field."""

import re
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from batch_jobs.ingestion.column_names import (
    AVAILABILITY,
    EVENT_ALIASES,
    METADATA,
    PRODUCT_ALIASES,
    SALE_PRICE,
    heading_key,
    named_column,
)
from feature_repo import columns as c
from feature_repo.transforms.events import read_event_type
from feature_repo.transforms.values.amounts import read_amount
from feature_repo.transforms.values.flags import read_availability, read_flag
from feature_repo.transforms.values.times import TimeReader, UnreadableTimeError, implausible_time

MOST = 0.8  # share of a column's values that must fit
MATCHING_IDS = 0.5  # share of the events' product ids that the products file must have: some products are sold no more
MOST_EVENT_TYPES = 20  # a column of more values does not name event types
UNIQUE = 0.9  # share of distinct values in a column of ids or titles
LONG_TEXT = 40  # characters from which on a text is rather a description than a title
SHELVES = (c.CATEGORY, c.BRAND)  # what short texts that repeat may be

ColumnValues = Sequence[str]  # of one column: sampled, not blank
Table = Mapping[str, ColumnValues]
Fits = Callable[[ColumnValues], bool]

_LINK = re.compile(r"(https?:)?//\S+|\S+\.(jpe?g|png|webp|gif|avif)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
_DATE_WITH_WORDS_OR_SIGNS = re.compile(r".*\d.*[-/:.,٫ ].*\d.*|\d{9,19}")


@dataclass(frozen=True)
class FoundColumn:
    """The column that holds a field, and how that is known: "name", or a description of its values."""

    column: str
    reason: str


BY_NAME = "name"

# ---- the two tables of a shop ----------------------------------------------------------------------------------------


def detect_columns(events: Table, products: Table) -> tuple[dict[str, FoundColumn], dict[str, FoundColumn]]:
    """The columns of the fields of events and products. A column holds one field at most.

    Headings that column_names knows come first, then values, the surest kinds first.
    """
    event_fields, product_fields = _named(events, EVENT_ALIASES), _named(products, PRODUCT_ALIASES)
    if c.EVENT_TYPE in event_fields and not _is_event_type(events[event_fields[c.EVENT_TYPE].column]):
        # A column `type` may as well say how an order was paid.
        del event_fields[c.EVENT_TYPE]
    _match_products(events, products, event_fields, product_fields)
    _take(events, event_fields, c.TIMESTAMP, _is_time, "its values are times")
    _take(events, event_fields, c.EVENT_TYPE, _is_event_type, "its values name event types")
    if c.BUYER_ID not in event_fields and (buyer := _most_like_buyers(events, event_fields)):
        event_fields[c.BUYER_ID] = FoundColumn(buyer, "its values are ids that come again at other times")
    if c.PRODUCT_ID not in product_fields:
        _take(products, product_fields, c.PRODUCT_ID, _is_id, "its values are ids that never repeat")
    _take(products, product_fields, c.PHOTO, _is_link, "its values are links of pictures")
    _take(products, product_fields, AVAILABILITY, _is_availability, "its values say whether there is stock")
    if c.PRICE not in product_fields and not {SALE_PRICE, c.REGULAR_PRICE} & product_fields.keys():
        _take(products, product_fields, c.PRICE, _is_price, "its values are amounts of money")
    if c.TITLE not in product_fields and (title := _most_like_titles(products, product_fields)):
        product_fields[c.TITLE] = FoundColumn(title, "its values are short texts that hardly repeat")
    _take(products, product_fields, c.DESCRIPTION, _is_long_text, "its values are long texts")
    _take_shelves(products, product_fields)
    return event_fields, product_fields


def id_columns(table: Table) -> list[str]:
    """The columns whose headings call them ids of products: more than one needs a decision."""
    names = {heading_key(name) for name in (c.PRODUCT_ID, *PRODUCT_ALIASES[c.PRODUCT_ID])}
    return [column for column in table if heading_key(column) in names]


def match_share(ids: Collection[str], known: Collection[str]) -> float:
    """The share of `ids` that `known` has too."""
    distinct = set(ids)
    return len(distinct & set(known)) / len(distinct) if distinct else 0.0


# ---- headings --------------------------------------------------------------------------------------------------------


def _named(table: Table, fields: Iterable[str]) -> dict[str, FoundColumn]:
    found: dict[str, FoundColumn] = {}
    for field in fields:
        column = named_column(field, table)
        if column is not None and column not in {other.column for other in found.values()}:
            found[field] = FoundColumn(column, BY_NAME)
    return found


# ---- values ----------------------------------------------------------------------------------------------------------


def _free(table: Table, found: Mapping[str, FoundColumn]) -> list[str]:
    taken = {other.column for other in found.values()}
    return [column for column, values in table.items() if column not in taken and values]


def _take(table: Table, found: dict[str, FoundColumn], field: str, fits: Fits, reason: str) -> None:
    """Gives a field without a column the first free one that fits."""
    if field in found:
        return
    column = next((column for column in _free(table, found) if fits(table[column])), None)
    if column is not None:
        found[field] = FoundColumn(column, reason)


def _match_products(
    events: Table, products: Table, event_fields: dict[str, FoundColumn], product_fields: dict[str, FoundColumn]
) -> None:
    """Finds the two columns that share their ids, where the headings leave a choice or share too little."""
    ours, theirs = event_fields.get(c.PRODUCT_ID), product_fields.get(c.PRODUCT_ID)
    if ours and theirs and match_share(events[ours.column], products[theirs.column]) >= MATCHING_IDS:
        return
    fixed = {field: found for field, found in event_fields.items() if field != c.PRODUCT_ID}
    unique = [column for column, values in products.items() if _is_id(values)]
    shares = {
        (column, other): match_share(events[column], products[other])
        for column in _free(events, fixed)
        for other in unique
    }
    best = max(shares, key=lambda pair: (shares[pair], pair[0] == (ours.column if ours else None)), default=None)
    if best is None or shares[best] < MATCHING_IDS:
        return
    reason = f"{shares[best]:.0%} of the ids in {{}} are in {{}}"
    event_fields[c.PRODUCT_ID] = FoundColumn(best[0], reason.format("it", f"{best[1]} of the products"))
    product_fields[c.PRODUCT_ID] = FoundColumn(best[1], reason.format(f"{best[0]} of the events", "it"))
    for field in [f for f, found in product_fields.items() if found.column == best[1] and f != c.PRODUCT_ID]:
        del product_fields[field]


def _share(values: ColumnValues, fits: Callable[[str], object]) -> float:
    return sum(bool(fits(value)) for value in values) / len(values) if values else 0.0


def _is_time(values: ColumnValues) -> bool:
    def fits(text: str) -> bool:
        return bool(_DATE_WITH_WORDS_OR_SIGNS.fullmatch(text.strip())) and readable_time(text)

    return _share(values, fits) >= MOST


def readable_time(text: str) -> bool:
    """Whether a text is a time that an event may have, in one of the two orders of day and month."""
    now_ms = round(time.time() * 1000)
    for order in ("day_first", "month_first"):
        try:
            milliseconds = TimeReader("UTC", order).milliseconds(text)
        except UnreadableTimeError:
            continue
        if implausible_time(milliseconds, now_ms) is None:
            return True
    return False


def _is_event_type(values: ColumnValues) -> bool:
    return len(set(values)) <= MOST_EVENT_TYPES and _share(values, read_event_type) >= MATCHING_IDS


def _is_id(values: ColumnValues) -> bool:
    texts = _share(values, lambda text: len(text) <= 64 and text.count(" ") <= 1)
    return len(values) > 1 and len(set(values)) / len(values) >= UNIQUE and texts >= MOST and not _is_link(values)


def _is_link(values: ColumnValues) -> bool:
    return _share(values, _LINK.match) >= MOST


def _is_availability(values: ColumnValues) -> bool:
    words = [value for value in values if _WORD.search(value)]
    return bool(words) and _share(words, lambda text: read_availability(text) is not None) >= MOST


def _is_price(values: ColumnValues) -> bool:
    """Amounts with a currency or a decimal mark: whole numbers alone may be anything."""
    marked = _share(values, re.compile(r".*(\d[.,٫]\d|\d\s*[^\W\d_]|[^\W\d_]\.?\s*\d|[$€£]).*").match)
    return _share(values, read_amount) >= MOST and marked >= MATCHING_IDS and not _is_time(values)


def _most_like_buyers(events: Table, found: Mapping[str, FoundColumn]) -> str | None:
    """The free column with the most distinct values, some of which repeat, and not only within an order."""
    times = events[found[c.TIMESTAMP].column] if c.TIMESTAMP in found else ()
    counts = {
        column: len(set(events[column]))
        for column in _free(events, found)
        if 1 < len(set(events[column])) < len(events[column])
        and not _is_price(events[column])
        and not _is_time(events[column])
        and not _is_order(events[column], times)
    }
    return max(counts, key=lambda column: counts[column], default=None)


def _is_order(values: ColumnValues, times: ColumnValues) -> bool:
    """Whether the values that repeat do so at one time each, as the number of an order on each of its lines."""
    if len(values) != len(times):  # blanks were left out: rows do not match
        return False
    by_value: dict[str, list[str]] = {}
    for value, moment in zip(values, times, strict=True):
        by_value.setdefault(value, []).append(moment)
    repeated = [len(set(found)) for found in by_value.values() if len(found) > 1]
    return sum(n == 1 for n in repeated) > len(repeated) / 2


def _is_text(values: ColumnValues) -> bool:
    return _share(values, _WORD.search) >= MOST and not _is_link(values)


def _is_long_text(values: ColumnValues) -> bool:
    return _is_text(values) and statistics.median(map(len, values)) >= LONG_TEXT


def _most_like_titles(products: Table, found: Mapping[str, FoundColumn]) -> str | None:
    """The free text column of the shortest texts among those that hardly repeat; else of those that repeat least."""
    texts = {
        column: (values, len(set(values)) / len(values))
        for column in _free(products, found)
        if column != METADATA and _is_text(values := products[column])
    }

    def rank(column: str) -> tuple[float, float]:
        values, distinct = texts[column]
        return min(distinct, UNIQUE), -statistics.median(map(len, values))

    fitting = [column for column, (_, distinct) in texts.items() if distinct >= MATCHING_IDS]
    return max(fitting, key=rank, default=None)


def _take_shelves(products: Table, found: dict[str, FoundColumn]) -> None:
    """Gives category and brand, as far as they have none, the columns of short texts that repeat, if no more fit."""
    missing = [field for field in SHELVES if field not in found]
    fitting = [column for column in _free(products, found) if _is_shelf(products[column])]
    if 0 < len(fitting) <= len(missing):
        for field, column in zip(missing, fitting, strict=False):
            found[field] = FoundColumn(column, "its values are short texts that repeat")


def _is_shelf(values: ColumnValues) -> bool:
    repeats = 1 < len(set(values)) < UNIQUE * len(values)
    flags = _share(values, lambda text: read_flag(text) is not None)
    return repeats and _is_text(values) and not _is_long_text(values) and flags < MATCHING_IDS
