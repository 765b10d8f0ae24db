"""Takes written times apart: date, time of day, zone. times.py reads them."""

import datetime as dt
import re
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from feature_repo.transforms.values.characters import INVISIBLE_CHARACTERS, latin_digits, trim, word_key

_ENGLISH = "January,February,March,April,May,June,July,August,September,October,November,December"
_ARABIC = "يناير,فبراير,مارس,أبريل,مايو,يونيو,يوليو,أغسطس,سبتمبر,أكتوبر,نوفمبر,ديسمبر"
_MONTHS = {
    word_key(spelling): month
    for names in (_ENGLISH, _ARABIC)
    for month, name in enumerate(names.split(","), start=1)
    for spelling in ((name, name[:3], name[:4]) if name.isascii() else (name,))  # June, Jun; Sept
}

_WEEKDAY = re.compile(r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*|ال[^\W\d_]+)\.?,? ", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})(?!\d)")
_COMPACT = re.compile(r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})")
_YEAR_LAST = re.compile(r"(?P<first>\d{1,2})(?P<mark>[-/.])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})(?!\d)")
_DAY_NAME = re.compile(
    r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?P<mark>[ -])(?P<name>[^\W\d_]+)\.?,?(?P=mark)(?P<year>\d{4})(?!\d)"
)
_NAME_DAY = re.compile(r"(?P<name>[^\W\d_]+)\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})(?!\d)")

_FRACTION = r"(?:[.,](?P<fraction>\d+))?"
_CLOCK = re.compile(
    rf"(?:[Tt]|,? |,? at )(?P<hour>\d{{1,2}})(?::(?P<minute>\d\d)(?::(?P<second>\d\d){_FRACTION})?)?"
    r"(?: ?(?:(?P<am>a\.?m\.?|صباحا|ص)|(?P<pm>p\.?m\.?|مساء|م))(?![^\W\d_]))?(?![\d:])",
    re.IGNORECASE,
)
_COMPACT_CLOCK = re.compile(rf"[Tt ]?(?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d){_FRACTION})?(?!\d)")
_ZONE = re.compile(r"(?P<zone>[^()\[\]]*?) ?(?:[(\[](?P<name>[^()\[\]]*)[)\]])?")
_OFFSET = re.compile(r"(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d\d))?", re.IGNORECASE)
_UTC_NAMES = frozenset({"Z", "UTC", "GMT", "UT"})
_OTHER_CHARACTERS = str.maketrans({"−": "-", "،": ",", "ً": None})


class WrittenTime(NamedTuple):
    """A written time.

    Attributes:
        date: Year, month, day; with `ordered` false year, first and second number, of which either may be the month.
        ordered: Whether the date says which number is the month.
        short_year: Whether the year was written with two digits.
        clock: The time of day; midnight if there is none.
        zone: The zone, or None if none is written.
    """

    date: tuple[int, int, int]
    ordered: bool
    short_year: bool
    clock: dt.time
    zone: dt.tzinfo | None


def plain_time(text: str) -> str:
    """The text with Latin digits, single blanks, one kind of minus and comma, and nothing invisible."""
    return " ".join(INVISIBLE_CHARACTERS.sub("", latin_digits(trim(text))).translate(_OTHER_CHARACTERS).split())


def take_apart(text: str) -> WrittenTime:
    """Takes a plain text apart.

    Raises:
        ValueError: The text is no time; the message says why, or is empty.
    """
    start = weekday.end() if (weekday := _WEEKDAY.match(text)) else 0
    for pattern in (_YEAR_FIRST, _YEAR_LAST, _COMPACT, _DAY_NAME, _NAME_DAY):
        if date := pattern.match(text, start):
            break
    else:
        raise ValueError
    clock = (_COMPACT_CLOCK if pattern is _COMPACT else _CLOCK).match(text, date.end())
    if clock is None and pattern is _COMPACT:
        clock = _CLOCK.match(text, date.end())
    zone = text[clock.end() if clock else date.end() :].strip()
    return WrittenTime(
        _numbers(date), pattern is not _YEAR_LAST, len(date["year"]) == 2, _time_of_day(clock), _zone(zone)
    )


def date_numbers(text: str) -> tuple[int, int] | None:
    """The first two numbers of a date such as 25/12/2025; None for a text of any other form."""
    plain = plain_time(text)
    date = _YEAR_LAST.match(plain)
    return (int(date["first"]), int(date["second"])) if date and len(date["year"]) == 4 else None


@lru_cache(maxsize=1024)
def time_zone(name: str) -> dt.tzinfo | None:
    """The zone of an IANA name, or None if there is none."""
    try:
        return dt.UTC if name.upper() in _UTC_NAMES else ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a name of a folder, a path, an unknown name
        return None


def _numbers(date: re.Match[str]) -> tuple[int, int, int]:
    parts = date.groupdict()
    year = int(parts["year"]) + (2000 if len(parts["year"]) == 2 else 0)
    if "first" in parts:
        return year, int(parts["first"]), int(parts["second"])
    if "month" in parts:
        return year, int(parts["month"]), int(parts["day"])
    month = _MONTHS.get(word_key(parts["name"]))
    if month is None:
        raise ValueError(f"no month is called {parts['name']!r}")
    return year, month, int(parts["day"])


def _time_of_day(clock: re.Match[str] | None) -> dt.time:
    if clock is None:
        return dt.time()
    parts = clock.groupdict()
    hour, half = int(parts["hour"]), parts.get("am") or parts.get("pm")
    if half:
        if hour > 12:
            raise ValueError(f"hour {hour} {half}")
        hour = hour % 12 + (12 if parts["pm"] else 0)
    elif parts["minute"] is None:
        raise ValueError("an hour without minutes")
    microsecond = int((parts["fraction"] or "0")[:6].ljust(6, "0"))
    return dt.time(hour, int(parts["minute"] or 0), int(parts["second"] or 0), microsecond)


def _zone(text: str) -> dt.tzinfo | None:
    """The zone in what follows the time: "+0300", "GMT+0300 (Arabian Standard Time)", "[Asia/Riyadh]", ..."""
    parts = _ZONE.fullmatch(text)
    name = (parts["zone"] or parts["name"] or "") if parts else text
    if not name:
        return None
    if offset := _OFFSET.fullmatch(name):
        if int(offset["hours"]) > 23:
            raise ValueError(f"no time zone is {name} from UTC")
        distance = dt.timedelta(hours=int(offset["hours"]), minutes=int(offset["minutes"] or 0))
        return dt.timezone(-distance if offset["sign"] == "-" else distance)
    found = time_zone(name)
    if found is None:
        raise ValueError(f"no time zone is called {name[:100]!r}")
    return found
