"""The command line.

Every command takes --config, --set and --json, and ends with 0 (done), 1 (failed), 2 (bad usage or configuration) or 3
(refused by a gate). Jobs import their libraries when they run, so that `tawsiya --help` answers at once.
"""

import json
import logging
import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from batch_jobs.command import Answer, ConfigOption, JsonOption, SetOption, locked, run_job
from batch_jobs.console_text import demo_text, evaluation_text, list_text, refresh_text, training_text
from batch_jobs.keys_cli import keys_app
from feature_repo.common.config import Config, ConfigError

# Read by OpenMP when torch is first imported. Its threads otherwise spin while they wait, which slows text
# encoding down by a factor of 3 to 5 on a machine that has other work too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

log = logging.getLogger(__name__)
app = typer.Typer(name="tawsiya", help="Feature-store backed two-tower recommender.", no_args_is_help=True)
release_app = typer.Typer(help="List, check and switch releases.", no_args_is_help=True)
config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
app.add_typer(release_app, name="release")
app.add_typer(config_app, name="config")
app.add_typer(keys_app, name="keys")


@app.command()
def ingest(
    source: Annotated[str | None, typer.Option(help="Mapping file or name; default data.source")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the shop's raw files into canonical Parquet; rows left out go to quarantine."""

    def job(settings: Config) -> Answer:
        from batch_jobs.ingestion.ingest import ingest as run

        return run(settings)

    chosen = [f"data.source={source}"] if source else []
    run_job(locked(job), config, [*chosen, *(overrides or [])], as_json)


@app.command()
def validate(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Run the data-quality gate over canonical data and, where they exist, features."""

    def job(settings: Config) -> Answer:
        from batch_jobs.refresh import passed
        from expectations.gate import validate_canonical, validate_sequences
        from feature_repo.common.paths import shop_paths

        paths = shop_paths(settings)
        results = [validate_canonical(paths, settings)]
        if paths.sequence_features.is_file():
            results.append(validate_sequences(paths, settings))
        return {
            "passed": True,
            "expectations": sum(len(result.findings) for result in results),
            "warnings": [warning for result in results for warning in passed(result)],
            "report": str(paths.validation / "data_docs" / "index.html"),
        }

    run_job(locked(job), config, overrides, as_json)


@app.command("build-features")
def build_features(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Build feature Parquet from canonical data that the gate has passed."""

    def job(settings: Config) -> Answer:
        from batch_jobs.refresh import checked_features

        return checked_features(settings)

    run_job(locked(job), config, overrides, as_json)


@app.command()
def materialize(
    full: Annotated[
        bool, typer.Option("--full", help="All features, not only those built since the last time")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy features that the gate has passed into the online store."""

    def job(settings: Config) -> Answer:
        from batch_jobs.materialize import materialize as run
        from feature_repo.store import feature_store

        with feature_store(settings) as store:
            return run(settings, store, full=full)

    run_job(locked(job), config, overrides, as_json)


@app.command()
def train(
    search: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Try N settings on the validation days first, and train with the best"),
    ] = None,
    search_minutes: Annotated[
        float | None, typer.Option(min=0, metavar="M", help="Begin no trial of the search after so many minutes")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the two towers; an interrupted run goes on where it was, and so does a search.

    With several GPUs: torchrun --nproc-per-node N -m batch_jobs.cli train.
    """
    from training.runs import distributed

    def job(settings: Config) -> Answer:
        from batch_jobs.model_jobs import search_job, train_job
        from feature_repo.store import feature_store

        with feature_store(settings) as store:
            if search is None:
                return train_job(settings, store)
            kept = [override.partition("=")[0].strip() for override in overrides or ()]
            return search_job(settings, store, n_trials=search, minutes=search_minutes, kept=kept)

    def worker_job(settings: Config) -> None:
        from batch_jobs.model_jobs import train_in_worker
        from feature_repo.store import feature_store

        with feature_store(settings) as store:
            train_in_worker(settings, store)

    if search is None and search_minutes is not None:
        raise typer.BadParameter("--search-minutes ends a search early: say how long it may be with --search N")
    with distributed.joined():
        if search is not None and distributed.count() > 1:
            raise typer.BadParameter("a search runs in one process; start it without torchrun")
        # The first process locks the shop for all.
        run_job(worker_job if distributed.rank() else locked(job), config, overrides, as_json, show=training_text)


@app.command()
def embed(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Encode all products with the trained item tower."""

    def job(settings: Config) -> Answer:
        from batch_jobs.model_jobs import embed_job

        return embed_job(settings)

    run_job(locked(job), config, overrides, as_json)


@app.command()
def index(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Build the vector index over the product embeddings, and the search index over the product texts."""

    def job(settings: Config) -> Answer:
        from batch_jobs.model_jobs import index_job, search_index_job

        return index_job(settings) | {"search": search_index_job(settings)}

    run_job(locked(job), config, overrides, as_json)


@app.command()
def evaluate(
    k_values: Annotated[str, typer.Option(help="Cut-offs, separated by commas")] = "1,5,10,20",
    output: Annotated[Path | None, typer.Option(help="Also write the result to this file")] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(metavar="OTHER.json", help="Show this other evaluation beside it in the report (repeatable)"),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the model with simple baselines on the test days, as JSON and as an HTML report."""

    def job(settings: Config) -> Answer:
        from batch_jobs.model_jobs import evaluate_job
        from feature_repo.common.files import write_json
        from feature_repo.common.paths import shop_paths
        from feature_repo.store import feature_store

        others = {str(path): _evaluation(path) for path in compare or ()}
        with feature_store(settings) as store:
            result = evaluate_job(settings, store, _cut_offs(k_values), others=others)
        if output is not None:
            write_json(output, result)
        return result | {"report": str(shop_paths(settings).evaluation_report)}

    run_job(locked(job), config, overrides, as_json, show=evaluation_text)


def _cut_offs(text: str) -> list[int]:
    values = [int(part) for part in text.split(",") if part.strip().isdigit() and int(part) > 0]
    if not values or len(values) != len(text.split(",")):
        raise ConfigError(f"--k-values {text}: expected positive numbers separated by commas, such as 1,5,10,20")
    return values


def _evaluation(path: Path) -> Answer:
    """The result of another evaluation."""
    try:
        content: Answer = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--compare {path}: cannot be read: {error}") from None
    if not isinstance(content, dict) or not content.get("targets"):
        raise ConfigError(f"--compare {path}: not what `tawsiya evaluate --output` writes; evaluate that run again")
    return content


@app.command()
def refresh(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Run the whole chain, from raw files to a live release; for a scheduler."""

    def job(settings: Config) -> Answer:
        log.info("loading libraries ...")
        from batch_jobs.refresh import refresh as run

        return run(settings)

    run_job(job, config, overrides, as_json, refresh_text)


@app.command()
def demo(
    dataset: Annotated[str | None, typer.Option(help="Source to use; default data.source")] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole data set instead of its subset")] = False,
    serve_after: Annotated[bool, typer.Option("--serve/--no-serve", help="Start the API at the end")] = True,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole chain on real data, show what it recommends, and serve it."""
    chosen = [f"data.source={dataset}"] if dataset else []
    chosen += ["data.use_subset=false"] if full else []
    chosen += overrides or []

    def job(settings: Config) -> Answer:
        log.info("loading libraries ...")
        if serve_after:
            from online_api.server import require_can_listen

            require_can_listen(settings)
        from batch_jobs.refresh import refresh as run

        answer = run(settings)
        evaluation = answer.pop("evaluation")
        del answer["warnings"]  # logged already
        address = f"http://{settings.api.host}:{settings.api.port}"
        return answer | {"metrics": evaluation["targets"], "sample": _sample(settings), "address": address}

    def show(answer: Answer) -> str:
        command = ["tawsiya", "serve", *(["--config", str(config)] if config else [])]
        command += [word for setting in chosen for word in ("--set", setting)]
        return demo_text(answer, shlex.join(command), serving=serve_after)

    run_job(job, config, chosen, as_json, show)
    if serve_after:
        run_job(_serve, config, chosen, as_json)


def _sample(settings: Config, k: int = 10) -> Answer:
    """Recommendations for the buyer who acted last in the data."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from feature_repo import columns as c
    from feature_repo.common.paths import shop_paths

    events = pq.read_table(shop_paths(settings).events, columns=[c.BUYER_ID, c.EVENT_TIME])
    last = pc.index(events[c.EVENT_TIME], pc.max(events[c.EVENT_TIME])).as_py()
    answer = _recommend(settings, events[c.BUYER_ID][last].as_py(), k)
    shown = (c.PRODUCT_ID, c.TITLE, "score")
    items = [{name: item[name] for name in shown} for item in answer["items"]]
    return {c.BUYER_ID: answer[c.BUYER_ID], "recommendations": items}


@app.command()
def recommend(
    buyer: Annotated[str, typer.Option(help="Buyer id")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Number of products")] = 10,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend products to one buyer, as the API would."""
    run_job(lambda settings: _recommend(settings, buyer, k), config, overrides, as_json, list_text)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What a buyer types, in Arabic, English or both")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Number of products")] = 10,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find products by what a buyer types, as the API would."""

    def job(settings: Config) -> Answer:
        from online_api.runtime import open_runtime

        with open_runtime(settings) as runtime:
            runtime.service.texts.load(runtime.keeper.live.recommender)
            return runtime.service.answer([replace(runtime.service.searched(query), k=k)])[0].payload

    run_job(job, config, overrides, as_json, list_text)


def _recommend(settings: Config, buyer: str, k: int) -> Answer:
    from online_api.lists.list_request import Question
    from online_api.runtime import open_runtime

    with open_runtime(settings) as runtime:
        return runtime.service.answer([Question(buyer_id=buyer, k=k)])[0].payload


@app.command()
def serve(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Serve the live release over HTTP until interrupted."""
    run_job(_serve, config, overrides, as_json)


def _serve(settings: Config) -> None:
    from online_api.server import serve as run

    run(settings)


@release_app.command("list")
def release_list(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """List the releases, oldest first."""

    def job(settings: Config) -> Answer:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import list_releases

        return {"releases": list_releases(shop_paths(settings).releases)}

    def show(answer: Answer) -> str:
        rows = answer["releases"]
        if not rows:
            return "there are no releases of this shop (data.source) here yet; `tawsiya refresh` makes one"
        return "\n".join(f"{'*' if row['live'] else ' '} {row['name']}  {row['n_products']} products" for row in rows)

    run_job(job, config, overrides, as_json, show)


@release_app.command("promote")
def release_promote(
    name: Annotated[str, typer.Argument(help="Name of the release")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a release and make it live."""

    def job(settings: Config) -> Answer:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import promote

        promote(shop_paths(settings).releases, name)
        return {"live": name}

    run_job(locked(job), config, overrides, as_json)


@release_app.command("rollback")
def release_rollback(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Make the release before the live one live again."""

    def job(settings: Config) -> Answer:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import rollback

        return {"live": rollback(shop_paths(settings).releases)}

    run_job(locked(job), config, overrides, as_json)


@release_app.command("verify")
def release_verify(
    name: Annotated[str | None, typer.Argument(help="Name of the release; default the live one")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every file of a release against its sha256 sum; exit code 3 where one is damaged."""

    def job(settings: Config) -> Answer:
        from feature_repo.common.paths import shop_paths
        from training.artifacts.release import check

        return {"verified": check(shop_paths(settings).releases, name)}

    run_job(job, config, overrides, as_json)


@config_app.command("show")
def config_show(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Show every setting with its present value."""

    def show(answer: Answer) -> str:
        import yaml

        text: str = yaml.safe_dump(answer, sort_keys=False, allow_unicode=True)
        return text.rstrip()

    run_job(lambda settings: settings.model_dump(mode="json"), config, overrides, as_json, show)


def _stop(signal_number: int, _frame: object) -> None:
    """SIGTERM ends a command like Ctrl-C does, so that locks and the embedded server are released in order."""
    sys.exit(128 + signal_number)


def main() -> None:
    """Entry point of the `tawsiya` command."""
    signal.signal(signal.SIGTERM, _stop)
    app()


if __name__ == "__main__":
    main()
