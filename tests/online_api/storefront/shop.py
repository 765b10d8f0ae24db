"""A small shop with lists, in Arabic and English, and how a visitor uses its pages."""

import httpx
from playwright.sync_api import Locator, Page

# Titles in both languages; the reduced juice, bread that is sold out, and one product of each further list.
PRODUCTS = """id,title,title_en,brand,category,price,regular_price,currency,stock,listed_at
milk,حليب طازج ١ لتر,Fresh milk 1 l,نور,ألبان,32,,EGP,9,2023-01-01
yogurt,زبادي طبيعي,Plain yogurt,نور,ألبان,12.5,,EGP,30,2023-01-01
cheese,جبن أبيض,White cheese,Dallah,ألبان,85,,EGP,4,2023-01-01
bread,خبز بلدي,Baladi bread,,خبز,5,,EGP,0,2023-01-01
rusk,بقسماط,Rusk,Dallah,خبز,18,,EGP,7,2023-01-01
juice,عصير برتقال,Orange juice,Dallah,مشروبات,25,40,EGP,8,2023-01-01
water,مياه معدنية,Mineral water,نور,مشروبات,7,,EGP,90,2023-01-01
coffee,قهوة عربية,Arabic coffee,Dallah,قهوة وشاي,120,,EGP,5,2023-01-01
tea,شاي بالنعناع,Mint tea,نور,قهوة وشاي,60,,EGP,5,2024-03-01
dates,تمر سكري,Sukkari dates,,فواكه,75,,EGP,6,2023-01-01
"""
# Milk and bread are bought together, twice, and again by u1; u2 drinks coffee.
EVENTS = """buyer_id,product_id,event_type,timestamp
u1,milk,purchase,2024-02-01 10:00:00
u1,rusk,purchase,2024-02-01 10:00:00
u1,milk,purchase,2024-02-10 10:00:00
u1,rusk,purchase,2024-02-10 10:00:00
u2,coffee,purchase,2024-02-20 10:00:00
u2,dates,purchase,2024-02-20 10:00:00
u3,milk,purchase,2024-03-04 10:00:00
u3,rusk,purchase,2024-03-04 10:00:00
u2,coffee,view,2024-03-05 10:00:00
"""


def visit(page: Page, client: httpx.Client, path: str = "") -> None:
    """Opens a page of the shop, such as `?buyer=u1#/cart`, and waits for its rows."""
    page.goto(f"{client.base_url}{path}")
    settle(page)


def settle(page: Page) -> None:
    """Until the page that the address names is complete."""
    page.locator("#main[aria-busy=false]").wait_for()


def row(page: Page, name: str) -> Locator:
    """A row of products."""
    return page.locator(f"[data-row={name}]")


def titles(place: Page | Locator) -> list[str]:
    """The titles of the cards."""
    return place.locator(".card .title").all_text_contents()


def reasons(place: Locator) -> list[str]:
    """Why each card is there; empty where nothing is said."""
    return place.locator(".card .because").all_text_contents()


def buyer_of(page: Page) -> str:
    """Whom the page shows the shop to."""
    return page.locator("#buyer").input_value()
