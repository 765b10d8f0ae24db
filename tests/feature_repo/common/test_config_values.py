"""Values in variables and after --set: a text stays as it is, whatever YAML would make of it."""

from pathlib import Path

import pytest

from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]
DEFAULT = REPOSITORY / "config/default.yaml"
NOTHING: dict[str, str] = {}

TEXTS = [
    "/srv/shop #1",
    "a: b",
    "[x]",
    "{x}",
    "*x",
    "&x",
    "!x",
    "@x",
    "%x",
    "`x`",
    "| x",
    "> x",
    "- x",
    "? x",
    "null",
    "~",
    "on",
    "no",
    "true",
    "007",
    "1_000",
    "1e3",
    "12:30:00",
    "2024-01-31",
    "$HOME/x",
    "it's",
    'a "b" c',
    '"a" b',
    "متجر",
    "x" * 300,
    "a=b",
    "[1",
    "x\ty",
]


def loaded(key: str, text: str, where: str) -> Config:
    variable = f"TAWSIYA__{key.replace('.', '__').upper()}"
    if where == "variable":
        return load_config(DEFAULT, [], {variable: text})
    return load_config(DEFAULT, [f"{key}={text}"], NOTHING)


@pytest.mark.parametrize("where", ["variable", "--set"])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_as_it_is(text: str, where: str) -> None:
    assert loaded("data_dir", text, where).data_dir == Path(text)
    assert loaded("data.source", text, where).data.source == text
    assert loaded("data.events_path", text, where).data.events_path == text
    assert loaded("training.mlflow_uri", text, where).training.mlflow_uri == text
    assert loaded("api.rules_path", text, where).api.rules_path == Path(text)
    assert loaded("model.item_tower.text_encoder", text, where).model.item_tower.text_encoder == text


def test_the_former_name_of_the_data_folder_takes_a_text_too(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    config = load_config(tmp_path / "empty.yaml", ["data.output_dir=/srv/shop #1"], NOTHING)
    assert config.data_dir == Path("/srv/shop #1")


def test_the_present_name_of_the_data_folder_wins_over_the_former_one(tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("data_dir: /new\ndata: {output_dir: /old}\n")
    assert load_config(tmp_path / "both.yaml", [], NOTHING).data_dir == Path("/new")


def test_an_empty_text_is_no_path() -> None:
    assert loaded("data.events_path", "", "variable").data.events_path is None
    assert loaded("training.mlflow_uri", "", "variable").training.mlflow_uri == ""


@pytest.mark.parametrize("text", ["'/srv/shop #1'", '"shop"'])
def test_quotes_around_a_text_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded("data_dir", text, "variable")
    assert str(refused.value) == (
        "$TAWSIYA__DATA_DIR: data_dir takes the text as it is; leave out the quotes around it"
    )


def test_the_texts_of_a_list_stay_as_they_are() -> None:
    proxies = loaded("api.trusted_proxies", "[007, 1_000, on, 2024-01-31, null]", "--set").api.trusted_proxies
    assert proxies == ("007", "1_000", "on", "2024-01-31", "null")


def test_a_choice_is_a_text() -> None:
    with pytest.raises(ConfigError, match=r"index\.type: .* \(got 'no'\)"):
        loaded("index.type", "no", "variable")


def test_other_values_are_yaml() -> None:
    assert loaded("api.port", "80 # the port", "variable").api.port == 80
    assert loaded("data.use_subset", "no", "variable").data.use_subset is False
    assert loaded("api", "{port: 81, host: h}", "--set").api.host == "h"


def test_a_wrong_variable_is_named_and_not_the_file() -> None:
    with pytest.raises(ConfigError) as refused:
        loaded("api.port", "abc", "variable")
    assert "  $TAWSIYA__API__PORT: api.port: " in str(refused.value)
    assert "default.yaml" not in str(refused.value)


def test_a_key_that_another_one_begins_with_keeps_the_place_where_it_was_set() -> None:
    with pytest.raises(ConfigError, match=r"--set api\.pathways=1: api\.pathways: unknown key"):
        load_config(DEFAULT, ["api.pathways=1", "api.path=2"], NOTHING)


def test_a_setting_within_a_section_is_blamed_and_not_the_section() -> None:
    with pytest.raises(ConfigError, match=r"--set api\.port=abc: api\.port: "):
        load_config(DEFAULT, ["api.port=abc"], {"TAWSIYA__API": "{host: h}"})
