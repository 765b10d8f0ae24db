"""Operation of the service: health, metrics, releases."""

import logging
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from feature_repo.access.scope import Scope
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.lock import shop_lock
from online_api.draining import Draining
from online_api.protection.access import needs
from online_api.routes.dependencies import Services, ServicesDep, problems
from online_api.schemas.responses import Health, Liveness, ReleaseChange, ReleaseInfo, Releases
from training.artifacts.recommender import SchemaMismatchError
from training.artifacts.release import current_release, list_releases, promote, rollback

log = logging.getLogger(__name__)

PROMETHEUS_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text format"}
}

router = APIRouter(tags=["operations"])
metrics_router = APIRouter(tags=["operations"], dependencies=[Depends(needs(Scope.READ))])
admin_router = APIRouter(prefix="/v1/admin", tags=["operations"], dependencies=[Depends(needs(Scope.ADMIN))])

ADMIN_PROBLEMS = problems(401, 403, 429)


# Load balancers ask with HEAD, too.
@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Liveness:
    """The process answers."""
    return Liveness()


# Not async, like those below: they wait for the store, files or locks, so FastAPI runs them in threads.
@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=problems(503))
def readyz(request: Request, services: ServicesDep) -> Health:
    """Whether to send requests here: 503 while the process drains before it stops. Without its store it is ready."""
    draining: Draining = request.app.state.draining
    if draining.active:
        raise HTTPException(503, "this process is about to stop")
    return health(services)


@router.head("/health", include_in_schema=False)
@router.get("/health")
def health(services: ServicesDep) -> Health:
    """The live release and the state of the parts. Always 200: the service answers without the feature store, too."""
    runtime, recommender = services.runtime, services.runtime.keeper.live.recommender
    reachable = bool(runtime.breaker.call(runtime.online.ping))
    store = "unavailable" if not reachable else "refuses_writes" if runtime.breaker.refuses_writes else "ok"
    rules, synonyms = runtime.keeper.rules_error or "ok", runtime.synonyms.error or "ok"
    return Health(
        status="ok" if store == rules == synonyms == "ok" else "degraded",
        release=recommender.name,
        products=len(recommender),
        embedding_dim=recommender.dim,
        feature_store=store,
        rules=rules,
        synonyms=synonyms,
        pending_events=runtime.intake.pending_count,
    )


@metrics_router.get("/metrics", responses=ADMIN_PROBLEMS | PROMETHEUS_TEXT, response_class=Response)
def metrics(services: ServicesDep) -> Response:
    """The metrics of all workers in the Prometheus text format."""
    content, media_type = services.runtime.metrics.render()
    return Response(content, media_type=media_type)


@admin_router.get("/releases", responses=ADMIN_PROBLEMS)
def releases(services: ServicesDep) -> Releases:
    """The releases on disk, oldest first."""
    serving = services.runtime.keeper.live.recommender.name
    return Releases(
        releases=[
            ReleaseInfo(
                name=row["name"],
                created=row["created"],
                n_products=row.get("n_products"),
                live=row["live"],
                serving=row["name"] == serving,
            )
            for row in list_releases(services.runtime.paths.releases)
        ]
    )


@admin_router.post("/releases/reload", responses=ADMIN_PROBLEMS | problems(409))
def reload_release(services: ServicesDep) -> ReleaseChange:
    """Loads the release that is live on disk, without waiting for the next poll (once a second)."""
    return _reload(services)


@admin_router.post("/releases/rollback", responses=ADMIN_PROBLEMS | problems(409))
def roll_back(services: ServicesDep) -> ReleaseChange:
    """Makes the release before the live one live again; if it cannot be loaded, nothing changes."""
    releases = services.runtime.paths.releases
    with shop_lock(services.runtime.config):  # a batch job that publishes now would promote its release, too
        before = current_release(releases)
        try:
            rollback(releases)
            return _reload(services)
        except GateRefusedError as error:
            # `rollback` succeeded, but the release cannot be loaded. All workers poll `current`, so it is set back.
            if before is not None and before != current_release(releases):
                promote(releases, before.name)
            raise _without_folder(error, releases) from None


def _reload(services: Services) -> ReleaseChange:
    keeper = services.runtime.keeper
    try:
        changed = keeper.reload()
    except (ValueError, OSError, SchemaMismatchError) as error:
        log.error("release %s stays live: %s", keeper.live.recommender.name, error)
        raise _without_folder(error, services.runtime.paths.releases) from None
    return ReleaseChange(release=keeper.live.recommender.name, changed=changed)


def _without_folder(error: Exception, releases: Path) -> GateRefusedError:
    """The error as a refusal, without the path of the releases folder: callers must not learn paths."""
    return GateRefusedError(str(error).replace(f"{releases}/", ""))
