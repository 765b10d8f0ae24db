"""Where a setting comes from, and what is said about one that cannot be used."""

from pathlib import Path

import pytest

from feature_repo.access.buyer_tokens import SECRETS_VARIABLE
from feature_repo.common.config import Config, known_keys
from feature_repo.common.config_loading import SECRET_VARIABLES, environment, load_config, with_secrets
from feature_repo.common.errors import ConfigError
from feature_repo.online.connection import REDIS_VARIABLE
from online_api.observability.logs import SALT_VARIABLE, log_salt
from training.artifacts.search.milvus_collection import TOKEN_VARIABLE

REPOSITORY = Path(__file__).parents[3]
NOTHING: dict[str, str] = {}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text("training:\n  batch_size: 64\n  patience: 5\ndata: {source: csv}\n", encoding="utf-8")
    return path


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def message(file: Path | None, *overrides: str, environ: dict[str, str] = NOTHING) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(file, overrides, environ)
    return str(refused.value)


def test_set_wins_over_environment_over_file_over_default(file: Path) -> None:
    def batch_size_and_patience(overrides: list[str], environ: dict[str, str]) -> tuple[int, int]:
        training = load_config(file, overrides, environ).training
        return training.batch_size, training.patience

    environ = {"TAWSIYA__TRAINING__BATCH_SIZE": "128"}
    assert Config().training.batch_size == 3072
    assert batch_size_and_patience([], NOTHING) == (64, 5)
    assert batch_size_and_patience([], environ) == (128, 5)
    assert batch_size_and_patience(["training.batch_size=256"], environ) == (256, 5)
    assert load_config(file, [], NOTHING).training.num_epochs == Config().training.num_epochs


def test_the_later_of_two_settings_wins(file: Path) -> None:
    assert load_config(file, ["training.patience=1", "training.patience=2"], NOTHING).training.patience == 2


def test_the_environment_reads_values_as_yaml() -> None:
    environ = {
        "TAWSIYA__MODEL__ITEM_TOWER__USE_CATEGORICAL_FEATURES": "no",
        "TAWSIYA__EXPECTATIONS__WARN_ONLY": "[titles_distinct]",
        "TAWSIYA__DATA__EVENTS_PATH": "مبيعات.csv",
        "TAWSIYA__EVENT_WEIGHTS__VIEW": "0.5",
        "TAWSIYA_REDIS": "redis:6379",  # one underscore: not a setting
        "PATH": "/bin",
    }
    config = load_config(REPOSITORY / "config/default.yaml", [], environ)
    assert config.model.item_tower.use_categorical_features is False
    assert config.expectations.warn_only == frozenset({"titles_distinct"})
    assert config.data.events_path == "مبيعات.csv"
    assert config.event_weights.view == 0.5


def test_a_value_may_hold_an_equals_sign(file: Path) -> None:
    assert load_config(file, ["data.events_path=day=1/events.csv"], NOTHING).data.events_path == "day=1/events.csv"


