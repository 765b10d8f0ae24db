"""Judges one release against another one on demand."""

from typing import Any

from batch_jobs.event_counts import read_events
from batch_jobs.release_gate.judge import judge
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.schema import schema_hash
from training.artifacts.release import check


def compare_releases(config: Config, live: str, candidate: str) -> dict[str, Any]:
    """Judges the release `candidate` as if `live` were live; nothing is recorded.

    Returns:
        {"live", "candidate", "gate": the judgement}

    Raises:
        GateRefusedError: One of them does not exist or is damaged.
        SchemaMismatchError: The candidate is of another feature schema.
    """
    paths = shop_paths(config)
    for name in (live, candidate):
        check(paths.releases, name)
    schema = schema_hash(config.model.buyer_tower.max_interaction_history)
    judgement = judge(config, paths.releases / candidate, paths.releases / live, read_events(paths), schema)
    return {"live": live, "candidate": candidate, "gate": judgement.as_json()}
