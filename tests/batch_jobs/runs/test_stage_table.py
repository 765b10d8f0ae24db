"""The table of stages: its code lists are complete, its settings exist, and only what matters is in them."""

import inspect
import re
import tomllib
from pathlib import Path

import grimp
import pytest

from batch_jobs.runs.code_version import PACKAGES, code_version
from batch_jobs.runs.stage_table import PRICES_STAGE, STAGES
from batch_jobs.runs.stages import RefreshStage, hashed_settings
from batch_jobs.runs.training_due import KIND, METRIC, MODEL, SAMPLED
from feature_repo.common.config import Config
from training.artifacts.model import WEIGHTS
from training.evaluate import SAMPLE_SIZE, TWO_TOWER
from training.evaluation.held_out import ALL
from training.evaluation.validation import SELECTION_METRIC

# Their code changes no result: they say who may run, write down what happened, and lay out tables for people.
NOT_OF_THE_RESULT = {"batch_jobs/runs", "batch_jobs/console"}


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("feature_repo", "expectations", "training", "batch_jobs")


@pytest.mark.parametrize("stage", [*STAGES, PRICES_STAGE], ids=lambda stage: stage.name)
def test_the_code_of_a_stage_is_every_file_that_its_job_imports(
    stage: RefreshStage, imports: grimp.ImportGraph
) -> None:
    jobs = re.findall(r"from (\S+) import", inspect.getsource(stage.job))
    modules = {module for job in jobs for module in (job, *imports.find_upstream_modules(job))}
    assert modules
    files = {_file(module) for module in modules if _file(module).name != "__init__.py"}
    listed = [PACKAGES / place for place in (*stage.code, *NOT_OF_THE_RESULT)]
    missing = [path for path in files if not any(path == place or place in path.parents for place in listed)]
    assert sorted(str(path.relative_to(PACKAGES)) for path in missing) == []


def _file(module: str) -> Path:
    path = PACKAGES.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_settings_exist_and_none_is_the_apis(stage: RefreshStage) -> None:
    names = hashed_settings(Config(), stage.settings)
    assert not [name for name in names if name.startswith(("api.", "disk.", "refresh.", "resources."))]
    assert stage.code
    assert len(code_version(stage.code)) == 16


def test_every_stage_names_the_libraries_that_make_its_result() -> None:
    # `materialize` always runs, and compares with what the online store holds.
    assert [stage.name for stage in (*STAGES, PRICES_STAGE) if not stage.libraries] == ["materialize"]


def test_the_libraries_of_stages_are_those_that_tawsiya_installs() -> None:
    """A misspelt one would be `not installed`, whatever is installed."""
    project = tomllib.loads((PACKAGES / "pyproject.toml").read_text())["project"]
    extras = [name for extra in project["optional-dependencies"].values() for name in extra]
    installed = {re.split(r"[\[<>=]", requirement)[0] for requirement in (*project["dependencies"], *extras)}
    listed = {name for stage in (*STAGES, PRICES_STAGE) for name in stage.libraries}
    assert listed - installed == set()
    assert {"torch", "faiss-cpu", "duckdb", "sentence-transformers", "feast"} <= listed


def test_names_of_stages_are_distinct() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)


def test_code_versions_differ_with_the_code() -> None:
    assert code_version(("batch_jobs/refresh.py",)) != code_version(("batch_jobs/publish.py",))
    assert code_version(("batch_jobs/runs",)) != code_version(("batch_jobs/runs", "batch_jobs/refresh.py"))


def test_the_metric_of_the_model_is_the_one_that_training_selects_by() -> None:
    assert (MODEL, KIND, METRIC, "model.safetensors") == (TWO_TOWER, ALL, SELECTION_METRIC, WEIGHTS)
    assert SAMPLED == SAMPLE_SIZE