@pytest.mark.parametrize("content", ["", "# nothing but a comment\n"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, content: str) -> None:
    assert load_config(write(tmp_path / "empty.yaml", content), [], NOTHING) == Config()


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("training.batchsize", "training.batch_size"),
        ("model.buyer_tower.max_history", "model.buyer_tower.max_interaction_history"),
        ("trainig", "training"),
        ("data.sourse", "data.source"),
        ("event_weights.add_to_card", "event_weights.add_to_cart"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(wrong: str, nearest: str) -> None:
    assert f"{wrong}: unknown key; did you mean {nearest}?" in message(None, f"{wrong}=1")


def test_an_unknown_key_like_no_other_points_to_the_list() -> None:
    assert "zzzz: unknown key; see `tawsiya config show`" in message(None, "zzzz=1")


def test_an_unknown_key_is_refused_in_the_file_and_in_the_environment_too(tmp_path: Path) -> None:
    file = write(tmp_path / "typo.yaml", "api: {prot: 80}\n")
    refused = message(file)
    assert "api.prot: unknown key; did you mean api.port?" in refused
    assert str(file) in refused
    assert "did you mean api.port?" in message(None, environ={"TAWSIYA__API__PROT": "80"})


@pytest.mark.parametrize(
    ("setting", "key", "got"),
    [
        ("training.batch_size=many", "training.batch_size", "'many'"),
        ("training.batch_size=1", "training.batch_size", "1"),
        ("training.logq_exponent=2", "training.logq_exponent", "2"),
        ("training.text_encoder_lora_rank=-1", "training.text_encoder_lora_rank", "-1"),
        ("model.item_tower.dropout=1.5", "model.item_tower.dropout", "1.5"),
        ("model.buyer_tower.aggregation_method=mean", "model.buyer_tower.aggregation_method", "'mean'"),
        ("event_weights.view=-1", "event_weights.view", "-1"),
        ("api.port=65536", "api.port", "65536"),
        ("release.keep=1", "release.keep", "1"),
        ("data=3", "data", "3"),
    ],
)
def test_a_wrong_value_names_its_key_and_itself(setting: str, key: str, got: str) -> None:
    refused = message(None, setting)
    assert f"{key}: " in refused
    assert f"(got {got})" in refused


def test_every_problem_is_named_at_once() -> None:
    refused = message(None, "training.patience=0", "api.port=0")
    assert "training.patience: " in refused
    assert "api.port: " in refused


def test_weights_that_are_all_zero_are_refused() -> None:
    zero = [f"event_weights.{name}=0" for name in ("view", "add_to_cart", "purchase")]
    assert load_config(None, zero[:2], NOTHING).event_weights.purchase == 10
    assert "all event weights are 0" in message(None, *zero)


@pytest.mark.parametrize(
    ("key", "value", "origin"),
    [
        ("api.port", "x", "$TAWSIYA__API__PORT"),
        ("api.prot", "80", "$TAWSIYA__API__PROT"),
        ("trainig.seed", "1", "$TAWSIYA__TRAINIG__SEED"),
        ("api.port", "x", "--set api.port=x"),
        ("api.prot", "80", "--set api.prot=80"),
        ("api.port", "x", "TAWSIYA__API__PORT in .env"),
        ("api.prot", "80", "TAWSIYA__API__PROT in .env"),
        ("trainig.seed", "1", "TAWSIYA__TRAINIG__SEED in .env"),
        ("api.port", "x", "shop.yaml"),
        ("api.prot", "80", "shop.yaml"),
    ],
)
def test_a_wrong_setting_is_blamed_on_the_place_where_it_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str, origin: str
) -> None:
    monkeypatch.chdir(tmp_path)
    section, name = key.split(".")
    variable = f"TAWSIYA__{key.upper().replace('.', '__')}"
    wrong = f"{section}: {{{name}: {value}}}\n"
    file = write(Path("shop.yaml"), wrong if origin == "shop.yaml" else "api: {port: 8001}\n")
    write(Path(".env"), f"{variable}={value}\n" if origin.endswith(".env") else "")
    if origin.startswith("$"):
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as refused:
        load_config(file, [f"{key}={value}"] if origin.startswith("--set") else [])
    first, *lines = str(refused.value).splitlines()
    assert first == "the configuration is not usable:"
    at_section = key if section == "api" else section
    assert [line.partition(f": {at_section}: ")[0] for line in lines] == [f"  {origin}"]


def test_settings_that_do_not_go_together_name_each_place(file: Path) -> None:
    zero = {f"TAWSIYA__EVENT_WEIGHTS__{name}": "0" for name in ("ADD_TO_CART", "PURCHASE")}
    refused = message(file, "event_weights.view=0", environ=zero)
    assert (
        "  $TAWSIYA__EVENT_WEIGHTS__ADD_TO_CART, $TAWSIYA__EVENT_WEIGHTS__PURCHASE, --set event_weights.view=0: "
        "event_weights: Value error, all event weights are 0"
    ) in refused


def test_a_section_that_is_set_as_a_whole_is_blamed_on_the_setting(file: Path) -> None:
    refused = message(file, "api={port: x}", environ={"TAWSIYA__API__PORT": "80"})
    assert "  --set api={port: x}: api.port: " in refused


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data.ask", "data.evaluation_unit"),
        ("data.cut", "data.use_subset"),
        ("expectations.warnings", "expectations.warn_only"),
        ("api.max_waiting", "api.max_queue"),
        ("training.weigh_events", "training.weight_targets_by_event"),
    ],
)
def test_the_former_name_of_a_setting_leads_to_its_present_one(tmp_path: Path, old: str, new: str) -> None:
    section, name = old.split(".")
    file = write(tmp_path / "old.yaml", f"{section}: {{{name}: 1}}\n")
    variable = f"TAWSIYA__{section}__{name}".upper()
    for refused, origin in (
        (message(file), str(file)),
        (message(None, f"{old}=1"), f"--set {old}=1"),
        (message(None, environ={variable: "1"}), f"${variable}"),
    ):
        assert refused == f"the configuration is not usable:\n  {origin}: {old} is now called {new}"
    assert new in known_keys()


