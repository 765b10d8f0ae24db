"""docker-compose.yml: by its schema, and against what it runs and mounts. There is no Docker engine to start it."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from jsonschema.validators import validator_for

from feature_repo.access.buyer_tokens import token_secrets
from feature_repo.common.config_loading import SECRET_VARIABLES, load_config
from feature_repo.online.connection import read_connection
from tests.deploy.commands import require_command
from tests.deploy.test_dockerfile import IMAGES

ROOT = Path(__file__).parents[2]
PROFILES = {"core", "gpu", "batch", "gpu-batch", "observability"}
Service = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


def ours(services: dict[str, Service]) -> Iterator[tuple[str, Service]]:
    return ((name, service) for name, service in services.items() if "build" in service)


def test_it_follows_the_schema(compose: dict[str, Any]) -> None:
    schemas = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    validator = validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    broken = compose | {"services": compose["services"] | {"api": {"imag": "x"}}}
    assert list(validator.iter_errors(broken)) != []


def test_every_service_is_hardened_and_limited(services: dict[str, Service]) -> None:
    assert {profile for service in services.values() for profile in service["profiles"]} == PROFILES
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert "healthcheck" in service or name.startswith("batch"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    for name in ("api-gpu", "batch-gpu"):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["capabilities"], services[name]["environment"]["TAWSIYA__INFERENCE__DEVICE"]) == (
            ["gpu"],
            "cuda",
        )


def test_what_is_mounted_exists_and_is_read_only(compose: dict[str, Any], services: dict[str, Service]) -> None:
    for name, service in services.items():
        for mount in service["volumes"]:
            source, _, *mode = mount.split(":")
            if source.startswith("./"):
                assert mode == ["ro"], (name, mount)
                assert (ROOT / source).is_dir() or source == "./data"
            else:
                assert source in compose["volumes"]
        assert set(service.get("secrets", ())) <= compose["secrets"].keys()
        for network in service["networks"]:
            assert network in compose["networks"]


def test_it_runs_real_commands_with_a_valid_configuration(
    compose: dict[str, Any], services: dict[str, Service], tmp_path: Path
) -> None:
    assert {service["build"]["target"] for _, service in ours(services)} == set(IMAGES)
    for name, service in ours(services):
        require_command(service["command"])
        variables = {
            key: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(value)) for key, value in service["environment"].items()
        }
        config = load_config(ROOT / service["command"][2], environ=variables)
        assert (config.feature_store.online, config.api.host) == ("redis", "0.0.0.0"), name
        files = {key.removesuffix("_FILE"): path for key, path in variables.items() if key.endswith("_FILE")}
        assert files.keys() <= set(SECRET_VARIABLES)
        assert {f"/run/secrets/{secret}" for secret in service["secrets"]} == set(files.values())
        assert "TAWSIYA_REDIS" not in variables


def test_the_script_writes_every_secret_once(compose: dict[str, Any], tmp_path: Path) -> None:
    script = ROOT / "deploy" / "make_secrets.sh"
    subprocess.run([script], cwd=tmp_path, check=True, timeout=30)
    files = {name: tmp_path / secret["file"] for name, secret in compose["secrets"].items()}
    assert set(files.values()) == set((tmp_path / "secrets").iterdir())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in files.values())
    content = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    subprocess.run([script], cwd=tmp_path, check=True, timeout=30, capture_output=True)
    assert {name: path.read_text(encoding="utf-8") for name, path in files.items()} == content

    assert len(token_secrets({"TAWSIYA_BUYER_TOKEN_SECRETS": content["buyer_token_secrets"].strip()})) == 1
    address = re.fullmatch(r"redis:6379,username=tawsiya,password=([0-9a-f]{48})\n", content["redis_address"])
    assert address
    read_connection(content["redis_address"].strip())
    off, on = content["redis_acl"].splitlines()
    assert off == "user default off"
    assert on.startswith(f"user tawsiya on >{address[1]} ~*tawsiya_* ")
    # The rights are those of the documentation, which tests/parity runs.
    documented = re.search(r"ACL SETUSER tawsiya on '>PASSWORD' (.*)", (ROOT / "docs/operations.md").read_text())
    assert documented
    assert on.split()[4:] == documented[1].split()
