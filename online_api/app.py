"""The HTTP application: routes, middleware and lifespan."""

import gc
import hmac
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from threadpoolctl import threadpool_limits

from feature_repo.access.api_keys import api_keys_path
from feature_repo.access.buyer_tokens import BuyerTokens, token_secrets
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from online_api.batcher import Batcher
from online_api.draining import Draining
from online_api.errors import add_error_handlers
from online_api.inspection.inspection_thread import Inspections
from online_api.inspection.inspector import Inspector
from online_api.inspector_page import add_inspector_page
from online_api.observability.logs import AccessLog, json_logger, log_salt
from online_api.observability.metrics import Metrics
from online_api.observability.middleware import BodyLimit, ObserveRequests
from online_api.observability.tracing import open_tracer
from online_api.protection.access import AccessControl
from online_api.protection.keys import KeyRing
from online_api.protection.rate_limit import RateLimiter, limiter_client
from online_api.routes import events, inspection, operations, products, recommendations, shop_lists, suggestions
from online_api.routes.dependencies import Services
from online_api.runtime import Runtime, open_runtime
from online_api.schemas.problems import Problem
from online_api.storefront import add_storefront

THREAD_SWITCH_SECONDS = 0.0005  # Python's default is ten times as long; see lifespan
DOCS_PATH, OPENAPI_PATH, DOCS_ASSETS_PATH = "/docs", "/openapi.json", "/docs/assets"
API_DESCRIPTION = "Recommendations for one shop. Errors are application/problem+json (RFC 9457)."


def create_app(config: Config, runtime: Runtime | None = None, shared_metrics: Path | None = None) -> FastAPI:
    """Creates the application.

    Args:
        config: The configuration.
        runtime: The parts of the service; None opens those of the configured shop at start-up (see open_runtime for
            the errors).
        shared_metrics: Folder in which several workers combine their metrics; see Metrics.
    """
    metrics = runtime.metrics if runtime is not None else Metrics(shared_metrics)
    shop = shop_paths(config).root.name
    keys, tokens = KeyRing.load(api_keys_path(config), shop=shop), BuyerTokens(token_secrets(), shop)
    tracer = open_tracer(config.api.otlp_endpoint)
    draining = Draining()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Requests run in parallel; more threads within one request would slow all of them down (ADR 0004). For FAISS,
        # see RecommendationService.answer.
        torch.set_num_threads(1)
        # While a thread loads a release or stores events, the event loop would wait for the GIL for 5 ms at a time.
        sys.setswitchinterval(THREAD_SWITCH_SECONDS)
        threadpool_limits(1, "blas")
        with open_runtime(config, metrics) if runtime is None else nullcontext(runtime) as opened:
            async with _served(app, config, opened, keys, tokens):
                with draining.on_sigterm(config.api.drain_seconds):
                    yield
        if tracer is not None:
            tracer.close()

    app = FastAPI(
        title="Tawsiya",
        description=API_DESCRIPTION,
        lifespan=lifespan,
        openapi_url=OPENAPI_PATH,
        docs_url=None,  # FastAPI's pages load their scripts from a CDN; see _add_docs
        redoc_url=None,
        # FastAPI's own tracing records paths and query strings, which contain buyer ids; see tracing.py for ours.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    # The first match wins, and an id may contain a slash: `/v1/products/{product_id:path}` also matches
    # `/v1/products/p1/similar`, so `products.router` comes after all of these. FastAPI tries each route, so the busiest
    # come first.
    for router in (
        recommendations.query_router,
        products.query_router,
        shop_lists.query_router,
        shop_lists.router,
        recommendations.router,
        products.router,
        suggestions.query_router,
        events.router,
        operations.router,
        operations.metrics_router,
        operations.admin_router,
        inspection.router,
    ):
        app.include_router(router)
    add_error_handlers(app)
    _add_docs(app)
    add_inspector_page(app)
    add_storefront(app, config, has_keys=keys.any())
    app.state.draining = draining
    access_log = AccessLog(json_logger(config.api.log_level), log_salt())
    _add_middleware(app, config, metrics, access_log, tracer)
    return app


@asynccontextmanager
async def _served(
    app: FastAPI, config: Config, runtime: Runtime, keys: KeyRing, tokens: BuyerTokens
) -> AsyncIterator[None]:
    """Sets the services of the routes in the application's state for the block."""
    api = config.api
    batcher = Batcher(
        runtime.service.answer,
        runtime.metrics,
        max_batch=api.max_batch,
        max_queue=api.max_queue,
        timeout_s=api.request_timeout_seconds,
    )
    # Not the store's client: that one blocks, and the limiter runs on the event loop.
    redis = limiter_client(*runtime.store.connection)
    limiter = RateLimiter(redis, runtime.store.shop)  # for all versions of the program together
    open_tokens = (lambda: tokens) if token_secrets() else _visit_tokens(runtime)
    app.state.access = AccessControl(keys, tokens, open_tokens, limiter, api, runtime.metrics)
    inspector = Inspector(runtime.keeper, runtime.service, runtime.online, runtime.breaker, runtime.synonyms)
    with (
        ThreadPoolExecutor(1, "text-encoder") as text_thread,
        Inspections(inspector) as inspections,
        runtime.kept_up_to_date(),
    ):
        app.state.services = Services(runtime, batcher, text_thread, inspections)
        gc.freeze()  # these objects live until the end; scanning them would delay requests
        try:
            yield
        finally:
            await limiter.close()
            await redis.aclose()


def _visit_tokens(runtime: Runtime) -> Callable[[], BuyerTokens]:
    """The tokens of the demo shop where no secret is configured: signed with what all workers share."""
    # As long as the store has been down since the start, each worker has a secret of its own.
    own, shop = secrets.token_bytes(), shop_paths(runtime.config).root.name

    def tokens() -> BuyerTokens:
        secret = hmac.digest(runtime.pages.secret or own, b"tawsiya visit", "sha256")
        return BuyerTokens((secret.hex(),), shop)

    return tokens


def _add_middleware(app: FastAPI, config: Config, metrics: Metrics, access_log: AccessLog, tracer: Any) -> None:
    """Adds the middleware from the inside out: the last one sees a request first."""
    api = config.api
    app.add_middleware(BodyLimit, metrics, api.max_body_bytes, api.body_timeout_seconds)
    if api.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=api.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["X-API-Key", "Authorization", "Content-Type"],
            # A script of another origin can read hardly any response header that is not listed here (Fetch standard).
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    # The outermost one, so that refusals of the others also have an id, security headers and a log line.
    app.add_middleware(ObserveRequests, metrics, access_log, tracer, app.state.draining)


def _add_docs(app: FastAPI) -> None:
    """Serves Swagger UI from local files, because a shop's network may not reach a CDN; documents problems."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version="1", description=app.description, routes=app.routes)
            # FastAPI collects the schemas of response models. Errors only refer to Problem (dependencies.problems).
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schema["components"]["schemas"] |= {**problem.pop("$defs"), Problem.__name__: problem}
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    app.mount(DOCS_ASSETS_PATH, StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get(DOCS_PATH, include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=OPENAPI_PATH,
            title=app.title,
            swagger_js_url=f"{DOCS_ASSETS_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{DOCS_ASSETS_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{DOCS_ASSETS_PATH}/favicon-32x32.png",
            # The default sends the URL of the page to validator.swagger.io.
            swagger_ui_parameters={"validatorUrl": None},
        )