def test_a_setting_needs_an_equals_sign() -> None:
    assert "--set training.patience: expected section.key=value" in message(None, "training.patience")


def test_a_value_is_no_section() -> None:
    assert "--set data_dir.deeper=1: data_dir is a value, not a section" in message(
        None, "data_dir=x", "data_dir.deeper=1"
    )


def test_a_value_that_is_no_yaml_names_its_setting() -> None:
    assert "--set training.patience=[1: the value is not valid YAML" in message(None, "training.patience=[1")
    assert "$TAWSIYA__API__WORKERS: the value is not valid YAML" in message(
        None, environ={"TAWSIYA__API__WORKERS": "{"}
    )


@pytest.mark.parametrize(
    ("content", "said"), [("- a\n- b\n", "a YAML mapping), not a list"), ("training: [", "is not valid YAML")]
)
def test_a_file_that_holds_no_sections_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = write(tmp_path / "broken.yaml", content)
    refused = message(file)
    assert said in refused
    assert str(file) in refused


ENCODINGS = [("windows-1256", "0xe3", 20), ("utf-16", "0xff", 0), ("utf-16-le", "0x00", 1), ("utf-16-be", "0x00", 0)]


@pytest.mark.parametrize(("encoding", "byte", "place"), ENCODINGS)
def test_a_file_in_another_encoding_is_named_in_one_line(tmp_path: Path, encoding: str, byte: str, place: int) -> None:
    file = tmp_path / "arabic.yaml"
    file.write_text("data: {events_path: مبيعات.csv}\n", encoding=encoding)
    assert message(file) == f"{file} is not UTF-8 (byte {byte} at {place}); save it as UTF-8"


