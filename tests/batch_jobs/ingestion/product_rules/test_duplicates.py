"""Which of several rows of one product is kept: against brute force."""

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from batch_jobs.ingestion.product_rules.duplicates import merge_duplicates
from feature_repo import columns as c

Row = dict[str, Any]
rows = st.fixed_dictionaries(
    {
        c.PRODUCT_ID: st.sampled_from(["p1", "p2", "p3", "p4"]),
        c.TITLE: st.sampled_from(["Lamp", "LAMP", "Mug", ""]),
        c.STOCK: st.sampled_from([None, 0, 2, 5]),
        c.HIDDEN: st.booleans(),
        c.PHOTO: st.sampled_from([None, "a.jpg", "b.jpg"]),
    }
)


def table(products: list[Row]) -> pd.DataFrame:
    fields = (c.PRODUCT_ID, c.TITLE, c.PHOTO)
    frame = pd.DataFrame({field: [row[field] for row in products] for field in fields}, dtype=object)
    return frame.assign(
        **{
            c.DESCRIPTION: "", c.BRAND: None, c.CATEGORY: None,
            c.STOCK: pd.Series([row[c.STOCK] for row in products], dtype="Int64"),
            c.HIDDEN: pd.Series([row[c.HIDDEN] for row in products], dtype=bool),
        }
    )  # fmt: skip


def sells(row: Row) -> tuple[bool, bool]:
    return row[c.HIDDEN], row[c.STOCK] == 0


def best(products: list[Row]) -> Row:
    """The row that sells best, the first of those that sell alike: min() takes the first."""
    return min(products, key=sells)


def expected(products: list[Row]) -> tuple[dict[str, Row], dict[str, str]]:
    """The kept products by id, and the alias of each merged one."""
    of_id = {row[c.PRODUCT_ID]: best([r for r in products if r[c.PRODUCT_ID] == row[c.PRODUCT_ID]]) for row in products}
    winners = [row for row in products if of_id[row[c.PRODUCT_ID]] is row]
    kept, aliases = {}, {}
    for row in winners:
        title = row[c.TITLE].lower()
        twins = [other for other in winners if title and other[c.TITLE].lower() == title] or [row]
        chosen = best(twins)
        if chosen is not row:
            aliases[row[c.PRODUCT_ID]] = chosen[c.PRODUCT_ID]
            continue
        stocks = [other[c.STOCK] for other in twins if other[c.HIDDEN] == row[c.HIDDEN]]
        total = sum(stock or 0 for stock in stocks)
        photos = [other[c.PHOTO] for other in [row, *sorted(twins, key=sells)] if other[c.PHOTO]]
        stock = None if None in stocks and not total else total
        kept[row[c.PRODUCT_ID]] = {c.STOCK: stock, c.PHOTO: photos[0] if photos else None}
    return kept, aliases


@given(st.lists(rows, max_size=10))
def test_the_row_that_sells_is_kept(products: list[Row]) -> None:
    frame = table(products)
    found = merge_duplicates(frame, by_content=True)
    left = frame[found.reasons.isna()]
    kept = {
        row[c.PRODUCT_ID]: {name: None if pd.isna(row[name]) else row[name] for name in (c.STOCK, c.PHOTO)}
        for _, row in left.iterrows()
    }
    assert (kept, dict(found.aliases.itertuples(index=False, name=None))) == expected(products)
    assert len(left) == len(kept)


@given(st.lists(rows, max_size=8, unique_by=lambda row: (row[c.HIDDEN], row[c.STOCK] == 0)), st.randoms())
def test_the_order_of_rows_decides_nothing_that_the_rule_decides(products: list[Row], random: Any) -> None:
    shuffled = random.sample(products, len(products))
    results = []
    for order in (products, shuffled):
        frame = table(order)
        found = merge_duplicates(frame, by_content=True)
        kept = frame[found.reasons.isna()].astype(str).sort_values(c.PRODUCT_ID)
        results.append((kept.to_dict("records"), sorted(found.aliases.itertuples(index=False, name=None))))
    assert results[0] == results[1]


def test_products_stay_apart_without_deduplication_by_content() -> None:
    row = {c.TITLE: "Lamp", c.STOCK: 1, c.HIDDEN: False, c.PHOTO: None}
    frame = table([{c.PRODUCT_ID: "p1", **row}, {c.PRODUCT_ID: "p2", **row}])
    assert merge_duplicates(frame, by_content=False).reasons.isna().all()


def test_the_stock_of_all_stays_a_64_bit_integer() -> None:
    row = {c.TITLE: "Lamp", c.STOCK: 2**62, c.HIDDEN: False, c.PHOTO: None}
    frame = table([{c.PRODUCT_ID: "p1", **row}, {c.PRODUCT_ID: "p2", **row}])
    merge_duplicates(frame, by_content=True)
    assert frame[c.STOCK][0] == 2**63 - 1
