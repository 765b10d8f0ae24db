"""The command line: exit codes, messages, and one JSON object on stdout and nothing else."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from batch_jobs.cli import app
from batch_jobs.reports.build import build_reports
from feature_repo.access.buyer_tokens import SECRETS_VARIABLE
from feature_repo.common.config_loading import load_config
from feature_repo.common.lock import shop_lock
from feature_repo.common.paths import shop_paths
from feature_repo.feature_report import PARTS
from tests.processes import Finished, tawsiya
from tests.tiny_shop import events, products, write_csv, write_shop

pytestmark = pytest.mark.e2e

SCRIPT = Path(sys.executable).with_name("tawsiya")
DONE, FAILED, BAD_USAGE, REFUSED = 0, 1, 2, 3


def script(folder: Path, *arguments: str) -> Finished:
    """Runs the installed script, for what needs no heavy import; the others are forked (see processes)."""
    done = subprocess.run([SCRIPT, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return Finished(done.returncode, done.stdout, done.stderr)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command as a tuple of its words, such as ("release", "list")."""
    children: dict[str, Any] = getattr(command, "commands", {})
    for name, child in children.items():
        yield from leaves(child, (*path, name))
    if not children or getattr(command, "invoke_without_command", False):
        yield path


GROUPS = ("release", "report", "runs", "config", "keys", "index")
COMMANDS = sorted(leaves(typer.main.get_command(app)))
LIST = ("list", "trending", "-k", "3")
FIND = ("search", products()[0]["title"], "-k", "3")
SEARCH = ("train", "--search", "2", "--set", "training.temperature=0.11")
DEMO = ("demo", "--no-serve", "--set", "training.seed=8")  # other than the refresh before: a second release
# In the order of a shop's first day. `serve` is missing because it never ends.
CHAIN = [
    ("ingest",),
    ("validate",),
    ("build-features",),
    ("materialize",),
    SEARCH,
    ("train",),
    ("embed",),
    ("index",),
    ("index", "export", "--to", "exported"),
    ("build-lists",),
    ("evaluate",),
    ("refresh",),
    DEMO,
    ("runs", "list"),
    ("runs", "show", "last"),
    ("report", "build"),
    ("report", "open"),
    ("recommend", "--buyer", "b01", "-k", "3"),
    LIST,
    FIND,
    ("search-report",),
    ("release", "list"),
    ("release", "verify"),
    ("release", "compare"),
    ("release", "rollback"),
    ("release", "promote"),
    ("release", "push", "--to", "copies"),
    ("release", "pull", "--from", "copies"),
    ("config", "show"),
    ("keys", "create", "--name", "x", "--scope", "read"),
    ("keys", "list"),
    ("keys", "revoke", "x"),
    ("keys", "buyer-token", "--buyer", "b01"),
    ("doctor",),
    ("export", "--buyer", "b02"),
    ("backup", "--to", "shop.tar"),
    ("restore", "shop.tar", "--force"),
    ("forget", "--buyer", "nobody"),  # the shop stays as it is
]


