"""What merchandising rules do to a list: literal shelves, and brute force where a rule must hold always."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_api.lists.product_conditions import CodedNames, ProductConditions
from online_api.lists.rule_file import RuleSet
from online_api.lists.rules import ActiveRules, CompiledRules, Pin, compile_rules, place_pins

NOW = 1_000


# position                   0       1       2      3      4      5
# brand                      Acme    Acme    Nour   Nour   -      Nour
# category                   shoes   gifts   gifts  shoes  gifts  -
PRODUCT_IDS = ["p0", "p1", "p2", "p3", "p4", "p5"]
SHELF = ProductConditions(
    brands=CodedNames.of(np.array([0, 0, 1, 1, -1, 1], dtype=np.int32), ["Acme", "Nour"]),
    categories=CodedNames.of(np.array([0, 1, 1, 0, 1, -1], dtype=np.int32), ["shoes", "gifts"]),
    prices_N=np.array([10, 20, 30, 40, 50, math.nan]),
)


def position_of(product_id: str) -> int:
    return PRODUCT_IDS.index(product_id) if product_id in PRODUCT_IDS else -1


def compiled(*rules: dict[str, object]) -> CompiledRules:
    named = [{"name": f"r{place}", **rule} for place, rule in enumerate(rules)]
    return compile_rules(RuleSet.model_validate({"rules": named}), SHELF, position_of)


def active(*rules: dict[str, object]) -> ActiveRules:
    rules_now = compiled(*rules).active(NOW)
    assert rules_now is not None
    return rules_now


def boost(weight: float, **match: object) -> dict[str, object]:
    return {"action": "boost", "weight": weight, "match": match}


def bury(weight: float, **match: object) -> dict[str, object]:
    return {"action": "bury", "weight": weight, "match": match}


def pin(position: int, *product_ids: str) -> dict[str, object]:
    return {"action": "pin", "position": position, "match": {"product_ids": product_ids}}


@pytest.mark.parametrize(
    ("match", "positions"),
    [
        ({"product_ids": ["p3", "p1"]}, [1, 3]),
        ({"brands": ["Acme"]}, [0, 1]),
        ({"brands": ["Acme", "Nour"]}, [0, 1, 2, 3, 5]),
        ({"categories": ["gifts"]}, [1, 2, 4]),
        ({"brands": ["Nour"], "categories": ["gifts"]}, [2]),
        ({"min_price": 20, "max_price": 40}, [1, 2, 3]),
        ({"min_price": 0}, [0, 1, 2, 3, 4]),
        ({"product_ids": ["p0", "p3", "p5"], "brands": ["Nour"], "max_price": 40}, [3]),
    ],
)
def test_conditions_are_and_ed_and_their_values_or_ed(match: dict[str, object], positions: list[int]) -> None:
    [group] = active(boost(0.5, **match)).groups

    assert group.positions_M.tolist() == positions


def test_boosts_and_buries_add_up() -> None:
    rules = active(boost(0.5, brands=["Nour"]), bury(0.25, categories=["gifts"]), boost(0.5, product_ids=["p3"]))

    assert rules.adjustment_N is not None
    assert rules.adjustment_N.dtype == np.float32
    assert rules.adjustment_N.tolist() == [0, -0.25, 0.25, 1, -0.25, 0.5]
    assert [(group.adjustment, group.positions_M.tolist()) for group in rules.groups] == [
        (-0.25, [1, 4]),
        (0.25, [2]),
        (0.5, [5]),
        (1, [3]),
    ]
    assert rules.unburied_N is not None
    assert rules.unburied_N.tolist() == [True, False, True, True, False, True]
    assert [rules.names_at(position) for position in range(6)] == [
        [],
        ["r1"],
        ["r0", "r1"],
        ["r0", "r2"],
        ["r1"],
        ["r0"],
    ]


def test_rules_that_cancel_out_make_no_group_but_are_named() -> None:
    rules = active(boost(0.5, brands=["Acme"]), bury(0.5, brands=["Acme"]))

    assert (rules.groups, rules.unburied_N) == ((), None)
    assert rules.names_at(0) == ["r0", "r1"]


def test_pins_come_by_place_then_in_the_order_of_the_file() -> None:
    rules = active(pin(3, "p4"), pin(1, "p5", "p0"), pin(3, "p1"))

    assert rules.pins == (Pin(0, 5, "r1"), Pin(0, 0, "r1"), Pin(2, 4, "r0"), Pin(2, 1, "r2"))
    assert (rules.adjustment_N, rules.unburied_N, rules.groups) == (None, None, ())
    assert rules.names_at(5) == []


def test_what_the_release_does_not_know_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    rules = active(boost(0.5, brands=["Nobody", "Acme"]), pin(1, "gone", "p2"), bury(1, categories=["hats"]))

    assert [group.positions_M.tolist() for group in rules.groups] == [[0, 1]]
    assert rules.pins == (Pin(0, 2, "r1"),)
    assert [record.message for record in caplog.records] == [
        "rule 'r0': the release does not know 1 of its brands: Nobody",
        "rule 'r1': the release does not know 1 of its product_ids: gone",
        "rule 'r2': the release does not know 1 of its categories: hats",
        "rule 'r2' matches no product of the release",
    ]


def test_a_long_list_of_unknown_products_is_cut_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    compiled(pin(1, *[f"x{place}" for place in range(12)]))

    assert "12 of its product_ids: x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, ..." in caplog.text


def test_nothing_is_active_where_no_rule_holds_or_matches() -> None:
    later = boost(0.5, brands=["Acme"]) | {"start": "2026-03-20"}

    assert compiled().active(NOW) is None
    assert compiled(later).active(NOW) is None
    assert compiled(boost(0.5, brands=["Nobody"])).active(NOW) is None


def test_active_rules_are_made_once_between_two_boundaries() -> None:
    start, end = 10_000, 20_000
    rules = compiled(
        boost(0.5, brands=["Acme"]) | {"start": "1970-01-01T00:00:10", "end": "1970-01-01T00:00:20"},
        pin(1, "p5"),
    )

    def pins_and_groups(now_ms: int) -> tuple[int, int]:
        now = rules.active(now_ms)
        assert now is not None
        return len(now.pins), len(now.groups)

    assert pins_and_groups(start - 1) == (1, 0)
    assert pins_and_groups(start) == (1, 1)
    assert rules.active(start) is rules.active(end - 1)
    assert pins_and_groups(end) == (1, 0)
    assert pins_and_groups(start) == (1, 1)  # a clock that was set back


BOUNDARY = st.integers(0, 6)


@given(
    st.lists(st.tuples(BOUNDARY, BOUNDARY).filter(lambda times: times[0] < times[1]), max_size=4),
    st.lists(st.integers(0, 7), min_size=1, max_size=8),
)
def test_what_is_active_depends_on_the_time_alone(times: list[tuple[int, int]], moments: list[int]) -> None:
    written = [
        boost(1, product_ids=["p0"]) | {"start": f"1970-01-01T00:00:0{start}", "end": f"1970-01-01T00:00:0{end}"}
        for start, end in times
    ]
    rules = compiled(*written)

    for second in moments:
        now = rules.active(second * 1000)
        expected = [f"r{place}" for place, (start, end) in enumerate(times) if start <= second < end]
        assert (now.names_at(0) if now else []) == expected


# Exact in float32, so that brute force finds the very same sums.
WEIGHTS = st.sampled_from([0.25, 0.5, 1.0, 2.0])
MATCHES = st.sampled_from(
    [{"brands": ["Acme"]}, {"brands": ["Nour"]}, {"categories": ["gifts"]}, {"max_price": 20}, {"min_price": 40}]
)
RULES = st.lists(st.tuples(st.sampled_from(["boost", "bury"]), WEIGHTS, MATCHES), min_size=1, max_size=5)


def top(scores_N: npt.NDArray[np.floating], among: Sequence[int], k: int) -> list[int]:
    return sorted(among, key=lambda position: (-scores_N[position], position))[:k]


@given(RULES, st.permutations(range(6)), st.integers(1, 6))
def test_the_best_of_each_group_and_of_the_unburied_hold_the_best_of_all(
    written: list[tuple[str, float, dict[str, object]]], ranks: list[int], k: int
) -> None:
    scores_N = np.array(ranks, dtype=np.float32) / np.float32(8)
    rules = active(*({"action": action, "weight": weight, "match": match} for action, weight, match in written))
    assert rules.adjustment_N is not None

    unburied = range(6) if rules.unburied_N is None else np.flatnonzero(rules.unburied_N).tolist()
    found = set(top(scores_N, unburied, k))
    for group in rules.groups:
        assert (rules.adjustment_N[group.positions_M] == group.adjustment).all()
        found |= set(top(scores_N, group.positions_M.tolist(), k))

    adjusted_N = scores_N + rules.adjustment_N
    worst = min(adjusted_N[position] for position in top(adjusted_N, range(6), k))
    assert {position for position in range(6) if adjusted_N[position] > worst} <= found
    assert sum(adjusted_N[position] >= worst for position in found) >= k


@given(RULES)
def test_adjustments_and_names_are_those_of_the_rules_one_by_one(
    written: list[tuple[str, float, dict[str, object]]],
) -> None:
    single = [{"action": action, "weight": weight, "match": match} for action, weight, match in written]
    rules = active(*single)
    assert rules.adjustment_N is not None

    for position in range(6):
        alone = [active(rule).adjustment_N for rule in single]
        amounts = [float(adjustment_N[position]) for adjustment_N in alone if adjustment_N is not None]
        assert rules.adjustment_N[position] == sum(amounts)
        assert rules.names_at(position) == [f"r{place}" for place, amount in enumerate(amounts) if amount]


@pytest.mark.parametrize(
    ("pins", "expected", "pinned"),
    [
        ([], [0, 1, 2, 3], []),
        ([(0, 3)], [3, 0, 1, 2], [3]),
        ([(2, 0)], [1, 2, 0, 3], [0]),
        ([(1, 9)], [0, 9, 1, 2], [9]),
        ([(0, 9), (0, 8), (1, 7)], [9, 8, 7, 0], [9, 8, 7]),
        ([(3, 9), (3, 8)], [0, 1, 2, 9], [9]),
        ([(4, 0)], [0, 1, 2, 3], []),
        ([(0, 2), (3, 2)], [2, 0, 1, 3], [2]),
        ([(0, 6), (0, 9)], [9, 0, 1, 2], [9]),
    ],
)
def test_pins_take_their_places(pins: list[tuple[int, int]], expected: list[int], pinned: list[int]) -> None:
    allowed_N = np.ones(10, dtype=np.bool_)
    allowed_N[6] = False

    placed = place_pins(np.arange(4), [Pin(*entry, f"pin {entry[1]}") for entry in pins], allowed_N, 4)

    assert placed.positions_K.tolist() == expected
    assert placed.pinned_by == {position: f"pin {position}" for position in pinned}


def test_a_pin_at_the_end_of_a_short_list_closes_up() -> None:
    placed = place_pins(np.array([5]), [Pin(7, 2, "late")], None, 10)

    assert placed.positions_K.tolist() == [5, 2]
    assert placed.pinned_by == {2: "late"}


PINS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), max_size=6)


@given(st.permutations(range(10)), st.integers(0, 10), PINS, st.lists(st.booleans(), min_size=10, max_size=10),
       st.integers(1, 6))  # fmt: skip
def test_pins_as_holes_in_a_list(
    order: list[int], length: int, entries: list[tuple[int, int]], allowed: list[bool], k: int
) -> None:
    ranked = [position for position in order if allowed[position]][:length]
    pins = [Pin(*entry, "pin") for entry in sorted(entries, key=lambda entry: entry[0])]

    placed = place_pins(np.array(ranked, dtype=np.int64), pins, np.array(allowed), k)

    slots: list[int | None] = [None] * 20
    for place, position, _ in pins:
        if allowed[position] and position not in slots[:k]:
            while slots[place] is not None:
                place += 1
            slots[place if place < k else -1] = position
    slots = slots[:k]
    unpinned = [position for position in ranked if position not in slots]
    expected = [slot if slot is not None else unpinned.pop(0) if unpinned else None for slot in slots]
    assert placed.positions_K.tolist() == [position for position in expected if position is not None]
    assert set(placed.pinned_by) == {slot for slot in slots if slot is not None}
