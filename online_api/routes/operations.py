"""For whoever runs the service: health, metrics, releases."""

import logging
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Response

from feature_repo.common.api_keys import Scope
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.lock import shop_lock
from online_api.protection.access import needs
from online_api.routes.dependencies import Parts, PartsOfApp, problems
from online_api.schemas.responses import Health, Liveness, ReleaseChange, ReleaseInfo, Releases
from training.artifacts.recommender import SchemaMismatchError
from training.artifacts.release import current_release, list_releases, promote, rollback

log = logging.getLogger(__name__)

TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format"}
}

router = APIRouter(tags=["operations"])
metrics_router = APIRouter(tags=["operations"], dependencies=[Depends(needs(Scope.READ))])
admin_router = APIRouter(prefix="/v1/admin", tags=["operations"], dependencies=[Depends(needs(Scope.ADMIN))])

ADMIN_PROBLEMS = problems(401, 403, 429)


@router.get("/livez")
async def livez() -> Liveness:
    """Whether the process answers."""
    return Liveness()


@router.get("/readyz")
@router.get("/health")
def health(parts: PartsOfApp) -> Health:
    """The live release and what is down. Without the feature store the service still answers, so this is 200."""
    runtime, recommender = parts.runtime, parts.runtime.keeper.live.recommender
    reachable = bool(runtime.guard.call(runtime.online.ping))
    rules = runtime.keeper.rules_error or "ok"
    return Health(
        status="ok" if reachable and rules == "ok" else "degraded",
        release=recommender.name,
        products=len(recommender),
        embedding_dim=recommender.dim,
        feature_store="ok" if reachable else "unavailable",
        rules=rules,
        pending_events=runtime.intake.pending_count,
    )


@metrics_router.get("/metrics", responses=ADMIN_PROBLEMS | TEXT, response_class=Response)
def metrics(parts: PartsOfApp) -> Response:
    """All workers' metrics, in Prometheus' text format."""
    content, media_type = parts.runtime.metrics.render()
    return Response(content, media_type=media_type)


@admin_router.get("/releases", responses=ADMIN_PROBLEMS)
def releases(parts: PartsOfApp) -> Releases:
    """The releases on disk, oldest first."""
    serving = parts.runtime.keeper.live.recommender.name
    return Releases(
        releases=[
            ReleaseInfo(
                name=row["name"],
                created=row["created"],
                n_products=row.get("n_products"),
                live=row["live"],
                serving=row["name"] == serving,
            )
            for row in list_releases(parts.runtime.paths.releases)
        ]
    )


@admin_router.post("/releases/reload", responses=ADMIN_PROBLEMS | problems(409))
def reload_release(parts: PartsOfApp) -> ReleaseChange:
    """Takes over the release that is live on disk now, without waiting for the next look a second later."""
    return _change(parts)


@admin_router.post("/releases/rollback", responses=ADMIN_PROBLEMS | problems(409))
def roll_back(parts: PartsOfApp) -> ReleaseChange:
    """Makes the release before the live one live again; where it cannot be served, nothing changes."""
    releases = parts.runtime.paths.releases
    with shop_lock(parts.runtime.config):
        before = current_release(releases)
        try:
            rollback(releases)
            return _change(parts)
        except GateRefusedError as error:
            if before is not None and before != current_release(releases):
                promote(releases, before.name)
            raise _without_folder(error, releases) from None


def _change(parts: Parts) -> ReleaseChange:
    keeper = parts.runtime.keeper
    try:
        changed = keeper.reload()
    except (ValueError, OSError, SchemaMismatchError) as error:
        log.error("release %s stays live: %s", keeper.live.recommender.name, error)
        raise _without_folder(error, parts.runtime.paths.releases) from None
    return ReleaseChange(release=keeper.live.recommender.name, changed=changed)


def _without_folder(error: Exception, releases: Path) -> GateRefusedError:
    """The same as a refusal that tells callers no paths."""
    return GateRefusedError(str(error).replace(f"{releases}/", ""))
