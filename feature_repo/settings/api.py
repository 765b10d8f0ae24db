"""The settings of the online service."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from feature_repo.settings.section import Fraction, PositiveFloat, PositiveInt, Section

NEWEST_REFUSED = "newest_refused"  # of ApiConfig.shadow_release


class ApiConfig(Section):
    """The online service."""

    # Without API keys the API is open to everyone who reaches it, so by default that is this machine only.
    host: str = Field("127.0.0.1", description="Address to listen on; any address but loopback needs API keys")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8000, description="Port to listen on")
    workers: PositiveInt = Field(1, description="Number of uvicorn worker processes")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged")
    max_interactions_per_request: PositiveInt = Field(100, description="Maximum number of interactions in one request")
    max_events_per_request: PositiveInt = Field(1000, description="Maximum number of events in one POST /v1/events")
    duplicate_window_seconds: PositiveInt = Field(
        10, description="Within so many seconds, a repeated event without an id counts as a duplicate"
    )
    max_unknown_product_events_per_key: Annotated[int, Field(ge=0)] = Field(
        10_000,
        description="Most events of one API key that may wait for a product that the live release does not know; "
        "further ones are rejected. 0 rejects all of them",
    )
    unknown_product_days: PositiveInt = Field(
        30,
        description="After so many days an event stops waiting for its product. It stays in the event log, and counts "
        "in an ingest whose catalogue has the product",
    )
    max_body_bytes: PositiveInt = Field(4_000_000, description="Largest request body")
    body_timeout_seconds: PositiveFloat = Field(10, description="Time limit for receiving a request body")
    request_timeout_seconds: PositiveFloat = Field(2, description="Time limit for answering a request for products")
    drain_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        0,
        description="After SIGTERM, go on answering for so long while /readyz says no (docs/operations.md)",
    )
    max_queue: PositiveInt = Field(
        256, description="Maximum number of requests that wait for the model; further ones get 503"
    )
    # The event loop is blocked while a batch is answered: 25 ms for 32 requests (ADR 0004).
    max_batch: PositiveInt = Field(32, description="Maximum number of requests in one batch of the model")
    # A silent store blocks the event loop for this long, at most twice; then the circuit breaker opens (ADR 0004).
    store_timeout_seconds: PositiveFloat = Field(
        0.25, description="Time limit for the feature store; after it a request is answered without stored features"
    )
    requests_per_second_per_key: PositiveFloat = Field(
        2000, description="Sustained request rate of each API key that has no limit of its own"
    )
    burst_per_key: PositiveInt = Field(4000, description="Burst size of such a key")
    requests_per_second_per_buyer: PositiveFloat = Field(
        10, description="Sustained request rate of each buyer who comes with a buyer token"
    )
    burst_per_buyer: PositiveInt = Field(60, description="Burst size of such a buyer")
    # Above the limit of a key: a storefront's server calls from one address for all its shoppers.
    requests_per_second_per_address: PositiveFloat = Field(
        4000, description="Sustained request rate of each client address"
    )
    burst_per_address: PositiveInt = Field(8000, description="Burst size of each client address")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of proxies whose X-Forwarded-For header is trusted"
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins that may call the API from a browser")
    shop_for_guests: bool = Field(
        False,
        description="Serve the demo shop at `/` although there are API keys, to guests, with buyer tokens "
        "([security.md](security.md#the-demo-shop))",
    )
    rules_path: Path = Field(
        Path("config/rules.yaml"), description="File of merchandising rules (docs/merchandising.md); no file, no rules"
    )
    synonyms_path: Path = Field(
        Path("config/synonyms.yaml"), description="File of synonyms (docs/search.md); no file, no synonyms"
    )
    log_folder: Path | None = Field(
        None,
        description="Folder for what this host writes, its event log and its search log; empty: the shop's folder. On "
        "a host beside that of the batch jobs: `hosts/<name>` in their shop's folder "
        "([operations.md](operations.md#several-hosts))",
    )
    shared_data_dir: Path | None = Field(
        None,
        description="`data_dir` of the batch jobs, where it is mounted on another host: the API keys and the list of "
        "forgotten buyers are read there; empty: `data_dir`",
    )
    search_log_days: Annotated[int, Field(ge=0)] = Field(
        30,
        description="Days to keep what was searched without results, for `tawsiya search-report` "
        "([search.md](search.md#searches-without-results)); 0 keeps nothing",
    )
    shadow_share: Fraction = Field(
        0, description="Share of the personalised lists that a second release makes, too, for comparison; never shown"
    )
    shadow_release: str = Field(
        NEWEST_REFUSED,
        description="Name of that release; `newest_refused` is the last one that the gate before promote refused",
    )
    otlp_endpoint: str = Field(
        "", description="OTLP/HTTP endpoint for traces, such as http://localhost:4318 (extra `otel`); empty sends none"
    )
