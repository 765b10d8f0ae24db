"""Whether a command line of a deployment file is one of `tawsiya`."""

from collections.abc import Sequence
from typing import Any

from typer.main import get_command

from batch_jobs.cli import app


def require_command(words: Sequence[str]) -> None:
    """Parses the arguments of `tawsiya` as the command line does, without running it."""
    command: Any = get_command(app)
    name, *arguments = words
    while hasattr(command, "commands"):
        command = command.commands[name]
        if hasattr(command, "commands"):
            name, *arguments = arguments
    command.make_context(name, arguments)
