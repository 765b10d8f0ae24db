"""docs/reference/cli.md: every command with its arguments and options, from Typer's declarations."""

import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

from typer.main import get_command

from batch_jobs.cli import app
from reference.markdown import code, table

COMMON = ("config", "overrides", "as_json")  # options of every command, described once
HEAD = """# Command line

Every command of `tawsiya`, by name. [operations.md](../operations.md#the-steps) says what each reads and writes, and
has the [exit codes](../operations.md#options-and-exit-codes). `tawsiya COMMAND --help` prints the same as this page.

This page is made by `python -m reference` from the code.
"""

# Typer's classes of commands and parameters are internal to it, so they are Any here.
Command = Any
Parameter = Any


def page() -> str:
    """The whole page."""
    commands = dict(commands_of(get_command(app)))
    lines = [HEAD, "## Options of every command", "", *_parameters(commands["ingest"], common=True)]
    for name, command in sorted(commands.items()):
        lines += [f"## tawsiya {name}", "", command.help, "", *_usage(name, command), *_parameters(command)]
    return "\n".join(lines)


def commands_of(group: Command, prefix: str = "") -> Iterator[tuple[str, Command]]:
    """Every command that can be called, with its name as it is typed, such as "release list"."""
    for name, command in group.commands.items():
        if inner := getattr(command, "commands", None):
            yield from commands_of(command, f"{prefix}{name} ")
        if not inner or command.invoke_without_command:
            yield f"{prefix}{name}", command


def _usage(name: str, command: Command) -> Iterator[str]:
    arguments = "".join(
        f" {_value(parameter)}" if parameter.required else f" [{_value(parameter)}]"
        for parameter in command.params
        if not _is_option(parameter)
    )
    required = "".join(
        f" {parameter.opts[0]} {_value(parameter)}" for parameter in command.params if _needed(parameter)
    )
    yield from ("```text", f"tawsiya {name}{arguments}{required} [OPTIONS]", "```", "")


def _needed(parameter: Parameter) -> bool:
    return _is_option(parameter) and bool(parameter.required)


def _parameters(command: Command, *, common: bool = False) -> Iterator[str]:
    """The table of the options that all commands share, or of all others."""
    shown = [parameter for parameter in command.params if (parameter.name in COMMON) == common and not parameter.hidden]
    yield from table(
        ("argument or option", "value", "default", "meaning"),
        [(_names(parameter), _kind(parameter), _default(parameter), parameter.help or "") for parameter in shown],
    )


def _is_option(parameter: Parameter) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _names(parameter: Parameter) -> str:
    if not _is_option(parameter):
        return code(_value(parameter))
    return ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))


def _value(parameter: Parameter) -> str:
    """What stands for the value in a command line."""
    return str(parameter.metavar or parameter.name.upper())


def _kind(parameter: Parameter) -> str:
    """The values that a parameter takes; empty for a switch."""
    if getattr(parameter, "is_flag", False):
        return ""
    annotation = _plain(parameter.type_descriptor.annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        kind = ", ".join(code(choice.value) for choice in annotation)
    elif get_origin(annotation) is Literal:
        kind = ", ".join(code(choice) for choice in get_args(annotation))
    else:
        kind = {"str": "text", "Path": "path", "int": "whole number", "float": "number", "datetime": "date"}[
            annotation.__name__
        ]
    limits = [
        f"{word} {limit}" for word, limit in (("from", parameter.min), ("to", parameter.max)) if limit is not None
    ]
    return " ".join([kind, *limits]) + (", repeatable" if parameter.multiple else "")


def _plain(annotation: Any) -> Any:
    """The type of one value: `list[str]` and `str | None` are both `str`."""
    if get_origin(annotation) in (list, Union, types.UnionType):
        return _plain(next(inner for inner in get_args(annotation) if inner is not type(None)))
    return annotation


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    default = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    if isinstance(default, bool):
        on = parameter.opts[0] if default else next(iter(parameter.secondary_opts), "")
        return code(on) if parameter.secondary_opts else ""
    return "" if default in (None, ()) else code(default)
