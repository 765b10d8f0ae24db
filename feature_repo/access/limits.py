"""Rate limits, which API keys and the API's rate limiter share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Limit(BaseModel):
    """A token bucket: it holds up to `burst` tokens, gains `rate_per_second` tokens, and each request takes one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate_per_second: Annotated[float, Field(ge=0.001, le=1_000_000)] = Field(
        description="Requests per second, on average"
    )
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Requests at once, after a pause")
