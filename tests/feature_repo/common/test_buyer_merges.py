"""Who a guest belongs to in the end, by the file of merges."""

import datetime as dt
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from feature_repo.common.buyer_merges import BuyerMerge, accounts_of_guests, guests_of, read_merges

MOMENT = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)


def accounts(*pairs: str) -> dict[str, str]:
    """Of merges such as "ab": a became b."""
    return accounts_of_guests([BuyerMerge(*pair) for pair in pairs])


def test_chains_lead_to_their_end() -> None:
    assert accounts("ab", "bc") == {"a": "c", "b": "c"}
    assert accounts("bc", "ab") == {"a": "c", "b": "c"}
    assert accounts("ac", "bc", "cd") == {"a": "d", "b": "d", "c": "d"}


def test_the_first_merge_of_a_guest_counts_and_cycles_are_none() -> None:
    assert accounts("ab", "ac", "ab") == {"a": "b"}
    assert accounts("ab", "ba") == {"a": "b"}
    assert accounts("ab", "bc", "ca") == {"a": "c", "b": "c"}
    assert accounts("aa") == {}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=15))
def test_every_guest_ends_at_somebody_who_is_no_guest(pairs: list[tuple[str, str]]) -> None:
    ends = accounts_of_guests([BuyerMerge(*pair) for pair in pairs])
    assert not set(ends) & set(ends.values())
    again = accounts_of_guests([BuyerMerge(*pair) for pair in [*pairs, *pairs]])
    assert again == ends  # to repeat merges changes nothing
    assert set(ends) <= {guest for guest, _ in pairs}


def test_guests_of_some_buyers() -> None:
    ends = accounts("ab", "bc", "xy")
    assert guests_of(["c"], ends) == ["a", "b"]
    assert guests_of(["b", "y"], ends) == ["x"]


def test_a_file_holds_what_was_written_but_not_what_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "buyers.jsonl"
    assert read_merges([path]) == []
    merges = [BuyerMerge("guest-١", "كريم"), BuyerMerge(" 7 ", "936")]
    lines = [merge.line(MOMENT) for merge in merges]
    path.write_text(lines[0] + " " * 20 + "\n" + lines[1] + lines[0][:25], encoding="utf-8")
    assert read_merges([path]) == [BuyerMerge("guest-١", "كريم"), BuyerMerge("7", "936")]


def test_merges_of_several_hosts_count_in_the_order_of_their_times(tmp_path: Path) -> None:
    def written(name: str, *merges: tuple[str, str, int]) -> Path:
        path = tmp_path / name
        lines = [
            BuyerMerge(guest, buyer).line(MOMENT + dt.timedelta(seconds=second)) for guest, buyer, second in merges
        ]
        path.write_text("".join(lines), encoding="utf-8")
        return path

    # The clock of the second host was set back between its lines, which keep their order.
    hosts = [written("first", ("g", "a", 2), ("h", "a", 4)), written("second", ("g", "b", 3), ("i", "b", 1))]
    for files in (hosts, hosts[::-1]):
        merges = read_merges([*files, tmp_path / "missing"])
        assert merges[0] == BuyerMerge("g", "a")
        assert [merge.guest_id for merge in merges if merge.buyer_id == "b"] == ["g", "i"]
        assert accounts_of_guests(merges) == {"g": "a", "h": "a", "i": "b"}
