"""Event types: their names, codes and weights."""

from functools import lru_cache

from feature_repo.settings.model import EventWeights
from feature_repo.transforms.values.characters import word_key

# Sequences store the position in this tuple as the code. Append only: stored features and models use the codes.
EVENT_TYPE_NAMES = ("view", "add_to_cart", "purchase")
EVENT_TYPE_CODES = {name: code for code, name in enumerate(EVENT_TYPE_NAMES)}
PURCHASE = EVENT_TYPE_CODES["purchase"]

REFUND = "refund"  # takes a purchase back: a refund, a return, a cancelled order
OTHER_EVENT = "other_event"  # a known event that is no view, cart or purchase

# Names in exports and webhooks. Only letters count, in either case and without vowel signs: "Add to Cart",
# "ADD-TO-CART" and "addToCart" are one name, and so are "order.created" and "order_created".
_SPELLINGS = {
    "view": "view, views, viewed, view item, view product, product view, product viewed, viewed product, item view, "
    "view content, product detail, product details, detail, page view, pageview, click, clicked, product click, "
    "مشاهدة, مشاهدات, مشاهدة منتج, مشاهدة المنتج, شاهد, عرض, عرض منتج, عرض المنتج, زيارة, تصفح, نقرة, نقر, معاينة",
    "add_to_cart": "add to cart, added to cart, add cart, cart add, cart, carts, add to basket, added to basket, "
    "basket, add to bag, added to bag, bag, product added, product added to cart, add product to cart, item added, "
    "add to shopping cart, إضافة إلى السلة, إضافة الى السلة, إضافة للسلة, إضافة لسلة التسوق, إضافة إلى سلة التسوق, "
    "أضيف إلى السلة, أضف إلى السلة, إضافة إلى العربة, إضافة للعربة, إضافة إلى عربة التسوق, سلة, السلة, سلة التسوق, "
    "عربة, عربة التسوق",
    "purchase": "purchase, purchased, purchases, buy, bought, order, ordered, orders, transaction, transactions, sale, "
    "sales, sold, order created, created order, orders create, order placed, place order, order completed, "
    "complete order, order paid, orders paid, checkout completed, checkout complete, ecommerce purchase, "
    "purchase completed, complete purchase, شراء, الشراء, عملية شراء, تم الشراء, إتمام الشراء, اشترى, مشتريات, طلب, "
    "طلبية, طلبات, طلب جديد, إتمام الطلب, تم الطلب, بيع, مبيعات",
    REFUND: "refund, refunds, refunded, refund created, refunds create, order refunded, order refund, partial refund, "
    "partially refunded, return, returns, returned, order returned, product returned, return created, cancel, "
    "cancels, cancelled, canceled, cancellation, cancelled order, canceled order, order cancelled, order canceled, "
    "order cancel, orders cancelled, orders canceled, cancel order, chargeback, "
    "استرجاع, استرجاع المبلغ, مسترجع, طلب مسترجع, استرداد, استرداد المبلغ, مسترد, مرتجع, مرتجعات, إرجاع, إرجاع المنتج, "
    "إلغاء, إلغاء الطلب, إلغاء طلب, ملغي, ملغى, ملغاة, طلب ملغي, تم الإلغاء",
    OTHER_EVENT: "remove from cart, removed from cart, cart remove, delete from cart, product removed, "
    "product removed from cart, remove from basket, remove from bag, clear cart, view cart, cart viewed, cart updated, "
    "carts update, view item list, view list, view category, collection viewed, product list viewed, select item, "
    "select content, view promotion, select promotion, begin checkout, checkout, checkout started, start checkout, "
    "initiate checkout, checkout progress, checkout step, checkout updated, checkouts create, checkouts update, "
    "add shipping info, add payment info, payment info submitted, order updated, orders updated, orders update, "
    "order status updated, order shipped, order delivered, order fulfilled, orders fulfilled, wishlist, wish list, "
    "add to wishlist, added to wishlist, remove from wishlist, favorite, favourite, add to favorites, "
    "add to favourites, like, unlike, compare, search, searched, search submitted, view search results, login, "
    "log in, logged in, sign in, sign up, register, registration, complete registration, logout, log out, sign out, "
    "impression, impressions, product impression, share, shared, session start, session end, first visit, "
    "first open, app open, user engagement, scroll, screen view, review, rating, rate, comment, subscribe, "
    "newsletter, lead, generate lead, contact, add review, video start, video progress, video complete, form start, "
    "form submit, file download, "
    "إزالة من السلة, حذف من السلة, مفضلة, المفضلة, إضافة إلى المفضلة, إضافة للمفضلة, قائمة الأمنيات, بحث, "
    "تسجيل الدخول, تسجيل دخول, تسجيل الخروج, تسجيل, مشاركة, تقييم, ظهور, بدء الدفع",
}


def _letters(name: str) -> str:
    return "".join(filter(str.isalpha, word_key(name)))


_MEANINGS = {_letters(name): meaning for meaning, names in _SPELLINGS.items() for name in names.split(", ")}


@lru_cache(maxsize=4096)
def read_event_type(name: str) -> str | None:
    """What an event's name means: one of EVENT_TYPE_NAMES, REFUND, OTHER_EVENT, or None if the name is unknown."""
    return _MEANINGS.get(_letters(name))


def weight_by_code(weights: EventWeights) -> tuple[float, ...]:
    """The event weights; position i holds the weight of event code i."""
    return tuple(float(getattr(weights, name)) for name in EVENT_TYPE_NAMES)
