"""Two services with releases of their own change over to the release of a third machine, one after the other."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from tests.online_api.shop_variants import copied, in_folder, with_settings
from tests.online_api.test_api_operation import command_line, free_port, wait_until_healthy
from tests.online_api.test_hot_swap import MARK, write_second_release
from tests.processes import Command, tawsiya
from tests.valkey_server import ValkeyServer
from training.artifacts.recommender import Recommender
from training.artifacts.release import current_release, promote
from training.artifacts.replication.release_copies import pull
from training.artifacts.replication.release_store import ReleaseStore

pytestmark = [pytest.mark.e2e, pytest.mark.processes]

PATIENCE_S = 60
PATHS = ("/v1/buyers/u1/recommendations", "/v1/trending", "/v1/products/p1/similar")


class Host(NamedTuple):
    """A machine with a service: its folder and configuration."""

    folder: Path
    config: Config

    def command(self, *words: str) -> list[str]:
        """A command line on this machine."""
        return [*words, "--config", command_line(self.config, self.folder)[2]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config.api.port}"


class Batch(NamedTuple):
    """The machine of the batch jobs: where its releases are, and the names of both."""

    releases: Path
    old: str
    new: str


@pytest.fixture
def batch(config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path) -> Batch:
    copy = copied(config, tmp_path / "batch")
    return Batch(shop_paths(copy).releases, recommender.name, write_second_release(copy, store.schema_hash))


@pytest.fixture
def redis(config: Config, store: FeatureStore, tmp_path: Path) -> Iterator[ValkeyServer]:
    """The online store that all machines use, with the features of the shop."""
    (tmp_path / "valkey").mkdir()
    server = ValkeyServer(tmp_path / "valkey")
    try:
        FeatureStore(config, shop_paths(config), server.connection, "redis").materialize(full=True)
        yield server
    finally:
        server.kill()


@pytest.fixture
def hosts(config: Config, batch: Batch, redis: ValkeyServer, tmp_path: Path) -> Iterator[list[Host]]:
    """Two services on machines that have the live release and nothing else of the shop."""
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".env").write_text(f"TAWSIYA_REDIS={redis.connection}\n")
        elsewhere = in_folder(config, tmp_path / name / "var")
        host = with_settings(elsewhere, feature_store={"online": "redis"}, api={"port": free_port()})
        releases = shop_paths(host).releases
        promote(releases, pull(releases, ReleaseStore(str(batch.releases)))["release"])
        made.append(Host(tmp_path / name, host))
    with ExitStack() as stack:
        for one in made:
            server = Command(one.folder, *command_line(one.config, one.folder))
            stack.callback(server.process.join, 30)
            stack.callback(server.process.terminate)
            wait_until_healthy(one.config, server.process.is_alive)
        yield made


class Shoppers:
    """Threads that ask one service each, and note what is wrong with its answers."""

    def __init__(self, hosts: list[Host], batch: Batch) -> None:
        self._batch = batch
        self.errors: list[str] = []
        self.seen = [Counter[str]() for _ in hosts]
        self.changed = threading.Condition()
        self._leave = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=pair) for pair in enumerate(hosts)]

    def __enter__(self) -> "Shoppers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, number: int, release: str) -> None:
        """Until the service has answered from the release."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.seen[number][release] or self.errors, PATIENCE_S), (
                "no such answer"
            )

    def _ask(self, number: int, host: Host) -> None:
        with httpx.Client(base_url=host.url, timeout=30) as client:
            while not self._leave.is_set():
                for path in PATHS:
                    try:
                        self._note(number, path, client.get(path))
                    except httpx.HTTPError as error:
                        self.errors.append(f"{path}: {error!r}")
                        return

    def _note(self, number: int, path: str, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            self.errors.append(f"{path}: {answer.status_code}")
            return
        body = answer.json()
        release = body["release"]
        # All titles of the new release are marked, and none of the old one: an answer of both would show.
        if {item["title"].endswith(MARK) for item in body["items"]} != {release == self._batch.new}:
            self.errors.append(f"{path}: {release} gave {[item['title'] for item in body['items']]}")
        with self.changed:
            self.seen[number][release] += 1
            self.changed.notify_all()


def test_services_on_several_hosts_change_over_without_a_mixed_answer(
    hosts: list[Host], batch: Batch, tmp_path: Path
) -> None:
    command = ["release", "pull", "--from", str(batch.releases), "--promote", "--json"]
    with Shoppers(hosts, batch) as shoppers:
        for number in range(2):
            shoppers.wait_for(number, batch.old)
        promote(batch.releases, batch.new)
        for number, host in enumerate(hosts):
            assert shoppers.seen[number][batch.new] == 0, "it changed over by itself"
            work = tmp_path / f"pull-{number}"
            work.mkdir()
            answer = tawsiya(work, *host.command(*command)).answer
            assert (answer["release"], answer["live"]) == (batch.new, True)
            assert answer["linked"] > answer["files"] / 2, "most files are those of the first release"
            shoppers.wait_for(number, batch.new)
    assert shoppers.errors == []
    for host in hosts:
        health = httpx.get(f"{host.url}/health").json()
        assert (health["status"], health["feature_store"]) == ("ok", "ok")
        live = current_release(shop_paths(host.config).releases)
        assert live is not None
        assert live.name == batch.new

    # A second pull has nothing to do, and a roll-back is each host's own.
    (tmp_path / "again").mkdir()
    assert tawsiya(tmp_path / "again", *hosts[0].command(*command)).answer["bytes"] == 0
    assert tawsiya(tmp_path / "again", *hosts[0].command("release", "rollback", "--json")).answer == {"live": batch.old}
