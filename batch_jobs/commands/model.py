"""Commands of what a release is made of: train, embed, evaluate, build-lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job, with_shop_lock
from batch_jobs.console_text import evaluation_text, training_text
from feature_repo.common.errors import ConfigError

if TYPE_CHECKING:
    from feature_repo.common.config import Config


def train(
    search: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="First try N settings on the validation days, then train with the best"),
    ] = None,
    search_minutes: Annotated[
        float | None, typer.Option(min=0, metavar="M", help="Start no further trial of the search after M minutes")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the two towers; an interrupted run or search resumes where it stopped.

    With several GPUs: torchrun --nproc-per-node N -m batch_jobs.cli train.
    """
    from training.runs import distributed

    def job(settings: Config) -> JobResult:
        from batch_jobs.train_model import train_job, tune_job
        from feature_repo.store import feature_store
        from training.tune import TrialBudget

        with feature_store(settings) as store:
            if search is None:
                return train_job(settings, store)
            # A setting that the user names on the command line is not tuned.
            fixed = [override.partition("=")[0].strip() for override in overrides or ()]
            return tune_job(settings, store, TrialBudget(search, search_minutes), fixed=fixed)

    def worker_job(settings: Config) -> None:
        from batch_jobs.train_model import train_in_worker
        from feature_repo.store import feature_store

        with feature_store(settings) as store:
            train_in_worker(settings, store)

    if search is None and search_minutes is not None:
        raise typer.BadParameter("--search-minutes limits a search, so it needs --search N")
    with distributed.process_group():
        if search is not None and distributed.world_size() > 1:
            raise typer.BadParameter("a search runs in one process; start it without torchrun")
        # The first process locks the shop for all.
        run_job(
            worker_job if distributed.rank() else with_shop_lock(job), config, overrides, as_json, show=training_text
        )


def embed(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Compute the vectors of all products with the trained item tower."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.embed_products import embed_job

        return embed_job(settings)

    run_job(with_shop_lock(job), config, overrides, as_json)


def build_lists(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Compute what the lists of the shop's pages are made from: bought together, bought again, trending, new."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.shop_lists.build_lists import lists_job

        return lists_job(settings)

    run_job(with_shop_lock(job), config, overrides, as_json)


def evaluate(
    k_values: Annotated[str, typer.Option(help="Cut-offs of the metrics, separated by commas")] = "1,5,10,20",
    output: Annotated[Path | None, typer.Option(help="Also write the result to this JSON file")] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(metavar="OTHER.json", help="Compare with this other result in the report (repeatable)"),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the model with baselines on the test days; writes JSON and the HTML reports."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.evaluate_model import evaluate_job
        from batch_jobs.reports.build import build_reports
        from feature_repo.common.files import write_json
        from feature_repo.common.paths import shop_paths
        from feature_repo.store import feature_store

        others = {str(path): _evaluation(path) for path in compare or ()}
        with feature_store(settings) as store:
            result = evaluate_job(settings, store, _cut_offs(k_values), others=others)
        if output is not None:
            write_json(output, result)
        build_reports(settings)
        return result | {"report": str(shop_paths(settings).evaluation_report)}

    run_job(with_shop_lock(job), config, overrides, as_json, show=evaluation_text)


def _cut_offs(text: str) -> list[int]:
    values = [int(item) for item in text.split(",") if item.strip().isdigit() and int(item) > 0]
    if not values or len(values) != len(text.split(",")):
        raise ConfigError(f"--k-values {text}: expected positive numbers separated by commas, such as 1,5,10,20")
    return values


def _evaluation(path: Path) -> JobResult:
    """Reads the result of another evaluation."""
    try:
        content: JobResult = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--compare {path}: cannot be read: {error}") from None
    targets = content.get("targets") if isinstance(content, dict) else None
    if not isinstance(targets, dict) or not targets:
        raise ConfigError(f"--compare {path}: not a result of `tawsiya evaluate --output`; evaluate that run again")
    return content
