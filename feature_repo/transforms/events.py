"""Event types: their names, codes and weights."""

import re

from feature_repo.common.config import EventWeights

# Sequences store the position in this tuple as the code. Append only: stored features and models use the codes.
EVENT_TYPE_NAMES = ("view", "add_to_cart", "purchase")
EVENT_TYPE_CODES = {name: code for code, name in enumerate(EVENT_TYPE_NAMES)}
PURCHASE = EVENT_TYPE_CODES["purchase"]

# Spellings in shop exports, reduced to lower-case letters: "Add to Cart", "ADD-TO-CART", "addToCart", ...
_SPELLINGS = {
    "view": {"view", "views", "viewed", "productview", "viewproduct", "viewitem", "pageview", "click", "impression"},
    "add_to_cart": {"addtocart", "addedtocart", "cart", "addcart", "addtobasket", "addtobag", "basket"},
    "purchase": {"purchase", "purchased", "purchases", "buy", "bought", "order", "ordered", "transaction", "sale"},
}
SPELLING_TO_TYPE = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings}


def normalise_event_type(name: str) -> str | None:
    """The canonical event type of `name`, or None if unknown; only the letters count, in either case."""
    return SPELLING_TO_TYPE.get(re.sub(r"[^a-z]", "", name.lower()))


def weight_by_code(weights: EventWeights) -> tuple[float, ...]:
    """The event weights; position i holds the weight of event code i."""
    return tuple(float(getattr(weights, name)) for name in EVENT_TYPE_NAMES)
