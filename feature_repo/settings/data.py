"""The settings of the data: source, split, and the limits of the data gate."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from feature_repo.settings.model import EventType
from feature_repo.settings.section import Fraction, PositiveInt, RegularExpression, Section
from feature_repo.transforms.values.times import DateOrder, TimeReader

EvaluationUnit = Literal["per_buyer", "per_moment"]


def _known_zone(name: str) -> str:
    TimeReader(name)
    return name


class DataConfig(Section):
    """Where the shop's data come from and how they are split in time."""

    source: str = Field(
        "complete_journey",
        description="Name of a mapping in config/sources, or the path of one; the shop's folder is named after the "
        "file. The default is `csv` if `data.events_path` and `data.products_path` are set",
    )
    use_subset: bool = Field(
        True, description="Read only the subset that the mapping defines, if it defines one; false reads everything"
    )
    events_path: str | None = Field(None, description="File of events, instead of the mapping's")
    products_path: str | None = Field(None, description="File of products, instead of the mapping's")
    photos_path: str | None = Field(None, description="File of photos, instead of the mapping's")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "UTC", description="Time zone of the shop's times that name none, in exports and in the API: an IANA name"
    )
    date_order: DateOrder | None = Field(
        None,
        description="Whether 03/04/2025 is 3 April (`day_first`) or 4 March (`month_first`); unset, a column is read "
        "only if it proves its order by a number above 12",
    )
    exclude_buyers: tuple[str, ...] = Field(
        (), description="Ids of buyers whose events are left out, such as staff and test accounts"
    )
    exclude_user_agents: tuple[RegularExpression, ...] = Field(
        (),
        description="Regular expressions; events whose `user_agent` contains a match are left out, such as `(?i)bot`",
    )
    max_events_per_hour: Annotated[int, Field(ge=0)] = Field(
        0, description="A buyer with more events within any clock hour is left out as a bot; 0 leaves nobody out"
    )
    event_log_days: Annotated[int, Field(ge=0)] = Field(
        0,
        description="So many days the events that the API accepted are kept in the event log; older ones no longer "
        "count, unless the shop's export has them. 0 keeps all",
    )
    test_days: PositiveInt = Field(
        30,
        description="The last whole days of events are the test set; as many days before them are the validation set",
    )
    evaluation_unit: EvaluationUnit = Field(
        "per_buyer",
        description="When validation and test take a context: `per_buyer` once per buyer, at the start of the days, "
        "with everything that follows as targets; `per_moment` at each moment of events within the days (sessions)",
    )
    max_held_out_contexts: Annotated[int, Field(ge=0)] = Field(
        50_000, description="Contexts of the validation set and of the test set, a random sample each; 0 takes all"
    )
    target_events: frozenset[EventType] = Field(
        frozenset({"view", "add_to_cart", "purchase"}), min_length=1, description="Event types that are targets"
    )

    @model_validator(mode="before")
    @classmethod
    def _own_files_are_csv(cls, values: Any) -> Any:
        """Selects the source `csv` if both files are set and `source` is not."""
        if (
            isinstance(values, dict)
            and "source" not in values
            and values.get("events_path")
            and values.get("products_path")
        ):
            return {**values, "source": "csv"}
        return values


class ExpectationsConfig(Section):
    """Thresholds of the data-quality gate."""

    max_bad_event_share: Fraction = Field(
        0.05,
        description="Largest share of bad events among those that are not excluded; unknown products and events of "
        "nobody have limits of their own",
    )
    max_missing_buyer_share: Fraction = Field(
        0.5, description="Largest share of events that name no buyer, such as those of guests"
    )
    max_unknown_product_share: Fraction = Field(
        0.3, description="Largest share of events whose product is not in the catalogue"
    )
    max_bad_product_share: Fraction = Field(
        0.05, description="Largest share of bad products, and of products that repeat an id"
    )
    max_unreadable_share: Fraction = Field(
        0.5, description="Largest share of products whose price (or stock, hidden, photo, ...) cannot be read"
    )
    min_title_share: Fraction = Field(0.95, description="Smallest share of products that have a title")
    min_category_share: Fraction = Field(0.5, description="Smallest share of products that have a category")
    min_distinct_title_share: Fraction = Field(
        0.5, description="Smallest share of products with a title of their own, among those that have a title"
    )
    max_drop: Fraction = Field(
        0.5, description="Events, products or buyers that lost this share since the last good run have drifted"
    )
    max_event_mix_change: Fraction = Field(
        0.2, description="Largest change of an event type's share since the last good run"
    )
    max_null_rate_increase: Fraction = Field(
        0.2, description="Largest increase of a column's share of missing values since the last good run"
    )
    max_unreadable_increase: Fraction = Field(
        0.05, description="Largest increase of a share of unreadable values since the last good run"
    )
    max_new_category_share: Fraction = Field(
        0.2, description="Largest share of products in categories that the last good run lacks"
    )
    warn_only: frozenset[str] = Field(
        frozenset({"category_known", "titles_distinct"}),
        description="Names of expectations that only warn when they fail, though they would stop the run "
        "([data-quality.md](data-quality.md) lists all)",
    )
    also_block: frozenset[str] = Field(
        frozenset(), description="Names of expectations that stop the run when they fail, though they would only warn"
    )

    @model_validator(mode="after")
    def _warn_or_block(self) -> "ExpectationsConfig":
        if both := self.warn_only & self.also_block:
            raise ValueError(f"warn_only and also_block both name {', '.join(sorted(both))}; name it in one of them")
        return self
