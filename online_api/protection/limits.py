"""Requests that ask for more than the configuration allows."""


class RequestTooLongError(ValueError):
    """A request carries too much of something."""

    def __init__(self, name: str, length: int, limit: int) -> None:
        """Says what there is too much of."""
        super().__init__(f"{name}: {length} are too many; one request may carry {limit}")