class Shop:
    """A shop's folder, and the command line on its configuration."""

    def __init__(self, folder: Path, text_encoder: Path) -> None:
        self.folder = folder
        self.config_file = write_shop(folder, text_encoder)

    def run(self, *arguments: str) -> Finished:
        return tawsiya(self.folder, *arguments, "--config", str(self.config_file))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Shop:
    """A shop of which no stage has run."""
    return Shop(tmp_path_factory.mktemp("empty shop"), tiny_encoder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Shop:
    folder = tmp_path_factory.mktemp("built shop")
    (folder / ".env").write_text(f"{SECRETS_VARIABLE}={'s' * 32}\n")
    return Shop(folder, tiny_encoder)


@pytest.fixture(scope="module")
def answers(built: Shop) -> dict[tuple[str, ...], Finished]:
    """The outcome of each command of CHAIN, run in this order."""
    finished: dict[tuple[str, ...], Finished] = {}
    for command in CHAIN:
        if command == ("materialize",):
            assert built.run("validate").code == DONE  # the first one ran before there were features
        finished[command] = built.run(*command, *_releases_of(command, finished), "--json")
        assert finished[command].code == DONE, finished[command].stderr
    return finished


def _releases_of(command: tuple[str, ...], finished: dict[tuple[str, ...], Finished]) -> list[str]:
    """The releases that a command of the chain needs to be named."""
    if command[-1] not in ("promote", "compare"):
        return []
    names = [row["name"] for row in finished[("release", "list")].answer["releases"]]
    return names if command[-1] == "compare" else names[:1]


# ---- answers ---------------------------------------------------------------------------------------------------------


def test_the_chain_holds_every_command_that_ends() -> None:
    # `init` writes into the project's folder: test_init.py gives it one of its own.
    elsewhere = {("serve",), ("init",)}
    assert {words[:2] if words[0] in GROUPS else words[:1] for words in CHAIN} == set(COMMANDS) - elsewhere


@pytest.mark.parametrize("command", CHAIN, ids=" ".join)
def test_json_is_one_object_on_stdout_and_nothing_else(
    answers: dict[tuple[str, ...], Finished], command: tuple[str, ...]
) -> None:
    finished = answers[command]
    assert finished.answer
    assert len(finished.stdout.splitlines()) == 1
    assert "Traceback" not in finished.stderr


def test_answers_say_what_was_done(answers: dict[tuple[str, ...], Finished]) -> None:
    assert answers[("ingest",)].answer["products"]["kept"] == len(products())
    assert answers[("ingest",)].answer["events"]["kept"] == len(events())
    assert answers[("validate",)].answer["passed"] is True
    assert answers[("build-features",)].answer["rows"]["buyers"] == 60
    assert answers[("materialize",)].answer["full"] is False
    curves = answers[("evaluate",)].answer["curves"]
    scores = [epoch["ndcg@20"] for epoch in curves["epochs"]]
    assert answers[("train",)].answer["epoch"] == curves["best_epoch"] == 1 + scores.index(max(scores))
    assert answers[("embed",)].answer == {"n_products": 40, "dim": 16}
    assert answers[("index",)].answer == {
        "type": "flat",
        "n_products": 40,
        "dim": 16,
        "search": {"n_products": 40},
    }
    assert answers[("evaluate",)].answer["targets"]["all"]["models"]["two_tower"]["recall@20"] > 0.5
    assert answers[DEMO].answer["metrics"].keys() == answers[("refresh",)].answer["evaluation"]["targets"].keys()
    runs = answers[("runs", "list")].answer["runs"]
    assert [(run["kind"], run["state"], run["release"]) for run in runs] == [
        ("refresh", "done", answers[("refresh",)].answer["release"]),
        ("refresh", "done", answers[DEMO].answer["release"]),
    ]
    assert answers[("runs", "show", "last")].answer == runs[-1]
    assert answers[("config", "show")].answer["training"]["seed"] == 7


def test_train_keeps_the_course_of_the_run(built: Shop, answers: dict[tuple[str, ...], Finished]) -> None:
    paths = shop_paths(load_config(built.config_file))
    run = Path(answers[("train",)].answer["run"])
    assert run.parent == paths.runs
    assert {path.name for path in run.iterdir()} == {"selection", "refit", "curves.png", "settings.yaml"}
    assert (paths.model / "curves.png").is_file()
    assert (paths.releases / "current" / "model" / "curves.png").is_file()


def test_a_search_answers_with_its_trials_and_trains_with_the_best(answers: dict[tuple[str, ...], Finished]) -> None:
    answer = answers[SEARCH].answer
    search = answer["search"]
    best = max(search["trials"], key=lambda trial: trial["value"])
    assert [trial["trial"] for trial in search["trials"]] == [1, 2]
    assert (search["metric"], search["value"], search["settings"]) == ("ndcg@20", best["value"], best["settings"])
    assert "training.temperature" not in search["settings"], "--set keeps it"
    assert load_config(Path(search["file"])).training.learning_rate == search["settings"]["training.learning_rate"]
    assert answer["metrics"]["ndcg@20"] == search["value"]
    trained = load_config(Path(answer["run"]) / "settings.yaml").training
    assert (trained.temperature, trained.learning_rate) == (0.11, search["settings"]["training.learning_rate"])


def test_recommend_answers_as_the_api_does(answers: dict[tuple[str, ...], Finished]) -> None:
    answer = answers[("recommend", "--buyer", "b01", "-k", "3")].answer
    assert (answer["buyer_id"], len(answer["items"])) == ("b01", 3)
    assert {"product_id", "title", "score"} <= answer["items"][0].keys()


def test_a_list_of_the_shops_pages_answers_as_the_api_does(answers: dict[tuple[str, ...], Finished]) -> None:
    answer = answers[LIST].answer
    assert (answer["source"], answer["degraded"], len(answer["items"])) == ("trending", [], 3)
    assert answers[("build-lists",)].answer["n_products"] == len(products())


def test_no_searches_are_reported_before_the_api_ran(answers: dict[tuple[str, ...], Finished]) -> None:
    report = answers[("search-report",)].answer
    assert (report["days"], report["searches"]) == (0, 0)


def test_search_answers_as_the_api_does(answers: dict[tuple[str, ...], Finished]) -> None:
    answer = answers[FIND].answer
    assert (answer["source"], answer["degraded"], len(answer["items"])) == ("search", [], 3)
    parts = answer["items"][0]["score_parts"]
    assert parts["words"] > 0
    assert parts["similarity"] != 0


def test_releases_are_listed_rolled_back_and_promoted(answers: dict[tuple[str, ...], Finished]) -> None:
    first, second = answers[("release", "list")].answer["releases"]
    assert [first["name"], second["name"]] == [
        answers[("refresh",)].answer["release"],
        answers[DEMO].answer["release"],
    ]
    assert (first["live"], second["live"]) == (False, True)
    assert answers[("release", "verify")].answer == {"verified": second["name"]}
    assert answers[("release", "rollback")].answer == {"live": first["name"]}
    assert answers[("release", "promote")].answer == {"live": first["name"]}


@pytest.mark.usefixtures("answers")
def test_without_json_people_read_text(built: Shop) -> None:
    evaluated = built.run("evaluate", "--k-values", "20")
    assert evaluated.code == DONE
    assert "two_tower" in evaluated.stdout
    assert "personal_frequency" in evaluated.stdout
    paths = shop_paths(load_config(built.config_file))
    assert str(paths.evaluation_report) in evaluated.stdout
    assert "personal_frequency" in paths.evaluation_report.read_text(encoding="utf-8")
    listed = built.run("release", "list")
    assert [line[:4] for line in listed.stdout.splitlines()] == ["live", "----", "*   ", "    "]
    assert "embedding_dim: 16" in built.run("config", "show").stdout
    refreshed = built.run("refresh").stdout
    assert f"\n\nshop: {len(events()):,} events of 60 buyers, 40 products\nbad rows: 0;" in refreshed
    assert str(paths.quarantine) in refreshed
    assert str(paths.report_index) in refreshed
    assert "two_tower" in refreshed


@pytest.mark.usefixtures("answers")
def test_evaluate_writes_its_result_to_a_file_too(built: Shop, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "evaluation.json"
    finished = built.run("evaluate", "--k-values", "3, 7", "--output", str(output), "--json")
    assert finished.code == DONE
    evaluation = json.loads(output.read_text())
    assert evaluation | {"report": finished.answer["report"]} == finished.answer
    assert {"recall@3", "recall@7"} <= evaluation["targets"]["all"]["models"]["two_tower"].keys()


@pytest.mark.usefixtures("answers")
def test_evaluate_shows_other_runs_beside_it(built: Shop, tmp_path: Path) -> None:
    other = tmp_path / "last week.json"
    assert built.run("evaluate", "--output", str(other)).code == DONE
    finished = built.run("evaluate", "--compare", str(other), "--json")
    assert finished.code == DONE
    page = Path(finished.answer["report"]).read_text(encoding="utf-8")
    assert str(other) in page
    build_reports(load_config(built.config_file))
    assert str(other) in Path(finished.answer["report"]).read_text(encoding="utf-8")
    assert str(other) not in Path(built.run("evaluate", "--json").answer["report"]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "cannot be read"),
        ("[]", "not a result of `tawsiya evaluate --output`"),
        ('{"models": {}}', "evaluate that run again"),
    ],
)
def test_what_is_no_evaluation_is_not_compared(shop: Shop, tmp_path: Path, content: str | None, message: str) -> None:
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content)
    finished = shop.run("evaluate", "--compare", str(other))
    assert (finished.code, finished.stdout) == (BAD_USAGE, "")
    assert f"--compare {other}: " in finished.stderr
    assert message in finished.stderr


