"""`tawsiya release`: lists, verifies, switches and copies releases."""

from typing import Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job, with_shop_lock
from feature_repo.common.config import Config

release_app = typer.Typer(help="List, verify, switch and copy releases.", no_args_is_help=True)


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
        return "\n".join(f"{'*' if row['live'] else ' '} {row['name']}  {row['n_products']} products" for row in rows)

    run_job(job, config, overrides, as_json, show)  # reading needs no lock


@release_app.command("promote")
def release_promote(
    name: Annotated[str, typer.Argument(help="Name of the release")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a release and make it live."""

    def job(settings: Config) -> JobResult:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import promote

        promote(shop_paths(settings).releases, name)
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


@release_app.command("verify")
def release_verify(
    name: Annotated[str | None, typer.Argument(help="Name of the release (default: the live one)")] = None,
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
    name: Annotated[str | None, typer.Option(help="Name of the release (default: the live one)")] = None,
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
