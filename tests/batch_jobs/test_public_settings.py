"""The settings that a release holds: all of them, but nothing that lets somebody in or names a buyer."""

import json
from typing import Any

import pytest

from batch_jobs.public_settings import MASKED, public_settings
from feature_repo.common.config import Config


def test_without_secrets_it_is_the_whole_configuration() -> None:
    config = Config()
    assert public_settings(config) == config.model_dump(mode="json")


def test_nothing_secret_is_left() -> None:
    config = Config.model_validate(
        {
            "data": {"exclude_buyers": ["buyer-17", "buyer-18"], "events_path": "s3://me:pw0@shop/events.parquet"},
            "training": {"mlflow_uri": "https://joe:pw1@mlflow.example:5000/path-token?key=pw2"},
            "api": {"otlp_endpoint": "http://collector:4318/pw3"},
            "spark": {
                "conf": {
                    "spark.hadoop.fs.s3a.secret.key": "pw4",
                    "spark.hadoop.fs.s3a.access.key": "pw5",
                    "spark.ssl.keyPassword": "pw6",
                    "spark.executor.memory": "4g",
                }
            },
        }
    )
    settings = public_settings(config)
    text = json.dumps(settings)
    assert "pw" not in text
    assert "buyer-1" not in text
    assert settings["data"]["exclude_buyers"] == [MASKED, MASKED]
    assert settings["data"]["events_path"] == f"s3://{MASKED}@shop/events.parquet"
    assert settings["training"]["mlflow_uri"] == f"https://{MASKED}@mlflow.example:5000/{MASKED}"
    assert settings["api"]["otlp_endpoint"] == f"http://collector:4318/{MASKED}"
    assert settings["spark"]["conf"]["spark.executor.memory"] == "4g"


@pytest.mark.parametrize(
    "conf",
    [
        {"spark.master": "k8s://https://10.0.0.1:443"},
        {"x": "http://collector:4318"},
        {"x": "file:///data/a@b"},
        {"x": "spark://host:7077"},
    ],
    ids=str,
)
def test_addresses_without_secrets_stay(conf: dict[str, Any]) -> None:
    assert public_settings(Config.model_validate({"spark": {"conf": conf}}))["spark"]["conf"] == conf
