"""A candidate in shadow: callers never notice it, whatever it does, and every comparison is counted."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.settings.api import NEWEST_REFUSED
from feature_repo.store import FeatureStore
from online_api.app import create_app
from online_api.lists.list_request import ListRequest, Payload
from online_api.lists.live_release import LiveRelease
from online_api.lists.shadow import MAX_WAITING, Shadow
from online_api.observability.logs import json_logger
from online_api.runtime import Runtime
from tests.online_api.api_shop import body_of, interaction, wait_for
from tests.online_api.shop_variants import copied, metric, running, with_settings
from tests.online_api.test_hot_swap import write_second_release
from tests.serving import serving
from training.artifacts.gate_verdict import GATE_REFUSED
from training.artifacts.recommender import Recommender
from training.artifacts.release import promote, record_gate
from training.artifacts.release_manifest import MANIFEST

pytestmark = pytest.mark.store

HISTORY = "/v1/buyers/u1/recommendations"
SESSION = {"interactions": [interaction("p1")], "k": 5}
REFUSAL = {"verdict": GATE_REFUSED, "reasons": ["recall fell"], "notes": []}


@pytest.fixture
def shop(config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path) -> Iterator[Runtime]:
    """A copy of the shop with a refused candidate."""
    copy = copied(config, tmp_path / "var")
    candidate = write_second_release(copy, store.schema_hash)
    record_gate(shop_paths(copy).releases, candidate, REFUSAL)
    with running(copy, store) as runtime:
        yield runtime


class Failing:
    """A candidate whose every list fails."""

    def __call__(self, *_: object) -> Payload:
        raise ValueError("the candidate is broken")


def shadow_of(shop: Runtime, log: BytesIO | None = None, **options: Any) -> Shadow:
    settings: dict[str, Any] = {"release": NEWEST_REFUSED, "share": 1.0, "timeout_s": 60.0} | options
    answer = settings.pop("answer", shop.service.answer_beside)
    return Shadow(shop.keeper, answer, shop.metrics, json_logger("info", log or BytesIO()), **settings)


def serve(shop: Runtime, shadow: Shadow | None) -> Any:
    return serving(create_app(shop.config, replace(shop, shadow=shadow)))


def outcome(client: httpx.Client, name: str) -> float:
    return metric(client, f'tawsiya_shadow_total{{outcome="{name}"}}')


def answers(client: httpx.Client) -> list[dict[str, Any]]:
    return [
        body_of(client.get(HISTORY)),
        body_of(client.post("/retrieve", json=SESSION)),
        body_of(client.get("/v1/trending")),
        body_of(client.get("/v1/products/p1/similar")),
        body_of(client.get(f"{HISTORY}?new_only=true&brand=Dallah")),
    ]


def without_times(payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Interactions of a session get the time of the request."""
    return [json.loads(json.dumps(payload), object_hook=lambda one: one | {"timestamp": 0}) for payload in payloads]


@pytest.mark.parametrize("answer", [None, Failing()], ids=["whole", "broken"])
def test_answers_are_those_without_a_shadow(shop: Runtime, answer: Failing | None) -> None:
    with serve(shop, None) as client:
        expected = answers(client)
    shadow = shadow_of(shop, answer=answer or shop.service.answer_beside)
    with serve(shop, shadow) as client:
        assert without_times(answers(client)) == without_times(expected)
        # The lists from a history: of the buyer, of the session, and the filtered one.
        wait_for(lambda: outcome(client, "compared") + outcome(client, "failed") == 3)
        assert outcome(client, "failed") == (0 if answer is None else 3)
        assert metric(client, "tawsiya_shadow_overlap_count") == (3 if answer is None else 0)
        assert body_of(client.get(HISTORY))["release"] == shop.keeper.live.recommender.name


def test_a_comparison_is_logged_with_the_id_of_its_request(shop: Runtime) -> None:
    log = BytesIO()
    candidate = max(path.name for path in shop.paths.releases.iterdir() if not path.is_symlink())
    with serve(shop, shadow_of(shop, log)) as client:
        client.get(HISTORY, headers={"X-Request-ID": "mine-1"})
        wait_for(log.getvalue)
        [line] = [json.loads(text) for text in log.getvalue().splitlines()]
    assert (line["event"], line["request_id"], line["release"]) == ("shadow", "mine-1", candidate)
    # The same vectors; popularity, which differs, has no weight: all five products in the same order.
    assert (line["overlap"], line["rank_biased_overlap"]) == (1, 1)
    assert line["duration_ms"] > 0
    assert "u1" not in json.dumps(line)


