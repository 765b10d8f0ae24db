"""Merchandising rules as a shop writes them: the file, its checks, and the watch for changes.

docs/merchandising.md describes the file.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from feature_repo.common.config import ConfigError, Section
from online_api.schemas.fields import milliseconds

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 1.0


def _moment(value: object) -> int:
    if isinstance(value, str):
        with suppress(PydanticCustomError):
            return milliseconds(value)
    raise PydanticCustomError("time", "expected ISO 8601 such as 2026-03-20 or 2026-03-20T18:00:00+03:00")


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Moment = Annotated[int, BeforeValidator(_moment)]  # milliseconds since 1970


class Match(Section):
    """Which products a rule speaks of: those that meet every condition, of whose values any will do."""

    product_ids: Names | None = Field(None, description="Ids of products")
    brands: Names | None = Field(None, description="Names of brands, as the catalogue spells them")
    categories: Names | None = Field(None, description="Names of categories, as the catalogue spells them")
    min_price: Price | None = Field(None, description="Lowest price; a product without a price never matches")
    max_price: Price | None = Field(None, description="Highest price; a product without a price never matches")

    @property
    def conditions(self) -> set[str]:
        """Names of the fields that are given."""
        return set(self.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _usable(self) -> "Match":
        if not self.conditions:
            raise ValueError(f"has no condition; give at least one of {', '.join(Match.model_fields)}")
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError(f"min_price {self.min_price:g} is above max_price {self.max_price:g}")
        return self


class Rule(Section):
    """One wish of the shop."""

    name: Name = Field(description="Answers say it where the rule had a part in them")
    action: Literal["pin", "boost", "bury"]
    weight: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="boost, bury: added to the score, or subtracted from it"
    )
    position: Annotated[int, Field(ge=1, le=100)] | None = Field(None, description="pin: place in the answer, from 1")
    match: Match
    start: Moment | None = Field(None, description="ISO 8601, UTC where no zone is given; missing: since ever")
    end: Moment | None = Field(None, description="The first moment at which it holds no more; missing: for ever")

    @model_validator(mode="after")
    def _consistent(self) -> "Rule":
        needed, other = ("position", "weight") if self.action == "pin" else ("weight", "position")
        if getattr(self, needed) is None:
            raise ValueError(f"{needed} is missing; a {self.action} needs one")
        if getattr(self, other) is not None:
            raise ValueError(f"{other} has no meaning for a {self.action}; remove it")
        if self.action == "pin" and self.match.conditions != {"product_ids"}:
            raise ValueError("match: a pin takes product_ids and no other condition")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("end is not after start")
        return self

    def holds(self, now_ms: int) -> bool:
        """Whether `now_ms` lies in [start, end)."""
        return (self.start is None or self.start <= now_ms) and (self.end is None or now_ms < self.end)


class RuleSet(Section):
    """All rules of a shop, in the order of their file."""

    # YAML gives an empty text where every rule is commented out.
    rules: Annotated[tuple[Rule, ...], BeforeValidator(lambda value: value or ())] = ()

    @model_validator(mode="after")
    def _distinct_names(self) -> "RuleSet":
        names = [rule.name for rule in self.rules]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"more than one rule is called {', '.join(map(repr, repeated))}; names must differ")
        return self

    @classmethod
    def load(cls, path: Path) -> "RuleSet":
        """Reads a file of rules.

        Raises:
            ConfigError: It is not usable; the message names each rule and field that is wrong.
            OSError: It cannot be read.
        """
        try:
            # BaseLoader leaves every value as it is written: the product 0123, the brand No, the day 2026-03-20.
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid YAML: {error}") from None
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            problems = "\n  ".join(_explain(item, content) for item in error.errors())
            raise ConfigError(f"{path} is not usable:\n  {problems}") from None


def _explain(item: ErrorDetails, content: Any) -> str:
    """One error of a file, with the name of the rule where that has one, and its number elsewhere."""
    where, place = "the file", item["loc"]
    if len(place) > 1 and isinstance(index := place[1], int):
        rule = content["rules"][index]
        named = isinstance(rule, dict) and rule.get("name")
        where, place = f"rule {rule['name']!r}" if named else f"rule {index + 1}", place[2:]
    field = ".".join(map(str, place))
    if item["type"] == "extra_forbidden":
        message = "unknown key; docs/merchandising.md lists the known ones"
    else:
        message = item["msg"].removeprefix("Value error, ")
    return ": ".join(part for part in (where, field, message) if part)


class RuleFile:
    """The rules of a file that may change at any time; safe to use from several threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file, as far as it is there; `clock` gives seconds."""
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._book = RuleSet()
        self._error: str | None = None
        self._stamp: tuple[int, ...] | None = None  # of the file as last read; None: read it at the next look
        self._next_look = -math.inf
        self._look()

    @property
    def error(self) -> str | None:
        """Why the file as it is now is not in force (the rules before it still are), or None."""
        return self._error

    def book(self) -> RuleSet:
        """The rules in force: the same object until the file changes. Looks at the file at most once a second."""
        # A thread that comes while another one reads takes the rules before.
        if self._clock() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._book

    def _look(self) -> None:
        self._next_look = self._clock() + SECONDS_BETWEEN_LOOKS
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            # Taken before the file is read: what is written in between is seen at the next look.
            self._stamp = stamp
            self._book = RuleSet.load(self._path) if stamp else RuleSet()
            self._error = None
            log.info("%d merchandising rules from %s", len(self._book.rules), self._path)
        except ConfigError as error:
            self._keep_old_rules(str(error))
        except OSError as error:
            self._stamp = None
            self._keep_old_rules(str(error))

    def _keep_old_rules(self, error: str) -> None:
        if error != self._error:
            log.error("merchandising rules stay as they were: %s", error)
        self._error = error


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does; empty where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    return status.st_mtime_ns, status.st_size
