"""Tokens that a shop's server signs for one buyer."""

import base64
import datetime as dt
import json

import jwt
import pytest

from feature_repo.access.buyer_tokens import BuyerTokens, InvalidTokenError, token_secrets
from feature_repo.common.errors import ConfigError

pytestmark = pytest.mark.fast

OLD, NEW, FOREIGN = "o" * 32, "n" * 32, "f" * 32
NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)
TOKENS = BuyerTokens((NEW, OLD), "shop")


def refusal(token: str, tokens: BuyerTokens = TOKENS) -> str:
    with pytest.raises(InvalidTokenError) as refused:
        tokens.buyer_of(token)
    return str(refused.value)


def claims(**changes: object) -> dict[str, object]:
    return {"sub": "u1", "aud": "shop", "exp": NOW + HOUR} | changes


@pytest.mark.parametrize("buyer_id", ["u1", "زائر", "a/b c", "١٢"])
def test_a_token_names_its_buyer(buyer_id: str) -> None:
    assert TOKENS.buyer_of(TOKENS.sign(buyer_id, NOW + HOUR)) == buyer_id


def test_any_language_may_sign() -> None:
    assert TOKENS.buyer_of(jwt.encode(claims(), NEW, "HS256")) == "u1"


def test_both_secrets_are_valid_during_a_rotation() -> None:
    old = BuyerTokens((OLD,), "shop").sign("u1", NOW + HOUR)
    assert TOKENS.buyer_of(old) == "u1"
    assert refusal(old, BuyerTokens((NEW,), "shop")) == "the buyer token is not signed with a secret of this shop"


@pytest.mark.parametrize(("seconds", "valid"), [(-50, True), (-70, False)])
def test_a_clock_may_differ_by_a_minute(seconds: int, valid: bool) -> None:
    token = TOKENS.sign("u1", dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds))
    if valid:
        assert TOKENS.buyer_of(token) == "u1"
    else:
        assert refusal(token) == "the buyer token has expired"


def part(content: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content, default=str).encode()).decode().rstrip("=")


@pytest.mark.parametrize("algorithm", ["none", "None", "HS512", "RS256"])
def test_no_other_algorithm_is_accepted(algorithm: str) -> None:
    body = part({"sub": "u1", "aud": "shop", "exp": int((NOW + HOUR).timestamp())})
    assert refusal(f"{part({'alg': algorithm, 'typ': 'JWT'})}.{body}.") == "the buyer token is not valid"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (jwt.encode(claims(), FOREIGN, "HS256"), "the buyer token is not signed with a secret of this shop"),
        (jwt.encode(claims(aud="other"), NEW, "HS256"), "the buyer token is of another shop"),
        (jwt.encode({"sub": "u1", "exp": NOW + HOUR}, NEW, "HS256"), "the buyer token is not valid"),
        (jwt.encode({"sub": "u1", "aud": "shop"}, NEW, "HS256"), "the buyer token is not valid"),
        (jwt.encode({"aud": "shop", "exp": NOW + HOUR}, NEW, "HS256"), "the buyer token is not valid"),
        (jwt.encode(claims(nbf=NOW + HOUR), NEW, "HS256"), "the buyer token is not valid"),
        ("", "the buyer token is not valid"),
        ("a.b.c", "the buyer token is not valid"),
        ("é", "the buyer token is not valid"),
    ],
)
def test_others_are_refused(token: str, why: str) -> None:
    assert refusal(token) == why


def test_a_changed_token_is_refused() -> None:
    header, _, signature = TOKENS.sign("u1", NOW + HOUR).split(".")
    body = part({"sub": "u2", "aud": "shop", "exp": int((NOW + HOUR).timestamp())})
    assert refusal(f"{header}.{body}.{signature}") == "the buyer token is not signed with a secret of this shop"


def test_without_a_secret_there_are_no_tokens() -> None:
    none = BuyerTokens((), "shop")
    assert refusal(TOKENS.sign("u1", NOW + HOUR), none) == "buyer tokens are not set up on this server"
    with pytest.raises(ConfigError, match=r"\$TAWSIYA_BUYER_TOKEN_SECRETS is not set"):
        none.sign("u1", NOW + HOUR)


def test_secrets_are_read_from_the_environment() -> None:
    assert token_secrets({"TAWSIYA_BUYER_TOKEN_SECRETS": f" {NEW}  {OLD}\n"}) == (NEW, OLD)
    assert token_secrets({}) == ()
    with pytest.raises(ConfigError, match=r"secret 2 of \$TAWSIYA_BUYER_TOKEN_SECRETS has 5 bytes") as refused:
        token_secrets({"TAWSIYA_BUYER_TOKEN_SECRETS": f"{NEW} short"})
    assert "short" not in str(refused.value)
