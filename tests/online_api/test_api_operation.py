"""Start, end, failure and documentation of the service."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError, OtherSchemaError
from feature_repo.common.paths import shop_paths
from online_api.runtime import open_runtime
from online_api.schemas.responses import Health
from online_api.server import serve
from tests.online_api.api_shop import body_of, problem_of, wait_for
from tests.online_api.shop_variants import copied, in_folder, make_key, metric, redis_answers, with_settings
from tests.processes import Command, tawsiya
from training.artifacts.recommender import Recommender, SchemaMismatchError
from training.artifacts.release import current_release

pytestmark = pytest.mark.e2e

SCRIPT = Path(sys.executable).with_name("tawsiya")
FAILED, BAD_USAGE = 1, 2


# ---- documentation ---------------------------------------------------------------------------------------------------


def test_docs_come_from_this_server_alone(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "http" not in page
    assets = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(assets) == 3
    for asset in assets:
        assert client.get(asset).status_code == 200
    assert 'VERSION:"5.' in client.get("/docs/assets/swagger-ui-bundle.js").text  # OpenAPI 3.1 needs Swagger UI 5
    assert client.get("/redoc").status_code == 404


@pytest.fixture(scope="module")
def api(client: httpx.Client) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def test_openapi_has_every_route(api: dict[str, Any]) -> None:
    assert set(api["paths"]) == {
        "/encode_buyer",
        "/retrieve",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/events",
        "/v1/recommendations",
        "/v1/buyers/{buyer_id}/recommendations",
        "/v1/buyers/{buyer_id}/again",
        "/v1/buyers/{buyer_id}/recent",
        "/v1/buyers/{buyer_id}/merge",
        "/v1/cart",
        "/v1/products/{product_id}",
        "/v1/products/{product_id}/similar",
        "/v1/products/{product_id}/bought-together",
        "/v1/trending",
        "/v1/new",
        "/v1/on-sale",
        "/v1/search",
        "/v1/suggestions",
        "/v1/inspect/buyers/{buyer_id}",
        "/v1/inspect/buyers/{buyer_id}/compare",
        "/v1/inspect/products/{product_id}",
        "/v1/inspect/products/{product_id}/compare",
        "/v1/inspect/search",
        "/v1/inspect/map",
        "/v1/admin/releases",
        "/v1/admin/releases/reload",
        "/v1/admin/releases/rollback",
    }


def test_openapi_names_limits_and_examples(api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    k = schemas["RetrieveRequest"]["properties"]["k"]
    assert (k["minimum"], k["maximum"], k["default"]) == (1, 100, 10)
    assert schemas["RecommendationRequest"]["properties"]["exclude"]["maxItems"] == 1000
    assert schemas["Event"]["required"] == ["buyer_id", "product_id", "event_type"]
    assert schemas["Event"]["properties"]["event_type"]["enum"] == ["view", "add_to_cart", "purchase", "refund"]
    for name in ("Event", "Interaction", "RetrieveRequest", "RecommendationRequest"):
        assert schemas[name]["examples"], name


def test_openapi_describes_errors_as_problems(api: dict[str, Any]) -> None:
    """Each route names its errors, all of one form, and nothing in the document points nowhere."""
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            for answer in errors.values():
                assert answer["content"] == {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }
            if operation.get("security"):
                assert {"401", "403", "429"} <= set(errors), path
            if method == "post" and "requestBody" in operation:
                assert {"408", "413", "422"} <= set(errors), path
    schemas = api["components"]["schemas"]
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(api)))
    assert references <= {f"#/components/schemas/{name}" for name in schemas}
    assert "HTTPValidationError" not in schemas  # FastAPI's form of what is a Problem here


# ---- what cannot be served -------------------------------------------------------------------------------------------


def test_a_release_for_other_features_does_not_start(config: Config, recommender: Recommender) -> None:
    assert recommender
    other = with_settings(config, model={"buyer_tower": {"max_interaction_history": 50}})
    with pytest.raises(SchemaMismatchError, match="tawsiya refresh"), open_runtime(other):
        pass


def test_a_store_of_another_version_does_not_start(config: Config, recommender: Recommender, tmp_path: Path) -> None:
    assert recommender
    shop = copied(config, tmp_path / "var")
    with open_runtime(shop) as runtime:  # an empty store is no obstacle
        runtime.online.redis.set(f"{runtime.store.shop}:materialized_at", 1)
    with pytest.raises(OtherSchemaError, match="`tawsiya materialize --full`"), open_runtime(shop):
        pass


def test_a_shop_without_a_release_does_not_start(config: Config, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="tawsiya refresh"), open_runtime(in_folder(config, tmp_path)):
        pass


def test_a_damaged_release_does_not_start(config: Config, recommender: Recommender, tmp_path: Path) -> None:
    assert recommender
    shop = copied(config, tmp_path / "var")
    folder = current_release(shop_paths(shop).releases)
    assert folder is not None
    (folder / "products.arrow").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"is damaged: products\.arrow"), open_runtime(shop):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "shop.example"])
def test_without_keys_no_other_machine_is_listened_to(config: Config, host: str) -> None:
    with pytest.raises(ConfigError, match="tawsiya keys create"):
        serve(with_settings(config, api={"host": host}))


# ---- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(config: Config, recommender: Recommender, tmp_path: Path) -> Config:
    """A copy of the shop, with an embedded store of its own and on a free port."""
    assert recommender
    return with_settings(copied(config, tmp_path / "var"), api={"port": free_port()})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command_line(config: Config, folder: Path, *settings: str) -> list[str]:
    """`serve` with this configuration."""
    path = folder / "config.yaml"
    path.write_text(config.model_dump_json())  # which is YAML too
    return ["serve", "--config", str(path), *(word for setting in settings for word in ("--set", setting))]


def wait_until_healthy(config: Config, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120  # importing everything, once for each process, takes long on a busy machine
    while True:
        assert alive(), "the server ended before it answered"
        with suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{config.api.port}/livez").raise_for_status()
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def embedded_port(config: Config) -> int:
    record = json.loads((shop_paths(config).redis / "server.json").read_text())
    return int(record["port"])


def test_sigterm_ends_it_cleanly_and_closes_the_store(shop: Config, tmp_path: Path) -> None:
    server = Command(tmp_path, *command_line(shop, tmp_path))
    try:
        wait_until_healthy(shop, server.process.is_alive)
        health = httpx.get(f"http://127.0.0.1:{shop.api.port}/health")
        assert body_of(health, Health)["feature_store"] == "ok"
        assert "uvicorn" not in str(health.headers)
    finally:
        server.process.terminate()
        finished = server.finish()
    assert finished.code == 0, finished.stderr  # and not -SIGTERM
    assert finished.stdout == ""
    assert not redis_answers(embedded_port(shop))
    (warning,) = [line for line in finished.stderr.splitlines() if "THE API IS OPEN" in line]
    assert f"http://127.0.0.1:{shop.api.port}" in warning


def test_with_keys_there_is_no_warning_and_any_address_will_do(shop: Config, tmp_path: Path) -> None:
    headers = make_key(shop, "shop", [Scope.READ])
    server = Command(tmp_path, *command_line(shop, tmp_path, "api.host=0.0.0.0"))
    url = f"http://127.0.0.1:{shop.api.port}/v1/trending"
    try:
        wait_until_healthy(shop, server.process.is_alive)
        assert [httpx.get(url).status_code, httpx.get(url, headers=headers).status_code] == [401, 200]
    finally:
        server.process.terminate()
        finished = server.finish()
    assert finished.code == 0, finished.stderr
    assert "THE API IS OPEN" not in finished.stderr


def test_draining_drops_no_request(shop: Config, tmp_path: Path) -> None:
    """A load balancer that asks /readyz sends no request into the void, on old connections or new ones."""
    server = Command(tmp_path, *command_line(shop, tmp_path, "api.drain_seconds=3"))
    url = f"http://127.0.0.1:{shop.api.port}"
    answers: list[httpx.Response] = []
    try:
        wait_until_healthy(shop, server.process.is_alive)
        with httpx.Client(base_url=url, timeout=30) as kept:
            assert kept.get("/readyz").status_code == 200
            server.process.terminate()
            while (ready := kept.get("/readyz")).status_code == 200:
                answers += [kept.get("/v1/trending"), httpx.get(f"{url}/v1/trending")]
            # What is still on its way while the load balancer hears of it.
            answers += [kept.get("/v1/trending"), httpx.get(f"{url}/v1/trending"), httpx.get(f"{url}/livez")]
    finally:
        finished = server.finish()
    assert "about to stop" in problem_of(ready, 503)["detail"]
    assert {answer.status_code for answer in answers} == {200}
    assert ready.headers["connection"] == answers[-1].headers["connection"] == "close"
    assert finished.code == 0, finished.stderr
    assert "draining for 3 s" in finished.stderr


def test_a_second_sigterm_ends_draining(shop: Config, tmp_path: Path) -> None:
    server = Command(tmp_path, *command_line(shop, tmp_path, "api.drain_seconds=300"))
    try:
        wait_until_healthy(shop, server.process.is_alive)
        server.process.terminate()
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{shop.api.port}/readyz").status_code == 503)
    finally:
        server.process.terminate()
        finished = server.finish()
    assert finished.code == 0, finished.stderr


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_port_is_a_failure_that_says_what_to_do(shop: Config, tmp_path: Path, workers: int) -> None:
    with taken(shop.api.port):
        finished = tawsiya(tmp_path, *command_line(shop, tmp_path, f"api.workers={workers}"))
    assert finished.code == FAILED, finished.stderr
    assert "choose another one with --set api.port=" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("api.host=0.0.0.0", BAD_USAGE, "make one with `tawsiya keys create"),
        ("model.buyer_tower.max_interaction_history=50", FAILED, "run `tawsiya refresh`"),
        ("data.source=grocery", FAILED, "no release is live"),
    ],
)
def test_errors_of_the_start_are_one_line_and_an_exit_code(
    shop: Config, tmp_path: Path, setting: str, code: int, message: str
) -> None:
    finished = tawsiya(tmp_path, *command_line(shop, tmp_path, setting))
    assert (finished.code, finished.stdout) == (code, "")
    (line,) = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in finished.stderr


@pytest.mark.processes
def test_two_workers_answer_and_their_metrics_add_up(shop: Config, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{shop.api.port}"
    with open_script(tmp_path, *command_line(shop, tmp_path, "api.workers=2")) as server:
        wait_until_healthy(shop, lambda: server.poll() is None)
        with httpx.Client(base_url=url, timeout=30) as client:
            wait_for(lambda: metric(client, 'tawsiya_release_loads_total{outcome="loaded"}') == 2)
        children = [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]
        for _ in range(20):  # each over a connection of its own, which either of them accepts
            assert body_of(httpx.get(f"{url}/v1/trending"))["source"] == "popular"
        with httpx.Client(base_url=url, timeout=30) as client:
            wait_for(lambda: metric(client, 'tawsiya_answers_total{source="popular"}') == 20)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0, (tmp_path / "stderr.txt").read_text()
    assert len(children) >= 2
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert not redis_answers(embedded_port(shop))


@contextmanager
def open_script(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The installed script: uvicorn's workers may not be children of a fork of ours, which is a daemon."""
    with (folder / "stderr.txt").open("wb") as stderr:
        process = subprocess.Popen([SCRIPT, *arguments], cwd=folder, stderr=stderr)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
