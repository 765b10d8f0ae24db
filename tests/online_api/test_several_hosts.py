"""Two services with releases of their own change over to the release of a third machine, one after the other."""

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
from tests.online_api.api_shop import wait_for
from tests.online_api.shop_variants import copied, in_folder, with_settings
from tests.online_api.shoppers import Shoppers, get
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


def test_services_on_several_hosts_change_over_without_a_mixed_answer(
    hosts: list[Host], batch: Batch, tmp_path: Path
) -> None:
    command = ["release", "pull", "--from", str(batch.releases), "--promote", "--json"]
    seen = [Counter[str]() for _ in hosts]

    def fault(number: int, answer: httpx.Response) -> str | None:
        if answer.status_code != 200:
            return f"{answer.status_code}: {answer.text}"
        body = answer.json()
        release = body["release"]
        seen[number][release] += 1
        # All titles of the new release are marked, and none of the old one: an answer of both would show.
        if {item["title"].endswith(MARK) for item in body["items"]} != {release == batch.new}:
            return f"{release} gave {[item['title'] for item in body['items']]}"
        return None

    def wait_until_seen(number: int, release: str) -> None:
        wait_for(lambda: seen[number][release] or shoppers.faults, PATIENCE_S)

    with Shoppers([host.url for host in hosts], [get(path) for path in PATHS], fault) as shoppers:
        for number in range(2):
            wait_until_seen(number, batch.old)
        promote(batch.releases, batch.new)
        for number, host in enumerate(hosts):
            assert seen[number][batch.new] == 0, "it changed over by itself"
            work = tmp_path / f"pull-{number}"
            work.mkdir()
            answer = tawsiya(work, *host.command(*command)).answer
            assert (answer["release"], answer["live"]) == (batch.new, True)
            assert answer["linked"] > answer["files"] / 2, "most files are those of the first release"
            wait_until_seen(number, batch.new)
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
