"""Runs the application with uvicorn, in one or several worker processes."""

import logging
import os
import secrets
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from feature_repo.access.api_keys import api_keys_path, read_keys
from feature_repo.common.config import Config
from feature_repo.common.config_loading import environment
from feature_repo.common.errors import ConfigError
from online_api.app import create_app
from online_api.observability.logs import SALT_VARIABLE, configure_logging
from online_api.observability.metrics import MULTIPROCESS_VARIABLE
from online_api.protection.access import is_loopback
from online_api.runtime import open_runtime

log = logging.getLogger(__name__)

UVICORN_STARTUP_FAILURE = 3  # uvicorn.main.STARTUP_FAILURE, the exit code if it cannot listen
CONFIG_VARIABLE = "TAWSIYA_SERVE_CONFIG"
SHUTDOWN_SECONDS = 10  # running requests may take this long to finish


def serve(config: Config) -> None:
    """Runs the API on `api.host` and `api.port` until a signal stops it.

    Raises:
        ConfigError: `api.host` is not loopback and there are no API keys, so other machines could use the API.
        RuntimeError: The address is not available. See open_runtime for further errors.
    """
    _require_keys_or_loopback(config)
    _warn_without_keys(config)
    configure_logging(config.api.log_level)
    # uvicorn raises the signal again at its end. As an exception it leaves the block below, which closes the store.
    signal.signal(signal.SIGTERM, _exit)
    # Several workers open runtimes of their own. This one reports a shop that cannot be served as one clear error,
    # before any socket is open, and it keeps the embedded store running while a worker restarts.
    with open_runtime(config) as runtime:
        app = create_app(config, runtime)
        try:
            if config.api.workers == 1:
                uvicorn.run(app, **uvicorn_options(config))
            else:
                _run_many(config)
        except SystemExit as stop:
            if stop.code != UVICORN_STARTUP_FAILURE:
                raise
            # As an exit code, 3 would mean that a gate refused.
            raise RuntimeError(
                f"the API could not listen on {config.api.host}:{config.api.port}; if the port is taken, choose "
                "another one with --set api.port=..."
            ) from None


def require_can_listen(config: Config) -> None:
    """Raises ConfigError where `serve` would end at once: the port is taken, or keys are missing."""
    _require_keys_or_loopback(config)
    api = config.api
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does: no wait for old connections
            trial.bind(address)
    except OSError as error:
        raise ConfigError(
            f"nothing can listen on {api.host}:{api.port} ({error.strerror or error}): stop what is there, or choose "
            "another port with --set api.port=..."
        ) from None


def app_from_environment() -> FastAPI:
    """Creates the application in one of several workers; `serve` puts the configuration into the environment."""
    config = Config.model_validate_json(os.environ[CONFIG_VARIABLE])
    configure_logging(config.api.log_level)
    return create_app(config, shared_metrics=Path(os.environ[MULTIPROCESS_VARIABLE]))


def _run_many(config: Config) -> None:
    # uvicorn spawns workers, which inherit no objects. So they import the application by its name, and find the rest in
    # the environment.
    with tempfile.TemporaryDirectory(prefix="tawsiya-metrics-") as folder:
        # prometheus_client reads this one when a worker imports it, so it cannot be set later.
        os.environ[MULTIPROCESS_VARIABLE] = folder
        os.environ[CONFIG_VARIABLE] = config.model_dump_json()
        # One salt for all workers, so that a buyer has the same hash in all log lines.
        if not environment().get(SALT_VARIABLE):
            os.environ[SALT_VARIABLE] = secrets.token_hex(32)
        uvicorn.run(
            f"{__name__}:{app_from_environment.__name__}",
            factory=True,
            workers=config.api.workers,
            # A worker without a sign of life for this long is killed; importing Feast takes longer than the default.
            timeout_worker_healthcheck=60,
            **uvicorn_options(config),
        )


def uvicorn_options(config: Config) -> dict[str, Any]:
    """The options of uvicorn."""
    api = config.api
    return {
        "host": api.host,
        "port": api.port,
        "access_log": False,  # ours has more facts and no buyer ids
        "log_config": None,  # uvicorn's own writes plain text; configure_logging writes all records as JSON
        "server_header": False,  # callers need not learn what runs here
        # By default uvicorn believes X-Forwarded-For from loopback. A local caller could then choose the address that
        # its rate limit counts (docs/security.md).
        "proxy_headers": bool(api.trusted_proxies),
        "forwarded_allow_ips": list(api.trusted_proxies),
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
    }


def _require_keys_or_loopback(config: Config) -> None:
    if not is_loopback(config.api.host) and not read_keys(api_keys_path(config)):
        raise ConfigError(
            f"api.host is {config.api.host} and there are no API keys, so every machine that reaches it could do "
            "everything; make one with `tawsiya keys create --name shop --scope read --scope write`, or listen on "
            "127.0.0.1"
        )


def _warn_without_keys(config: Config) -> None:
    if not read_keys(api_keys_path(config)):
        log.warning(
            "THE API IS OPEN: there are no API keys, so every program on this machine that reaches http://%s:%d may "
            "read, write and roll back releases; `tawsiya keys create` makes keys",
            config.api.host,
            config.api.port,
        )


def _exit(*_: object) -> None:
    raise SystemExit(0)