# ---- bad usage and configuration: 2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.batchsize=8"], "training.batchsize: unknown key; did you mean training.batch_size?"),
        (["--set", "training.batch_size=many"], "training.batch_size"),
        (["--set", "training.batch_size"], "--set training.batch_size: expected section.key=value"),
        (["--set", "data_dir.deeper=1"], "data_dir is a value, not a section"),
        (["--set", "training.seed=[1"], "not valid YAML"),
    ],
)
def test_a_setting_that_cannot_be_used_is_bad_usage(shop: Shop, arguments: list[str], message: str) -> None:
    finished = shop.run("config", "show", *arguments, "--json")
    assert (finished.code, finished.stdout) == (BAD_USAGE, "")
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != ("serve",)], ids=" ".join)
def test_every_command_refuses_unknown_keys_before_it_works(shop: Shop, command: tuple[str, ...]) -> None:
    needed = {
        ("recommend",): ["--buyer", "b01"],
        ("list",): ["trending"],
        ("search",): ["tea"],
        ("release", "promote"): ["name"],
        ("release", "compare"): ["a", "b"],
        ("release", "push"): ["--to", "copies"],
        ("release", "pull"): ["--from", "copies"],
        ("keys", "create"): ["--name", "x", "--scope", "read"],
        ("keys", "revoke"): ["x"],
        ("keys", "buyer-token"): ["--buyer", "b01"],
        ("runs", "show"): ["last"],
        ("backup",): ["--to", "shop.tar"],
        ("index", "export"): ["--to", "exported"],
        ("restore",): ["shop.tar"],
        ("export",): ["--buyer", "b01"],
    }.get(command, [])
    finished = shop.run(*command, *needed, "--set", "model.embeding_dim=8", "--json")
    assert (finished.code, finished.stdout) == (BAD_USAGE, "")
    assert "did you mean model.embedding_dim?" in finished.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["train", "--no-such-option"],
        ["train", "--search", "0"],
        ["train", "--search-minutes", "5"],
        ["recommend"],
        ["recommend", "--buyer", "b", "-k", "0"],
        ["search"],
        ["search", "tea", "-k", "0"],
    ],
)
def test_bad_usage_of_the_command_line(shop: Shop, arguments: list[str]) -> None:
    finished = script(shop.folder, *arguments)
    assert (finished.code, finished.stdout) == (BAD_USAGE, "")
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("k_values", ["", "0", "ten", "5,", "5,-1"])
def test_cut_offs_that_are_no_positive_numbers_are_bad_usage(shop: Shop, k_values: str) -> None:
    finished = shop.run("evaluate", "--k-values", k_values, "--json")
    assert finished.code == BAD_USAGE
    assert "expected positive numbers separated by commas, such as 1,5,10,20" in finished.stderr


