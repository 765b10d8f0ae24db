"""Returns: a refund takes back the purchases it refers to, so that nothing counts a returned product as bought."""

from collections.abc import Sequence

import duckdb

from feature_repo.transforms.events import REFUND

# Reasons.
RETURNED_PURCHASE, REFUND_WITHOUT_PURCHASE = "returned_purchase", "refund_without_purchase"


def taken_back(pieces: Sequence[int | None]) -> list[bool]:
    """Which events of one buyer and product are purchases that were returned, or returns that found a purchase.

    A return takes pieces from the latest purchases before it. A purchase is returned once all its pieces are.

    Args:
        pieces: Per event, oldest first: the pieces bought (positive) or returned (negative), in any unit; None is a
            return that names no quantity, which takes back what is left of the latest purchase.

    Returns:
        Per event: True for a purchase that was returned as a whole and for a return that took anything.
    """
    taken = [False] * len(pieces)
    open_purchases: list[list[int]] = []  # position and pieces left, the latest purchase last
    for position, number in enumerate(pieces):
        if number is not None and number > 0:
            open_purchases.append([position, number])
            continue
        taken[position] = bool(open_purchases)
        wanted = open_purchases[-1][1] if number is None and open_purchases else -(number or 0)
        while wanted and open_purchases:
            latest = open_purchases[-1]
            step = min(wanted, latest[1])
            wanted, latest[1] = wanted - step, latest[1] - step
            if not latest[1]:
                taken[latest[0]] = True
                open_purchases.pop()
    return taken


def mark_returns(db: duckdb.DuckDBPyConnection, piece: int) -> None:
    """Sets the reason of returns and returned purchases in `checked_events`; `piece` is one piece in its quantities."""
    if not db.execute(f"FROM checked_events WHERE reason IS NULL AND event_type = '{REFUND}' LIMIT 1").fetchone():
        return
    integers, flags = duckdb.list_type("BIGINT"), duckdb.list_type("BOOLEAN")
    db.create_function("taken_back", taken_back, [integers], flags)
    # Only the products that a buyer gave back something of. At one time, purchases come before returns: many exports
    # have dates without a time of day.
    db.execute(f"""
        CREATE TEMP TABLE return_verdicts AS
        WITH history AS (
            SELECT rowid AS row_id, buyer_id, product_key, event_type, time_ms,
                   CASE WHEN event_type = 'purchase' THEN coalesce(quantity, {piece}) ELSE -quantity END AS pieces
            FROM checked_events SEMI JOIN (
                SELECT DISTINCT buyer_id, product_key FROM checked_events
                WHERE reason IS NULL AND event_type = '{REFUND}') returned USING (buyer_id, product_key)
            WHERE reason IS NULL AND event_type IN ('purchase', '{REFUND}')),
        judged AS (
            SELECT list(row_id ORDER BY {_ORDER}) AS row_ids, list(event_type ORDER BY {_ORDER}) AS event_types,
                   taken_back(list(pieces ORDER BY {_ORDER})) AS taken
            FROM history GROUP BY buyer_id, product_key)
        SELECT unnest(row_ids) AS row_id, unnest(event_types) AS event_type, unnest(taken) AS taken FROM judged
    """)
    db.execute(f"""
        UPDATE checked_events SET reason = CASE
            WHEN verdict.event_type = 'purchase' THEN '{RETURNED_PURCHASE}'
            WHEN verdict.taken THEN '{REFUND}' ELSE '{REFUND_WITHOUT_PURCHASE}' END
        FROM return_verdicts verdict
        WHERE checked_events.rowid = verdict.row_id AND (verdict.taken OR verdict.event_type = '{REFUND}')
    """)


# "purchase" < "refund". Of one type and time there is one event; others are duplicates.
_ORDER = "time_ms, event_type"
