"""Errors that mean something to the command line: each has an exit code there."""


class GateRefusedError(RuntimeError):
    """A gate said no (data quality, release checks): nothing was published, what was live stays live. Exit code 3."""


class StoreUnavailableError(RuntimeError):
    """The online store cannot take the request now; trying again later may succeed."""
