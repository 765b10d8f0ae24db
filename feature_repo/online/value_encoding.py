"""Arrow columns as the bytes of Feast's Value messages, without a Python object per number.

Feast converts each row to protobuf objects before it serialises them: nine tenths of the time of a materialize of
sequences (ADR 0011). The lists of integers that sequences consist of are encoded here by numpy, to the same bytes.

Legend: N numbers of all lists of a column, K bytes of the longest one, R rows.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

from feature_repo.common.arrays import Int64Array

_LIST_FIELDS = {ValueType.INT32_LIST: "int32_list_val", ValueType.INT64_LIST: "int64_list_val"}
_LENGTH_DELIMITED = 2  # wire type of protobuf
_VALUES_TAG = bytes([1 << 3 | _LENGTH_DELIMITED])  # field 1, `val`, of the lists
_PAYLOAD_BITS = 7  # of a number in each byte; the eighth says whether more bytes follow


def encoded_values(column: pa.Array, value_type: ValueType) -> list[bytes]:
    """Encodes a column as Feast stores it.

    Args:
        column: R values.
        value_type: Feast's type of the column.

    Returns:
        R serialised Values; empty bytes for a null.
    """
    field = _LIST_FIELDS.get(value_type)
    if field is None or not _is_integer_list(column):
        values = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), value_type)
        return [value.SerializeToString() for value in values]
    return _encoded_lists(column, field)


def _is_integer_list(column: pa.Array) -> bool:
    """Whether each value is null or a list of integers; Feast treats a null within a list in its own way."""
    return bool(
        pa.types.is_list(column.type)
        and pa.types.is_signed_integer(column.type.value_type)
        and column.flatten().null_count == 0
    )


def _encoded_lists(column: pa.Array, field: str) -> list[bytes]:
    lengths_R = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    payload, sizes_N = _varints(column.flatten().to_numpy())
    ends_R = np.cumsum(lengths_R)
    # Bytes before each number; one more entry than numbers, so that empty lists at the end have a place too.
    bytes_before = np.concatenate([[0], np.cumsum(sizes_N)])
    starts = bytes_before[ends_R - lengths_R].tolist()
    stops = bytes_before[ends_R].tolist()
    tag = bytes([Value.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED])
    return [
        _list_value(tag, payload[start:stop]) if valid else b""
        for start, stop, valid in zip(starts, stops, column.is_valid().to_pylist(), strict=True)
    ]


def _list_value(tag: bytes, numbers: bytes) -> bytes:
    # Protobuf leaves out an empty packed field, but not the list that contains it.
    content = b"".join((_VALUES_TAG, _varint(len(numbers)), numbers)) if numbers else b""
    return b"".join((tag, _varint(len(content)), content))


def _varints(numbers: npt.NDArray[np.signedinteger]) -> tuple[bytes, Int64Array]:
    """All numbers as protobuf's variable-length integers, one after the other, and the (N,) number of bytes of each."""
    # Sign-extended first: protobuf writes a negative int32 as the ten bytes of its 64-bit form.
    rest_N = numbers.astype(np.int64).view(np.uint64)  # a copy
    sizes_N = np.ones(len(rest_N), dtype=np.int64)
    columns = []
    more = True
    while more:
        low_N = rest_N.astype(np.uint8) & 0x7F
        rest_N >>= np.uint64(_PAYLOAD_BITS)
        more_N = rest_N > 0
        more = bool(more_N.any())
        sizes_N += more_N
        columns.append(low_N | more_N.view(np.uint8) << 7)
    bytes_NK = np.stack(columns, axis=1)
    if len(columns) > 1 and not np.all(sizes_N == len(columns)):
        bytes_NK = bytes_NK[np.arange(len(columns)) < sizes_N[:, None]]
    return bytes_NK.tobytes(), sizes_N


@lru_cache(maxsize=10_000)
def _varint(number: int) -> bytes:
    """One number of zero or more as a variable-length integer."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= _PAYLOAD_BITS
    encoded.append(number)
    return bytes(encoded)
