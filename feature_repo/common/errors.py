"""Errors that several layers handle."""


class GateRefusedError(RuntimeError):
    """A gate refused the data or the release. Nothing was published; the live release stays live. Exit code 3."""


class StoreUnavailableError(RuntimeError):
    """The online store cannot serve the call now; the caller may retry later."""
