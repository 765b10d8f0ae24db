"""The documents say what the code does."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution
from typer.main import get_command

from batch_jobs.cli import app
from batch_jobs.ingestion.column_names import EVENT_ALIASES, PRODUCT_ALIASES
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.source_mapping import load_mapping
from feature_repo.common.config import Config
from online_api.app import create_app
from online_api.schemas.responses import RecommendationResponse
from training.evaluate import TOWERS_ALONE, TWO_TOWER
from training.evaluation.held_out import ALL, COLD_ITEMS, NEW_ITEMS
from training.model.aggregators import AGGREGATORS
from training.runs.tracking import PICTURE, SETTINGS
from training.tune import BEST, SPACE, STUDY

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def _commands() -> set[str]:
    """Every command as a user types it, such as `release list`."""
    names = set()
    commands: dict[str, Any] = getattr(get_command(app), "commands")  # noqa: B009
    for name, command in commands.items():
        inner = getattr(command, "commands", None)
        names |= {f"{name} {child}" for child in inner or ()}
        if not inner or getattr(command, "invoke_without_command"):  # noqa: B009
            names.add(name)
    return names


def _reference() -> str:
    spec = importlib.util.spec_from_file_location("docs_reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text: str = module.reference()
    return text


def test_configuration_reference_is_up_to_date() -> None:
    assert (DOCS / "configuration.md").read_text(encoding="utf-8") == _reference() + "\n", (
        "run: python docs/reference.py"
    )


def test_every_command_is_described() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    for command in _commands():
        group, _, child = command.partition(" ")
        row = next((line for line in text.splitlines() if line.startswith(f"| `tawsiya {group}")), "")
        assert row, f"docs/operations.md has no row for tawsiya {command}"
        assert not child or child in row, f"the row of tawsiya {group} does not name {child}"


def test_every_route_is_described() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for path, methods in create_app(Config()).openapi()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in text, f"docs/api.md does not describe {method.upper()} {path}"


def _alias_table(aliases: dict[str, tuple[str, ...]]) -> str:
    rows = [f"| `{field}` | {', '.join((field, *names))} |" for field, names in aliases.items()]
    return "\n".join(["| field | column names |", "|---|---|", *rows])


@pytest.mark.parametrize("aliases", [EVENT_ALIASES, PRODUCT_ALIASES], ids=["events", "products"])
def test_the_tables_of_column_names_are_those_of_the_code(aliases: dict[str, tuple[str, ...]]) -> None:
    table = _alias_table(aliases)
    assert table in (DOCS / "sources.md").read_text(encoding="utf-8"), f"docs/sources.md needs this table:\n{table}"


def test_every_source_is_described_and_loads() -> None:
    text = (DOCS / "sources.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "config" / "sources").glob("*.yaml")):
        load_mapping(str(path))
        assert re.search(rf"^\|[^|]*`{path.stem}`", text, re.MULTILINE), path


def test_the_example_response_is_one() -> None:
    blocks = re.findall(r"```json\n(.*?)```", (DOCS / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    example = json.loads(blocks[0])
    assert RecommendationResponse.model_validate(example).model_dump() == example


def test_the_documented_mapping_reads_csv_files(tmp_path: Path) -> None:
    text = (DOCS / "sources.md").read_text(encoding="utf-8")
    block = re.search(r"## The mapping file\n\n```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    mapping = yaml.safe_load(block[1]) | {"folder": str(tmp_path)}
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    (tmp_path / "names.csv").write_text("id,title\np1,شاي\np2,قهوة\n", encoding="utf-8")
    (tmp_path / "products.csv").write_text("id,price\np1,10\np2,20\n", encoding="utf-8")
    (tmp_path / "events.csv").write_text(
        "household,product_id,timestamp,quantity\n"
        "8,p1,2024-03-01,1\n"
        "8,p1,2024-03-02,-1\n"  # returned
        "9,p2,2024-03-01,1\n",  # not in the subset
        encoding="utf-8",
    )
    config = Config.model_validate({"data_dir": tmp_path / "var", "data": {"source": str(tmp_path / "shop.yaml")}})
    report = ingest(config)
    assert (report["events"]["kept"], report["events"]["excluded"]) == (1, 1)
    assert report["products"]["kept"] == 1


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/data-quality.md",
        "docs/exports.md",
        "docs/operations.md",
        "docs/privacy.md",
        "docs/reports.md",
        "docs/security.md",
        "docs/sources.md",
        "docs/training.md",
    ],
)
def test_commands_in_code_blocks_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shell = "\n".join(re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    inline = "\n".join(re.findall(r"`((?:tawsiya|make) [^`]+)`", text))
    for line in (shell + "\n" + inline).splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] == ["tawsiya"]:
            assert words[1] in _commands() or " ".join(words[1:3]) in _commands(), f"{page}: {line}"
        elif words[:1] == ["make"]:
            assert words[1] in targets, f"{page}: {line}"


def test_every_setting_that_is_searched_is_described_with_its_values() -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    for key, distribution in SPACE.items():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{key}` |")), "")
        assert row, f"docs/training.md has no row for {key}"
        if isinstance(distribution, CategoricalDistribution):
            tried = ", ".join(
                f"`{value}`" if isinstance(value, str) else f"{value:g}" for value in distribution.choices
            )
        else:
            assert isinstance(distribution, FloatDistribution)
            tried = f"{distribution.low:g} to {distribution.high:g}"
        assert f"| {tried}" in row


def test_what_training_can_be_asked_for_is_described() -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    for name in [*AGGREGATORS, ALL, NEW_ITEMS, COLD_ITEMS, TWO_TOWER, TOWERS_ALONE, PICTURE, SETTINGS, BEST, STUDY]:
        assert re.search(rf"`[^`\n]*\b{re.escape(name)}\b", text), name


def test_relative_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"
