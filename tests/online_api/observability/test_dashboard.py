"""The Grafana dashboard: Debian's Prometheus scrapes the real API, and every query of the dashboard has a result."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.tools.server_process import free_port

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "tawsiya.json"
CONFIGURATION = ROOT / "deploy" / "prometheus" / "prometheus.yml"
WAIT_SECONDS = 60

Json = dict[str, Any]


def panels() -> list[Json]:
    found: list[Json] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def queries() -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def test_the_dashboard_reads_the_provisioned_source_and_its_panels_do_not_overlap() -> None:
    provisioned = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    [source] = yaml.safe_load(provisioned.read_text(encoding="utf-8"))["datasources"]
    cells = []
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": source["uid"]}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells += [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels()}) == len(panels())


@pytest.mark.store
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus; install Debian's package prometheus")
def test_every_query_has_a_result(client: httpx.Client, tmp_path: Path) -> None:
    with prometheus(tmp_path, client.base_url.netloc.decode()) as server:
        empty, deadline = queries(), time.monotonic() + WAIT_SECONDS
        while empty and time.monotonic() < deadline:
            use_the_shop(client)
            time.sleep(0.5)
            empty = [(title, query) for title, query in empty if not has_result(server, query)]
        assert empty == []


def use_the_shop(client: httpx.Client) -> None:
    for path in ("/v1/buyers/u1/recommendations", "/v1/buyers/nobody/recommendations", "/v1/trending"):
        client.get(path).raise_for_status()
    client.get("/v1/search", params={"q": "قهوة"}).raise_for_status()
    event = {"buyer_id": "observed", "product_id": "p1", "event_type": "view"}
    client.post("/v1/events", json={"events": [event]}).raise_for_status()


def has_result(server: httpx.Client, query: str) -> bool:
    parameters = {"query": query.replace("$__rate_interval", "10s")}
    answer = server.get("/api/v1/query", params=parameters).raise_for_status().json()
    return any(not math.isnan(float(one["value"][1])) for one in answer["data"]["result"])


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """A Prometheus with the shipped configuration, which scrapes `target` every second."""
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s"}
    configuration["rule_files"] = [str(CONFIGURATION.with_name(name)) for name in configuration["rule_files"]]
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    # This API has no keys, and Debian's Prometheus no such field.
    del configuration["scrape_configs"][0]["http_headers"]
    file, port = folder / "prometheus.yml", free_port()
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as server:
                wait_until_ready(server, process)
                yield server
        finally:
            process.terminate()


def wait_until_ready(server: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "prometheus ended"
        try:
            if server.get("/-/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("prometheus is not ready")
