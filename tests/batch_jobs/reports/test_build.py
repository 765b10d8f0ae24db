"""Building the reports of a shop: what is missing or old, and how the pages lead to each other."""

import json
from pathlib import Path

import pytest

from batch_jobs.reports.build import REPORTS, build_reports
from batch_jobs.runs.run_records import REFRESH, started_run
from feature_repo.common.config import Config
from feature_repo.common.files import write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from tests.batch_jobs.reports.html_pages import read
from tests.batch_jobs.reports.literal_records import FINDINGS, INGESTED, STATISTICS
from tests.command import invoke

PAGES = [kind.name for kind in REPORTS]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate({"data_dir": tmp_path, "data": {"source": "shop"}})


@pytest.fixture
def paths(config: Config) -> ShopPaths:
    return shop_paths(config)


def write_validation(paths: ShopPaths) -> None:
    record = {"passed": True, "validated_at": "2026-11-30T13:25:00+00:00", "compared_with": None, "findings": FINDINGS}
    write_json(paths.validation / "canonical.json", record | {"stage": "canonical", "statistics": STATISTICS})
    write_json(paths.ingest_report, INGESTED)


def test_an_empty_shop_says_what_to_run(config: Config, paths: ShopPaths) -> None:
    result = build_reports(config)

    assert result["built"] == PAGES
    commands = {name: message.rpartition("run `")[2] for name, message in result["missing"].items()}
    assert commands == {
        "release": "tawsiya refresh` first",
        "evaluation": "tawsiya evaluate` first",
        "training": "tawsiya train` first",
        "data": "tawsiya validate` first",
        "drift": "tawsiya validate` first",
        "runs": "tawsiya refresh` first",
    }
    for name in PAGES:
        assert "tawsiya" in [code.text.split()[0] for code in read(paths.reports / f"{name}.html").all("code")]


def test_a_page_that_cannot_be_made_does_not_cost_the_others(config: Config, paths: ShopPaths) -> None:
    write_validation(paths)
    record = json.loads((paths.validation / "canonical.json").read_text(encoding="utf-8"))
    write_json(paths.validation / "canonical.json", record | {"findings": [{"x": 1}]})
    result = build_reports(config)
    assert result["built"] == PAGES
    assert "cannot be shown" in result["missing"]["data"]
    assert "cannot be shown" in read(paths.reports / "data.html").text
    assert paths.report_index.is_file()

    write_validation(paths)
    assert "data" in build_reports(config)["built"]
    assert "cannot be shown" not in read(paths.reports / "data.html").text


def test_all_links_lead_somewhere(config: Config, paths: ShopPaths) -> None:
    write_validation(paths)
    (paths.validation / "data_docs").mkdir(parents=True)
    (paths.validation / "data_docs" / "index.html").touch()
    build_reports(config)

    for page in paths.reports.glob("*.html"):
        links = [link.attributes["href"] or "" for link in read(page).all("a")]
        assert [link for link in links if link[0] != "#" and not (page.parent / link).is_file()] == []
        assert {f"{name}.html" for name in ("index", *PAGES)} <= set(links)
    assert "../validation/data_docs/index.html" in (paths.reports / "data.html").read_text(encoding="utf-8")


def test_the_start_page_has_the_figure_of_each_report(config: Config, paths: ShopPaths) -> None:
    write_validation(paths)
    build_reports(config)

    cards = {next(card.all("a")).text: card.text for card in read(paths.report_index).all("li") if list(card.all("h2"))}
    assert "refused by 1 check" in cards["Data quality"]
    assert "2026-11-30 13:25 UTC" in cards["Data quality"]
    assert "nothing to compare with" in cards["Drift"]
    assert "Nothing yet" in cards["Training"]


def test_only_what_has_changed_is_built_again(config: Config, paths: ShopPaths) -> None:
    write_validation(paths)
    build_reports(config)
    assert build_reports(config)["built"] == []

    with started_run(paths, REFRESH, keep=5):
        assert build_reports(config)["built"] == ["runs"]
        assert "at work" in (paths.reports / "runs.html").read_text(encoding="utf-8")
    assert build_reports(config)["built"] == ["runs"]
    (paths.reports / "drift.html").unlink()
    assert build_reports(config)["built"] == ["drift"]
    (paths.reports / "pages.json").write_text("{", encoding="utf-8")
    assert build_reports(config)["built"] == PAGES


def test_damaged_and_older_records_are_said_to_be(config: Config, paths: ShopPaths) -> None:
    write_validation(paths)
    record = json.loads((paths.validation / "canonical.json").read_text(encoding="utf-8"))
    del record["statistics"]
    write_json(paths.validation / "canonical.json", record)
    paths.evaluation.write_text("{", encoding="utf-8")
    missing = build_reports(config)["missing"]

    assert "of an older version, without statistics; run `tawsiya validate`" in missing["drift"]
    assert "evaluation.json is damaged" in missing["evaluation"]
    assert "data" not in missing


def test_the_command_builds_and_prints_the_page(tmp_path: Path) -> None:
    settings = ["--set", f"data_dir={tmp_path}", "--set", "data.source=csv"]

    built = invoke("report", "build", *settings)
    assert built.stdout.splitlines()[0] == f"built {', '.join(PAGES)}"
    page = tmp_path / "csv" / "reports" / "runs.html"
    opened = invoke("report", "open", "runs", *settings)
    assert opened.stdout.strip() == str(page)
    answer = json.loads(invoke("report", "open", "runs", "--json", *settings).stdout)
    assert (answer["page"], answer["opened"], answer["built"]) == (str(page), False, [])
    assert invoke("report", "open", "nothing", *settings).exit_code == 2


def test_the_command_knows_every_report() -> None:
    from batch_jobs.commands.report import ReportName

    assert set(ReportName) == {"index", *PAGES}
