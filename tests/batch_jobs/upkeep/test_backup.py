"""`tawsiya backup` and `tawsiya restore`: a shop on an empty machine answers as before."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from batch_jobs.commands.serving import recommend_to_buyer
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.materialize import materialize
from batch_jobs.upkeep.backup import MANIFEST_FILE, backup
from batch_jobs.upkeep.online_copy import read_online_copy, write_online_copy
from batch_jobs.upkeep.restore import _unused, restore
from expectations.gate import validate_canonical, validate_features
from feature_repo.common.config import Config
from feature_repo.common.files import try_lock
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


def test_rate_limits_are_not_in_a_backup(backed_up: BackedUp, tmp_path: Path) -> None:
    with feature_store(at(backed_up, tmp_path)) as store:
        redis, shop, copy = store.online.redis, store.shop, tmp_path / "online.parquet"
        for key in (f"{shop}:rate:key", f"{shop}:schemas"):
            redis.hset(key, "n", 1)
        redis.pexpire(f"{shop}:rate:key", 60_000)
        assert write_online_copy(redis, shop, copy) == 1
        assert read_online_copy(redis, shop, copy) == 1
        assert redis.keys() == [f"{shop}:schemas".encode()]


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


def test_forgotten_buyers_never_come_back(backed_up: BackedUp, tmp_path: Path) -> None:
    config = at(backed_up, tmp_path)
    paths = shop_paths(config)
    first = ForgottenBuyers(paths.forgotten)
    first.add(["u1"])
    older = paths.forgotten.read_bytes()
    first.add(["u2"])
    path = changed(
        backed_up.path, tmp_path / "other.tar", {f"shop/{paths.forgotten.name}": paths.forgotten.read_bytes()}
    )
    paths.forgotten.write_bytes(older)
    first.add(["u3"])
    restored(config, path, force=True)
    assert all(map(ForgottenBuyers(paths.forgotten).holds, ("u1", "u2", "u3")))
    # A list with another key.
    paths.forgotten.unlink()
    ForgottenBuyers(paths.forgotten).add(["u9"])
    with pytest.raises(ValueError, match="another list of forgotten buyers"):
        restored(config, path, force=True)
    assert ForgottenBuyers(paths.forgotten).holds("u9")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ([], "its manifest.json lacks format, shop"),
        ({"format": 1, "created": "", "shop": "csv", "links": {}}, "its manifest.json lacks sha256"),
        ({"format": 2}, "has format 2"),
        ({"format": 1, "created": "", "shop": "csv", "links": {}, "sha256": {}}, "does not name 'config.json'"),
        (
            {"format": 1, "created": "", "shop": "csv", "links": {"config.json": "x"}, "sha256": {}},
            "the link config.json",
        ),
    ],
)
def test_a_backup_holds_what_its_manifest_says(manifest: Any, said: str, backed_up: BackedUp, tmp_path: Path) -> None:
    path = tmp_path / "made.tar"
    write_tar(path, {"config.json": b"{}", MANIFEST_FILE: json.dumps(manifest).encode()})
    with pytest.raises(ValueError, match=said):
        restored(at(backed_up, tmp_path), path)


def test_who_starts_meanwhile_waits(backed_up: BackedUp, tmp_path: Path) -> None:
    config = at(backed_up, tmp_path)
    users = shop_paths(config).redis / "users.lock"
    users.parent.mkdir(parents=True)
    users.touch()
    with users.open("ab") as file:
        with _unused(shop_paths(config)):
            assert not try_lock(file.fileno())
        assert try_lock(file.fileno())
        with pytest.raises(RuntimeError, match="stop it first"):
            restored(config, backed_up.path, force=True)


def changed(path: Path, target: Path, added: dict[str, bytes]) -> Path:
    """A copy of a backup with further files, and a manifest that names them."""
    with tarfile.open(path) as tar:
        files = {member.name: file.read() for member in tar if member.isreg() and (file := tar.extractfile(member))}
        links = [member for member in tar if member.issym()]
    manifest = json.loads(files.pop(MANIFEST_FILE))
    manifest["sha256"] |= {name: hashlib.sha256(content).hexdigest() for name, content in added.items()}
    write_tar(target, files | added | {MANIFEST_FILE: json.dumps(manifest).encode()}, links)
    return target


def write_tar(path: Path, files: dict[str, bytes], links: Sequence[tarfile.TarInfo] = ()) -> None:
    with tarfile.open(path, "w") as tar:
        for link in links:
            tar.addfile(link)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
