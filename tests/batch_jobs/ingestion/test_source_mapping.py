"""Source mappings: how columns are matched, and which errors report missing ones."""

from pathlib import Path

import pytest

from batch_jobs.ingestion.column_names import EVENT_ALIASES, PRODUCT_ALIASES, heading_key
from batch_jobs.ingestion.source_mapping import (
    EventsMapping,
    ProductsMapping,
    SourceMapping,
    TableMapping,
    field_expression,
    load_mapping,
    load_source_config,
    required_expression,
    table_path,
)
from feature_repo.common.errors import ConfigError
from feature_repo.settings.model import TrainingConfig

REPOSITORY = Path(__file__).parents[3]
SHIPPED = sorted((REPOSITORY / "config/sources").glob("*.yaml"))
TABLE = EventsMapping(path="events.csv")


def mapping(folder: str) -> SourceMapping:
    products = ProductsMapping(path="p.csv")
    return SourceMapping(description="", licence="", folder=folder, events=TABLE, products=products)


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("buyer_id", "buyer_id"),
        ("buyer_id", "BUYER ID"),
        ("buyer_id", "Buyer-Id"),
        ("buyer_id", "buyerId"),
        ("buyer_id", "buyer"),
        ("buyer_id", "user_id"),
        ("buyer_id", "Customer ID"),
        ("product_id", "id"),
        ("product_id", "item_id"),
        ("product_id", "SKU"),
        ("event_type", "event"),
        ("event_type", "Action"),
        ("timestamp", "event_time"),
        ("timestamp", "Created At"),
        ("category", "catalog_id"),
        ("photo", "thumbnail"),
        ("photo", "photo_link"),
        ("metadata", "meta"),
    ],
)
def test_a_column_is_found_by_its_usual_names(field: str, column: str) -> None:
    assert field_expression(TABLE, field, ["something", column, "else"]) == f'"{column}"'


def test_a_field_that_is_not_there_has_no_expression() -> None:
    assert field_expression(TABLE, "buyer_id", ["product_id", "buyers", "id of buyer"]) is None


def test_the_canonical_name_wins_over_other_names_and_the_first_column_over_later_ones() -> None:
    assert field_expression(TABLE, "product_id", ["id", "sku", "product_id"]) == '"product_id"'
    assert field_expression(TABLE, "product_id", ["id", "item_id"]) == '"item_id"'
    assert field_expression(TABLE, "buyer_id", ["Buyer_ID", "buyer id"]) == '"Buyer_ID"'


def test_sql_wins_over_columns_and_columns_over_names() -> None:
    columns = ["buyer_id", "member"]
    assert field_expression(TableMapping(path="", columns={"buyer_id": "member"}), "buyer_id", columns) == '"member"'
    both = TableMapping(path="", columns={"buyer_id": "member"}, sql={"buyer_id": "upper(member)"})
    assert field_expression(both, "buyer_id", columns) == "(upper(member))"


def test_quotes_in_column_names_are_escaped() -> None:
    table = TableMapping(path="", columns={"title": 'the "name"'})
    assert field_expression(table, "title", ['the "name"']) == '"the ""name"""'


def test_a_mapped_column_that_is_missing_is_named_with_those_found() -> None:
    table = TableMapping(path="events.csv", columns={"buyer_id": "member"})
    with pytest.raises(
        ValueError, match=r"events\.csv: column 'member' \(for buyer_id\) is missing; columns found: a, b$"
    ):
        field_expression(table, "buyer_id", ["a", "b"])


def test_a_required_column_that_is_missing_is_named_with_those_found_and_the_remedy() -> None:
    with pytest.raises(ValueError, match="required column") as refused:
        required_expression(TABLE, "buyer_id", iter(["a", "b"]))
    assert str(refused.value) == (
        "events.csv: required column 'buyer_id' is missing; columns found: a, b. "
        "Name it in the mapping under columns: {buyer_id: YOUR_COLUMN}"
    )


@pytest.mark.parametrize("aliases", [EVENT_ALIASES, PRODUCT_ALIASES], ids=["events", "products"])
def test_no_heading_stands_for_two_fields_of_a_table(aliases: dict[str, tuple[str, ...]]) -> None:
    keys = [key for field, others in aliases.items() for key in {heading_key(name) for name in (field, *others)}]
    assert sorted(key for key in set(keys) if keys.count(key) > 1) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_mapping_loads(path: Path) -> None:
    shipped = load_mapping(str(path))
    assert shipped.description
    assert shipped.licence


