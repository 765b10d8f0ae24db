"""The settings of the lists on a shop's pages."""

from typing import Annotated

from pydantic import Field

from feature_repo.settings.section import PositiveInt, Section


class ListsConfig(Section):
    """What was bought together ([lists.md](lists.md))."""

    together_days: PositiveInt = Field(
        7,
        description="Purchases of a buyer within the same so many days count as bought together where too few products "
        "were bought in the same basket",
    )
    # Pairs grow with the square: 100 products are 9,900 of them.
    max_basket_products: Annotated[int, Field(ge=2)] = Field(
        100, description="Of a basket with more products, so many are counted, chosen by a hash"
    )
