"""Which column of a file holds which field, told from its heading."""

import re
from collections.abc import Iterable

from feature_repo import columns as c
from feature_repo.transforms.normalise import NormalisationStep, normalise

METADATA = "metadata"  # field of a mapping: a column with further values of a product as JSON
SALE_PRICE = "sale_price"  # this and the following: fields of products
SALE_PRICE_DATES = "sale_price_effective_date"  # both dates of the sale, with a slash between them
SALE_PRICE_FROM, SALE_PRICE_TO = "sale_price_from", "sale_price_to"
AVAILABILITY, PUBLISHED, STATUS, VISIBILITY = "availability", "published", "status", "visibility"

# Headings of the canonical fields besides their own names, compared by heading_key. The first one that the file has is
# used; `id` comes last because in a file of events it may be the id of the event.
EVENT_ALIASES: dict[str, tuple[str, ...]] = {
    c.BUYER_ID: (
        "buyer", "user", "user_id", "customer", "customer_id", "visitor_id", "household_id", "client_id",
        "member_id", "customer_no", "customer_number", "customer_code", "customer_email", "رقم العميل",
        "معرف العميل", "كود العميل", "رقم المشتري", "العميل", "المشتري", "المستخدم", "رقم المستخدم", "الزبون",
        "رقم الزبون", "cust_id", "cust_no", "client", "client_no", "n° client", "kunden_nr", "kundennummer", "kunde",
        "müşteri_no", "müşteri_kodu", "müşteri",
    ),
    c.PRODUCT_ID: (
        "product", "item", "item_id", "sku", "product_sku", "item_sku", "product_code", "item_code", "item_no",
        "product_no", "article_id", "رقم المنتج", "معرف المنتج", "كود المنتج", "رمز المنتج", "رمز المنتج sku",
        "رقم الصنف", "كود الصنف", "رقم السلعة", "كود السلعة", "المنتج", "الصنف", "السلعة", "art_no", "article_no",
        "réf. article", "article", "artikel_nr", "artikelnummer", "artikel", "ürün_kodu", "ürün_no", "stok_kodu", "id",
    ),
    c.EVENT_TYPE: (
        "event", "event_name", "action", "type", "activity", "نوع الحدث", "اسم الحدث", "الحدث", "نوع العملية",
        "العملية", "الإجراء",
    ),
    c.TIMESTAMP: (
        "event_time", "time", "ts", "date", "datetime", "created_at", "event_timestamp", "date_time", "event_date",
        "order_date", "date_created", "date_added", "تاريخ الحدث", "وقت الحدث", "تاريخ الطلب", "وقت الطلب",
        "التاريخ والوقت", "تاريخ الإنشاء", "التاريخ", "الوقت",
        "bestelldatum", "datum", "date de commande", "sipariş tarihi", "tarih",
    ),
    c.EVENT_ID: ("uuid", "معرف الحدث", "رقم الحدث"),
    c.QUANTITY: (
        "qty", "item_quantity", "quantity_ordered", "qty_ordered", "lineitem_quantity", "الكمية", "العدد", "menge",
        "anzahl", "quantité", "qté", "adet", "miktar",
    ),
    c.USER_AGENT: ("http_user_agent", "client_user_agent"),
}  # fmt: skip
PRODUCT_ALIASES: dict[str, tuple[str, ...]] = {
    c.PRODUCT_ID: (*EVENT_ALIASES[c.PRODUCT_ID], "variant_sku", "variant_id", "handle"),
    c.TITLE: (
        "name", "product_name", "title_ar", "product_title", "item_name", "name_ar", "اسم المنتج", "الاسم",
        "عنوان المنتج", "العنوان", "اسم الصنف", "اسم السلعة", "title_en", "name_en", "bezeichnung",
        "artikelbezeichnung", "désignation", "libellé", "ürün_adı",
    ),
    c.DESCRIPTION: (
        "desc", "details", "product_description", "long_description", "short_description", "وصف المنتج", "الوصف",
        "التفاصيل", "beschreibung", "langtext", "descriptif", "açıklama",
    ),
    c.TEXT: (),
    c.BRAND: (
        "brand_name", "manufacturer", "vendor", "make", "maker", "العلامة التجارية", "الماركة", "البراند",
        "الشركة المصنعة", "hersteller", "marke", "marque", "marka",
    ),
    c.CATEGORY: (
        "category_id", "catalog_id", "category_name", "product_category", "product_type", "categories", "department",
        "التصنيف", "تصنيف المنتج", "القسم", "الفئة", "التصنيفات", "الأقسام", "الصنف الرئيسي",
        "warengruppe", "kategorie", "catégorie", "kategori",
    ),
    c.PRICE: (
        "unit_price", "product_price", "السعر", "سعر المنتج", "سعر البيع", "سعر الوحدة", "الثمن", "retail_price",
        "preis", "verkaufspreis", "prix", "prix_ttc", "fiyat", "satış_fiyatı",
    ),
    SALE_PRICE: (
        "special_price", "discount_price", "discounted_price", "offer_price", "السعر المخفض", "السعر بعد الخصم",
        "سعر العرض", "سعر التخفيض",
    ),
    c.REGULAR_PRICE: (
        "list_price", "original_price", "compare_at_price", "السعر الأصلي", "السعر قبل الخصم", "السعر الأساسي",
        "السعر العادي",
    ),
    SALE_PRICE_DATES: (),
    SALE_PRICE_FROM: (
        "date_sale_price_starts", "special_price_from_date", "special_from_date", "sale_price_start_date",
    ),
    SALE_PRICE_TO: ("date_sale_price_ends", "special_price_to_date", "special_to_date", "sale_price_end_date"),
    c.CURRENCY: ("currency_code", "price_currency", "العملة", "währung", "devise", "para_birimi"),
    c.STOCK: (
        "quantity_in_stock", "stock_quantity", "inventory", "quantity", "qty", "stock_level", "inventory_quantity",
        "المخزون", "كمية المخزون", "الكمية المتوفرة", "الكمية المتاحة", "الكمية المتبقية", "الكمية", "العدد المتوفر",
        "bestand", "lagerbestand", "stok", "stok_miktarı",
    ),
    AVAILABILITY: (
        "in_stock", "is_in_stock", "stock_status", "available", "حالة المخزون", "حالة التوفر", "التوفر", "متوفر",
    ),
    c.PHOTO: (
        "thumbnail", "photo_link", "photo_url", "image", "image_url", "image_link", "picture", "picture_url",
        "images", "صورة المنتج", "رابط الصورة", "الصورة", "صورة", "الصور", "صور المنتج", "bild", "resim", "görsel",
    ),
    c.HIDDEN: ("is_hidden", "unlisted", "مخفي"),
    PUBLISHED: ("is_published", "active", "is_active", "enabled", "منشور", "مفعل", "نشط"),
    STATUS: ("product_status", "حالة المنتج", "الحالة"),
    VISIBILITY: ("catalog_visibility", "visibility_in_catalog", "الظهور"),
    c.GROUP_ID: (
        "item_group_id", "parent", "parent_id", "parent_sku", "product_group", "group", "رقم المجموعة", "المجموعة",
    ),
    c.LISTED_AT: (
        "created_at", "date_created", "date_added", "creation_date", "published_at", "date_published", "added_at",
        "تاريخ الإضافة", "تاريخ الإنشاء", "تاريخ النشر",
    ),
    METADATA: ("meta", "attributes"),
}  # fmt: skip
COLUMN_ALIASES: dict[str, tuple[str, ...]] = EVENT_ALIASES | PRODUCT_ALIASES

