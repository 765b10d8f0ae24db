"""Names of currencies as shops write them."""

import re
from functools import lru_cache

from feature_repo.transforms.values.characters import INVISIBLE_CHARACTERS

_ISO_4217 = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL "
    "HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD "
    "MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG "
    "QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD "
    "TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW"
)
_CODES = frozenset(_ISO_4217.split())
# Short codes that are words, too: "2 cup", "5 top". They count in capitals only.
_WORDS = frozenset({"all", "cup", "mad", "top"})

# A name that several currencies share lists them all. The first one is meant where nothing else is said; a name that
# begins with "?" alone says none of them: a riyal may be Saudi, Qatari, Omani or Yemeni.
_NAMES = {
    "EGP SDG": "جنيه, جنيها, جنيهات",
    "EGP": "ج.م, جم, ج م, جنيه مصري, L.E., E£, £E, Egyptian Pound, Egyptian Pounds",
    "SDG": "جنيه سوداني, ج.س",
    "SAR": "ر.س, رس, ريال سعودي, SR, S.R., Saudi Riyal, Saudi Riyals, \u20c1",
    "QAR": "ر.ق, ريال قطري, QR, Q.R., Qatari Riyal",
    "OMR": "ر.ع, ر.ع., ريال عماني, R.O., Omani Rial",
    "YER": "ر.ي, ريال يمني, Yemeni Rial",
    "? SAR QAR OMR YER IRR": "ريال, ريالا, ريالات, ﷼, Riyal, Riyals, Rial",
    "AED": "د.إ, درهم إماراتي, درهم اماراتي, Dhs, Dhs., UAE Dirham",
    "? AED MAD": "درهم, دراهم, Dh, Dirham, Dirhams",
    "MAD": "د.م, د.م., درهم مغربي",
    "KWD": "د.ك, دينار كويتي, KD, K.D., Kuwaiti Dinar",
    "BHD": "د.ب, دينار بحريني, BD, B.D., Bahraini Dinar",
    "JOD": "د.أ, دينار أردني, دينار اردني, JD, J.D., Jordanian Dinar",
    "? JOD AED": "د.ا",
    "IQD": "د.ع, دينار عراقي, Iraqi Dinar",
    "TND": "د.ت, دينار تونسي, DT, Tunisian Dinar",
    "DZD": "د.ج, دينار جزائري, DA, Algerian Dinar",
    "LYD": "د.ل, ل.د, دينار ليبي, LD, Libyan Dinar",
    "? KWD BHD JOD IQD TND DZD LYD": "دينار, دنانير, Dinar, Dinars",
    "LBP": "ل.ل, ليرة لبنانية, L.L.",
    "SYP": "ل.س, ليرة سورية",
    "TRY": "₺, TL, ليرة تركية, Turkish Lira",
    "? TRY LBP SYP": "ليرة, Lira",
    "ILS": "₪, شيكل, شيقل, NIS",
    "USD CAD AUD NZD SGD HKD TWD MXN BRL ARS CLP COP": "$, دولار, دولارات, Dollar, Dollars",
    "USD": "US$, $US, U$, دولار أمريكي, دولار امريكي, US Dollar, US Dollars",
    "CAD": "C$, CA$",
    "AUD": "A$, AU$",
    "EUR": "€, يورو, Euro, Euros",
    "GBP EGP SDG SYP LBP": "£, Pound, Pounds",
    "GBP": "جنيه إسترليني, جنيه استرليني, Pound Sterling",
    "? JPY CNY": "¥",
    "INR": "₹",
    "? INR PKR LKR NPR": "₨, Rs, Rs.",
    "KRW": "₩",
    "RUB": "₽, руб",
    "NGN": "₦",
    "UAH": "₴",
    "BRL": "R$",
    "IDR": "Rp",
    "MYR": "RM",
    "PHP": "₱",
    "THB": "฿",
    "VND": "₫",
    "CZK": "Kč",
    "HUF": "Ft",
    "RON": "lei",
    "PLN": "zł",
    "CHF": "Fr., SFr.",
    "? SEK NOK DKK": "kr, kr.",
}
_IGNORED = re.compile(f"{INVISIBLE_CHARACTERS.pattern}|[\\s.ـ]")


def read_currency(text: str) -> str | None:
    """The ISO 4217 code of "EGP", "ج.م", "$" ...; None if the text names no currency or several ("ريال")."""
    possible = possible_currencies(text)
    return possible[0] or None if possible else None


@lru_cache(maxsize=4096)
def possible_currencies(name: str) -> tuple[str, ...]:
    """The codes that a name may stand for, the likeliest first; "" comes first if none is; empty: no currency."""
    key = _key(name)
    if key.upper() in _CODES and (key not in _WORDS or name.strip().isupper()):
        return (key.upper(),)
    return _POSSIBLE.get(key, ())


def _key(name: str) -> str:
    # Hamza counts: د.إ is the dirham and د.أ the Jordanian dinar.
    return _IGNORED.sub("", name).casefold()


_POSSIBLE = {
    _key(name): tuple("" if code == "?" else code for code in codes.split())
    for codes, names in _NAMES.items()
    for name in names.split(", ")
}