@pytest.mark.parametrize(("encoding", "byte", "place"), ENCODINGS)
def test_an_env_file_in_another_encoding_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path, encoding: str, byte: str, place: int
) -> None:
    (tmp_path / ".env").write_text("TAWSIYA__API__PORTS=مبيعات.csv\n", encoding=encoding)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"^\.env is not UTF-8 \(byte {byte} at {place}\); save it as UTF-8$"):
        load_config(file)


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bom.yaml"
    file.write_text("data: {events_path: مبيعات.csv}\n", encoding="utf-8-sig")
    (tmp_path / ".env").write_text("TAWSIYA__API__PORT=81\n", encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    config = load_config(file)
    assert (config.data.events_path, config.api.port) == ("مبيعات.csv", 81)


def test_without_a_default_file_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as refused:
        load_config()
    assert str(refused.value) == (
        f"no config/default.yaml in {tmp_path}; run tawsiya in the project's folder or name a file with --config"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml does not exist; name one with --config"):
        load_config(tmp_path / "nowhere.yaml", [], NOTHING)


def test_a_loaded_configuration_cannot_be_changed(file: Path) -> None:
    config = load_config(file, [], NOTHING)
    with pytest.raises(ValueError, match="frozen"):
        setattr(config.training, "patience", 9)  # noqa: B010 - mypy knows that it is frozen


@pytest.mark.parametrize(
    ("name", "source", "online"), [("default", "complete_journey", "embedded"), ("production", "csv", "redis")]
)
def test_the_shipped_files_load(name: str, source: str, online: str) -> None:
    config = load_config(REPOSITORY / f"config/{name}.yaml", [], NOTHING)
    assert (config.data.source, config.feature_store.online) == (source, online)


def test_every_setting_is_described() -> None:
    keys = set(known_keys())
    assert {"training.batch_size", "model.item_tower.dropout", "data", "data_dir"} <= keys
    for key in keys:
        section: type = Config
        *path, last = key.split(".")
        for name in path:
            section = section.model_fields[name].annotation  # type: ignore[attr-defined]
        field = section.model_fields[last]  # type: ignore[attr-defined]
        is_section = hasattr(field.annotation, "model_fields")
        assert is_section or field.description, f"{key} has no description"


def test_the_environment_wins_over_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    (tmp_path / ".env").write_text("TAWSIYA_REDIS=file:1\nTAWSIYA__API__PORT=81\nTAWSIYA__API__WORKERS=2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAWSIYA_REDIS", raising=False)
    monkeypatch.setenv("TAWSIYA__API__PORT", "82")
    assert environment()["TAWSIYA_REDIS"] == "file:1"
    api = load_config(file).api
    assert (api.port, api.workers) == (82, 2)


def test_every_secret_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(SECRET_VARIABLES) == {REDIS_VARIABLE, SECRETS_VARIABLE, SALT_VARIABLE, TOKEN_VARIABLE}
    secret = write(tmp_path / "secret", "redis:6379,password= s \n\n")
    variables = {f"{name}_FILE": str(secret) for name in SECRET_VARIABLES}
    # One newline at the end goes, and nothing else.
    assert [with_secrets(variables)[name] for name in SECRET_VARIABLES] == ["redis:6379,password= s \n"] * 4
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAWSIYA_LOG_SALT", raising=False)
    write(tmp_path / ".env", "TAWSIYA_LOG_SALT_FILE=salt\n")
    write(tmp_path / "salt", "pepper\r\n")
    assert environment()["TAWSIYA_LOG_SALT"] == "pepper"
    assert log_salt() == log_salt({"TAWSIYA_LOG_SALT": "pepper"})


def test_a_secret_that_cannot_be_read_is_named_without_its_value(tmp_path: Path) -> None:
    def refused(**variables: str) -> str:
        with pytest.raises(ConfigError) as caught:
            with_secrets(variables)
        return str(caught.value)

    secret = str(write(tmp_path / "secret", "s3cret"))
    twice = refused(TAWSIYA_REDIS="redis:6379,password=s3cret", TAWSIYA_REDIS_FILE=secret)
    assert twice == "$TAWSIYA_REDIS and $TAWSIYA_REDIS_FILE are both set; leave one out"
    absent = refused(TAWSIYA_LOG_SALT_FILE=f"{secret}s")
    assert absent == f"$TAWSIYA_LOG_SALT_FILE: {secret}s cannot be read: No such file or directory"
    assert "cannot be read: Is a directory" in refused(TAWSIYA_LOG_SALT_FILE=str(tmp_path))
    misspelt = refused(TAWSIYA_REDISS_FILE=secret)
    assert misspelt.startswith("$TAWSIYA_REDISS_FILE: no secret has this name; there are TAWSIYA_REDIS, ")
    # Settings have two underscores, and a file's name is none of a secret.
    setting = {"TAWSIYA__A_FILE": "x", "OTHER_FILE": "y"}
    assert with_secrets(setting) == setting


def test_own_files_are_csv_where_no_source_is_named(tmp_path: Path) -> None:
    both = ["data.events_path=e.csv", "data.products_path=p.csv"]
    nothing = write(tmp_path / "empty.yaml", "")
    assert load_config(nothing, both, NOTHING).data.source == "csv"
    assert load_config(nothing, both[:1], NOTHING).data.source == "complete_journey"
    assert load_config(nothing, [*both, "data.source=online_retail"], NOTHING).data.source == "online_retail"


@pytest.mark.parametrize("size", ["4GB", "512MB", "1.5 GiB", "16gb"])
def test_sizes_of_memory(size: str) -> None:
    assert load_config(None, [f"resources.memory_limit={size}"], NOTHING).resources.memory_limit == size


@pytest.mark.parametrize("size", ["80%", "-1", "none", "4", "4 gigabytes"])
def test_other_sizes_of_memory_are_refused(size: str) -> None:
    assert "is not a size such as 4GB or 512MB" in message(None, f"resources.memory_limit={size}")
