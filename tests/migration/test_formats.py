"""Files of another format: a message of one line that names the file and the command, never a traceback or a guess."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from feature_repo.common.files import read_json, write_json
from feature_repo.common.formats import require_format
from feature_repo.common.paths import ShopPaths
from feature_repo.context_report import CONTEXT_FORMAT, context_checksums, read_context_report
from feature_repo.feature_report import LAYOUT, read_feature_report
from feature_repo.time_split import read_time_split
from tests.random_release import write_random_release
from tests.tiny_model import tiny_spec
from training.artifacts.checkpoint import CHECKPOINT_FORMAT, PROGRESS, STATE, Progress, load_checkpoint, save_checkpoint
from training.artifacts.lineage import RECORD, require_source
from training.artifacts.model import CARD, MODEL_FORMAT, WEIGHTS, load_model
from training.artifacts.release import current_release, promote, read_manifest
from training.artifacts.release_manifest import MANIFEST, RELEASE_FORMAT
from training.artifacts.scoring.rescorer import RESCORER_FILE, Rescorer
from training.data import context_cache
from training.data.context_cache import cached_contexts
from training.model.towers import TwoTower

KEPT_CHECKPOINT = Path(__file__).parents[1] / "data" / "checkpoint_of_0_1_0"
MISSING = "<missing>"  # not object(), whose address the names of tests would have
# What a file may have where its format version should be, and what the message says of it; 3 stands for the current.
WRONG = [
    pytest.param(2, "has format version 2, this program reads 3; run `tawsiya make`", id="older"),
    pytest.param(4, "it was written by a newer Tawsiya: install that one, or run `tawsiya make`", id="newer"),
    pytest.param(MISSING, "is damaged: it has no format version; run `tawsiya make`", id="missing"),
    pytest.param("3", "has '3' as its format version, not a whole number", id="text"),
    pytest.param(3.5, "has 3.5 as its format version", id="fraction"),
    pytest.param(True, "has True as its format version", id="truth value"),
    pytest.param([3], r"has \[3\] as its format version", id="list"),
]
OTHERS = [-1, 1, MISSING, "3", None, [], True]  # added to the current version where they are numbers


def with_version(content: dict[str, Any], key: str, other: Any) -> dict[str, Any]:
    """The content with another version: `other` itself, or as far from the present one."""
    if other is MISSING:
        return {name: value for name, value in content.items() if name != key}
    number = type(other) is int
    return content | {key: content[key] + other if number else other}


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("found", "message"), WRONG)
def test_the_message_names_file_version_and_command(found: Any, message: str) -> None:
    require_format(3, 3, Path("a.json"), remake="tawsiya make")
    with pytest.raises(ValueError, match=rf"^a\.json .*{message}"):
        require_format(None if found is MISSING else found, 3, Path("a.json"), remake="tawsiya make")


# ---- releases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_a_release_of_another_format_is_refused(tmp_path: Path, other: Any) -> None:
    folder = write_random_release(tmp_path, 3)
    promote(folder.parent, folder.name)
    write_json(folder / MANIFEST, with_version(read_json(folder / MANIFEST, ""), "format_version", other))
    with pytest.raises(ValueError, match="format version") as caught:
        read_manifest(folder)
    assert "run `tawsiya refresh`" in one_line(caught)
    assert current_release(folder.parent) == folder


@pytest.mark.parametrize("content", ["[]", "7", '"text"', "null", '{"format_version": 6, "name": 7}', "{"])
def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_random_release(tmp_path, 3)
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match="is damaged"):
        read_manifest(folder)


# ---- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_a_model_of_another_format_is_refused(tmp_path: Path, other: Any) -> None:
    model = write_random_release(tmp_path, 3) / "model"
    write_json(model / CARD, with_version(read_json(model / CARD, ""), "format_version", other))
    with pytest.raises(ValueError, match="format version") as caught:
        load_model(model)
    assert "run `tawsiya train`" in one_line(caught)


@pytest.mark.parametrize("change", ["[]", "no spec", "no dropout", "new setting", "no brands", "half", "no weights"])
def test_a_damaged_model_is_refused(tmp_path: Path, change: str) -> None:
    model = write_random_release(tmp_path, 3) / "model"
    content = read_json(model / CARD, "")
    if change == "[]":
        (model / CARD).write_text("[]")
    elif change == "half":
        (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:100])
    elif change == "no weights":
        (model / WEIGHTS).unlink()
    else:
        spec = content["spec"]
        {
            "no spec": lambda: content.pop("spec"),
            "no dropout": lambda: spec.pop("dropout"),
            "new setting": lambda: spec.update(later=1),
            "no brands": lambda: content.pop("brands"),
        }[change]()
        write_json(model / CARD, content)
    with pytest.raises(ValueError, match="is damaged") as caught:
        load_model(model)
    assert "run `tawsiya train`" in one_line(caught)


def test_weights_of_0_1_0_are_read_without_the_later_terms(tmp_path: Path) -> None:
    content = {"popularity_days": 7, "popularity_weight": 0.1, "new_popularity_days": 30, "new_popularity_weight": 0.2}
    write_json(tmp_path / RESCORER_FILE, content | {"repeat_weight": 1.5, "repeat_half_life_days": 365.0})
    read = Rescorer.load(tmp_path)
    assert read == Rescorer(7, 0.1, 30, 0.2, repeat_weight=1.5, repeat_half_life_days=365.0)
    assert not read.new_popularity_first_time
    assert (read.closeness_weight, read.new_closeness_weight) == (0, 0)
    assert not read.counts_co_occurrence


@pytest.mark.parametrize("change", [{"later_weight": 0.5}, {"repeat_weight": MISSING}], ids=["newer", "older"])
def test_weights_of_another_re_scorer_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    Rescorer(repeat_weight=1.5).save(tmp_path)
    content = read_json(tmp_path / RESCORER_FILE, "") | change
    write_json(tmp_path / RESCORER_FILE, {name: value for name, value in content.items() if value is not MISSING})
    with pytest.raises(ValueError, match=rf"another version of Tawsiya \({next(iter(change))}\); run `tawsiya train`"):
        Rescorer.load(tmp_path)


# ---- features, contexts, records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_features_of_another_layout_count_as_not_built(tmp_path: Path, other: Any) -> None:
    paths = ShopPaths(tmp_path)
    write_json(paths.feature_report, with_version({"layout": LAYOUT, "parts": {}}, "layout", other))
    with pytest.raises(FileNotFoundError, match="run `tawsiya build-features`") as caught:
        read_feature_report(paths)
    one_line(caught)


@pytest.mark.parametrize("content", ["[]", "3", "null", "{"])
def test_a_report_that_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    paths = ShopPaths(tmp_path)
    paths.feature_report.parent.mkdir()
    paths.feature_report.write_text(content)
    with pytest.raises(ValueError, match="delete it, and run `tawsiya build-features`"):
        read_feature_report(paths)


@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_contexts_of_another_format_are_built_again(tmp_path: Path, other: Any) -> None:
    paths = ShopPaths(tmp_path)
    for path in (paths.contexts, paths.context_sequences):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"rows")
    report = {"format_version": CONTEXT_FORMAT, "checksums": context_checksums(paths)}
    write_json(paths.context_report, report)
    assert read_context_report(paths) == report
    write_json(paths.context_report, with_version(report, "format_version", other))
    with pytest.raises(ValueError, match="run `tawsiya train`") as caught:  # ensure_contexts builds them then
        read_context_report(paths)
    one_line(caught)


@pytest.mark.parametrize("content", [{}, {"validation_from": 3}, {"validation_from": "x", "test_from": "y"}])
def test_a_report_without_a_time_split_names_its_command(tmp_path: Path, content: dict[str, Any]) -> None:
    write_json(tmp_path / "report.json", content)
    with pytest.raises(ValueError, match="delete it, and run `tawsiya build-features`"):
        read_time_split(tmp_path / "report.json")


def test_a_damaged_record_of_sources_names_its_command(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text("[]")
    (tmp_path / "source").write_text("source")
    with pytest.raises(ValueError, match="run `tawsiya embed`"):
        require_source(tmp_path, tmp_path / "source", "tawsiya embed")


def test_cached_contexts_of_another_format_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.synthetic import two_groups

    made: list[int] = []

    def make() -> Any:
        made.append(1)
        return two_groups(4)

    cached_contexts(tmp_path / "set", "1", make)
    cached_contexts(tmp_path / "set", "1", make)
    assert len(made) == 1
    monkeypatch.setattr(context_cache, "CACHE_FORMAT", context_cache.CACHE_FORMAT + 1)
    cached_contexts(tmp_path / "set", "1", make)
    assert len(made) == 2


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def restored(folder: Path, best: Path) -> Progress | None:
    model = TwoTower(tiny_spec())
    return load_checkpoint(folder, model, torch.optim.Adam(model.parameters()), "run", best)


def test_a_checkpoint_of_0_1_0_is_not_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It would go on with other batches than it began with, if several processes train."""
    assert restored(KEPT_CHECKPOINT, tmp_path / "chosen") is None
    assert "training begins anew" in caplog.text
    assert not (tmp_path / "chosen").exists()


