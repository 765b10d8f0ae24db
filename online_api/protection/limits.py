"""The error for requests that exceed a configured limit."""


class RequestTooLongError(ValueError):
    """A request has more items than the configuration allows."""

    def __init__(self, name: str, length: int, limit: int) -> None:
        """Names the field, the number of its items and the limit."""
        super().__init__(f"{name}: {length} are too many; one request may carry {limit}")
