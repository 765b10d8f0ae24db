"""`tawsiya release`: lists, compares, verifies, switches and copies releases."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job, with_shop_lock
from batch_jobs.console.completion import complete_release

if TYPE_CHECKING:
    from feature_repo.common.config import Config

log = logging.getLogger(__name__)

release_app = typer.Typer(help="List, compare, verify, switch and copy releases.", no_args_is_help=True)


@release_app.command("list")
def release_list(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """List the releases, oldest first."""

    def job(settings: Config) -> JobResult:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import list_releases

        return {"releases": list_releases(shop_paths(settings).releases)}

    def show(result: JobResult) -> str:
        rows = result["releases"]
        if not rows:
            return "this shop (data.source) has no release yet; `tawsiya refresh` makes one"
        from batch_jobs.console.tables import table_lines
        from training.artifacts.gate_verdict import verdict_text

        cells = [["*" if row["live"] else "", row["name"], f"{row['n_products']:,}", verdict_text(row)] for row in rows]
        return "\n".join(table_lines([["live", "release", "products", "gate"], *cells], right=[2], cut=[3]))

    run_job(job, config, overrides, as_json, show)  # reading needs no lock


@release_app.command("promote")
def release_promote(
    name: Annotated[str, typer.Argument(help="Name of the release", autocompletion=complete_release)],
    force: Annotated[bool, typer.Option("--force", help="Although the gate refused it; needs --reason")] = False,
    reason: Annotated[str | None, typer.Option(help="Why it is promoted by force; kept with the release")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a release and make it live; one that the gate refused needs --force."""
    if force != bool(reason and reason.strip()):
        raise typer.BadParameter("--force and --reason TEXT go together: whoever forces a release says why")

    def job(settings: Config) -> JobResult:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import promote

        promote(shop_paths(settings).releases, name, forced_because=reason)
        return {"live": name}

    # Under the lock: a refresh at the same time deletes old releases.
    run_job(with_shop_lock(job), config, overrides, as_json)


@release_app.command("rollback")
def release_rollback(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Make the previous release live again."""

    def job(settings: Config) -> JobResult:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import rollback

        return {"live": rollback(shop_paths(settings).releases)}

    run_job(with_shop_lock(job), config, overrides, as_json)


@release_app.command("compare")
def release_compare(
    live: Annotated[
        str,
        typer.Argument(
            metavar="A", help="Name of the release in the role of the live one", autocompletion=complete_release
        ),
    ],
    candidate: Annotated[
        str,
        typer.Argument(metavar="B", help="Name of the release to judge against it", autocompletion=complete_release),
    ],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge release B against release A as the gate would, on the data of now; changes nothing."""

    def job(settings: Config) -> JobResult:
        log.info("loading libraries ...")
        from batch_jobs.release_gate.compare import compare_releases

        return compare_releases(settings, live, candidate)

    def show(result: JobResult) -> str:
        from batch_jobs.release_gate.table import gate_lines

        return "\n".join(gate_lines(result["gate"]))

    # Under the lock: a refresh at the same time replaces the events and deletes old releases.
    run_job(with_shop_lock(job), config, overrides, as_json, show)


@release_app.command("verify")
def release_verify(
    name: Annotated[
        str | None,
        typer.Argument(help="Name of the release (default: the live one)", autocompletion=complete_release),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every file of a release against its sha256 sum; exit code 3 if one is damaged."""

    def job(settings: Config) -> JobResult:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import check

        return {"verified": check(shop_paths(settings).releases, name)}

    run_job(job, config, overrides, as_json)


@release_app.command("pull")
def release_pull(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="Folder or s3://bucket/path of releases")],
    name: Annotated[str | None, typer.Option(help="Name of the release (default: the live one there)")] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it live, and delete the oldest releases here")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a release from another machine; what is here already is not read again."""

    def job(settings: Config) -> JobResult:
        from feature_repo.common.paths import shop_paths
        from training.artifacts import release
        from training.artifacts.replication.release_copies import pull
        from training.artifacts.replication.release_store import ReleaseStore

        releases = shop_paths(settings).releases
        copied = pull(releases, ReleaseStore(source), name)
        live = release.current_release(releases)
        if promote and (live is None or live.name != copied["release"]):
            release.promote(releases, copied["release"])
            copied["deleted"] = release.delete_old(releases, settings.release.keep)
        live = release.current_release(releases)
        return copied | {"live": live is not None and live.name == copied["release"]}

    run_job(with_shop_lock(job), config, overrides, as_json)


@release_app.command("push")
def release_push(
    target: Annotated[str, typer.Option("--to", metavar="URL", help="Folder or s3://bucket/path to copy it to")],
    name: Annotated[
        str | None, typer.Option(help="Name of the release (default: the live one)", autocompletion=complete_release)
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a release to where other machines pull it from; the live one is live there, too."""

    def job(settings: Config) -> JobResult:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.replication.release_copies import push
        from training.artifacts.replication.release_store import ReleaseStore

        return push(shop_paths(settings).releases, ReleaseStore(target), name)

    # Under the lock: a refresh at the same time deletes old releases.
    run_job(with_shop_lock(job), config, overrides, as_json)
