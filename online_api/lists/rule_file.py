"""The file of merchandising rules: its schema and its validation.

docs/merchandising.md describes the file.
"""

import datetime as dt
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from feature_repo.common.errors import ConfigError
from feature_repo.settings.section import Section
from online_api.schemas.fields import Price
from online_api.watched_file import WatchedFile, read_yaml_texts

# ---- schema ----------------------------------------------------------------------------------------------------------


def _moment(value: object) -> int:
    if isinstance(value, str):
        with suppress(ValueError):
            moment = dt.datetime.fromisoformat(value)
            return round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)
    raise PydanticCustomError("time", "expected ISO 8601 such as 2026-03-20 or 2026-03-20T18:00:00+03:00")


RuleText = Annotated[str, Field(min_length=1)]
RuleTexts = Annotated[tuple[RuleText, ...], Field(min_length=1)]
Moment = Annotated[int, BeforeValidator(_moment)]  # milliseconds since 1970


class Match(Section):
    """The products of a rule: those that meet every given condition with any of its values."""

    product_ids: RuleTexts | None = Field(None, description="Ids of products")
    brands: RuleTexts | None = Field(None, description="Names of brands, as the catalogue spells them")
    categories: RuleTexts | None = Field(None, description="Names of categories, as the catalogue spells them")
    min_price: Price | None = Field(None, description="Lowest price; a product without a price never matches")
    max_price: Price | None = Field(None, description="Highest price; a product without a price never matches")

    @property
    def conditions(self) -> set[str]:
        """The names of the given conditions."""
        return set(self.model_dump(exclude_none=True))

    @model_validator(mode="after")
    def _usable(self) -> "Match":
        if not self.conditions:
            raise ValueError(f"has no condition; give at least one of {', '.join(Match.model_fields)}")
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError(f"min_price {self.min_price:g} is above max_price {self.max_price:g}")
        return self


class Rule(Section):
    """One merchandising rule."""

    name: RuleText = Field(description="Responses name the rule with each product that it moved")
    action: Literal["pin", "boost", "bury"]
    weight: Annotated[float, Field(gt=0, le=100)] | None = Field(
        None, description="boost, bury: added to the score, or subtracted from it"
    )
    position: Annotated[int, Field(ge=1, le=100)] | None = Field(None, description="pin: place in the list, from 1")
    match: Match
    start: Moment | None = Field(
        None, description="ISO 8601, UTC if no zone is given; missing: always active until `end`"
    )
    end: Moment | None = Field(
        None, description="The first moment at which the rule is no longer active; missing: never"
    )

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

    def is_active(self, now_ms: int) -> bool:
        """Whether `now_ms` lies in [start, end)."""
        return (self.start is None or self.start <= now_ms) and (self.end is None or now_ms < self.end)


class RuleSet(Section):
    """All rules of a shop, in the order of their file."""

    # The YAML value is an empty string if every rule is commented out.
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
            ConfigError: The file is not valid; the message names each rule and field that is wrong.
            OSError: The file cannot be read.
        """
        content = read_yaml_texts(path)
        try:
            return cls.model_validate(content or {})
        except ValidationError as error:
            problems = "\n  ".join(_explain(item, content) for item in error.errors())
            raise ConfigError(f"{path} is not usable:\n  {problems}") from None


def _explain(item: ErrorDetails, content: Any) -> str:
    """One validation error, with the name of the rule, or its number if it has no name."""
    where, place = "the file", item["loc"]
    if len(place) > 1 and isinstance(index := place[1], int):
        rule = content["rules"][index]
        named = isinstance(rule, dict) and rule.get("name")
        where, place = f"rule {rule['name']!r}" if named else f"rule {index + 1}", place[2:]
    field = ".".join(map(str, place))
    if item["type"] == "extra_forbidden":
        message = "unknown key; docs/merchandising.md lists the known ones"
    else:
        message = item["msg"].removeprefix("Value error, ")  # pydantic's prefix for a ValueError of a validator
    return ": ".join(part for part in (where, field, message) if part)


# ---- polling ---------------------------------------------------------------------------------------------------------


class RuleFile(WatchedFile[RuleSet]):
    """Reads the rules of a file again when it changes; safe to use from several threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file, which may be missing; `clock` returns seconds."""
        super().__init__(path, RuleSet.load, RuleSet(), "merchandising rules", clock)
