"""The address of a Redis server as people write it in $TAWSIYA_REDIS: host:port,option=value,...

Blanks around the parts do not count. An option whose value holds a comma stands in double quotes as a whole, and a
double quote within them is doubled: redis:6379,"password=a,b".
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from feature_repo.common.errors import ConfigError

REDIS_VARIABLE = "TAWSIYA_REDIS"
# Seconds. Without time-outs a silent server would block a command for ever.
TIMEOUTS = {"socket_connect_timeout": 1, "socket_timeout": 10}

OptionValue = str | int | float | bool

PART = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,]*?))\s*(?:,|$)', re.DOTALL)
SERVER = re.compile(r"[^=:,/\s]+:\d+")
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError
    return text


# Options of redis-py that a text can express, each with what reads its value.
OPTIONS: dict[str, Callable[[str], OptionValue]] = {
    "client_name": str,
    "db": int,
    "health_check_interval": _number,
    "max_connections": int,
    "password": str,
    "protocol": int,
    "retry_on_timeout": lambda text: BOOLEANS[text.lower()],
    "socket_connect_timeout": _number,
    "socket_keepalive": lambda text: BOOLEANS[text.lower()],
    "socket_timeout": _number,
    "ssl": lambda text: BOOLEANS[text.lower()],
    "ssl_ca_certs": _file,
    "ssl_ca_path": str,
    "ssl_cert_reqs": str,
    "ssl_certfile": _file,
    "ssl_check_hostname": lambda text: BOOLEANS[text.lower()],
    "ssl_ciphers": str,
    "ssl_keyfile": _file,
    "ssl_password": str,
    "username": str,
}


class RedisConnection(NamedTuple):
    """Where a Redis server is and how to connect to it.

    Attributes:
        servers: host:port; several for a cluster.
        options: Options of redis-py.
    """

    servers: tuple[str, ...]
    options: Mapping[str, OptionValue]

    def as_feast(self, **overrides: OptionValue) -> str:
        """Feast's connection string, with time-outs; `overrides` replace options."""
        options = TIMEOUTS | dict(self.options) | overrides
        # Feast splits at commas and reads values as JSON, which can spell a comma without one; without quotes the
        # password 123 would become a number.
        texts = (f"{name}={json.dumps(value)}".replace(",", "\\u002c") for name, value in options.items())
        return ",".join([*self.servers, *texts])


def read_connection(text: str) -> RedisConnection:
    """Reads the value of $TAWSIYA_REDIS.

    Raises:
        ConfigError: It is not usable. The message holds no value of an option, which may be a password.
    """
    parts = [quoted.replace('""', '"') or plain for quoted, plain in PART.findall(text.strip())]
    # The pattern also matches the empty end.
    parts = [part for part in parts if part]
    if not parts or not SERVER.fullmatch(parts[0]):
        raise ConfigError(
            f"feature_store.online is `redis`: set ${REDIS_VARIABLE} to host:port[,option=value...], such as "
            f"redis:6379 (it {'does not begin with host:port' if parts else 'is empty'}), or use `embedded`"
        )
    servers, options = [], {}
    for place, part in enumerate(parts, 1):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if SERVER.fullmatch(part):
            servers.append(part)
        elif sign:
            options[name] = _option(name, value)
        else:
            raise ConfigError(
                f"{REDIS_VARIABLE}: part {place} is neither host:port nor option=value; put an option whose value "
                'holds a comma in double quotes as a whole: "password=..."'
            )
    return RedisConnection(tuple(servers), options)


def _option(name: str, value: str) -> OptionValue:
    if name not in OPTIONS:
        raise ConfigError(f"{REDIS_VARIABLE}: unknown option {name} (known: {', '.join(OPTIONS)})")
    try:
        return OPTIONS[name](value)
    except (ValueError, KeyError):
        wanted = {int: "a number", _number: "a number", _file: "an existing file"}.get(OPTIONS[name], "true or false")
        raise ConfigError(f"{REDIS_VARIABLE}: the option {name} must be {wanted}") from None
