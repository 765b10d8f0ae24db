"""Errors that several layers handle."""

from typing import Any


class GateRefusedError(RuntimeError):
    """A gate refused the data or the release. Nothing was published; the live release stays live. Exit code 3.

    Attributes:
        result: What the command prints on stdout besides the message; None prints nothing.
    """

    result: dict[str, Any] | None = None


class StoreUnavailableError(RuntimeError):
    """The online store cannot serve the call now; the caller may retry later."""


class OtherSchemaError(RuntimeError):
    """The online store holds features of another schema and none of this program's; the message has the command."""


class ConfigError(ValueError):
    """The configuration (file, environment or `--set`) cannot be used; the message says which key and what to do."""
