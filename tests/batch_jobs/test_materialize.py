"""Only what the gate passed goes online, and a refused run leaves what stood there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.materialize import materialize
from expectations.gate import enforce_gate, validate_canonical, validate_features
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.offline_store import CopyReadingOfflineStore
from feature_repo.store import FeatureStore, feature_store
from tests.batch_jobs.csv_shop import HEADER, shop

pytestmark = pytest.mark.store

PRODUCTS = "id,title,category,price\n" + "".join(f"p{n},Mug {n},kitchen,{n + 1}\n" for n in range(20))
EVENTS = HEADER + "".join(
    f"u{n % 4},p{n % 20},{('view', 'purchase')[n // 4 % 2]},2024-03-{n // 2 + 1:02}T10:{n:02}:00Z\n" for n in range(40)
)
Online = dict[bytes, dict[bytes, bytes]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return shop(tmp_path_factory.mktemp("shop"), events=EVENTS, products=PRODUCTS)


@pytest.fixture(scope="module")
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as store:
        yield store


def run(config: Config, store: FeatureStore, change: Callable[[ShopPaths], object] = lambda _: None) -> dict[str, int]:
    """The stages from raw files to the online store; `change` tampers with the files after the gate passed them."""
    paths = shop_paths(config)
    ingest(config)
    enforce_gate(validate_canonical(paths, config))
    build_features(config)
    enforce_gate(validate_features(paths, config))
    change(paths)
    written: dict[str, int] = materialize(config, store, full=False)["written"]
    return written


def export(config: Config, events: str = EVENTS, products: str = PRODUCTS) -> None:
    """Writes the shop's files anew."""
    assert config.data.events_path is not None
    assert config.data.products_path is not None
    Path(config.data.events_path).write_text(events, encoding="utf-8")
    Path(config.data.products_path).write_text(products, encoding="utf-8")


def online(store: FeatureStore) -> Online:
    """Every row of the online store; Feast's keys end with the project."""
    redis: Any = store.online.redis
    return {key: redis.hgetall(key) for key in sorted(redis.keys(f"*{store.project}"))}


def price_of(store: FeatureStore, product_id: str) -> float:
    return float(store.online.read_products([product_id]).price_P[0])


def set_prices(path: Path, price: float) -> None:
    """Edits a file of products as a person would."""
    table = pq.read_table(path)
    position = table.schema.get_field_index(c.PRICE)
    pq.write_table(table.set_column(position, c.PRICE, pa.array([price] * len(table))), path)


def part(folder: Path) -> Path:
    return max(folder.glob("2*.parquet"))


def drop_purchases(paths: ShopPaths) -> None:
    path = part(paths.purchase_features)
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.equal(table[c.BUYER_ID], "u0")), path)


def test_what_stands_online_survives_every_refused_run(config: Config, store: FeatureStore) -> None:
    run(config, store)
    before = online(store)
    assert len(before) == 24  # 20 products and 4 buyers
    assert price_of(store, "p0") == 1
    other_prices = PRODUCTS.replace(",kitchen,", ",kitchen,9")
    unknown_types = EVENTS.replace("view", "stare")
    halved = HEADER + "".join(EVENTS.splitlines(keepends=True)[21:])
    refused: list[tuple[str, dict[str, str], Callable[[ShopPaths], object]]] = [
        ("bad_event_share", {"events": unknown_types}, lambda _: None),
        ("events_not_shrunk", {"events": halved}, lambda _: None),
        ("features/products.parquet", {}, lambda paths: set_prices(paths.product_features, -999.0)),
        ("canonical/products.parquet", {}, lambda paths: set_prices(paths.products, -999.0)),
        ("features/buyer_purchases/", {}, drop_purchases),
        ("features/buyer_sequences/", {}, lambda paths: part(paths.sequence_features).unlink()),
    ]
    for message, files, change in refused:
        export(config, **{"products": other_prices} | files)
        with pytest.raises(GateRefusedError, match=message):
            run(config, store, change)
        assert online(store) == before, message
    export(config)
    run(config, store)
    assert price_of(store, "p0") == 1
    assert online(store).keys() == before.keys()


def test_an_edit_while_features_are_read_does_not_go_online(
    config: Config, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = shop_paths(config)
    original = CopyReadingOfflineStore.pull_all_from_table_or_query

    def edit_and_read(*arguments: Any, **options: Any) -> Any:
        set_prices(paths.product_features, -999.0)
        return original(*arguments, **options)

    export(config, products=PRODUCTS.replace("Mug 0,kitchen,1\n", "Mug 0,kitchen,7\n"))
    with monkeypatch.context() as patch:
        patch.setattr(CopyReadingOfflineStore, "pull_all_from_table_or_query", staticmethod(edit_and_read))
        run(config, store)
    assert price_of(store, "p0") == 7
    with pytest.raises(GateRefusedError, match=r"features/products.parquet .* changed since"):
        materialize(config, store, full=True)


def test_only_what_changed_is_written(config: Config, store: FeatureStore) -> None:
    export(config)
    run(config, store)
    assert run(config, store) == {"buyers": 0, "products": 0}
    before = online(store)
    export(
        config,
        events=EVENTS + "u0,p3,view,2024-03-02T12:00:00Z\n",
        products=PRODUCTS.replace("Mug 0,kitchen,1\n", "Mug 0,kitchen,5\n"),
    )
    assert run(config, store) == {"buyers": 1, "products": 1}
    after = online(store)
    assert len([key for key in after if after[key] != before[key]]) == 2
    assert len(store.online.read_sequence("u0").event_times) == 11
    assert materialize(config, store, full=True)["written"] == {"buyers": 4, "products": 20}
    assert online(store) == after


def test_after_a_materialize_that_failed_the_next_one_writes_the_rest(
    config: Config, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(config)
    run(config, store)
    export(config, products=PRODUCTS.replace("Mug 1,kitchen,2\n", "Mug 1,kitchen,8\n"))
    with monkeypatch.context() as patch:
        patch.setattr(store._feast, "materialize", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            run(config, store)
    assert price_of(store, "p1") == 2
    assert run(config, store) == {"buyers": 0, "products": 1}
    assert price_of(store, "p1") == 8


def test_a_buyer_who_vanished_has_no_history_online(config: Config, store: FeatureStore) -> None:
    export(config)
    run(config, store)
    vanished = HEADER + "".join(line for line in EVENTS.splitlines(keepends=True)[1:] if not line.startswith("u1"))
    export(config, events=vanished)
    run(config, store)
    (buyer,) = store.online.read_buyers(["u1"])
    assert (len(buyer.events.event_times), len(buyer.purchases.event_times)) == (0, 0)


def test_features_of_another_schema_are_refused(config: Config, store: FeatureStore) -> None:
    export(config)
    run(config, store)
    shorter = config.model_dump()
    shorter["model"]["buyer_tower"]["max_interaction_history"] = 7
    with feature_store(Config.model_validate(shorter)) as other:
        before = online(other)
        with pytest.raises(GateRefusedError, match=r"have the schema .* needs .*; run `tawsiya build-features`"):
            materialize(config, other, full=True)
        assert online(other) == before
