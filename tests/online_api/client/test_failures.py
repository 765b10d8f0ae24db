"""What the client does when the service fails: attempts, waits, the fallback, errors."""

import json
import random
import time
from collections.abc import Callable

import httpx
import pytest

from tawsiya_client import ApiError, Client, Event, Policy, ServiceAwayError
from tawsiya_client.fallback import Fallback
from tawsiya_client.models import Item, ProductList

POPULAR = {"release": "r1", "source": "popular", "items": []}
QUICK = Policy(first_wait=0.001, longest_wait=0.002)
Answer = httpx.Response | Exception


class Service:
    """Answers requests with the given answers in turn, then with the last one; keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, policy: Policy = QUICK) -> Client:
        return Client("http://shop", policy=policy, transport=httpx.MockTransport(self))


def ok(body: object = POPULAR) -> httpx.Response:
    return httpx.Response(200, json=body)


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("closed"),
        httpx.Response(500),
        httpx.Response(502, text="<html>"),
        httpx.Response(503),
        httpx.Response(429),
        httpx.Response(200, text="a captive portal"),
    ],
)
def test_what_may_pass_is_tried_again(failure: Answer) -> None:
    service = Service(failure, failure, ok())
    assert service.client().trending().source == "popular"
    assert len(service.requests) == 3 + 1  # and the list to keep


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 415, 422])
def test_a_refusal_is_not_repeated(status: int) -> None:
    service = Service(httpx.Response(status, json={"title": "No", "status": status, "detail": "because"}))
    with pytest.raises(ApiError, match=f"{status} No: because") as raised:
        service.client().trending()
    assert raised.value.status == status
    assert len(service.requests) == 1


def test_a_refusal_that_is_no_problem_json() -> None:
    service = Service(httpx.Response(403, text="the proxy says no"))
    with pytest.raises(ApiError, match="403 Forbidden: the proxy says no"):
        service.client().product("p1")


def test_events_are_repeated_under_the_same_ids() -> None:
    done = {"accepted": 1, "duplicates": 0, "unknown_product": 0, "pending": 0, "rejected": []}
    service = Service(httpx.ReadTimeout("late"), ok(done))
    assert service.client().record([Event(buyer_id="u1", product_id="p1")]).accepted == 1
    first, second = (json.loads(request.content)["events"] for request in service.requests)
    assert first == second
    assert first[0]["event_id"]


def test_the_number_of_attempts_is_limited_and_the_error_has_them_all() -> None:
    service = Service(httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(502))
    with pytest.raises(ServiceAwayError) as raised:
        service.client().search("tea")
    assert raised.value.reasons == ("refused", "status 503", "status 502")
    assert len(service.requests) == 3


def test_no_wait_goes_beyond_the_deadline() -> None:
    service = Service(httpx.Response(503, headers={"Retry-After": "30"}))
    with pytest.raises(ServiceAwayError):
        service.client().search("tea")
    assert len(service.requests) == 1


def test_a_wait_is_random_bounded_and_at_least_what_the_service_asks() -> None:
    random.seed(7)
    policy = Policy(first_wait=0.1, longest_wait=0.3)
    waits = [[policy.wait(attempt, None) for _ in range(200)] for attempt in (1, 2, 3, 9)]
    for bound, drawn in zip((0.1, 0.2, 0.3, 0.3), waits, strict=True):
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound
    assert 2 <= policy.wait(1, "2") <= 2.1
    assert policy.wait(1, "Wed, 21 Oct 2026 07:28:00 GMT") <= 0.1  # a date: ignored


def test_lists_come_from_the_kept_one_while_the_service_is_away() -> None:
    service = Service(ok({**POPULAR, "items": [item("p1"), item("p2")]}))
    client = service.client()
    client.trending()
    service.answers = [httpx.ConnectError("refused")]
    first = client.recommendations("u1", k=1)
    asked = len(service.requests)
    second = client.similar("p9", exclude=["p1"])
    assert (first.source, first.degraded, first.product_ids) == ("fallback", ["service"], ["p1"])
    assert second.product_ids == ["p2"]
    assert len(service.requests) == asked  # not asked again for a while
    with pytest.raises(ServiceAwayError):
        client.product("p1")


def test_a_list_is_not_continued_by_the_kept_one() -> None:
    service = Service(ok({**POPULAR, "items": [item("p1")]}))
    client = service.client()
    client.trending()
    service.answers = [httpx.ConnectError("refused")]
    with pytest.raises(ServiceAwayError):
        client.trending(page="token")


def test_the_service_is_asked_again_after_a_while() -> None:
    service = Service(ok())
    client = service.client(Policy(attempts=1, away_seconds=0.05))
    client.trending()
    service.answers = [httpx.ConnectError("refused")]
    assert client.trending().source == "fallback"
    service.answers = [ok()]
    time.sleep(0.06)
    assert client.trending().source == "popular"


def test_without_a_kept_list_the_error_is_raised() -> None:
    with pytest.raises(ServiceAwayError, match="GET /v1/trending: no answer after 3 attempts"):
        Service(httpx.ConnectError("refused")).client().trending()


def test_a_list_that_cannot_be_kept_fails_no_call() -> None:
    service = Service(ok(), httpx.ConnectError("refused"))
    assert service.client().trending().source == "popular"


def test_the_list_is_fetched_when_it_is_due() -> None:
    now = [0.0]
    fallback = Fallback(300, 2, clock=lambda: now[0])
    due = [fallback.take_turn(), fallback.take_turn()]  # the second caller leaves it to the first
    fallback.keep(ProductList.model_validate(POPULAR))
    for seconds in (299, 301):
        now[0] = seconds
        due.append(fallback.take_turn())
    assert due == [True, False, False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Policy(seconds=0), "seconds must be positive"),
        (lambda: Policy(attempts=0), "attempts at least 1"),
        (lambda: Client("http://shop", "key", buyer_token="token"), "give one of them"),
    ],
)
def test_wrong_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_who_calls() -> None:
    service = Service(ok())
    transport = httpx.MockTransport(service)
    for client in (
        Client("http://shop", "tw_1", transport=transport),
        Client("http://shop", buyer_token="ey1", transport=transport),
        Client("http://shop", transport=transport),
    ):
        client.trending()
    headers = [(request.headers.get("X-API-Key"), request.headers.get("Authorization")) for request in service.requests]
    assert headers[::2] == [("tw_1", None), (None, "Bearer ey1"), (None, None)]


def test_a_service_of_0_1_0_lacks_the_later_terms() -> None:
    older = item("p1")
    older["score_parts"] = {"similarity": 0.5, "popularity": 0.25, "repeat": 0, "words": 0, "rules": 0}
    parts = Item.model_validate(older).score_parts
    assert (parts.closeness, parts.co_occurrence) == (0, 0)


def item(product_id: str) -> dict[str, object]:
    parts = dict.fromkeys(("similarity", "popularity", "repeat", "co_occurrence", "closeness", "words", "rules"), 0.0)
    return {"product_id": product_id, "source": "popular", "title": product_id, "score": 0.0, "score_parts": parts}
