"""Page tokens: what is signed comes back, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.access.page_tokens import MAX_SHOWN, MAX_TOKEN_LENGTH, PageTokenError, PageTokens, Shown

OLD, NEW = b"an old secret of thirty-two bytes", b"a new secret of thirty-two bytes."
TOKENS = PageTokens([NEW], "csv")
KEYS = st.lists(st.integers(0, 2**63 - 1), max_size=MAX_SHOWN).map(tuple)


def signed(tokens: PageTokens = TOKENS, shown: Shown = Shown(1, (7, 8)), expires_s: int = 100) -> str:  # noqa: B008
    token = tokens.sign(shown, b"list", expires_s)
    assert token is not None
    return token


def reason_of(token: str, tokens: PageTokens = TOKENS, identity: bytes = b"list", now_s: int = 99) -> str:
    with pytest.raises(PageTokenError) as caught:
        tokens.read(token, identity, now_s)
    return caught.value.reason


@given(st.integers(1, 2**16 - 1), KEYS, st.binary(max_size=50))
def test_what_was_shown_comes_back(pages: int, keys: tuple[int, ...], identity: bytes) -> None:
    token = TOKENS.sign(Shown(pages, keys), identity, 2**32 - 1)
    assert token is not None
    assert len(token) <= MAX_TOKEN_LENGTH
    assert TOKENS.read(token, identity, 2**32 - 2) == Shown(pages, keys)


def test_the_longest_token_fits_into_a_url() -> None:
    assert len(signed(shown=Shown(50, tuple(range(MAX_SHOWN))))) == MAX_TOKEN_LENGTH < 6000
    assert TOKENS.sign(Shown(51, tuple(range(MAX_SHOWN + 1))), b"list", 100) is None


def test_a_token_expires_and_is_of_one_list() -> None:
    assert TOKENS.read(signed(), b"list", 99).product_keys == (7, 8)
    assert reason_of(signed(), now_s=100) == "expired"
    assert reason_of(signed(), identity=b"another") == "other_list"


def test_secrets_rotate() -> None:
    both, old = PageTokens([NEW, OLD], "csv"), PageTokens([OLD], "csv")
    assert both.read(signed(old), b"list", 99) == TOKENS.read(signed(both), b"list", 99)
    assert reason_of(signed(old)) == "invalid"


def test_other_shops_and_no_secret() -> None:
    assert reason_of(signed(PageTokens([NEW], "another"))) == "invalid"
    none = PageTokens([], "csv")
    assert none.sign(Shown(1, (7,)), b"list", 100) is None
    assert reason_of(signed(), none) == "unavailable"


@given(st.integers(0, len(signed()) - 1), st.characters())
def test_no_character_can_be_changed(place: int, character: str) -> None:
    token = signed()
    changed = token[:place] + character + token[place + 1 :]
    if changed != token:
        assert reason_of(changed) == "invalid"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda content: content.hex()))
def test_anything_else_is_no_token(text: str) -> None:
    assert reason_of(text) == "invalid"