def test_the_shadow_list_is_made_from_the_features_of_the_answer(shop: Runtime) -> None:
    [result] = shop.service.answer([ListRequest(buyer_id="u1", new_only=True)])
    assert result.resolved is not None
    assert shop.service.answer_beside(shop.keeper.live, result.resolved) == result.payload


def test_requests_are_dropped_while_the_shadow_is_behind(shop: Runtime) -> None:
    release = threading.Event()

    def slow(*_: object) -> Payload:
        release.wait(30)
        return {"items": []}

    with serve(shop, shadow_of(shop, answer=slow)) as client:
        for _ in range(MAX_WAITING + 10):
            assert client.get(HISTORY).status_code == 200
        assert outcome(client, "dropped") >= 9
        release.set()
        wait_for(lambda: outcome(client, "compared") >= MAX_WAITING)


def test_what_waited_for_too_long_is_dropped(shop: Runtime) -> None:
    with serve(shop, shadow_of(shop, timeout_s=-1.0)) as client:
        client.get(HISTORY)
        wait_for(lambda: outcome(client, "dropped") == 1)
        assert outcome(client, "compared") == 0


def test_only_a_share_is_compared(shop: Runtime) -> None:
    draws = iter([0.5, 0.1, 0.9, 0.29, 0.3])
    with serve(shop, shadow_of(shop, share=0.3, chance=lambda: next(draws))) as client:
        for _ in range(5):
            client.get(HISTORY)
        wait_for(lambda: outcome(client, "compared") == 2)


def test_a_candidate_that_cannot_be_loaded_is_tried_once(shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("online_api.lists.shadow.CANDIDATE_POLL_SECONDS", 0.0)
    candidate = max(path for path in shop.paths.releases.iterdir() if not path.is_symlink())
    manifest = (candidate / MANIFEST).read_text()
    (candidate / "popularity.npy").write_bytes(b"damaged")
    loaded: list[Path] = []
    load = shop.keeper.load_beside

    def noted(folder: Path) -> LiveRelease:
        loaded.append(folder)
        return load(folder)

    monkeypatch.setattr(shop.keeper, "load_beside", noted)
    with serve(shop, shadow_of(shop)) as client:
        for _ in range(3):
            assert client.get(HISTORY).status_code == 200
        wait_for(lambda: outcome(client, "failed") == 3)
    assert loaded == [candidate]
    assert (candidate / MANIFEST).read_text() == manifest


def test_the_live_release_is_no_candidate(shop: Runtime) -> None:
    live = shop.keeper.live.recommender.name
    for name in (live, "nowhere", "../releases", "current"):
        shadow = shadow_of(shop, release=name)
        with serve(shop, shadow) as client:
            before = outcome(client, "no_candidate")
            client.get(HISTORY)
            wait_for(lambda before=before, client=client: outcome(client, "no_candidate") == before + 1)  # type: ignore[misc]


def test_a_candidate_that_goes_live_leaves_the_shadow(shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("online_api.lists.shadow.CANDIDATE_POLL_SECONDS", 0.0)
    candidate = max(path.name for path in shop.paths.releases.iterdir() if not path.is_symlink())
    with serve(shop, shadow_of(shop)) as client:
        client.get(HISTORY)
        wait_for(lambda: outcome(client, "compared") == 1)
        promote(shop.paths.releases, candidate, forced_because="a test")
        client.post("/v1/admin/releases/reload")
        assert body_of(client.get(HISTORY))["release"] == candidate
        wait_for(lambda: outcome(client, "no_candidate") == 1)


def test_the_setting_starts_it(shop: Runtime, store: FeatureStore) -> None:
    assert shop.shadow is None
    config = with_settings(shop.config, api={"shadow_share": 1.0})
    with running(config, store) as runtime, serving(create_app(config, runtime)) as client:
        client.get(HISTORY)
        wait_for(lambda: outcome(client, "compared") == 1)
