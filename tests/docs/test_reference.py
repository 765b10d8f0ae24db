"""The reference pages are those of the code, and nothing of the code is missing in them."""

import pytest
from typer.main import get_command

from batch_jobs.cli import app
from feature_repo.common.config import Config, known_keys
from feature_repo.common.paths import ShopPaths
from feature_repo.definitions import definitions
from feature_repo.schema import FIELDS, LATER_PRODUCT_FIELDS, MEANINGS
from online_api.app import create_app
from reference.__main__ import DOCS, PAGES
from reference.api_examples import EXAMPLES
from reference.command_line import commands_of
from reference.features import SHOP, sources, views
from reference.metrics import instruments


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_a_committed_page_is_that_of_the_code(page: str) -> None:
    assert text(page) == PAGES[page](), "run: python -m reference"


def test_every_command_has_a_section_with_its_options() -> None:
    page = text("reference/cli.md")
    for name, command in commands_of(get_command(app)):
        section = page.partition(f"\n## tawsiya {name}\n")[2].partition("\n## ")[0]
        assert command.help in section, name
        own = [option for option in command.params if option.name not in ("config", "overrides", "as_json")]
        assert [
            option.opts[0] for option in own if option.opts[0].startswith("-") and option.opts[0] not in section
        ] == []


def test_every_route_has_a_section_with_its_parameters_and_an_example() -> None:
    page = text("reference/api.md")
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in create_app(Config()).openapi()["paths"].items()
        for method, operation in methods.items()
    }
    assert set(EXAMPLES) == set(operations)
    for name, operation in operations.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        named = {one["name"] for one in operation.get("parameters", ())}
        assert {one for one in named if f"| `{one}` |" not in section} == set(), name
        assert "curl" in section, name


def test_every_metric_is_in_the_reference_and_explained() -> None:
    for instrument, metric in instruments():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        (row,) = [line for line in text("reference/metrics.md").splitlines() if line.startswith(f"| `{name}` |")]
        assert [label for label in instrument._labelnames if f"`{label}`" not in row] == []
        assert f"| `{name}` |" in text("observability.md"), name


def test_every_setting_is_in_the_reference_with_its_variable() -> None:
    page, keys = text("configuration.md"), sorted(known_keys())
    settings = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
    assert "api.port" in settings
    for key in settings:
        assert f"| `{key}`<br>`TAWSIYA__{key.upper().replace('.', '__')}` |" in page, key


def test_every_feature_is_in_the_reference_with_its_meaning() -> None:
    page, feast = text("reference/features.md"), definitions(ShopPaths(SHOP))
    for fields in (*FIELDS.values(), LATER_PRODUCT_FIELDS):
        assert [name for name, kind in fields.items() if f"| `{name}` | {kind} | {MEANINGS[name]} |" not in page] == []
    objects = [*views(feast), *sources(feast), feast.buyer, feast.product, feast.training_service]
    for one in (*objects, feast.online_service, feast.product_service):
        assert one.name in page, one.name
        assert one.description, one.name
