"""Counts what is bought together, and keeps the best neighbours of each product, in bounded memory.

The score of two products is joint * ln(lift): the number of baskets with both times the pointwise mutual information
(Church and Hanks, Word Association Norms, 1990), which is the logarithm of how many times more often than by chance
they are bought together. The logarithm alone is highest for pairs that were bought together twice, and the number alone
for what is in every basket. ADR 0019 compares scores on real baskets.

Legend: N products, M neighbours.
"""

import duckdb
import numpy as np

from feature_repo.common.sql import first_row
from training.artifacts.lists.co_purchases import MOST_NEIGHBOURS, NO_NEIGHBOUR, CoPurchases

MIN_SUPPORT = 2  # baskets that have both products
# Pairs that are counted at once: 20 million of them take some 700 MB before they are grouped.
PAIRS_PER_PASS = 20_000_000


def co_purchases(
    db: duckdb.DuckDBPyConnection,
    basket: str,
    n_products: int,
    max_products: int,
    pairs_per_pass: int = PAIRS_PER_PASS,
) -> CoPurchases:
    """The MOST_NEIGHBOURS products that go best with each product; reads the table `purchases`.

    Args:
        db: The database; `purchases` has buyer_id, position (of the product) and time_ms.
        basket: SQL expressions, separated by commas, that are equal for what counts as bought together.
        n_products: N.
        max_products: Of a basket with more, so many products are counted.
        pairs_per_pass: Pairs that are counted at once; the result does not depend on it.
    """
    db.execute(_lines_query(basket, max_products))
    db.execute("CREATE OR REPLACE TEMP TABLE sizes AS SELECT position, count(*) AS size FROM basket_lines GROUP BY 1")
    n_baskets, n_pairs = first_row(
        db.execute("SELECT count(*), coalesce(sum(size * (size - 1)), 0) FROM (SELECT count(*) AS size FROM "
                   "basket_lines GROUP BY basket)")
    )  # fmt: skip
    positions_NM = np.full((n_products, MOST_NEIGHBOURS), NO_NEIGHBOUR, dtype=np.int32)
    scores_NM = np.zeros((n_products, MOST_NEIGHBOURS), dtype=np.float32)
    passes = int(n_pairs // pairs_per_pass) + 1
    for number in range(passes):
        found = db.execute(_PAIRS_QUERY, {"n": n_baskets, "passes": passes, "pass": number}).fetchnumpy()
        positions_NM[found["a"], found["place"]] = found["b"]
        scores_NM[found["a"], found["place"]] = found["score"]
    db.execute("DROP TABLE basket_lines; DROP TABLE sizes")
    return CoPurchases(positions_NM, scores_NM)


def _lines_query(basket: str, max_products: int) -> str:
    """Creates `basket_lines`: each product of a basket once, of a large basket `max_products` of them."""
    return f"""
        CREATE OR REPLACE TEMP TABLE basket_lines AS
        -- A hash of 64 bits in place of texts: two of ten million baskets share one by a chance of 3 in a million.
        SELECT basket, position
        FROM (SELECT DISTINCT hash({basket}) AS basket, position FROM purchases)
        QUALIFY row_number() OVER (PARTITION BY basket ORDER BY hash(basket, position)) <= {max_products}
    """


# The products of a pass have all their pairs in it, so that each pass knows their best neighbours.
_PAIRS_QUERY = f"""
    WITH pairs AS (
        SELECT x.position AS a, y.position AS b, count(*) AS joint
        FROM basket_lines x JOIN basket_lines y USING (basket)
        WHERE x.position % $passes = $pass AND x.position <> y.position
        GROUP BY ALL HAVING count(*) >= {MIN_SUPPORT})
    SELECT a, b, (joint * ln(joint * $n::DOUBLE / (p.size * q.size)))::FLOAT AS score,
           row_number() OVER (PARTITION BY a ORDER BY score DESC, b) - 1 AS place
    FROM pairs JOIN sizes p ON p.position = a JOIN sizes q ON q.position = b
    WHERE score > 0  -- more often than by chance
    QUALIFY place < {MOST_NEIGHBOURS}
"""
