"""Product text: pure functions shared by every job that reads or compares it."""

EMPTY_TEXT = " "  # sentence encoders need at least one character


def product_text(title: str, description: str) -> str:
    """What the encoder reads for a product: title and description, one space where both are empty."""
    return f"{title.strip()} {description.strip()}".strip() or EMPTY_TEXT


def deduplication_key(title: str, description: str, brand: str | None) -> tuple[str, str, str] | None:
    """Products of one key are the same product; None (never merged) where title and description are empty."""
    key = (_folded(title), _folded(description), _folded(brand or ""))
    return key if key[0] or key[1] else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
