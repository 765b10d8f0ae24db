"""Start, failure and documentation of the service."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from api_shop import serving

from feature_repo.config import Config
from feature_repo.paths import shop_paths
from feature_repo.store import FeatureStore
from online_api.app import CONFIG_VARIABLE, app_from_environment, create_app
from online_api.event_log import EventLog
from online_api.service import RecommendationService, open_service
from training.artifacts.recommender import Recommender, SchemaMismatchError


def test_docs_come_from_this_server_alone(client: httpx.Client) -> None:
    page = client.get("/docs").text
    assert "http" not in page
    assets = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(assets) == 3
    for asset in assets:
        assert client.get(asset).status_code == 200
    assert 'VERSION:"5.' in client.get("/docs/assets/swagger-ui-bundle.js").text  # OpenAPI 3.1 needs Swagger UI 5
    assert client.get("/redoc").status_code == 404


def test_openapi_describes_routes_limits_and_examples(client: httpx.Client) -> None:
    api = client.get("/openapi.json").json()
    assert set(api["paths"]) == {
        "/encode_buyer",
        "/retrieve",
        "/health",
        "/v1/events",
        "/v1/buyers/{buyer_id}/recommendations",
    }
    k = api["components"]["schemas"]["RetrieveRequest"]["properties"]["k"]
    assert (k["minimum"], k["maximum"], k["default"]) == (1, 100, 10)
    event = api["components"]["schemas"]["EventsRequest"]["properties"]["events"]["items"]
    assert event["required"] == ["buyer_id", "product_id", "event_type"]
    assert event["examples"]


def test_a_release_for_other_features_does_not_start(config: Config, recommender: Recommender) -> None:
    shorter = {"buyer_tower": {"max_interaction_history": 50}}
    other = Config.model_validate(config.model_dump() | {"model": shorter})
    with pytest.raises(SchemaMismatchError, match="tawsiya refresh"), open_service(other):
        pass


def test_a_shop_without_a_release_does_not_start(config: Config, tmp_path: Path) -> None:
    empty = Config.model_validate(config.model_dump() | {"data_dir": tmp_path})
    with pytest.raises(FileNotFoundError, match="tawsiya refresh"), open_service(empty):
        pass


def test_without_redis_the_answers_say_so(config: Config, recommender: Recommender, tmp_path: Path) -> None:
    store = FeatureStore(config, shop_paths(config), f"127.0.0.1:{_free_port()}", "redis")
    service = RecommendationService(config, store, recommender, EventLog(tmp_path))
    event = {"event_id": "e1", "buyer_id": "u1", "product_id": "p1", "event_type": "view"}
    with serving(create_app(config, service)) as client:
        started = time.monotonic()
        health = client.get("/health")
        assert time.monotonic() - started < 1
        asked = client.get("/v1/buyers/u1/recommendations")
        told = client.post("/v1/events", json={"events": [event]})
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        for answer in (asked, told):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert "127.0.0.1" not in answer.text
        session = {"interactions": [{"product_id": "p1", "event_type": "view"}]}
        assert client.post("/retrieve", json=session).status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_unexpected_errors_say_nothing_of_themselves(
    config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "secret-folder"
    blocked.touch()
    service = RecommendationService(config, store, recommender, EventLog(blocked))
    event = {"buyer_id": "u1", "product_id": "p1", "event_type": "view"}
    with serving(create_app(config, service)) as client:
        answer = client.post("/v1/events", json={"events": [event]})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret-folder" not in answer.text
    assert answer.json()["request_id"] in caplog.text


SERVE = """
import sys
from feature_repo.config import Config
from online_api.app import serve

if __name__ == "__main__":
    serve(Config.model_validate_json(sys.argv[1]))
"""


def test_a_worker_opens_the_shop_of_its_environment(
    config: Config, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, config.model_dump_json())
    with serving(app_from_environment()) as client:
        assert client.get("/v1/buyers/u2/recommendations").json()["source"] == "personalised"


def test_serve_ends_cleanly_on_sigterm(
    config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path
) -> None:
    port = _free_port()
    api = {"port": port, "workers": 1}
    content = json.dumps(config.model_dump(mode="json") | {"api": api})
    script = tmp_path / "serve_shop.py"
    script.write_text(SERVE)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        [sys.executable, script, content], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/health")
        finally:
            server.send_signal(signal.SIGTERM)
            out, err = server.communicate(timeout=30)
    assert server.returncode == 0, err  # and not -SIGTERM: the store was closed
    assert out == ""
    assert f"no keys yet): whoever reaches http://127.0.0.1:{port} may use it" in err


def test_a_taken_port_is_a_failure_that_says_what_to_do(
    config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        api = {"port": taken.getsockname()[1], "workers": 1}
        script = tmp_path / "serve_shop.py"
        script.write_text(SERVE)
        content = json.dumps(config.model_dump(mode="json") | {"api": api})
        environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
        server = subprocess.run(
            [sys.executable, script, content], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert server.returncode == 1, server.stderr
    assert "choose another one with --set api.port=" in server.stderr


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert httpx.get(url).json()["status"] == "ok"
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
