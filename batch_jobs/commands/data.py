"""Commands from raw files to the online store: ingest, validate, build-features, materialize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job, with_shop_lock
from batch_jobs.console.completion import complete_source
from batch_jobs.console_text import build_text, ingest_text, materialize_text
from batch_jobs.preview_text import preview_text

if TYPE_CHECKING:
    from feature_repo.common.config import Config


def ingest(
    source: Annotated[
        str | None,
        typer.Option(help="Source mapping, name or file (default: data.source)", autocompletion=complete_source),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Only show how the files would be read, and the mapping to start from")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert the shop's raw files to canonical Parquet; rows left out go to quarantine."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.ingestion.ingest import ingest as run

        return run(settings)

    def show_files(settings: Config) -> JobResult:
        from batch_jobs.ingestion.preview import preview as run

        return run(settings)

    # Before --set, which wins as the later setting. Files given by path are of no shop that the configuration names.
    if preview and source is None and any(text.startswith("data.events_path=") for text in overrides or ()):
        source = "csv"
    source_override = [f"data.source={source}"] if source else []
    settings = [*source_override, *(overrides or [])]
    if preview:
        run_job(show_files, config, settings, as_json, preview_text)
    else:
        run_job(with_shop_lock(job), config, settings, as_json, ingest_text)


def validate(
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what failed: values, where they came from, what to do")
    ] = False,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Take the present data for the baseline, however much they changed")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate canonical data and, if there are any, features; exit code 3 if the gate refuses them."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.validate import validate as run

        return run(settings, explain=explain, accept_drift=accept_drift)

    def show(result: JobResult) -> str:
        from batch_jobs.validate import as_text

        return as_text(result)

    run_job(with_shop_lock(job), config, overrides, as_json, show if explain else None)


def build_features(
    full: Annotated[bool, typer.Option("--full", help="Build everything anew, not only what changed")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the features of changed buyers and products from canonical data that passed the gate."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.feature_build.build_features import build_validated_features

        return build_validated_features(settings, full=full)

    run_job(with_shop_lock(job), config, overrides, as_json, build_text)


def materialize(
    full: Annotated[
        bool, typer.Option("--full", help="Copy all features, not only those the online store lacks")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy features that passed the gate to the online store."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.materialize import materialize as run
        from feature_repo.store import feature_store

        with feature_store(settings) as store:
            return run(settings, store, full=full)

    run_job(with_shop_lock(job), config, overrides, as_json, materialize_text)
