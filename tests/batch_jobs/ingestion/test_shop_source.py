"""Two mapping files of one name and one data_dir are two shops; a moved mapping is the same shop."""

import json
import shutil
from pathlib import Path

import pytest

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.shop_source import require_own_shop
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import kept_products


def config(folder: Path, name: str, data_dir: Path | None = None) -> Config:
    """The shop folder/name/shop.yaml, with one product called after its folder."""
    shop = folder / name
    shop.mkdir(parents=True, exist_ok=True)
    (shop / "products.csv").write_text(f"id,title\np1,{name}\n")
    (shop / "events.csv").write_text("buyer_id,product_id,event_type,timestamp\nu1,p1,view,2024-03-01\n")
    files = {"events": {"path": "events.csv"}, "products": {"path": "products.csv"}}
    mapping = {"description": name, "licence": "none", "folder": str(shop), **files}
    (shop / "shop.yaml").write_text(json.dumps(mapping))
    source = {"source": str(shop / "shop.yaml")}
    return Config.model_validate({"data_dir": data_dir or folder / "var", "data": source})


def test_another_mapping_of_the_same_name_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    first, second = config(tmp_path, "a"), config(tmp_path, "b")
    ingest(first)
    with pytest.raises(ConfigError) as refused:
        ingest(second)
    assert str(refused.value) == (
        f"data.source: {tmp_path}/var/shop was made from {tmp_path}/a/shop.yaml, and {tmp_path}/b/shop.yaml is another "
        "file of the same name; rename one of them, or give it a data_dir of its own (if both are one shop, delete "
        f"{tmp_path}/var/shop/source.json)"
    )
    assert kept_products(first)["p1"]["title"] == "a"
    with pytest.raises(ConfigError):
        require_own_shop(second)
    ingest(config(tmp_path, "b", tmp_path / "other"))
    shop_paths(second).source_record.unlink()
    ingest(second)
    assert kept_products(second)["p1"]["title"] == "b"


def test_an_edited_mapping_is_the_same_shop(tmp_path: Path) -> None:
    shop = config(tmp_path, "a")
    ingest(shop)
    first = shop_paths(shop).source_record.read_text()
    mapping = Path(shop.data.source)
    mapping.write_text(mapping.read_text().replace('"none"', '"free"'))
    ingest(shop)
    assert shop_paths(shop).source_record.read_text() != first  # the hash of its content


def test_a_copied_mapping_is_the_same_shop(tmp_path: Path) -> None:
    shop = config(tmp_path, "a")
    ingest(shop)
    copied = tmp_path / "copy" / "shop.yaml"
    copied.parent.mkdir()
    shutil.copy(shop.data.source, copied)
    ingest(shop.model_copy(update={"data": shop.data.model_copy(update={"source": str(copied)})}))
    assert json.loads(shop_paths(shop).source_record.read_text())["mapping"] == str(copied)


def test_a_moved_and_edited_mapping_is_the_same_shop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = config(tmp_path, "a"), config(tmp_path, "b")
    ingest(first)
    Path(first.data.source).unlink()
    ingest(second)
    assert "which is gone: taken for the same shop" in caplog.text


def test_a_relative_path_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = config(tmp_path, "a")
    ingest(shop)
    monkeypatch.chdir(tmp_path / "a")
    require_own_shop(shop.model_copy(update={"data": shop.data.model_copy(update={"source": "shop.yaml"})}))


def test_a_mapping_copied_with_its_folder_is_the_same_shop_though_it_was_edited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(config(tmp_path / "x", "a"))
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    require_own_shop(config(tmp_path / "y", "a"))  # names another folder, so its content is another one
    assert caplog.text == ""


def test_one_relative_path_in_two_folders_is_two_shops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shops = [config(tmp_path, name) for name in ("a", "b")]
    first, second = (
        shop.model_copy(update={"data": shop.data.model_copy(update={"source": "shop.yaml"})}) for shop in shops
    )
    monkeypatch.chdir(tmp_path / "a")
    ingest(first)
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"b/shop\.yaml is another file of the same name"):
        require_own_shop(second)


def test_a_shop_made_before_there_was_a_record_gets_one(tmp_path: Path) -> None:
    shop = config(tmp_path, "a")
    ingest(shop)
    shop_paths(shop).source_record.unlink()
    require_own_shop(shop)
    ingest(shop)
    assert json.loads(shop_paths(shop).source_record.read_text())["mapping"] == shop.data.source


def test_without_its_mapping_a_shop_can_be_served(tmp_path: Path) -> None:
    shop = config(tmp_path, "a")
    ingest(shop)
    Path(shop.data.source).unlink()
    require_own_shop(shop)
