"""`tawsiya keys`: makes, lists and revokes the API's keys."""

import datetime as dt
import math
from typing import Annotated

import typer

from batch_jobs.command import Answer, ConfigOption, JsonOption, SetOption, run_job
from feature_repo.common.api_keys import ApiKey, Scope, api_keys_path, create_key, read_keys, revoke_key
from feature_repo.common.config import Config, ConfigError
from feature_repo.common.limits import Limit

keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Option(help="Who the key is for: letters, digits, '.', '_', '-'")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat for more")],
    rate: Annotated[
        float | None, typer.Option(min=0.001, max=1_000_000, help="Its own limit, requests/s; default the configured")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Requests at once; default two seconds' worth of --rate")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once; the file keeps only a hash of it."""

    def job(settings: Config) -> Answer:
        path, now = api_keys_path(settings), dt.datetime.now(dt.UTC).replace(microsecond=0)
        token, key = create_key(path, name, scope, _limit(rate, burst), now)
        return {"token": token, **_public(key), "file": str(path)}

    def show(answer: Answer) -> str:
        return f"{answer['token']}\nKeep it now: it is shown this once. {answer['file']} holds only a hash of it."

    run_job(job, config, overrides, as_json, show)


@keys_app.command("list")
def keys_list(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """List the keys, oldest first; the keys themselves are kept nowhere."""

    def job(settings: Config) -> Answer:
        return {"keys": [_public(key) for key in read_keys(api_keys_path(settings))]}

    def show(answer: Answer) -> str:
        if not answer["keys"]:
            return "there are no API keys yet; `tawsiya keys create` makes one"
        return "\n".join(_line(key) for key in answer["keys"])

    run_job(job, config, overrides, as_json, show)


@keys_app.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument(help="Name of the key")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a key; an API that runs refuses it within a second."""

    def job(settings: Config) -> Answer:
        return {"revoked": _public(revoke_key(api_keys_path(settings), name))}

    def show(answer: Answer) -> str:
        return f"revoked {_line(answer['revoked'])}"

    run_job(job, config, overrides, as_json, show)


def _limit(rate: float | None, burst: int | None) -> Limit | None:
    if rate is None:
        if burst is not None:
            raise ConfigError("--burst needs --rate: a key has a limit of its own or none")
        return None
    return Limit(rate_per_second=rate, burst=burst or min(math.ceil(2 * rate), 1_000_000))


def _public(key: ApiKey) -> Answer:
    return key.model_dump(mode="json", exclude={"sha256"})


def _line(key: Answer) -> str:
    limit = key["limit"]
    shown = f"{limit['rate_per_second']:g}/s, burst {limit['burst']}" if limit else "limit as configured"
    return f"{key['name']}  {key['key_id']}  {','.join(key['scopes'])}  {key['created']}  {shown}"
