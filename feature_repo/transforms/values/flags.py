"""Yes and no as shops write them."""


def read_flag(text: str) -> bool | None:
    """Reads true/false, yes/no, 1/0, on/off, نعم/لا and the like in any case; None if the text is none of these."""
    raise NotImplementedError


def read_availability(text: str) -> bool | None:
    """Whether a text says that a product can be bought now: "in stock", "out_of_stock", "متوفر", "نفد"; None: neither."""
    raise NotImplementedError