_KEY_STEPS = tuple(
    step
    for step in NormalisationStep
    if step in {NormalisationStep.COMPATIBILITY, NormalisationStep.MARKS, NormalisationStep.LETTERS,
                NormalisationStep.DIGITS, NormalisationStep.CASE}
)  # fmt: skip
_BRACKETS = re.compile(r"(?<=\S)\s*[(\[]([^()\[\]]*)[)\]]\s*$")
_LANGUAGES = {
    "ar": "ar", "arabic": "ar", "عربي": "ar", "العربيه": "ar", "بالعربيه": "ar", "en": "en", "english": "en",
    "انجليزي": "en", "الانجليزيه": "en", "بالانجليزيه": "en",
}  # fmt: skip
_ARTICLE = re.compile(r"^ال(?=\w{2})")
_NO_LETTER_OR_DIGIT = re.compile(r"[\W_]+")


def heading_key(heading: str) -> str:
    """What two headings of one meaning have in common.

    Case, blanks and punctuation, hamza and ta marbuta, the Arabic article and a unit in brackets do not count:
    "Price (EGP)" is "price", "أسم المنتج" is "اسممنتج". A language in brackets does: "name(en-gb)" is "nameen".
    """
    text = normalise(heading, _KEY_STEPS)
    if brackets := _BRACKETS.search(text):
        language = brackets[1].strip()
        suffix = _LANGUAGES.get(re.split(r"[-_]", language)[0], "")
        text = f"{text[: brackets.start()]} {suffix}"
    return "".join(_ARTICLE.sub("", word) for word in _NO_LETTER_OR_DIGIT.split(text))


def named_column(field: str, file_columns: Iterable[str]) -> str | None:
    """The column of a file whose heading stands for a field; None if there is none."""
    # Reversed, so that of two columns with one key the first stays.
    candidates = {heading_key(column): column for column in reversed(list(file_columns))}
    keys = (heading_key(name) for name in (field, *COLUMN_ALIASES.get(field, ())))
    return next((candidates[key] for key in keys if key in candidates), None)
