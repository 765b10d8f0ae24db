"""Amounts of money and stocks: each style, and every amount in every style."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.transforms.values.amounts import DecimalMark, read_amount, read_stock
from feature_repo.transforms.values.currencies import read_currency

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("EGP 2,099.00", 2099, "EGP"),
        ("١٬٢٩٩٫٠٠ ر.س", 1299, "SAR"),
        ("1.299,00", 1299, None),
        ("12,50", 12.5, None),
        ("٧٩٩٫٥", 799.5, None),
        ("1,299", 1299, None),
        ("0,299", 0.299, None),
        ("1.299", 1.299, None),  # dinars have three decimals
        ("1.299.000", 1_299_000, None),
        ("1,234,567", 1_234_567, None),
        ("1 299,00", 1299, None),
        ("1\u00a0299,00 €", 1299, "EUR"),
        ("1\u202f299,5", 1299.5, None),
        ("1'299.50", 1299.5, None),
        ("CHF 1’299.50", 1299.5, "CHF"),
        ("١،٢٩٩", 1299, None),
        ("-5.00", -5, None),
        ("(5.00)", -5, None),
        ("5.00-", -5, None),
        ("5.00 -", -5, None),
        ("- EGP 5", -5, "EGP"),
        ("EGP -5", -5, "EGP"),
        ("5- EGP", -5, "EGP"),
        ("Rp 1.299.000", 1_299_000, "IDR"),
        ("−5", -5, None),
        ("+5", 5, None),
        ("$-5.00", -5, "USD"),
        ("-$5", -5, "USD"),
        (".5", 0.5, None),
        ("$.50", 0.5, "USD"),
        ("Rs.5", 5, None),
        ("1e3", 1000, None),
        ("1.5E-3", 0.0015, None),
        ("5 ر.س.\u200f", 5, "SAR"),
        ("25 جنيه", 25, "EGP"),
        ("25ج.م.", 25, "EGP"),
        ("L.E. 25", 25, "EGP"),
        ("د.إ 7", 7, "AED"),
        ("د.أ 7", 7, "JOD"),
        ("١٢٫٥٠٠ د.ك", 12.5, "KWD"),
        ("12 ريال", 12, None),  # Saudi, Qatari, Omani or Yemeni
        ("﷼ 12", 12, None),
        ("12 درهم", 12, None),
        ("12 ريال سعودي", 12, "SAR"),
        ("ريال 12 OMR", 12, "OMR"),
        ("$10", 10, "USD"),
        ("$10 CAD", 10, "CAD"),
        ("US$ 10", 10, "USD"),
        ("£10", 10, "GBP"),
        ("£10 ج.م", 10, "EGP"),
        ("₺10", 10, "TRY"),
        ("10 sar", 10, "SAR"),
        ("10 GEL", 10, "GEL"),
    ],
)
def test_amounts_are_read_in_the_styles_of_shops(text: str, value: float, currency: str | None) -> None:
    assert read_amount(text) == (value, currency)


@pytest.mark.parametrize(
    "text",
    [
        *("", "EGP", "free", "nan", "inf", "-Infinity", "1e400", "10%", "5 kg", "2 cup", "USD 10 EGP", "--5", "1_000"),
        *("EGP - 5", "5 - EGP"),
        *(
            "10 - 20",
            "10–20",
            "10 to 20",
            "10 / 20",
            "from 10",
            "EGP - 5",
            "5 - EGP",
            "10 20",
            "1 29",
            "12.5.1",
            "1.299,000,5",
            "1,29,9",
        ),
    ],
)
def test_what_is_no_amount_is_not_read(text: str) -> None:
    assert read_amount(text) is None


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("1,299", ",", 1.299),
        ("1.299", ",", 1299),
        ("1299", ",", 1299),
        ("1.299,5", ",", 1299.5),
        ("12.5", ",", None),
        ("1,299.5", ",", None),
        ("1,299", ".", 1299),
        ("12,5", ".", None),
        ("١٬٢٩٩٫٥", ".", 1299.5),
    ],
)
def test_a_declared_decimal_mark_decides(text: str, mark: DecimalMark, value: float | None) -> None:
    amount = read_amount(text, mark)
    assert (amount and amount.value) == value


@pytest.mark.parametrize(
    ("name", "code"),
    [
        *(("EGP", "EGP"), ("egp", "EGP"), ("ج.م", "EGP"), ("$", "USD"), ("ريال قطري", "QAR"), ("CUP", "CUP")),
        *(("", None), ("ريال", None), ("cup", None), ("XYZ", None)),
    ],
)
def test_currencies_are_read_by_name(name: str, code: str | None) -> None:
    assert read_currency(name) == code


@pytest.mark.parametrize(
    ("text", "stock"),
    [
        ("3", 3),
        ("3.0", 3),
        ("2.5", 2),
        ("٣", 3),
        ("1,000", 1000),
        ("-1", -1),
        ("-1.5", -2),
        ("5-", -5),
        ("10+", 10),
        (">10", 10),
        ("3 in stock", 3),
        ("3 قطع", 3),
        ("out of stock", 0),
        ("outofstock", 0),
        ("backorder", 0),
        ("preorder", 0),
        ("نفد", 0),
        ("نفدت الكمية", 0),
        ("غير متوفر", 0),
        ("no", 0),
        ("in stock", None),
        ("غير محدود", None),
        ("parent", None),
        ("", None),
        ("1e30", None),
        ("9223372036854775808", None),  # one more than a 64-bit integer holds
        ("3 EGP", None),
        ("EGP 3", None),
        ("nan", None),
    ],
)
def test_stocks_are_read_as_numbers_and_words(text: str, stock: int | None) -> None:
    assert read_stock(text) == stock


# --- every amount in every style --------------------------------------------------------------------------------------

ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
NAMES = [("", None), ("EGP", "EGP"), ("ج.م", "EGP"), ("ر.س.", "SAR"), ("€", "EUR"), ("KWD", "KWD"), ("ريال", None)]


@given(
    cents=st.integers(-(10**9), 10**9),
    marks=st.sampled_from([",.", ".,", " ,", "\u00a0,", "'.", "\u202f.", "٬٫"]),
    arabic=st.booleans(),
    name=st.sampled_from(NAMES),
    before=st.booleans(),
    blank=st.sampled_from(["", " ", "\u00a0"]),
)
def test_an_amount_reads_back_in_every_style(
    cents: int, marks: str, arabic: bool, name: tuple[str, str | None], before: bool, blank: str
) -> None:
    number = f"{cents / 100:,.2f}".translate(str.maketrans(",.", marks))
    if arabic:
        number = number.translate(ARABIC)
    text = f"{name[0]}{blank}{number}" if before else f"{number}{blank}{name[0]}"
    assert read_amount(text) == (cents / 100, name[1])


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read(value: float) -> None:
    assert read_amount(repr(value)) == (value, None)


@given(text=st.text() | st.text("0123456789.,-+()٫٬ $€eE", max_size=15))
def test_any_text_is_a_finite_amount_or_none(text: str) -> None:
    for mark in (None, ".", ","):
        amount = read_amount(text, mark)
        assert amount is None or math.isfinite(amount.value)
    stock = read_stock(text)
    assert stock is None or abs(stock) < 2**63
