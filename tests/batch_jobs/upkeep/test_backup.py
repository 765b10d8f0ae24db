"""`tawsiya backup` and `tawsiya restore`: a shop on an empty machine answers as before."""

import shutil
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from batch_jobs.commands.serving import recommend_to_buyer
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.materialize import materialize
from batch_jobs.upkeep.backup import MANIFEST_FILE, backup
from batch_jobs.upkeep.restore import restore
from expectations.gate import validate_canonical, validate_features
from feature_repo.common.config import Config
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.lock import shop_lock
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store
from tests.online_api.api_shop import EVENTS, PRODUCTS, open_shop

pytestmark = pytest.mark.store

BUYERS = ("u1", "u2", "pushed", "nobody")
Json = dict[str, Any]


class BackedUp(NamedTuple):
    """A backup, and what the shop answered then."""

    path: Path
    config: Config
    answers: list[Json]
    logged: dict[str, bytes]


def answers(config: Config) -> list[Json]:
    """The lists for some buyers, less what counts the time."""
    found = [recommend_to_buyer(config, buyer, 3) for buyer in BUYERS]
    return [answer | {"features": None} for answer in found]


def logged_files(config: Config) -> dict[str, bytes]:
    """What lies in the folder of the event log: days, archive, waiting events, places of unfinished requests."""
    folder = shop_paths(config).event_log
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> BackedUp:
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, PRODUCTS, EVENTS) as runtime:
        event = {"buyer_id": "pushed", "product_id": "p4", "event_type": "view"}
        assert runtime.intake.record([event, event | {"product_id": "p3"}]).accepted == 2
        assert runtime.intake.record([event | {"product_id": "new"}]).unknown_product == 1
        archived = runtime.paths.event_log / "archive" / "2024-03-01.parquet"
        archived.parent.mkdir()
        archived.write_bytes(b"a finished day")
        config = runtime.config
        validate_canonical(runtime.paths, config)
        validate_features(runtime.paths, config)
        (config.data_dir / "api_keys.json").write_text('{"keys": []}')
        # While the API serves.
        with shop_lock(config):
            made = backup(config, folder)
        logged = logged_files(config)
    before = answers(config)
    shutil.rmtree(config.data_dir)
    return BackedUp(Path(made["backup"]), config, before, logged)


def at(backed_up: BackedUp, folder: Path) -> Config:
    """The configuration of an empty machine."""
    return backed_up.config.model_copy(update={"data_dir": folder / "other"})


def restored(config: Config, path: Path, **options: bool) -> Json:
    with shop_lock(config):
        return restore(config, path, **options)


def test_a_restored_shop_answers_as_before(backed_up: BackedUp, tmp_path: Path) -> None:
    config = at(backed_up, tmp_path)
    result = restored(config, backed_up.path)
    assert result["warnings"] == []
    assert result["release"] is not None
    assert logged_files(config) == backed_up.logged
    assert {Path(name).parent.name for name in backed_up.logged} == {"", "archive", "in_flight", "pending"}
    assert answers(config) == backed_up.answers
    assert [answer["source"] for answer in backed_up.answers] == ["personalised"] * 3 + ["popular"]
    assert build_features(config)["changed"] == {"buyers": 0, "products": 0}
    with feature_store(config) as store:
        assert materialize(config, store, full=False)["written"] == {"buyers": 0, "products": 0}
    assert (config.data_dir / "api_keys.json").is_file()
    assert (shop_paths(config).root / "restored" / MANIFEST_FILE).is_file()


def test_a_shop_is_replaced_only_by_force(backed_up: BackedUp, tmp_path: Path) -> None:
    config = at(backed_up, tmp_path)
    paths = shop_paths(config)
    ForgottenBuyers(paths.forgotten).add(["u1"])
    (paths.root / "notes").mkdir()
    with pytest.raises(ValueError, match="is not empty; --force"):
        restored(config, backed_up.path)
    assert (paths.root / "notes").is_dir()
    result = restored(config, backed_up.path, force=True)
    assert not (paths.root / "notes").exists()
    assert ForgottenBuyers(paths.forgotten).holds("u1")
    assert result["warnings"] == ["the backup has 1 buyer who was forgotten since: run `tawsiya forget` for them again"]


def test_a_damaged_backup_replaces_nothing(backed_up: BackedUp, tmp_path: Path) -> None:
    config = at(backed_up, tmp_path)
    damaged = tmp_path / "damaged.tar"
    content = bytearray(backed_up.path.read_bytes())
    with tarfile.open(backed_up.path) as tar:
        place = tar.getmember("shop/canonical/events.parquet").offset_data
    content[place + 40] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"shop/canonical/events\.parquet does not match"):
        restored(config, damaged)
    damaged.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged"):
        restored(config, damaged)
    assert [path.name for path in shop_paths(config).root.iterdir()] == ["batch.lock"]
    assert [path.name for path in config.data_dir.iterdir()] == ["csv"]
