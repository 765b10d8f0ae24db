"""Yes and no as shops write them."""

from functools import lru_cache

from feature_repo.transforms.values.characters import latin_digits, trim, word_key

_YES = (
    "true, t, yes, y, on, 1, enabled, active, oui, vrai, ja, wahr, evet, doğru, نعم, صح, صحيح, صواب, مفعل, مفعلة, أجل"
)
_NO = "false, f, no, n, off, 0, disabled, inactive, non, faux, nein, falsch, hayır, yanlış, لا, خطأ, غير مفعل, معطل"
_AVAILABLE = (
    "in stock, available, available now, in stock now, limited availability, limited stock, low stock, online only, "
    "in store only, unlimited, "
    "متوفر, متوفرة, متوفر حالياً, متوفر في المخزون, في المخزون, متاح, متاحة, موجود, كمية محدودة, غير محدود, غير محدودة, "
    "auf Lager, lieferbar, verfügbar, vorrätig, en stock, disponible, stokta, stokta var, mevcut"
)
_UNAVAILABLE = (
    "out of stock, not in stock, no stock, sold out, unavailable, not available, currently unavailable, "
    "discontinued, on backorder, backorder, backordered, backorders, available on backorder, preorder, on preorder, "
    "available for preorder, presale, coming soon, "
    "غير متوفر, غير متوفرة, غير متوفر حالياً, غير متاح, غير متاحة, غير موجود, لا يوجد, نفد, نفدت, نفد المخزون, "
    "نفد من المخزون, نفدت الكمية, نفذ, نفذت, نفذ المخزون, نفذ من المخزون, نفذت الكمية, انتهت الكمية, "
    "خارج المخزون, قريباً, طلب مسبق, "
    "ausverkauft, nicht auf Lager, nicht vorrätig, nicht lieferbar, nicht verfügbar, "
    "rupture de stock, en rupture de stock, épuisé, indisponible, stokta yok, tükendi"
)


def _keys(words: str) -> frozenset[str]:
    return frozenset(map(word_key, words.split(", ")))


_YES_KEYS, _NO_KEYS = _keys(_YES), _keys(_NO)
_AVAILABLE_KEYS, _UNAVAILABLE_KEYS = _keys(_AVAILABLE), _keys(_UNAVAILABLE)


@lru_cache(maxsize=4096)
def read_flag(text: str) -> bool | None:
    """Reads true/false, yes/no, 1/0, on/off, نعم/لا and the like in any case; None if the text is none of these."""
    return _meaning(text, _YES_KEYS, _NO_KEYS)


@lru_cache(maxsize=4096)
def read_availability(text: str) -> bool | None:
    """Whether a text says that a product can be bought now: "in stock", "out_of_stock", "متوفر", "نفد"; None: neither.

    What is only on backorder or preorder cannot be bought now. A flag counts as well: the column may ask "In stock?".
    """
    # Product feeds write https://schema.org/InStock.
    said = _meaning(text.rpartition("schema.org/")[2], _AVAILABLE_KEYS, _UNAVAILABLE_KEYS)
    return read_flag(text) if said is None else said


def _meaning(text: str, yes: frozenset[str], no: frozenset[str]) -> bool | None:
    key = word_key(text)
    if key.isdigit():  # of a number, only the plain one counts: -1 is no 1
        key = trim(latin_digits(text)).removesuffix(".0")
    return True if key in yes else False if key in no else None