def test_which_mappings_merge_equal_products() -> None:
    merging = {path.stem for path in SHIPPED if load_mapping(str(path)).deduplicate}
    assert merging == {"csv", "complete_journey", "shopify", "magento", "zid", "google_feed"}


def test_an_unknown_source_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.source: .*nowhere\.yaml does not exist; known sources: "):
        load_mapping(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("description: [", "is not valid YAML"),
        ("", "description: Field required"),
        ("- a\n", "a YAML mapping), not a list"),
        ("description: a\nlicence: b\nfolder: c\nevents: {path: e}\n", "products: Field required"),
        (
            "description: a\nlicence: b\nfolder: c\nevents: {pth: e}\nproducts: {path: p}\n",
            "events.pth: Extra inputs are not permitted",
        ),
    ],
)
def test_a_mapping_that_cannot_be_used_names_its_file_and_field(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_mapping(str(path))
    assert str(path) in str(refused.value)
    assert expected in str(refused.value)


def test_the_former_name_of_the_subset_leads_to_its_present_one(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("description: a\ncut: {description: b, events: 'true'}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_mapping(str(path))
    assert str(refused.value) == f"{path}: cut is now called subset"


def test_a_mapping_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "arabic.yaml"
    path.write_text("description: متجر\n", encoding="windows-1256")
    with pytest.raises(ConfigError, match=r"arabic\.yaml is not UTF-8 \(byte 0xe3 at 13\); save it as UTF-8$"):
        load_mapping(str(path))


def test_a_table_lies_in_the_folder_unless_the_configuration_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "events.csv").touch()
    (tmp_path / "other.csv").touch()
    assert table_path(mapping(str(tmp_path)), TABLE, None) == tmp_path / "events.csv"
    assert table_path(mapping(str(tmp_path)), TABLE, str(tmp_path / "other.csv")) == tmp_path / "other.csv"
    assert table_path(mapping("package:no_such_package/data"), TABLE, str(tmp_path / "other.csv")).is_file()


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("nowhere", r"source file nowhere/events\.csv does not exist"),
        ("$NO_SUCH_VARIABLE/x", r"\$NO_SUCH_VARIABLE/x, but this environment variable is not set; .*data\.events_path"),
        ("package:no_such_package/data", r"Python package no_such_package, which is not installed; pip install"),
    ],
)
def test_a_missing_file_says_what_is_missing(folder: str, expected: str) -> None:
    with pytest.raises(FileNotFoundError, match=expected):
        table_path(mapping(folder), TABLE, None)


SHOP = """
description: A shop
licence: none
folder: data
events: {path: events.csv}
products: {path: products.csv}
subset:
  description: Half of it
  events: "true"
  training: {num_epochs: 2, batch_size: 64}
"""


@pytest.fixture
def shop_with_a_cut(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP, encoding="utf-8")
    return path


def test_a_cuts_training_settings_stand_below_the_users_and_above_the_defaults(
    shop_with_a_cut: Path, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"data: {{source: {shop_with_a_cut}}}\ntraining: {{batch_size: 128}}\n", encoding="utf-8")
    assert load_source_config(file).training == TrainingConfig(num_epochs=2, batch_size=128)
    assert load_source_config(file, ["training.num_epochs=9"]).training == TrainingConfig(num_epochs=9, batch_size=128)
    assert load_source_config(file, ["data.use_subset=false"]).training == TrainingConfig(batch_size=128)


def test_the_environment_wins_over_a_cuts_settings(shop_with_a_cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAWSIYA__TRAINING__NUM_EPOCHS", "4")
    loaded = load_source_config(overrides=[f"data.source={shop_with_a_cut}"])
    assert loaded.training == TrainingConfig(num_epochs=4, batch_size=64)


def test_an_unknown_training_setting_of_a_cut_is_refused(shop_with_a_cut: Path) -> None:
    shop_with_a_cut.write_text(SHOP.replace("num_epochs", "num_epoch"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"shop\.yaml: subset\.training\.num_epoch: "):
        load_source_config(overrides=[f"data.source={shop_with_a_cut}"])


def test_a_source_that_is_not_here_adds_no_settings() -> None:
    assert load_source_config(overrides=["data.source=nowhere.yaml"]).training == TrainingConfig()
