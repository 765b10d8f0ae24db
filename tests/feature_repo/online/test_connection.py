"""The text of $TAWSIYA_REDIS, and what is said about one that cannot be used."""

from pathlib import Path

import pytest
from feast.infra.online_stores.redis import RedisOnlineStore

from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError
from feature_repo.online.connection import read_connection
from feature_repo.store import feature_store

TIMEOUTS = {"socket_connect_timeout": 1, "socket_timeout": 10}


def options(text: str) -> dict[str, object]:
    """The options that the client of Redis gets."""
    _, given = RedisOnlineStore._parse_connection_string(read_connection(text).as_feast())
    return {name: value for name, value in given.items() if TIMEOUTS.get(name) != value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r:1", {}),
        (" r:1 ", {}),
        ("r:1,", {}),
        ("r:1, password=x", {"password": "x"}),
        ("r:1 , password = x , db = 2 ", {"password": "x", "db": 2}),
        ("r:1,password=", {"password": ""}),
        ('r:1,"password=a,b"', {"password": "a,b"}),
        ('r:1, "password=a,b" ,db=3', {"password": "a,b", "db": 3}),
        ('r:1,"password=say ""no"", now"', {"password": 'say "no", now'}),
        ('r:1,password="quoted"', {"password": '"quoted"'}),
        ("r:1,password=a=b", {"password": "a=b"}),
        ("r:1,password=123,username=true", {"password": "123", "username": "true"}),
        ("r:1,ssl=true,ssl_check_hostname=False", {"ssl": True, "ssl_check_hostname": False}),
        ("r:1,socket_timeout=0.5", {"socket_timeout": 0.5}),
    ],
)
def test_options(text: str, expected: dict[str, object]) -> None:
    assert options(text) == expected


def test_a_cluster_has_several_servers() -> None:
    assert read_connection("a:1, b:2 ,password=x").servers == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("r:1,passwrd=secret", "TAWSIYA_REDIS: unknown option passwrd (known: client_name, db, "),
        ("r:1,db=secret", "TAWSIYA_REDIS: the option db must be a number"),
        ("r:1,ssl=secret", "TAWSIYA_REDIS: the option ssl must be true or false"),
        ("r:1,password=a,secret", "TAWSIYA_REDIS: part 3 is neither host:port nor option=value; put an option"),
        ('r:1,"password=a,secret', 'TAWSIYA_REDIS: unknown option "password (known: '),
        ("secret", "(it does not begin with host:port)"),
        (" ", "(it is empty)"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_value(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_connection(text)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_unknown_type_of_server_is_refused(tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": tmp_path, "feature_store": {"online": "redis"}})
    environ = {"TAWSIYA_REDIS": "r:1", "TAWSIYA_REDIS_TYPE": "cluster"}
    with pytest.raises(ConfigError, match="TAWSIYA_REDIS_TYPE is 'cluster'"), feature_store(config, environ):
        pass
