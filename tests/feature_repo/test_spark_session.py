"""Paths as Spark reads them, and the message if Spark is not installed."""

import importlib.util
from pathlib import Path

import pytest

from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import ConfigError
from feature_repo.common.files import glob_literal
from feature_repo.settings.storage import SparkConfig
from feature_repo.spark_session import spark_conf, spark_pattern


def test_a_path_with_characters_of_patterns_names_that_file_alone() -> None:
    path = Path("/shops/a[1]*?{x,y}/part.parquet")
    assert spark_pattern(glob_literal(path)) == r"file:/shops/a\[1]\*\?\{x,y\}/part.parquet"
    assert spark_pattern("/shops/a/*.parquet") == "file:/shops/a/*.parquet"


@pytest.mark.skipif(importlib.util.find_spec("pyspark") is not None, reason="PySpark is installed")
def test_without_pyspark_the_message_names_the_extra() -> None:
    with pytest.raises(ConfigError, match=r"PySpark is not installed; run `pip install 'tawsiya\[spark\]'`"):
        spark_conf(SparkConfig())


def test_by_default_no_other_machine_reaches_the_driver() -> None:
    assert Config().spark.conf["spark.driver.bindAddress"] == "127.0.0.1"
    assert load_config(Path("config/spark.yaml")).spark.conf["spark.driver.bindAddress"] == "127.0.0.1"
