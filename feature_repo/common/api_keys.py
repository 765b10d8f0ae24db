"""The file of API keys. It lies in this layer because the command line writes it and the API reads it.

A key is `tw_<id>_<secret>`: the id, which is no secret, finds it, and the secret is 256 random bits. The file holds a
SHA-256 of the key, so that who reads the file cannot call the API. SHA-256 is right here: the slow, salted hashes
(argon2, bcrypt) are for passwords, which people choose and others guess. 256 random bits are not guessed at any speed,
and a fast hash costs a request nothing and gives nobody a way to keep the CPU busy.
"""

import datetime as dt
import hashlib
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_serializer, model_validator

from feature_repo.common.config import Config
from feature_repo.common.files import replacing
from feature_repo.common.limits import Limit

ID_BYTES, SECRET_BYTES = 8, 32


class Scope(StrEnum):
    """What a key may do; none contains another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKey(BaseModel):
    """What is kept of one key.

    Attributes:
        key_id: The public part of the key.
        name: Who it is for; one key per name.
        scopes: What it may do.
        created: When.
        limit: Its own rate limit; None takes the configured one.
        sha256: Hash of the whole key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    created: AwareDatetime
    limit: Limit | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]

    @field_serializer("scopes")
    def _in_order(self, scopes: frozenset[Scope]) -> list[str]:
        return [scope.value for scope in Scope if scope in scopes]


class _KeyFile(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey]

    @model_validator(mode="after")
    def _distinct(self) -> "_KeyFile":
        for values in ([key.name for key in self.keys], [key.key_id for key in self.keys]):
            if len(set(values)) < len(values):
                raise ValueError("two keys have the same name or the same id")
        return self


def api_keys_path(config: Config) -> Path:
    """The file of the keys, shared by all shops of a data_dir."""
    return (config.data_dir / "api_keys.json").absolute()


def read_keys(path: Path) -> list[ApiKey]:
    """The keys of a file, oldest first; none where there is no file.

    Raises:
        ValueError: The file holds something else.
        OSError: It cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    try:
        return _KeyFile.model_validate_json(content).keys
    except ValidationError as error:
        raise ValueError(f"{path} is no file of API keys ({_explain(error)}); restore it, or delete it") from None


def create_key(
    path: Path, name: str, scopes: Collection[Scope], limit: Limit | None, now: dt.datetime
) -> tuple[str, ApiKey]:
    """Adds a key to the file.

    Returns:
        The key itself, which is kept nowhere, and what the file holds of it.

    Raises:
        ValueError: Another key has that name, or the name or the scopes cannot be used.
    """
    key_id = secrets.token_hex(ID_BYTES)  # not token_urlsafe, which may hold the separator
    token = f"tw_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    try:
        key = ApiKey(
            key_id=key_id, name=name, scopes=frozenset(scopes), created=now, limit=limit, sha256=token_hash(token)
        )
    except ValidationError as error:
        raise ValueError(f"no API key {name!r} can be made: {_explain(error)}") from None
    with _edited(path) as keys:
        if any(name == other.name for other in keys):
            raise ValueError(f"there is an API key {name!r} already; revoke it first, or choose another name")
        keys.append(key)
    return token, key


def revoke_key(path: Path, name: str) -> ApiKey:
    """Removes a key from the file; APIs that run see it within a second.

    Raises:
        ValueError: No key has that name.
    """
    with _edited(path) as keys:
        found = next((key for key in keys if key.name == name), None)
        if found is None:
            names = ", ".join(key.name for key in keys) or "none"
            raise ValueError(f"{path} has no API key {name!r}; there are: {names}")
        keys.remove(found)
    return found


def token_hash(token: str) -> str:
    """What the file holds instead of a key."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_id(token: str) -> str:
    """The public part of a key; empty where it has not the form of one."""
    parts = token.split("_", 2)
    return parts[1] if len(parts) == 3 else ""


@contextmanager
def _edited(path: Path) -> Iterator[list[ApiKey]]:
    """The keys, to be changed in place; written back unless the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two commands at once would otherwise undo each other, and a revoked key would be back.
    with FileLock(f"{path}.lock"):
        keys = read_keys(path)
        yield keys
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)  # before there is anything to read in it
            temporary.write_text(_KeyFile(keys=keys).model_dump_json(indent=2) + "\n", encoding="utf-8")


def _explain(error: ValidationError) -> str:
    """The first problem, without the input, which may be a hash."""
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
