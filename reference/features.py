"""docs/reference/features.md: every Feast object of a shop with its fields, from the definitions."""

from collections.abc import Iterator
from pathlib import Path

from feast import FeatureView
from feast.data_source import DataSource

from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths
from feature_repo.definitions import FRESHNESS_TAG, Definitions, definitions
from feature_repo.schema import FIELDS, LATER_PRODUCT_FIELDS, schema_hash
from reference.markdown import code, table

SHOP = Path("<shop>")
LONGEST = Config().model.buyer_tower.max_interaction_history
HEAD = f"""# Features

Every Feast object of a shop: entities, feature views with their fields, sources and feature services, as
`feature_repo/definitions.py` declares them. Paths are relative to the shop's folder, `data_dir/<source>`. How a row
gets there is in [architecture.md](../architecture.md#the-way-of-a-feature); how to read features yourself in
[operations.md](../operations.md#reading-features-yourself).

The schema hash is `{schema_hash(LONGEST)}`, with histories of the default {LONGEST} events. No view has a time to live.

This page is made by `python -m reference` from the code.
"""


def page() -> str:
    """The whole page."""
    feast = definitions(ShopPaths(SHOP))
    lines = [HEAD, "## Entities", ""]
    lines += table(
        ("entity", "join key", "meaning"),
        [(code(entity.name), code(entity.join_key), entity.description) for entity in (feast.buyer, feast.product)],
    )
    for view in views(feast):
        lines += _view(view)
    lines += ["## Sources", ""]
    lines += table(("source", "files", "meaning"), [_source(source) for source in sources(feast)])
    lines += ["## Feature services", ""]
    lines += table(
        ("service", "views", "meaning"),
        [
            (
                code(service.name),
                ", ".join(code(one.name) for one in service.feature_view_projections),
                service.description,
            )
            for service in (feast.training_service, feast.online_service, feast.product_service)
        ],
    )
    return "\n".join(lines)


def views(feast: Definitions) -> tuple[FeatureView, ...]:
    """The feature views."""
    return feast.product_view, feast.history_view, feast.recent_view, feast.purchases_view


def sources(feast: Definitions) -> list[DataSource]:
    """The sources of the views, and the one that takes pushes."""
    return [feast.recent_source, *(view.batch_source for view in views(feast))]


def _view(view: FeatureView) -> Iterator[str]:
    yield from (f"## View {view.name}", "", f"{view.description}.", "")
    yield from (f"- Entity: {', '.join(map(code, view.entities))}", f"- Fresh: {view.tags[FRESHNESS_TAG]}", "")
    # Feast keeps them in a set.
    order = [*FIELDS[view.name], *LATER_PRODUCT_FIELDS]
    fields = sorted(view.schema, key=lambda field: order.index(field.name))
    yield from table(
        ("field", "type", "meaning"), [(code(field.name), str(field.dtype), field.description) for field in fields]
    )


def _source(source: DataSource) -> tuple[str, str, str]:
    path = str(getattr(source, "path", "")).removeprefix(f"{SHOP}/")
    return code(source.name), code(path) or "none: pushes", source.description
