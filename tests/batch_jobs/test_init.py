"""`tawsiya init`: the files that it writes are those that the other commands then work with."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.command import invoke

ORDERS = """رقم الطلب,العميل,رمز المنتج,التاريخ
1,c1,A1,25/01/2026 10:00
2,c2,A2,26/01/2026 11:00
3,c1,A2,27/01/2026 12:00
"""
ITEMS = "رمز المنتج,اسم المنتج,السعر\nA1,شاي أخضر,20\nA2,قهوة عربية,35\n"
VARIABLES = ("TAWSIYA__DATA__SOURCE", "TAWSIYA__DATA__TIMEZONE", "TAWSIYA__DATA__DATE_ORDER")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with two files that nobody has mapped."""
    sources = Path("config/sources/csv.yaml").read_text(encoding="utf-8")
    (tmp_path / "config" / "sources").mkdir(parents=True)
    (tmp_path / "config" / "default.yaml").write_text("data_dir: var\n")
    (tmp_path / "config" / "sources" / "csv.yaml").write_text(sources, encoding="utf-8")
    (tmp_path / "orders.csv").write_text(ORDERS, encoding="utf-8")
    (tmp_path / "items.csv").write_text(ITEMS, encoding="utf-8")
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str) -> tuple[int, str]:
    done = invoke("init", "--events", "orders.csv", "--products", "items.csv", *arguments)
    return done.exit_code, done.output


def test_the_next_commands_work_on_the_shop(folder: Path) -> None:
    code, output = init("--name", "bazaar", "--timezone", "Africa/Cairo", "--json")
    assert code == 0, output
    result = json.loads(output.splitlines()[-1])
    assert result["settings"] == {"TAWSIYA__DATA__SOURCE": "bazaar", "TAWSIYA__DATA__TIMEZONE": "Africa/Cairo"}
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    mapping = yaml.safe_load((folder / "config/sources/bazaar.yaml").read_text(encoding="utf-8"))
    assert mapping["products"]["columns"] == {"product_id": "رمز المنتج", "title": "اسم المنتج", "price": "السعر"}
    ingested = invoke("ingest", "--json")
    assert ingested.exit_code == 0, ingested.output
    report = json.loads(ingested.stdout)
    assert (report["events"]["kept"], report["products"]["kept"]) == (3, 2)
    assert (folder / "var/bazaar/canonical/events.parquet").exists()


def test_what_it_wrote_is_said_with_the_columns(folder: Path) -> None:
    code, output = init("--name", "bazaar")
    assert code == 0
    assert "Written: config/sources/bazaar.yaml, and in .env:\n  TAWSIYA__DATA__SOURCE=bazaar" in output
    assert "رمز المنتج" in output
    assert "all are read as purchases" in output


def test_other_lines_of_env_stay(folder: Path) -> None:
    (folder / ".env").write_text("TAWSIYA_REDIS=redis:6379\nTAWSIYA__DATA__SOURCE=csv\n")
    assert init("--name", "bazaar")[0] == 0
    lines = (folder / ".env").read_text().splitlines()
    assert lines == ["TAWSIYA_REDIS=redis:6379", "TAWSIYA__DATA__SOURCE=bazaar", "TAWSIYA__DATA__TIMEZONE=UTC"]


def test_the_zone_of_another_shop_does_not_stay(folder: Path) -> None:
    assert init("--name", "cairo", "--timezone", "Africa/Cairo")[0] == 0
    assert init("--name", "london", "--timezone", "UTC")[0] == 0
    assert "TAWSIYA__DATA__TIMEZONE=UTC" in (folder / ".env").read_text().splitlines()


def test_a_mapping_file_is_not_replaced_unless_asked(folder: Path) -> None:
    path = folder / "config/sources/bazaar.yaml"
    path.write_text("mine\n")
    code, output = init("--name", "bazaar")
    assert (code, path.read_text()) == (2, "mine\n")
    assert "config/sources/bazaar.yaml exists; choose another --name, or replace it with --replace" in output
    assert not (folder / ".env").exists()
    assert init("--name", "bazaar", "--replace")[0] == 0
    assert path.read_text() != "mine\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--name", "../x"], 2, "use small letters a to z"),
        (["--name", "متجر"], 2, "use small letters a to z"),
        (["--platform", "shopifi"], 2, "known sources: csv"),
        (["--timezone", "Cairo"], 2, "data.timezone"),
        (["--date-order", "days"], 2, "data.date_order"),
        (["--events", "nothing.csv"], 1, "nothing.csv"),
    ],
)
def test_a_wrong_answer_writes_nothing(folder: Path, arguments: list[str], code: int, message: str) -> None:
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    seen_code, output = init(*arguments)
    assert (seen_code, message in output) == (code, True), output
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == before


def test_a_variable_that_counts_before_env_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAWSIYA__DATA__SOURCE", "csv")
    assert "the environment has another TAWSIYA__DATA__SOURCE" in init("--name", "bazaar")[1]


@pytest.mark.e2e
def test_it_asks_on_a_terminal(folder: Path) -> None:
    """Five questions, of which one is left as it is; a wrong answer is asked for again, and costs no other one."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "batch_jobs.cli", "init", "--json"],
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        os.write(ours, "دكان\nbazaar\n\norder.csv\norders.csv\nitems.csv\nRiyadh\nAsia/Riyadh\n".encode())
        stdout, questions = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, questions
    assert json.loads(stdout)["settings"]["TAWSIYA__DATA__TIMEZONE"] == "Asia/Riyadh"
    assert "Platform: " in questions
    assert "[csv]" in questions
    for refused in ("use small letters a to z", "order.csv does not exist", "no time zone is called 'Riyadh'"):
        assert refused in questions
    assert questions.count("File of events or orders") == 2
