"""Event types: their names, codes and weights."""

import re

from feature_repo.common.config import EventWeights

# The position in this tuple is the code that sequences store; append only, since features and models hold the codes.
EVENT_TYPES = ("view", "add_to_cart", "purchase")
EVENT_TYPE_CODES = {name: code for code, name in enumerate(EVENT_TYPES)}
PURCHASE = EVENT_TYPE_CODES["purchase"]

# Spellings met in exported shop data, after letters alone are kept: "Add to Cart", "ADD-TO-CART", "addToCart", ...
_SPELLINGS = {
    "view": {"view", "views", "viewed", "productview", "viewproduct", "viewitem", "pageview", "click", "impression"},
    "add_to_cart": {"addtocart", "addedtocart", "cart", "addcart", "addtobasket", "addtobag", "basket"},
    "purchase": {"purchase", "purchased", "purchases", "buy", "bought", "order", "ordered", "transaction", "sale"},
}
SPELLING_TO_TYPE = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}


def normalise_event_type(name: str) -> str | None:
    """The canonical event type of `name`, whatever its case, spaces and dashes; None where it is not known."""
    return SPELLING_TO_TYPE.get(re.sub(r"[^a-z]", "", name.lower()))


def weight_by_code(weights: EventWeights) -> tuple[float, ...]:
    """Event weights in the order of the codes."""
    return tuple(float(getattr(weights, name)) for name in EVENT_TYPES)
