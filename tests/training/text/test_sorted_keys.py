import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.text.sorted_keys import NO_ROW, SortedKeys, first_halves

# Few values, so that keys often share one of their halves.
half = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
keys = st.lists(st.tuples(half, half), unique=True)


def joined(pairs: list[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("=QQ", *pair) for pair in pairs)


@given(keys, st.data())
def test_rows_are_those_of_a_dictionary(stored: list[tuple[int, int]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(stored)))
    sorted_keys = SortedKeys()
    for part in (stored[:cut], stored[cut:]):
        sorted_keys.extend(joined(part))
    rows = {key: row for row, key in enumerate(stored)}
    wanted = data.draw(st.lists(st.tuples(half, half)))
    assert sorted_keys.rows(joined(wanted)).tolist() == [rows.get(key, NO_ROW) for key in wanted]
    assert len(sorted_keys) == len(stored)


def test_first_halves() -> None:
    np.testing.assert_array_equal(first_halves(joined([(1, 2), (3, 4)])), [1, 3])
