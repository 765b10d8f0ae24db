"""The file of API keys. The command line writes it and the API reads it.

A key is `tw_<id>_<secret>`. The id is public and identifies the key; the secret is 256 random bits. The file stores the
SHA-256 of each key, so that nobody who reads the file can call the API. SHA-256 suffices: slow, salted hashes such as
argon2 and bcrypt protect passwords, which can be guessed. 256 random bits cannot, and a fast hash costs a request
nothing and gives an attacker no way to occupy the CPU.
"""

import datetime as dt
import hashlib
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_serializer, model_validator

from feature_repo.access.limits import Limit
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.files import read_utf8, replacing

# The id only has to be unique; the secret has to be unguessable: 256 bits.
ID_BYTES, SECRET_BYTES = 8, 32


class ApiKey(BaseModel):
    """The stored part of one key.

    Attributes:
        key_id: The public part of the key.
        name: Whom the key is for; unique.
        scopes: What the key permits.
        created: When the key was created.
        limit: The key's own rate limit; None means the configured one.
        shop: The shop (`data.source`) whose API takes the key; None, as in keys of version 0.1.0, means all of them.
        sha256: Hash of the whole key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    created: AwareDatetime
    limit: Limit | None = None
    shop: str | None = None
    # repr=False: a key that is logged or part of an error message does not show its hash.
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]

    @field_serializer("scopes")
    def _sorted_scopes(self, scopes: frozenset[Scope]) -> list[str]:
        # A set has no order; with that of Scope, writing the file again changes nothing.
        return [scope.value for scope in Scope if scope in scopes]


class _KeyFile(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey]

    @model_validator(mode="after")
    def _unique(self) -> "_KeyFile":
        for values in ([key.name for key in self.keys], [key.key_id for key in self.keys]):
            if len(set(values)) < len(values):
                raise ValueError("two keys have the same name or the same id")
        return self


def api_keys_path(config: Config) -> Path:
    """The file of the keys; all shops of a data_dir share it, and all hosts that mount it (`api.shared_data_dir`)."""
    return ((config.api.shared_data_dir or config.data_dir) / "api_keys.json").absolute()


def read_keys(path: Path) -> list[ApiKey]:
    """Reads the keys of a file, oldest first; there are none if the file does not exist.

    Raises:
        ConfigError: The file is not UTF-8.
        ValueError: The content is not a list of API keys.
        OSError: The file cannot be read.
    """
    try:
        content = read_utf8(path)
    except FileNotFoundError:
        return []
    try:
        # An invalid file is an error, not an empty list: without keys the API would be open to everyone.
        return _KeyFile.model_validate_json(content).keys
    except ValidationError as error:
        raise ValueError(
            f"{path} is not a valid file of API keys ({_first_problem(error)}); restore it, or delete it"
        ) from None


def create_key(
    path: Path,
    name: str,
    scopes: Collection[Scope],
    limit: Limit | None,
    now: dt.datetime,
    shop: str | None = None,
) -> tuple[str, ApiKey]:
    """Adds a key to the file.

    Returns:
        The key itself, which is stored nowhere, and its stored part.

    Raises:
        ValueError: Another key has that name, or the name or the scopes are not valid.
    """
    key_id = secrets.token_hex(ID_BYTES)  # not token_urlsafe, which may hold the separator
    token = f"tw_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    try:
        key = ApiKey(
            key_id=key_id,
            name=name,
            scopes=frozenset(scopes),
            created=now,
            limit=limit,
            shop=shop,
            sha256=token_hash(token),
        )
    except ValidationError as error:
        raise ValueError(f"the API key {name!r} cannot be created: {_first_problem(error)}") from None
    with _edited(path) as keys:
        if any(name == other.name for other in keys):
            raise ValueError(f"an API key {name!r} exists already; revoke it first, or choose another name")
        keys.append(key)
    return token, key


def revoke_key(path: Path, name: str) -> ApiKey:
    """Removes a key from the file; a running API refuses it within a second.

    Raises:
        ValueError: No key has that name.
    """
    with _edited(path) as keys:
        revoked = next((key for key in keys if key.name == name), None)
        if revoked is None:
            names = ", ".join(key.name for key in keys) or "none"
            raise ValueError(f"{path} has no API key {name!r}; its keys are: {names}")
        keys.remove(revoked)
    return revoked


def token_hash(token: str) -> str:
    """The hash that the file stores instead of a key."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_id(token: str) -> str:
    """The public part of a key; empty if the token does not have the form of a key."""
    # At most three parts: the secret may contain the separator.
    parts = token.split("_", 2)
    return parts[1] if len(parts) == 3 else ""


@contextmanager
def _edited(path: Path) -> Iterator[list[ApiKey]]:
    """Yields the keys for changes in place; writes them back unless the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the lock, two commands at once would overwrite each other, and a revoked key could come back.
    # The lock is a file of its own, because the file of keys is replaced.
    with FileLock(f"{path}.lock"):
        keys = read_keys(path)
        yield keys
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)  # restricts the permissions before the content is written
            temporary.write_text(_KeyFile(keys=keys).model_dump_json(indent=2) + "\n", encoding="utf-8")


def _first_problem(error: ValidationError) -> str:
    """Names the first problem, without the input, which may be a hash."""
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
