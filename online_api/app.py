"""The HTTP application, and the server that runs it."""

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from feature_repo.config import Config
from online_api.errors import add_error_handlers
from online_api.routes import router
from online_api.service import RecommendationService, open_service
from online_api.storefront import add_storefront

log = logging.getLogger(__name__)

UVICORN_STARTUP_FAILURE = 3
CONFIG_VARIABLE = "TAWSIYA_SERVE_CONFIG"
DOCS, OPENAPI, DOCS_ASSETS = "/docs", "/openapi.json", "/docs/assets"


def create_app(config: Config, service: RecommendationService | None = None) -> FastAPI:
    """The application.

    Args:
        config: The configuration.
        service: What answers; None opens the configured shop's at start-up (see open_service for the errors).
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Requests run in parallel, so threads within one only get in each other's way.
        torch.set_num_threads(1)
        if service is not None:
            app.state.service = service
            yield
            return
        with open_service(config) as opened:
            app.state.service = opened
            yield

    app = FastAPI(
        title="Tawsiya",
        description="Recommendations for one shop. Errors are application/problem+json (RFC 9457).",
        lifespan=lifespan,
        openapi_url=OPENAPI,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(router)
    add_error_handlers(app)
    _add_docs(app)
    add_storefront(app)
    return app


def serve(config: Config) -> None:
    """Runs the API on `api.host` and `api.port` until it is told to stop; the errors are those of open_service."""
    # uvicorn ends by sending itself the signal again. As an exception it unwinds the block, which closes the store.
    signal.signal(signal.SIGTERM, _exit)
    api = config.api
    # Opened here also for several workers, which open their own: a shop that cannot be served is then one clear error
    # before a socket is open, and a worker that restarts does not restart the embedded store.
    with open_service(config) as service:
        log.warning("the API is open (no keys yet): whoever reaches http://%s:%d may use it", api.host, api.port)
        if api.workers == 1:
            # No access log: it would go to stdout, which belongs to the command line's own answer.
            try:
                uvicorn.run(create_app(config, service), host=api.host, port=api.port, access_log=False)
            except SystemExit as stop:
                if stop.code != UVICORN_STARTUP_FAILURE:
                    raise
                # As an exit code it would say that a gate refused.
                raise RuntimeError(
                    f"the API could not listen on {api.host}:{api.port}; if the port is taken, choose another one with "
                    "--set api.port=..."
                ) from None
            return
        os.environ[CONFIG_VARIABLE] = config.model_dump_json()
        factory = f"{__name__}:{app_from_environment.__name__}"
        uvicorn.run(
            factory,
            factory=True,
            host=api.host,
            port=api.port,
            workers=api.workers,
            access_log=False,
            # A worker that says nothing for so long is killed; importing Feast alone takes longer than the default.
            timeout_worker_healthcheck=60,
        )


def app_from_environment() -> FastAPI:
    """The application of one of several workers; `serve` leaves the configuration in the environment."""
    return create_app(Config.model_validate_json(os.environ[CONFIG_VARIABLE]))


def _exit(*_: object) -> None:
    raise SystemExit(0)


def _add_docs(app: FastAPI) -> None:
    """Swagger UI from our own files: a shop's network may not reach a CDN."""
    app.mount(DOCS_ASSETS, StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get(DOCS, include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=OPENAPI,
            title=app.title,
            swagger_js_url=f"{DOCS_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_ASSETS}/favicon-32x32.png",
            # The default sends the page's address to validator.swagger.io.
            swagger_ui_parameters={"validatorUrl": None},
        )