@pytest.mark.parametrize(
    "damage", [*OTHERS, "no JSON", "no state", "half a state", "unknown progress", "no progress"], ids=repr
)
def test_a_checkpoint_that_cannot_be_read_is_no_checkpoint(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model, best, folder = TwoTower(tiny_spec()), tmp_path / "chosen", tmp_path / "checkpoint"
    best.mkdir()
    save_checkpoint(folder, model, torch.optim.Adam(model.parameters()), "run", Progress(epoch=2), best)
    assert restored(folder, best) == Progress(epoch=2)
    content = json.loads((folder / PROGRESS).read_text())
    assert content["format_version"] == CHECKPOINT_FORMAT
    if damage == "no JSON":
        (folder / PROGRESS).write_text("{")
    elif damage == "no state":
        (folder / STATE).unlink()
    elif damage == "half a state":
        (folder / STATE).write_bytes((folder / STATE).read_bytes()[:-10])
    elif damage == "unknown progress":
        write_json(folder / PROGRESS, content | {"progress": content["progress"] | {"later": 1}})
    elif damage == "no progress":
        write_json(folder / PROGRESS, with_version(content, "progress", MISSING))
    else:
        write_json(folder / PROGRESS, with_version(content, "format_version", damage))
    with caplog.at_level(logging.WARNING):
        assert restored(folder, best) is None
    assert "training begins anew" in caplog.text


def test_the_numbers_are_those_that_the_kept_shop_has() -> None:
    """Whoever raises one of these must keep a shop of the version before, and test that it migrates."""
    assert (RELEASE_FORMAT, MODEL_FORMAT, LAYOUT, CONTEXT_FORMAT, CHECKPOINT_FORMAT) == (6, 2, 4, 1, 2)