def test_an_unknown_source_is_bad_usage(shop: Shop) -> None:
    finished = shop.run("ingest", "--source", "no_such_shop")
    assert finished.code == BAD_USAGE
    assert "data.source: config/sources/no_such_shop.yaml does not exist" in finished.stderr


def test_a_demo_whose_port_is_taken_is_bad_usage_before_it_works(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = shop.run("demo", "--set", f"api.port={port}", "--set", f"data_dir={shop.folder / 'untouched'}")
    assert (finished.code, finished.stdout) == (BAD_USAGE, "")
    assert f"nothing can listen on 127.0.0.1:{port} (Address already in use)" in finished.stderr
    assert "--set api.port=" in finished.stderr
    assert not (shop.folder / "untouched").exists()


def test_a_configuration_file_that_is_not_there_is_bad_usage(shop: Shop) -> None:
    finished = script(shop.folder, "config", "show", "--config", "nowhere.yaml")
    assert finished.code == BAD_USAGE
    assert "configuration file nowhere.yaml does not exist" in finished.stderr


@pytest.mark.parametrize(
    "command", [["ingest"], ["config", "show"], ["release", "list"], ["keys", "list"]], ids=" ".join
)
def test_a_folder_without_the_default_configuration_is_bad_usage(tmp_path: Path, command: list[str]) -> None:
    finished = tawsiya(tmp_path, *command)
    assert (finished.code, finished.stdout) == (BAD_USAGE, "")
    remedy = "run tawsiya in the project's folder or name a file with --config"
    assert finished.stderr == f"error: no config/default.yaml in {tmp_path}; {remedy}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"stdout.txt", "stderr.txt"}


def test_help_works_in_any_folder(tmp_path: Path) -> None:
    for arguments in (["--help"], ["ingest", "--help"], ["release", "list", "--help"]):
        assert tawsiya(tmp_path, *arguments).code == DONE


def test_the_environment_is_read_and_checked(shop: Shop) -> None:
    def show(**variables: str) -> Finished:
        done = subprocess.run(
            [SCRIPT, "config", "show", "--json", "--config", str(shop.config_file)],
            env={**os.environ, **variables}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr)

    assert show(TAWSIYA__TRAINING__SEED="99").answer["training"]["seed"] == 99
    assert show(TAWSIYA__TRAINING__SEEED="99").code == BAD_USAGE


# ---- failures: 1 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["build-features"], "tawsiya validate"),
        (["validate"], "tawsiya ingest"),
        (["train"], "tawsiya ingest"),
        (["embed"], "tawsiya build-features"),
        (["index"], "tawsiya embed"),
        (["evaluate"], "tawsiya ingest"),
        (["recommend", "--buyer", "b01"], "tawsiya refresh"),
        (["search", "tea"], "tawsiya refresh"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_job_without_its_input_says_which_command_makes_it(shop: Shop, arguments: list[str], remedy: str) -> None:
    finished = shop.run(*arguments, "--json")
    assert finished.code == (REFUSED if arguments == ["build-features"] else FAILED), finished.stderr
    assert finished.stdout == ""
    assert remedy in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_missing_source_file_fails(shop: Shop) -> None:
    finished = shop.run("ingest", "--set", "data.events_path=nowhere.csv")
    assert finished.code == FAILED
    assert "source file nowhere.csv does not exist" in finished.stderr


def test_a_missing_column_fails_and_is_named(shop: Shop, tmp_path: Path) -> None:
    write_csv(tmp_path / "events.csv", [{"buyer_id": "b01", "event_type": "view", "timestamp": "2024-01-01"}])
    finished = shop.run("ingest", "--set", f"data.events_path={tmp_path / 'events.csv'}")
    assert finished.code == FAILED
    assert "required column 'product_id' is missing" in finished.stderr


WRITERS = ["ingest", "validate", "build-features", "materialize", "train", "embed", "index", "evaluate", "refresh"]


@pytest.mark.parametrize("command", [*WRITERS, "release rollback", "release promote x"])
def test_while_another_job_works_on_the_shop_nothing_else_does(shop: Shop, command: str) -> None:
    with shop_lock(load_config(shop.config_file)):
        finished = shop.run(*command.split(), "--json")
    assert (finished.code, finished.stdout) == (FAILED, "")
    assert "error: another job is running on this shop" in finished.stderr
    assert str(shop_paths(load_config(shop.config_file)).lock) in finished.stderr


@pytest.mark.usefixtures("answers")
def test_reading_needs_no_lock(built: Shop) -> None:
    with shop_lock(load_config(built.config_file)):
        assert built.run("release", "list").code == DONE
        assert built.run("release", "verify").code == DONE
        assert built.run("recommend", "--buyer", "b01").code == DONE


# ---- refused by a gate: 3 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["materialize"], "were never validated, or by an older version"),
        (["release", "rollback"], "there is no earlier release to roll back to"),
        (["release", "verify"], "no release is live"),
        (["release", "verify", "20240101T000000.000Z-00000000"], "is not a release"),
        (["release", "promote", "20240101T000000.000Z-00000000"], "is not a release"),
        (["release", "promote", "../elsewhere"], "'../elsewhere' is not the name of a release"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_checked_is_refused(shop: Shop, arguments: list[str], message: str) -> None:
    finished = shop.run(*arguments, "--json")
    assert (finished.code, finished.stdout) == (REFUSED, "")
    assert message in finished.stderr


@pytest.mark.usefixtures("answers")
def test_features_changed_after_the_gate_are_not_materialized(built: Shop) -> None:
    (path,) = shop_paths(load_config(built.config_file)).sequence_features.glob(PARTS)
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    finished = built.run("materialize")
    assert finished.code == REFUSED
    assert f"features/buyer_sequences/{path.name}" in finished.stderr
    assert "changed since the features data were validated" in finished.stderr
    path.write_bytes(content)
    assert built.run("validate").code == DONE
    assert built.run("materialize", "--full").code == DONE


# ---- the script itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_the_common_options(command: tuple[str, ...], shop: Shop) -> None:
    finished = tawsiya(shop.folder, *command, "--help")
    assert finished.code == DONE
    for option in ("--config", "--set", "--json"):
        assert option in finished.stdout


# ---- the machine says no ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_the_right_to_write_the_folder_and_the_user_are_named(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    finished = shop.run("keys", "create", "--name", "x", "--scope", "read", "--set", f"data_dir={tmp_path}/closed")
    assert (finished.code, finished.stdout) == (FAILED, "")
    assert f"run it as the owner of {tmp_path}/closed" in finished.stderr


def test_a_backup_does_not_replace_a_device(shop: Shop, tmp_path: Path) -> None:
    pipe, events = tmp_path / "pipe", shop_paths(load_config(shop.config_file)).events
    os.mkfifo(pipe)
    events.parent.mkdir(parents=True, exist_ok=True)
    events.touch()
    try:
        finished = shop.run("backup", "--to", str(pipe))
    finally:
        events.unlink()
    assert finished.code == FAILED
    assert f"{pipe} is a device or the like" in finished.stderr
    assert pipe.is_fifo()


@pytest.fixture
def _sigint_is_heard() -> Iterator[None]:
    """SIGINT is ignored if a script started the tests in the background, and a command would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_sigint_is_heard")
def test_ctrl_c_is_one_line_and_130(shop: Shop, tmp_path: Path) -> None:
    """A reader that never gets its file's end waits until it is interrupted."""
    buyers = tmp_path / "buyers"
    os.mkfifo(buyers)
    arguments = ["forget", "--file", str(buyers), "--config", str(shop.config_file)]
    with (
        subprocess.Popen([SCRIPT, *arguments], cwd=shop.folder, stderr=subprocess.PIPE, text=True) as process,
        buyers.open("w"),  # opens once the command reads it
    ):
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr == "error: interrupted; run the same command again: no file is half written\n"
