"""Photos: the link in a product's own field, and the rows of a photo file."""

import re

import pandas as pd

from batch_jobs.ingestion.event_fields import INVALID_PRODUCT_ID
from batch_jobs.ingestion.product_rules.ids import MISSING_PRODUCT_ID
from feature_repo import columns as c
from feature_repo.ingest_report import UNKNOWN_PRODUCT_REASON
from feature_repo.transforms.values.ids import clean_id, id_problem

UNREADABLE_PHOTO, MISSING_PHOTO = "unreadable_photo", "missing_photo"
DUPLICATE_PHOTO = "duplicate_photo"
LONGEST_LINK = 2_048  # characters; browsers and proxies cut longer ones

# Between links, not within one: "https://x.example/w_300,h_200/a.jpg" is one, "a.jpg, b.jpg" are two.
_NEXT_LINK = re.compile(r"[,;|]\s+|[,;|](?=https?:|/)|[\r\n]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)


def photo_link(text: str) -> str | None:
    """The first link of a text; None if it is no link to a file: an embedded picture, another scheme, too long."""
    link = _NEXT_LINK.split(text, maxsplit=1)[0].strip(" ,;|")
    scheme = _SCHEME.match(link)
    if scheme is None:
        link = link.partition(",")[0]  # names of files: "a.jpg,b.jpg"
    elif scheme[1].lower() not in ("http", "https"):
        return None
    return link if 0 < len(link) <= LONGEST_LINK and "<" not in link else None


def photo_reasons(photos: pd.DataFrame, products: pd.DataFrame) -> "pd.Series[str]":
    """Why each row of a photo file is left out; null for the photos that products get.

    Args:
        photos: product_id and photo as the file has them; photo is then replaced by the link.
        products: product_id (null if missing) and photo of the products, which win over the file.
    """
    ids = photos[c.PRODUCT_ID].map(clean_id)
    texts = photos[c.PHOTO].map(clean_id)
    photos[c.PRODUCT_ID] = ids
    photos[c.PHOTO] = texts.map(photo_link, na_action="ignore")
    has_photo = set(products[c.PRODUCT_ID][products[c.PHOTO].notna()].dropna())
    known = set(products[c.PRODUCT_ID].dropna())
    reasons = pd.Series(None, index=photos.index, dtype=object)
    for row, product_id, text, link in zip(photos.index, ids, texts, photos[c.PHOTO], strict=True):
        reasons[row] = _reason(product_id, text, link, known, has_photo)
        if reasons[row] is None:
            has_photo.add(product_id)
    return reasons


def _reason(
    product_id: str | None, text: str | None, link: str | None, known: set[str], has_photo: set[str]
) -> str | None:
    if product_id is None:
        return MISSING_PRODUCT_ID
    if id_problem(product_id):
        return INVALID_PRODUCT_ID
    if text is None:
        return MISSING_PHOTO
    if link is None:
        return UNREADABLE_PHOTO
    if product_id not in known:
        return UNKNOWN_PRODUCT_REASON
    return DUPLICATE_PHOTO if product_id in has_photo else None
