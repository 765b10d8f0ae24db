"""What a program shows on a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from typing import Literal


def on_a_terminal(
    code: str, stream: Literal["stdout", "stderr"], *, columns: int = 80, environment: Mapping[str, str] | None = None
) -> str:
    """What Python code writes to a stream that is a terminal of so many columns; `environment` None is this one's."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    stdout, stderr = (end, None) if stream == "stdout" else (None, end)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=stdout, stderr=stderr, env=environment
    ) as process:  # fmt: skip
        os.close(end)
        shown = b""
        try:
            while chunk := os.read(terminal, 1000):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(terminal)
    assert process.returncode == 0
    return shown.decode()
