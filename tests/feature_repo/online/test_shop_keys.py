"""Which keys of the online store are a buyer's."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.online.shop_keys import _BuyerKeys, _entity_bytes

SHOP = "tawsiya_0123456789ab"
texts = st.text(alphabet="12a-_: é", min_size=1, max_size=6)


@settings(max_examples=300)
@given(buyer_ids=st.lists(texts, min_size=1, max_size=4), event_id=texts, sep=st.sampled_from(["", "_", "-", "b"]))
def test_claims_on_events_whose_id_contains_a_buyers(buyer_ids: list[str], event_id: str, sep: str) -> None:
    keys = _BuyerKeys(SHOP, buyer_ids)
    for name in (event_id, event_id + sep + buyer_ids[0], buyer_ids[0] + sep + event_id):
        expected = any(re.fullmatch(rf"(?:.*[\W_])?{re.escape(one)}(?:[\W_].*)?", name) for one in buyer_ids)
        assert keys.holds(f"{SHOP}:event:id:{name}".encode()) is expected


def test_rows_and_locks_of_all_schemas() -> None:
    keys = _BuyerKeys(SHOP, ["12", SHOP])
    for end in (SHOP, f"{SHOP}_0123abcd"):
        for buyer_id, expected in (("12", True), (SHOP, True), ("123", False), ("1", False)):
            assert keys.holds(_entity_bytes(buyer_id) + end.encode()) is expected
            assert keys.holds(f"{end}:lock:{buyer_id}".encode()) is expected
    assert not keys.holds(f"{SHOP}:schemas".encode())
    assert not keys.holds(f"{SHOP}:event:content:12".encode())
