"""What the sections of the settings are made of: their base class and the types of values."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of every section: unknown keys refused, values frozen after construction."""

    # Without `forbid`, a misspelt key would silently keep the default.
    model_config = ConfigDict(extra="forbid", frozen=True)


Fraction = Annotated[float, Field(ge=0, le=1)]


PositiveInt = Annotated[int, Field(gt=0)]


PositiveFloat = Annotated[float, Field(gt=0)]


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return pattern


RegularExpression = Annotated[str, AfterValidator(_compilable)]


MEMORY_SIZE = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B)", re.IGNORECASE)


def _memory_size(text: str) -> str:
    if not MEMORY_SIZE.fullmatch(text):
        raise ValueError(f"{text!r} is not a size such as 4GB or 512MB")
    return text


MemorySize = Annotated[str, AfterValidator(_memory_size)]
