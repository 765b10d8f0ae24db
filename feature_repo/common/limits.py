"""How often one caller may ask: part of the configuration, of API keys and of the API's rate limiter."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Limit(BaseModel):
    """A token bucket: it holds up to `burst` tokens, fills at `rate_per_second`, and a request takes one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate_per_second: Annotated[float, Field(ge=0.001, le=1_000_000)] = Field(description="Requests per second, lasting")
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Requests at once, after a pause")
