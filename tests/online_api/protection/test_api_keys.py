"""API keys: what the file holds, which tokens are valid and since when, and `tawsiya keys`."""

import datetime as dt
import json
import logging
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from feature_repo.access.api_keys import ApiKey, api_keys_path, create_key, read_keys, revoke_key
from feature_repo.access.limits import Limit
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from online_api.protection.keys import KeyRing

NOW = dt.datetime(2026, 11, 23, 17, 30, tzinfo=dt.UTC)
DONE, FAILED, BAD_USAGE = 0, 1, 2
SCRIPT = Path(sys.executable).with_name("tawsiya")
CONFIG = str(Path(__file__).parents[3] / "config/default.yaml")


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "api_keys.json"


def make(path: Path, name: str = "shop") -> str:
    token, _ = create_key(path, name, [Scope.READ, Scope.WRITE], None, NOW)
    return token


def found(ring: KeyRing, token: str) -> str | None:
    key = ring.find(token)
    return key.name if key else None


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_file_holds_no_token_and_is_its_owners_alone(path: Path) -> None:
    token = make(path)
    _, _, secret = token.split("_", 2)
    assert len(secret) == 43  # 32 bytes
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make(path, "second")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in path.parent.iterdir()) == ["api_keys.json", "api_keys.json.lock"]


def test_a_key_is_read_as_it_was_made(path: Path) -> None:
    limit = Limit(rate_per_second=50, burst=100)
    _, first = create_key(path, "shop", [Scope.WRITE, Scope.READ, Scope.READ], limit, NOW)
    _, second = create_key(path, "متجر", [Scope.ADMIN], None, NOW)
    assert read_keys(path) == [first, second]
    assert (first.scopes, first.limit, first.created) == (frozenset((Scope.READ, Scope.WRITE)), limit, NOW)
    assert first.sha256 not in repr(first)


def test_two_keys_have_nothing_in_common(path: Path) -> None:
    one, other = make(path).split("_", 2), make(path, "second").split("_", 2)
    assert one[0] == other[0] == "tw"
    assert one[1] != other[1]
    assert one[2] != other[2]


def test_names_are_taken_once(path: Path) -> None:
    make(path)
    with pytest.raises(ValueError, match="an API key 'shop' exists already; revoke it first"):
        make(path)
    revoke_key(path, "shop")
    make(path)


@pytest.mark.parametrize("name", ["", "two words", "line\n", "x" * 65, "../up"])
def test_names_that_cannot_be_used_are_refused(path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"the API key .* cannot be created: name"):
        make(path, name)
    assert not path.exists()


def test_an_unknown_name_is_not_revoked(path: Path) -> None:
    with pytest.raises(ValueError, match="has no API key 'shop'; its keys are: none"):
        revoke_key(path, "shop")
    make(path, "mobile")
    with pytest.raises(ValueError, match="has no API key 'shop'; its keys are: mobile"):
        revoke_key(path, "shop")


def test_the_file_lies_under_data_dir(tmp_path: Path) -> None:
    assert api_keys_path(Config(data_dir=tmp_path / "var")) == tmp_path / "var" / "api_keys.json"
    assert api_keys_path(Config()).is_absolute()


def test_a_left_over_of_a_killed_writer_is_no_obstacle(path: Path) -> None:
    make(path)
    path.with_name(".api_keys.json.tmp").write_text("half")
    token = make(path, "second")
    assert found(KeyRing.load(path), token) == "second"


# ---- valid and invalid tokens ----------------------------------------------------------------------------------------


def test_a_token_finds_its_key(path: Path) -> None:
    tokens = {name: make(path, name) for name in ("shop", "mobile", "متجر")}
    ring = KeyRing.load(path)
    assert {name: found(ring, token) for name, token in tokens.items()} == {name: name for name in tokens}


def test_anything_else_finds_none(path: Path) -> None:
    token, other = make(path), make(path, "other")
    _, key_id, secret = token.split("_", 2)
    ring = KeyRing.load(path)
    for wrong in (
        "",
        "tw",
        "tw__",
        "tw_" + key_id,
        f"tw_{key_id}_",
        f"tw_{key_id}_{secret[:-1]}",
        f"tw_{key_id}_{secret}x",
        f"tw_{key_id}_{other.split('_', 2)[2]}",
        f"tw_{'0' * 16}_{secret}",
        f"TW_{key_id}_{secret}",
        f" {token}",
        secret,
        "ключ_ключ_ключ",
        read_keys(path)[0].sha256,
        f"tw_{key_id}_{read_keys(path)[0].sha256}",
    ):
        assert found(ring, wrong) is None, wrong


def test_without_a_file_there_are_no_keys(path: Path) -> None:
    assert found(KeyRing.load(path), "tw_0123456789abcdef_secret") is None


def test_whether_there_are_keys_at_all(path: Path) -> None:
    clock = Clock()
    ring = KeyRing.load(path, clock)
    assert not ring.any()
    make(path)
    clock.now = 1.0
    assert ring.any()
    revoke_key(path, "shop")
    clock.now = 2.0
    assert not ring.any()


# ---- changes while the API runs --------------------------------------------------------------------------------------


def test_new_and_revoked_keys_are_seen_within_a_second(path: Path) -> None:
    clock = Clock()
    ring = KeyRing.load(path, clock)
    token = make(path)
    clock.now = 0.9
    assert found(ring, token) is None
    clock.now = 1.0
    assert found(ring, token) == "shop"
    revoke_key(path, "shop")
    clock.now = 1.9
    assert found(ring, token) == "shop"
    clock.now = 2.0
    assert found(ring, token) is None


