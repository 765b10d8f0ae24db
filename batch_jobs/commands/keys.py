"""`tawsiya keys`: creates, lists and revokes API keys, and signs buyer tokens."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job
from batch_jobs.console.completion import complete_key
from feature_repo import columns as c
from feature_repo.access.scope import Scope
from feature_repo.common.errors import ConfigError

if TYPE_CHECKING:
    from feature_repo.access.api_keys import ApiKey
    from feature_repo.access.limits import Limit
    from feature_repo.common.config import Config

KEY_COLUMNS = ("name", "id", "shop", "scopes", "created", "limit")

keys_app = typer.Typer(help="Create, list and revoke API keys; sign buyer tokens.", no_args_is_help=True)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="Unique name of the key: letters, digits, '.', '_', '-'")],
    scope: Annotated[list[Scope], typer.Option(help="What the key permits (repeatable)")],
    rate: Annotated[
        float | None, typer.Option(min=0.001, max=1_000_000, help="Requests per second (default: the configured limit)")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Requests at once (default: two seconds of --rate)")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key for the shop and print it; it cannot be printed again, because only a hash is stored."""

    def job(settings: Config) -> JobResult:
        from feature_repo.access.api_keys import api_keys_path, create_key
        from feature_repo.common.paths import shop_paths

        path, now = api_keys_path(settings), dt.datetime.now(dt.UTC).replace(microsecond=0)
        shop = shop_paths(settings).root.name
        token, key = create_key(path, name, scope, _limit(rate, burst), now, shop)
        return {"token": token, **_public(key), "file": str(path)}

    def show(result: JobResult) -> str:
        return f"{result['token']}\nStore it now: it cannot be shown again. {result['file']} holds only a hash of it."

    run_job(job, config, overrides, as_json, show)


@keys_app.command("list")
def keys_list(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """List the keys, oldest first, without their secrets."""

    def job(settings: Config) -> JobResult:
        from feature_repo.access.api_keys import api_keys_path, read_keys

        return {"keys": [_public(key) for key in read_keys(api_keys_path(settings))]}

    def show(result: JobResult) -> str:
        if not result["keys"]:
            return "there are no API keys yet; `tawsiya keys create` makes one"
        from batch_jobs.console.tables import table_lines

        return "\n".join(table_lines([list(KEY_COLUMNS), *map(_cells, result["keys"])]))

    run_job(job, config, overrides, as_json, show)


@keys_app.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument(help="Name of the key", autocompletion=complete_key)],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key; a running API refuses it within a second."""

    def job(settings: Config) -> JobResult:
        from feature_repo.access.api_keys import api_keys_path, revoke_key

        return {"revoked": _public(revoke_key(api_keys_path(settings), name))}

    def show(result: JobResult) -> str:
        return f"revoked {'  '.join(_cells(result['revoked']))}"

    run_job(job, config, overrides, as_json, show)


@keys_app.command("buyer-token")
def keys_buyer_token(
    buyer: Annotated[str, typer.Option(help="Id of the buyer")],
    minutes: Annotated[float, typer.Option(min=0, max=525_600, help="How long the token is valid")] = 60,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a token with which a browser reads and writes for one buyer; for a try, a shop's server signs its own."""

    def job(settings: Config) -> JobResult:
        from feature_repo.access.buyer_tokens import BuyerTokens, token_secrets
        from feature_repo.common.paths import shop_paths

        expires = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(minutes=minutes)
        tokens = BuyerTokens(token_secrets(), shop_paths(settings).root.name)
        return {"token": tokens.sign(buyer, expires), c.BUYER_ID: buyer, "expires": expires.isoformat()}

    run_job(job, config, overrides, as_json, lambda result: str(result["token"]))


def _limit(rate: float | None, burst: int | None) -> Limit | None:
    if rate is None:
        if burst is not None:
            raise ConfigError("--burst needs --rate")
        return None
    from feature_repo.access.limits import Limit

    # Two seconds of the rate, as in the configured defaults (2000 and 4000).
    return Limit(rate_per_second=rate, burst=burst or min(math.ceil(2 * rate), 1_000_000))


def _public(key: ApiKey) -> JobResult:
    # The hash stays out of terminals and logs.
    return key.model_dump(mode="json", exclude={"sha256"})


def _cells(key: JobResult) -> list[str]:
    limit = key["limit"]
    limit_text = f"{limit['rate_per_second']:g}/s, burst {limit['burst']}" if limit else "as configured"
    return [
        key["name"], key["key_id"], key["shop"] or "all shops", ",".join(key["scopes"]), key["created"], limit_text,
    ]  # fmt: skip
