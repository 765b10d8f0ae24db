"""Columns are encoded to the bytes that Feast's protobuf objects serialise to."""

from typing import Any

import pyarrow as pa
import pytest
from feast import ValueType
from feast.type_map import python_values_to_proto_values
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.online.value_encoding import encoded_values

pytestmark = pytest.mark.fast


def feasts(column: pa.Array, value_type: ValueType) -> list[bytes]:
    values = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), value_type)
    return [value.SerializeToString() for value in values]


def lists(bits: int) -> st.SearchStrategy[list[list[int] | None]]:
    """Columns of lists, of numbers of any length; long lists have lengths of two bytes."""
    numbers = st.integers(0, bits - 1).flatmap(lambda n: st.integers(-(2**n), 2**n - 1))
    return st.lists(st.none() | st.lists(numbers, max_size=200), max_size=5)


@settings(max_examples=50)
@given(lists(64), st.integers(0, 2))
def test_lists_of_int64(values: list[list[int] | None], start: int) -> None:
    column = pa.array(values, type=pa.list_(pa.int64()))[start:]
    assert encoded_values(column, ValueType.INT64_LIST) == feasts(column, ValueType.INT64_LIST)


@settings(max_examples=50)
@given(lists(32))
def test_lists_of_int32(values: list[list[int] | None]) -> None:
    column = pa.array(values, type=pa.list_(pa.int32()))
    assert encoded_values(column, ValueType.INT32_LIST) == feasts(column, ValueType.INT32_LIST)


def test_bytes_of_a_list() -> None:
    column = pa.array([[1, 300], [], None], type=pa.list_(pa.int64()))
    # Field 14 of Value; in it field 1, the packed numbers 1 and 300 (0xAC 0x02).
    assert encoded_values(column, ValueType.INT64_LIST) == [b"\x72\x05\x0a\x03\x01\xac\x02", b"\x72\x00", b""]


@pytest.mark.parametrize(
    ("values", "value_type"),
    [
        (["a", "عمر", "", None], ValueType.STRING),
        ([1.5, None, 0.0], ValueType.DOUBLE),
        ([1, None, 0], ValueType.INT64),
        ([True, None, False], ValueType.BOOL),
        ([["a"], None], ValueType.STRING_LIST),
    ],
)
def test_other_types(values: list[Any], value_type: ValueType) -> None:
    column = pa.array(values)
    assert encoded_values(column, value_type) == feasts(column, value_type)
