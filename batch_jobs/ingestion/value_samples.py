"""A value of a file beside what ingest reads it as, for people to compare."""

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache

from batch_jobs.ingestion.column_names import AVAILABILITY, SALE_PRICE
from batch_jobs.ingestion.product_rules.availability import says_hidden
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.transforms.events import read_event_type
from feature_repo.transforms.values.amounts import read_amount, read_stock
from feature_repo.transforms.values.characters import trim
from feature_repo.transforms.values.flags import read_availability
from feature_repo.transforms.values.ids import clean_buyer_id, clean_id
from feature_repo.transforms.values.times import TimeReader, UnreadableTimeError, proven_date_order

UNREADABLE_SAMPLE = "unreadable"
NOBODY = "nobody"


def read_as(field: str, text: str, column: Sequence[str], config: Config) -> str:
    """What ingest reads a value as; UNREADABLE_SAMPLE or NOBODY if it cannot.

    Args:
        field: The canonical field.
        text: The value as it stands in the file.
        column: The values of its column, which may prove the order of day and month.
        config: Time zone and date order of times that do not say them.
    """
    if field == c.TIMESTAMP:
        return _time(text, _reader(tuple(column), config.data.timezone, config.data.date_order))
    if field == c.BUYER_ID:
        return clean_buyer_id(text) or NOBODY
    if field in (c.PRODUCT_ID, c.EVENT_ID):
        return clean_id(text) or NOBODY
    if field == c.EVENT_TYPE:
        return read_event_type(text) or UNREADABLE_SAMPLE
    if field in (c.PRICE, SALE_PRICE, c.REGULAR_PRICE):
        amount = read_amount(text)
        return UNREADABLE_SAMPLE if amount is None else f"{amount.value:g} {amount.currency or ''}".strip()
    if field == c.STOCK and (pieces := read_stock(text)) is not None:
        return str(pieces)
    if field == c.HIDDEN:
        return _either(says_hidden(trim(text)), "yes", "no")
    if field in (c.STOCK, AVAILABILITY):
        return _either(read_availability(text), "in stock", "out of stock")
    return text


def _either(flag: bool | None, yes: str, no: str) -> str:
    return UNREADABLE_SAMPLE if flag is None else yes if flag else no


@lru_cache(maxsize=1)
def _reader(column: tuple[str, ...], zone: str, order: None) -> TimeReader:
    return TimeReader(zone, order or proven_date_order(column))


def _time(text: str, reader: TimeReader) -> str:
    try:
        milliseconds = reader.milliseconds(text)
    except UnreadableTimeError:
        return UNREADABLE_SAMPLE
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
