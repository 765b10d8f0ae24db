"""Returns: which purchases they take back."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.returns import taken_back
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import HEADER, kept_events, quarantined, shop

PRODUCTS = "id,title\np1,قهوة\np2,Mug\n"
QUANTITIES = HEADER.replace("\n", ",quantity\n")


def brute_force(pieces: list[int | None]) -> list[bool]:
    """The same with one entry per piece."""
    owned: list[int] = []  # the purchase of each piece that the buyer has, in the order bought
    taken = [False] * len(pieces)
    for position, number in enumerate(pieces):
        if number is not None and number > 0:
            owned += [position] * number
            continue
        taken[position] = bool(owned)
        given_back = owned.count(owned[-1]) if number is None and owned else -(number or 0)
        for _ in range(given_back):
            if owned:
                purchase = owned.pop()
                taken[purchase] = purchase not in owned
    return taken


@given(st.lists(st.one_of(st.integers(1, 4), st.integers(-5, -1), st.none()), max_size=12))
def test_returns_take_the_latest_pieces_first(pieces: list[int | None]) -> None:
    assert taken_back(pieces) == brute_force(pieces)


@pytest.mark.parametrize(
    ("pieces", "taken"),
    [
        ([1, None], [True, True]),
        ([3, -1], [False, True]),  # a part of the purchase is left
        ([3, -1, -2], [True, True, True]),
        ([1, 1, None], [False, True, True]),  # the later purchase
        ([2, 2, -3], [False, True, True]),
        ([None, 1], [False, False]),  # the return comes first
        ([1, -5, -1], [True, True, False]),
    ],
)
def test_taken_back(pieces: list[int | None], taken: list[bool]) -> None:
    assert taken_back(pieces) == taken


def test_a_refund_takes_back_the_latest_purchase_before_it(tmp_path: Path) -> None:
    events = HEADER + (
        "u1,p1,purchase,2024-03-01\n"
        "u1,p1,purchase,2024-03-02\n"
        "u1,p1,refund,2024-03-03\n"
        "u1,p1,purchase,2024-03-04\n"
        "u2,p1,purchase,2024-03-01\n"
        "u1,p2,refund,2024-03-03\n"
        "u1,p1,view,2024-03-02\n"
    )
    config = shop(tmp_path, events=events, products=PRODUCTS)
    report = ingest(config)["events"]
    assert quarantined(config) == [
        ("events", 2, "returned_purchase"),
        ("events", 3, "refund"),
        ("events", 6, "refund_without_purchase"),
    ]
    assert (report["kept"], report["excluded"], report["bad"]) == (4, 3, 0)


def test_negative_quantities_are_returns_of_so_many_pieces(tmp_path: Path) -> None:
    events = QUANTITIES + (
        "u1,p1,purchase,2024-03-01,3\n"
        "u1,p1,purchase,2024-03-02,-1\n"  # two of three are left
        "u1,p2,purchase,2024-03-01,0.5\n"
        "u1,p2,purchase,2024-03-02,-٠٫٥\n"
        "u2,p1,purchase,2024-03-01,0\n"
        "u2,p1,view,2024-03-01,0\n"
        "u2,p1,add_to_cart,2024-03-01,-1\n"
        "u2,p2,purchase,2024-03-01,some\n"
        "u2,p2,add_to_cart,2024-03-01,0\n"
        "u3,p2,view,2024-03-01, \n"  # blank, not unreadable
        "u3,p404,purchase,2024-03-01,some\n"  # counted once, as a row left out
    )
    config = shop(tmp_path, events=events, products=PRODUCTS)
    report = ingest(config)
    assert sorted((row["buyer_id"], row["product_id"], row["event_type"]) for row in kept_events(config)) == [
        ("u1", "p1", "purchase"),
        ("u2", "p1", "view"),
        ("u2", "p2", "purchase"),
        ("u3", "p2", "view"),
    ]
    assert quarantined(config) == [
        ("events", 2, "refund"),
        ("events", 3, "returned_purchase"),
        ("events", 4, "refund"),
        ("events", 5, "quantity_zero"),
        ("events", 7, "other_event"),
        ("events", 9, "quantity_zero"),
        ("events", 11, "unknown_product"),
    ]
    assert report["events"]["unreadable_quantity"] == 1
    assert "events: the quantity of 1 row is no number; it counts as one piece" in report["warnings"]


@pytest.mark.parametrize(
    ("events", "left_out"),
    [
        # Dates without a time of day: the purchase came first.
        (["refund,2024-03-01,", "purchase,2024-03-01,"], [(1, "refund"), (2, "returned_purchase")]),
        # Without a quantity, a purchase is one piece, and a refund takes back the whole purchase.
        (
            ["purchase,2024-03-01,", "purchase,2024-03-02,", "refund,2024-03-03,1"],
            [(2, "returned_purchase"), (3, "refund")],
        ),
        (["purchase,2024-03-01,3", "refund,2024-03-02,"], [(1, "returned_purchase"), (2, "refund")]),
    ],
)
def test_what_a_refund_takes_back(tmp_path: Path, events: list[str], left_out: list[tuple[int, str]]) -> None:
    config = shop(tmp_path, events=QUANTITIES + "".join(f"u1,p1,{event}\n" for event in events), products=PRODUCTS)
    ingest(config)
    assert quarantined(config) == [("events", line, reason) for line, reason in left_out]


def test_a_refund_that_the_api_logged_takes_back_a_purchase_of_the_export(tmp_path: Path) -> None:
    events = QUANTITIES + "u1,p1,purchase,2024-03-01 10:00:00,2\nu2,p1,purchase,2024-03-01 10:00:00,2\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    folder = shop_paths(config).event_log
    folder.mkdir(parents=True)
    refund = {"event_id": "r1", "buyer_id": "u1", "product_id": "p1", "event_type": "refund", "quantity": 2}
    partly = refund | {"event_id": "r2", "buyer_id": "u2", "quantity": 1}
    lines = [json.dumps(row | {"timestamp": "2024-03-02T10:00:00.000+00:00"}) for row in (refund, refund, partly)]
    (folder / "2024-03-02.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = ingest(config)["events"]
    assert [row["buyer_id"] for row in kept_events(config)] == ["u2"]
    assert quarantined(config) == [
        ("event_log", 1, "refund"),
        ("event_log", 2, "duplicate_event"),
        ("event_log", 3, "refund"),
        ("events", 1, "returned_purchase"),
    ]
    assert (report["excluded"], report["event_log"]["excluded"], report["event_log"]["duplicates"]) == (1, 2, 1)