def test_a_file_of_the_same_size_and_time_is_read_again(path: Path) -> None:
    clock = Clock()
    revoked = make(path)
    before = path.stat()
    ring = KeyRing.load(path, clock)
    revoke_key(path, "shop")
    token = make(path)
    # As a restored backup might look.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    clock.now = 1.0
    assert (found(ring, revoked), found(ring, token)) == (None, "shop")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": [{}]}', '{"keys": [], "more": 1}', "\udcff"])
def test_a_broken_file_changes_nothing_and_is_reported_once(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    token = make(path)
    good = path.read_bytes()
    ring = KeyRing.load(path, clock)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    for clock.now in (1.0, 2.0, 3.0):
        assert found(ring, token) == "shop"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert str(path) in record.getMessage()
    path.write_bytes(good)
    revoke_key(path, "shop")
    clock.now = 4.0
    assert found(ring, token) is None


def test_a_file_that_cannot_be_read_now_is_tried_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    token = make(path)
    ring = KeyRing.load(path, clock)
    # A folder in its place: root, who runs tests in containers, may read any file.
    path.rename(path.with_name("kept"))
    path.mkdir()
    for clock.now in (1.0, 2.0):
        assert found(ring, token) == "shop"
    assert len(caplog.records) == 2
    path.rmdir()
    path.with_name("kept").rename(path)
    clock.now = 3.0
    assert found(ring, token) == "shop"


def test_a_deleted_file_takes_its_keys_along(path: Path) -> None:
    clock = Clock()
    token = make(path)
    ring = KeyRing.load(path, clock)
    path.unlink()
    clock.now = 1.0
    assert found(ring, token) is None


def test_at_start_a_broken_file_is_an_error_without_hashes_in_it(path: Path) -> None:
    make(path)
    content = json.loads(path.read_text())
    content["keys"][0]["sha256"] = content["keys"][0]["sha256"][:-1] + "X"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"api_keys.json is not a valid file of API keys \(keys.0.sha256: ") as caught:
        KeyRing.load(path)
    assert content["keys"][0]["sha256"] not in str(caught.value)


@pytest.mark.parametrize("field", ["name", "key_id"])
def test_two_keys_of_one_name_or_id_are_no_key_file(path: Path, field: str) -> None:
    make(path)
    make(path, "second")
    content = json.loads(path.read_text())
    content["keys"][1][field] = content["keys"][0][field]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="two keys have the same name or the same id"):
        KeyRing.load(path)


# ---- the command line ------------------------------------------------------------------------------------------------


def keys(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`tawsiya keys ...` in a process of its own, for its exit code and its output."""
    command = [str(SCRIPT), "keys", *arguments, "--config", CONFIG, "--set", "data_dir=."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.e2e
def test_a_key_from_creation_to_revocation(tmp_path: Path) -> None:
    created = keys(tmp_path, "create", "--name", "shop", "--scope", "read", "--scope", "write", "--json")
    assert created.returncode == DONE, created.stderr
    answer = json.loads(created.stdout)
    path = tmp_path / "api_keys.json"
    assert (answer["scopes"], answer["limit"], answer["file"]) == (["read", "write"], None, str(path))
    key = KeyRing.load(path, shop=Config().data.source).find(answer["token"])
    assert isinstance(key, ApiKey)
    assert key.scopes == {"read", "write"}
    listed = keys(tmp_path, "list", "--json")
    assert listed.returncode == DONE
    assert [one["name"] for one in json.loads(listed.stdout)["keys"]] == ["shop"]
    secret = answer["token"].split("_", 2)[2]
    assert secret not in created.stderr + listed.stdout
    assert key.sha256 not in created.stdout + listed.stdout
    revoked = keys(tmp_path, "revoke", "shop", "--json")
    assert (revoked.returncode, json.loads(revoked.stdout)["revoked"]["key_id"]) == (DONE, key.key_id)
    assert KeyRing.load(path, shop=Config().data.source).find(answer["token"]) is None


@pytest.mark.e2e
def test_people_read_text(tmp_path: Path) -> None:
    assert "there are no API keys yet" in keys(tmp_path, "list").stdout
    created = keys(tmp_path, "create", "--name", "shop", "--scope", "read", "--rate", "12.5")
    token = created.stdout.splitlines()[0]
    assert found(KeyRing.load(tmp_path / "api_keys.json", shop=Config().data.source), token) == "shop"
    assert "cannot be shown again" in created.stdout
    line = keys(tmp_path, "list").stdout.splitlines()[2]
    assert line.startswith("shop  ")
    assert "read" in line
    assert "12.5/s, burst 25" in line
    assert keys(tmp_path, "revoke", "shop").stdout.startswith("revoked shop  ")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["revoke", "shop"], FAILED, "has no API key 'shop'"),
        (["create", "--name", "two words", "--scope", "read"], FAILED, "the API key 'two words' cannot be created"),
        (["create", "--name", "shop"], BAD_USAGE, "--scope"),
        (["create", "--name", "shop", "--scope", "delete"], BAD_USAGE, "'delete'"),
        (["create", "--name", "shop", "--scope", "read", "--burst", "5"], BAD_USAGE, "--burst needs --rate"),
        (["create", "--name", "shop", "--scope", "read", "--rate", "0"], BAD_USAGE, "--rate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_and_exit_codes(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    finished = keys(tmp_path, *arguments)
    assert (finished.returncode, finished.stdout) == (code, "")
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr
    assert read_keys(tmp_path / "api_keys.json") == []


@pytest.mark.e2e
def test_commands_at_once_undo_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = pool.map(lambda name: keys(tmp_path, "create", "--name", name, "--scope", "read"), "abcdef")
        assert [finished.returncode for finished in made] == [DONE] * 6
    assert {key.name for key in read_keys(tmp_path / "api_keys.json")} == set("abcdef")
