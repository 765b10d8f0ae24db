"""The documents say what the code does."""

import json
import re
import shlex
from collections.abc import Iterator
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
from feature_repo.common.config import Config, known_keys
from online_api.app import create_app
from online_api.schemas.responses import RecommendationResponse
from reference.command_line import commands_of
from training.evaluate import TOWERS_ALONE, TWO_TOWER
from training.evaluation.held_out import ALL, COLD_ITEMS, NEW_ITEMS
from training.model.aggregators import AGGREGATORS
from training.runs.tracking import PICTURE, SETTINGS
from training.tune import BEST, SPACE, STUDY

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


PAGES = ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted(DOCS.rglob("*.md")))]
BLOCK = re.compile(r"^ *```(?:bash|sh|console)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
ENDS_A_COMMAND = re.compile(r"\s(?:\||\|\||&&|;|>>?|2>|<)(?:\s|$)")


def _commands() -> dict[str, Any]:
    """Every command as a user types it, such as `release list`."""
    return dict(commands_of(get_command(app)))


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


def _calls(text: str) -> Iterator[list[str]]:
    """The words of each call of `tawsiya` or `make` in a page's shell blocks and inline code."""
    shell = "\n".join(BLOCK.findall(text)).replace("\\\n", " ")
    inline = re.findall(r"`((?:tawsiya|make) [^`]+)`", text)
    for line in (*shell.splitlines(), *inline):
        for call in ENDS_A_COMMAND.split(line.strip().removeprefix("$ ")):
            if call.startswith(("tawsiya ", "make ")):
                yield shlex.split(call, comments=True)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_code_exist_with_their_options(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = _commands()
    for words in _calls((ROOT / page).read_text(encoding="utf-8").replace("tawsiya COMMAND", "")):
        if words[0] == "make":
            assert words[1] in targets, f"{page}: {words}"
            continue
        command = commands.get(" ".join(words[1:3])) or commands.get(words[1])
        if command is None and len(words) == 2:  # a group, such as `tawsiya keys`
            assert any(name.startswith(f"{words[1]} ") for name in commands), f"{page}: {words}"
            continue
        assert command is not None, f"{page}: {words}"
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        options = {word.partition("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
        assert options - known == set(), f"{page}: {words}"


@pytest.mark.parametrize("page", PAGES)
def test_settings_in_commands_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"--set ([\w.]+)=", text)) - {"section.key"}
    variables = set(re.findall(r"\bTAWSIYA__(\w+)=", text)) - {"SECTION__KEY"}
    assert named | {name.lower().replace("__", ".") for name in variables} <= set(known_keys())
    sources = set(re.findall(r"\b(?:TAWSIYA__DATA__SOURCE|data\.source)=([\w-]+)(?![\w./-])", text)) - {"my_shop"}
    assert [name for name in sorted(sources) if not (ROOT / "config" / "sources" / f"{name}.yaml").is_file()] == []


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
