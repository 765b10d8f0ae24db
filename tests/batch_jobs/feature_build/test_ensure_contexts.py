"""When contexts are built: missing ones, those of other data or settings, and the rest of a killed build."""

import logging
from pathlib import Path

import pytest

from batch_jobs.feature_build import build_contexts as module
from batch_jobs.feature_build.build_contexts import build_contexts, ensure_contexts
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.context_report import read_context_report
from tests.batch_jobs.canonical_shop import DAY, CanonicalEvent, canonical_shop, write_canonical

EVENTS = [CanonicalEvent(buyer, day * DAY, day) for day in range(10) for buyer in ("ann", "ben")]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate has passed the data, whatever they are."""
    monkeypatch.setattr(module, "require_passed", lambda *_: {})


def training(config: Config, **settings: int) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=settings)})


def files(paths: ShopPaths) -> list[bytes]:
    return [path.read_bytes() for path in (paths.contexts, paths.context_sequences)]


def stamps(paths: ShopPaths) -> list[int]:
    return [path.stat().st_ino for path in (paths.contexts, paths.context_sequences, paths.context_report)]


def test_the_same_data_and_settings_give_the_same_bytes_and_version(tmp_path: Path) -> None:
    config, again = canonical_shop(tmp_path / "a", EVENTS), canonical_shop(tmp_path / "b", reversed(EVENTS))
    first, second = build_contexts(config), build_contexts(again)
    assert files(shop_paths(config)) == files(shop_paths(again))
    assert first["data_version"] == second["data_version"]


def test_the_version_follows_histories_that_no_context_shows(tmp_path: Path) -> None:
    config = training(canonical_shop(tmp_path, EVENTS), max_contexts=1)
    before, contexts = build_contexts(config), shop_paths(config).contexts.read_bytes()
    # Another product in the oldest event of each buyer, which is in histories only.
    write_canonical(config, [event._replace(product_key=99) if event.ms == 0 else event for event in EVENTS])
    assert build_contexts(config)["data_version"] != before["data_version"]
    assert shop_paths(config).contexts.read_bytes() == contexts


@pytest.mark.usefixtures("passed")
def test_contexts_are_built_once_and_again_when_data_or_settings_change(tmp_path: Path) -> None:
    config = canonical_shop(tmp_path, EVENTS)
    paths = shop_paths(config)
    first = ensure_contexts(config)
    kept = stamps(paths)
    assert ensure_contexts(config) == first
    assert stamps(paths) == kept
    assert ensure_contexts(training(config, max_contexts=1))["contexts"]["train"] == {"present": 16, "taken": 2}
    assert ensure_contexts(config)["contexts"]["train"] == {"present": 16, "taken": 16}
    write_canonical(config, EVENTS[2:])
    assert ensure_contexts(config)["contexts"]["train"] == {"present": 14, "taken": 14}


@pytest.mark.usefixtures("passed")
def test_the_rest_of_a_killed_build_is_refused_by_readers_and_built_again(tmp_path: Path) -> None:
    config = canonical_shop(tmp_path, EVENTS)
    paths = shop_paths(config)
    report, content = ensure_contexts(config), files(paths)
    build_contexts(training(config, max_contexts=1))
    # Killed after the first of its files.
    paths.contexts.write_bytes(content[0])
    with pytest.raises(ValueError, match="are not of one build; run `tawsiya train` to build them again"):
        read_context_report(paths)
    assert ensure_contexts(config) == report
    assert files(paths) == content
    paths.context_sequences.unlink()
    with pytest.raises(FileNotFoundError, match="does not exist; run `tawsiya train` to build the contexts again"):
        read_context_report(paths)
    assert ensure_contexts(config) == report


def test_data_that_the_gate_has_not_passed_are_not_trained_on(tmp_path: Path) -> None:
    config = canonical_shop(tmp_path, EVENTS)
    with pytest.raises(GateRefusedError, match="never validated"):
        ensure_contexts(config)
    assert not shop_paths(config).contexts.exists()


@pytest.mark.usefixtures("passed")
def test_one_line_says_what_the_budget_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = canonical_shop(tmp_path, EVENTS)
    with caplog.at_level(logging.INFO):
        ensure_contexts(config)
        assert not [record for record in caplog.messages if "budget" in record]
        ensure_contexts(training(config, max_contexts=3))
    [line] = [message for message in caplog.messages if "budget" in message]
    assert "5 of 16 (train)" in line
    assert "validation" not in line
