"""The live release, what came after it, and the text encoder that it needs."""

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from batch_jobs.doctor.diagnosis import GOOD, PROBLEM, WARNING, Diagnosis, checked, judged
from batch_jobs.runs.run_records import list_runs
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, models_dir
from feature_repo.schema import schema_hash
from training.artifacts.gate_verdict import GATE, GATE_REFUSED
from training.artifacts.release import MODEL_FOLDER, check, current_release, list_releases, read_manifest
from training.text.bundled import BUNDLED_FOLDER, is_complete
from training.text.catalogue_text import TEXT_ENCODER, text_encoder_of
from training.text.encoder import BUNDLED

_GROUP, _ENCODER = "release", "encoder"
_OLD_DAYS = 30
_REFRESH = "tawsiya refresh"


def release_checks(config: Config, paths: ShopPaths, now: dt.datetime) -> Iterator[Diagnosis]:
    """Whether a release is live and whole, fits this program, and is as new as it can be."""
    whole = checked(_GROUP, "live release", lambda: f"{check(paths.releases, None)}, verified", _REFRESH)
    yield whole
    yield from last_run_check(list_runs(paths))
    live = current_release(paths.releases)
    if whole.state != GOOD or live is None:
        return
    releases = list_releases(paths.releases)
    manifest = next(row for row in releases if row["live"])
    yield schema_check(manifest, config)
    yield age_check(manifest, now)
    yield from refused_check(releases)
    yield encoder_check(config, live)


def schema_check(manifest: Mapping[str, Any], config: Config) -> Diagnosis:
    """Whether the release reads the features that this program and configuration make."""
    own = schema_hash(config.model.buyer_tower.max_interaction_history)
    if manifest["schema_hash"] == own:
        return Diagnosis(_GROUP, "schema of the release", GOOD, f"{own}, as the code")
    text = f"the release has {manifest['schema_hash']}, the code {own}"
    return Diagnosis(_GROUP, "schema of the release", PROBLEM, text, _REFRESH)


def age_check(manifest: Mapping[str, Any], now: dt.datetime) -> Diagnosis:
    """How old the live release is."""
    days = (now - dt.datetime.fromisoformat(manifest["created"])).total_seconds() / 86_400
    return judged(_GROUP, "age of the release", f"{days:.1f} days", _REFRESH if days > _OLD_DAYS else None)


def refused_check(releases: list[dict[str, Any]]) -> Iterator[Diagnosis]:
    """A newer release that the gate refused."""
    live = next(row for row in releases if row["live"])
    newest = releases[-1]
    if newest["name"] > live["name"] and newest.get(GATE, {}).get("verdict") == GATE_REFUSED:
        text = f"the gate refused {newest['name']}: {'; '.join(newest[GATE]['reasons'])}"
        yield Diagnosis(_GROUP, "candidate", WARNING, text, f"tawsiya release compare {live['name']} {newest['name']}")


def last_run_check(runs: list[dict[str, Any]]) -> Iterator[Diagnosis]:
    """How the last refresh ended."""
    if runs:
        last = runs[-1]
        failed = last["state"] not in ("done", "running")
        yield judged(_GROUP, "last run", f"{last['id']}: {last['state']}", "tawsiya runs show last" if failed else None)


def encoder_check(config: Config, live: Path) -> Diagnosis:
    """Whether the text encoder loads and is the one that the release was made with; converts and downloads nothing."""
    name, folder = config.model.item_tower.text_encoder, models_dir(config) / BUNDLED_FOLDER
    if name == BUNDLED and not (live / MODEL_FOLDER / TEXT_ENCODER).is_dir() and not is_complete(folder):
        return Diagnosis(_ENCODER, "text encoder", GOOD, "is unpacked by the first command that needs it")
    expected = read_manifest(live)["text_encoder"]

    def load() -> str:
        encoder = text_encoder_of(config, live / MODEL_FOLDER)
        if encoder.encoder_id != expected:
            raise ValueError(f"{encoder.encoder_id}, and the release was made with {expected}")
        return f"{expected}, {encoder.dimension} dimensions"

    return checked(_ENCODER, "text encoder", load, f"install the encoder of the release, or `{_REFRESH}` with this one")
