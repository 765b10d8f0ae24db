"""`tawsiya release`: lists, verifies and switches releases."""

from typing import Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job, with_shop_lock
from feature_repo.common.config import Config

release_app = typer.Typer(help="List, verify and switch releases.", no_args_is_help=True)


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
