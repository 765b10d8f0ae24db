"""What an API key permits."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key permits; no scope includes another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
